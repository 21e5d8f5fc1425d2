//! `login`, `logout`, `link`.

use serde_json::json;

use crate::arguments::LoginArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::login::{DEFAULT_SERVER, Logins, server_name};
use crate::terminal;
use crate::value::Fields;

pub(crate) async fn login(context: &Context, arguments: LoginArgs) -> Outcome {
    let LoginArgs { url, username } = arguments;
    let url = url.or_else(|| context.server.clone()).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
    let server = server_name(&url)?;
    let question = format!("Password of {username} at {server}: ");
    let password = terminal::secret(question, None, context.may_ask).await?;
    let client = Client::with_token(server.clone(), None)?;
    let body = json!({"username": username, "password": password.expose()});
    let answer = client.post("/api/v1/session", &body).await.map_err(|failure| match failure.kind {
        crate::failure::Kind::Auth => Failure::auth(
            format_args!("{username} was not let in at {server}: wrong name or password"),
            "try again; the first admin password is printed once by the API server",
        ),
        _ => failure,
    })?;
    let Some(token) = answer.at("token").as_str() else {
        return Err(Failure::failed(
            format_args!("{server} gave no token"),
            "check that this is the address of Sluice's API",
        ));
    };
    let mut logins = Logins::load()?;
    logins.log_in(&server, &username, &sluice_chassis::Secret::new(token));
    let path = logins.save()?;
    if !context.output.data(&json!({"server": server, "person": username}))? {
        context
            .output
            .line(format!("Logged in at {server} as {username}; the token is in {}.", path.display()))?;
    }
    Ok(())
}

pub(crate) async fn logout(context: &Context) -> Outcome {
    let client = context.client()?;
    let server = client.server().to_owned();
    // The server may be gone, and the token with it: it is forgotten here all the same.
    let ended = client.delete("/api/v1/session").await;
    let mut logins = Logins::load()?;
    let known = logins.log_out(&server);
    logins.save()?;
    if !known {
        return Err(Failure::failed(format_args!("nobody was logged in at {server}"), "`sluice login URL`"));
    }
    if let Err(failure) = ended {
        context.output.note(format!("The server was not told: {}", failure.message));
    }
    context.output.line(format!("Logged out at {server}."))
}

pub(crate) async fn link(context: &Context, remove: bool) -> Outcome {
    let client = context.client()?;
    if remove {
        let answer = client.delete("/api/v1/account/link").await?;
        if !context.output.data(&answer)? {
            context.output.line(format!("{} Telegram account(s) disconnected.", answer.number("removed")))?;
        }
        return Ok(());
    }
    let answer = client.post("/api/v1/account/link", &json!({})).await?;
    if context.output.data(&answer)? {
        return Ok(());
    }
    context.output.line(format!(
        "Send this to the bot within 10 minutes, in a chat with it alone:\n\n  {}\n",
        answer.text("command")
    ))
}
