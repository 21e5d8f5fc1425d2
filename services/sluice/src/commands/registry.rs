//! `registry`: write-only credentials of container registries.

use serde_json::json;

use crate::arguments::RegistryCommand;
use crate::context::Context;
use crate::failure::Outcome;
use crate::output::Table;
use crate::terminal;
use crate::value::{Fields, segment};

pub(crate) async fn registry(context: &Context, command: RegistryCommand) -> Outcome {
    let client = context.client()?;
    let output = context.output;
    let path = |host: &str| format!("/api/v1/registries/{}", segment(plain(host)));
    match command {
        RegistryCommand::Set { host, username, password_file } => {
            let question = format!("Password or token of {username} at {host}: ");
            let password = terminal::secret(question, password_file.as_deref(), context.may_ask).await?;
            // An editor ends the file with a line end that is no part of a token.
            let password = password.expose().trim_end_matches(['\r', '\n']);
            let answer =
                client.put(&path(&host), &json!({"username": username, "password": password})).await?;
            if !output.data(&answer)? {
                output
                    .line(format!("Images go to {} as {username} from now on.", answer.text("registry")))?;
            }
            Ok(())
        }
        RegistryCommand::Ls => {
            let answer = client.get("/api/v1/registries").await?;
            if output.data(&answer)? {
                return Ok(());
            }
            let mut table = Table::new(&["REGISTRY"]);
            for host in answer.list("items") {
                table.row([host.text("")]);
            }
            table.print(output)
        }
        RegistryCommand::Rm { host } => {
            let answer = client.delete(&path(&host)).await?;
            if !output.data(&answer)? {
                output.line(format!("The credentials of {host} are removed."))?;
            }
            Ok(())
        }
    }
}

/// A URL that was copied from a browser is understood too.
fn plain(host: &str) -> &str {
    let host = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    host.split('/').next().unwrap_or_default()
}
