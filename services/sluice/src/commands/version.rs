//! `version`.

use serde_json::json;

use crate::context::Context;
use crate::failure::Outcome;
use crate::value::Fields;

pub(crate) async fn version(context: &Context) -> Outcome {
    let ours = concat!("v", env!("CARGO_PKG_VERSION"));
    let client = context.client()?;
    let server = client.get("/api/version").await;
    let answer = json!({
        "client": ours, "server": server.as_ref().map(|answer| answer.text("Version")).ok(), "address": client.server(),
    });
    if context.output.data(&answer)? {
        return Ok(());
    }
    context.output.line(format!("sluice {ours}"))?;
    match server {
        Ok(answer) => {
            context.output.line(format!("server {} at {}", answer.text("Version"), client.server()))
        }
        Err(failure) => {
            context.output.note(format!("server: {}", failure.message));
            Ok(())
        }
    }
}
