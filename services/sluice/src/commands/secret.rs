//! `secret`: write-only secrets of workflows.

use serde_json::json;

use crate::arguments::SecretCommand;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::terminal;
use crate::value::{Fields, segment};

pub(crate) async fn secret(context: &Context, command: SecretCommand) -> Outcome {
    let client = context.client()?;
    let output = context.output;
    let all = |repo: &str| format!("/api/v1/repositories/{}/secrets", segment(repo));
    match command {
        SecretCommand::Set { repo, name, from_file } => {
            check_name(&name)?;
            let question = format!("Value of {name} for {repo}: ");
            let value = terminal::secret(question, from_file.as_deref(), context.may_ask).await?;
            client
                .put(&format!("{}/{}", all(&repo), segment(&name)), &json!({"value": value.expose()}))
                .await?;
            if !output.data(&json!({"repository": repo, "name": name}))? {
                output.line(format!("{name} is set for {repo}; workflows read it as secrets.{name}."))?;
            }
            Ok(())
        }
        SecretCommand::Ls { repo } => {
            let answer = client.get(&all(&repo)).await?;
            if output.data(&answer)? {
                return Ok(());
            }
            let mut table = Table::new(&["NAME"]);
            for name in answer.list("items") {
                table.row([name.text("")]);
            }
            table.print(output)
        }
        SecretCommand::Rm { repo, name } => {
            check_name(&name)?;
            client.delete(&format!("{}/{}", all(&repo), segment(&name))).await?;
            if !output.data(&json!({"repository": repo, "name": name}))? {
                output.line(format!("{name} is removed from {repo}."))?;
            }
            Ok(())
        }
    }
}

/// GitHub's rule for names, which is also what an expression can name.
fn check_name(name: &str) -> Outcome {
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if start && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    Err(Failure::usage(
        format_args!("`{name}` cannot be the name of a secret"),
        "use letters, digits and `_`, not beginning with a digit: IMAGE_PATH",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_expressions_can_name() {
        assert!(check_name("IMAGE_PATH").is_ok() && check_name("_x1").is_ok());
        for wrong in ["", "1A", "A-B", "A=value", "a b"] {
            assert_eq!(check_name(wrong).map_err(|failure| failure.kind.exit_code()), Err(2), "{wrong}");
        }
    }
}
