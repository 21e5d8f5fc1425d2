//! `--telegram-token`: the real Bot API, and a person who writes to the bot first.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use sluice_e2e::story::Report;

const API: &str = "https://api.telegram.org";
const WAIT: Duration = Duration::from_secs(600);

/// A bot of the person's, and the chat that it is to speak in.
pub(crate) struct Bot {
    pub(crate) token: String,
    pub(crate) chat: i64,
}

/// Asks for the token, and waits for a message to the bot: only so can it know the chat.
pub(crate) async fn bot(report: &Report) -> anyhow::Result<Bot> {
    let token = token()?;
    let name = call(&token, "getMe", json!({})).await?["username"].as_str().unwrap_or_default().to_owned();
    report.note(&format!("write anything to https://t.me/{name}, or to a group that it is in (10 min)"));
    let deadline = tokio::time::Instant::now() + WAIT;
    let mut offset = json!(null);
    while tokio::time::Instant::now() < deadline {
        let updates = call(&token, "getUpdates", json!({"timeout": 25, "offset": offset})).await?;
        for update in updates.as_array().into_iter().flatten() {
            offset = json!(update["update_id"].as_i64().unwrap_or_default() + 1);
            if let Some(chat) = update["message"]["chat"]["id"].as_i64() {
                call(&token, "getUpdates", json!({"timeout": 0, "offset": offset})).await?;
                return Ok(Bot { token, chat });
            }
        }
    }
    bail!("nobody wrote to the bot")
}

/// From $TELEGRAM_TOKEN, or typed without an echo. Never from the command line, which everybody can read.
fn token() -> anyhow::Result<String> {
    if let Ok(token) = std::env::var("TELEGRAM_TOKEN") {
        return Ok(token.trim().to_owned());
    }
    let echo = |on: &str| std::process::Command::new("stty").arg(on).status();
    write!(std::io::stderr(), "Token of your bot (from @BotFather): ")?;
    echo("-echo")?;
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    echo("echo")?;
    writeln!(std::io::stderr())?;
    read?;
    ensure!(line.contains(':'), "a token looks like 123456:ABC…");
    Ok(line.trim().to_owned())
}

async fn call(token: &str, method: &str, body: Value) -> anyhow::Result<Value> {
    let request = reqwest::Client::new().post(format!("{API}/bot{token}/{method}")).json(&body);
    // The address holds the token: it must not be in the error.
    let answer =
        request.send().await.map_err(|e| e.without_url()).with_context(|| format!("Telegram's {method}"))?;
    let body: Value = answer.json().await.map_err(|e| e.without_url())?;
    ensure!(body["ok"] == true, "Telegram's {method}: {}", body["description"]);
    Ok(body["result"].clone())
}
