//! Webhooks: each pending update is posted to the bot's address, in order, until it is taken.
//!
//! A small client of our own: the address is on this machine and speaks plain HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::server::App;
use crate::state::{Webhook, now};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs as long as the fake.
pub(crate) async fn deliver(app: App) {
    let mut changes = app.watch();
    let mut pause = FIRST_PAUSE;
    loop {
        let next = {
            let state = app.lock();
            state.webhook.clone().zip(state.updates.front().cloned())
        };
        let Some((hook, (id, kind, value))) = next else {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        };
        let body = json!({"update_id": id, kind: value});
        let outcome = timeout(ANSWER_WITHIN, post(&hook, &body))
            .await
            .unwrap_or_else(|_| Err("Read timeout expired".into()));
        match outcome {
            Ok(()) => {
                app.change(|s| s.updates.retain(|(u, ..)| *u != id));
                pause = FIRST_PAUSE;
            }
            Err(reason) => {
                app.change(|s| {
                    if let Some(hook) = &mut s.webhook {
                        hook.last_error = Some((now(), reason));
                    }
                });
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn post(hook: &Webhook, body: &Value) -> Result<(), String> {
    let rest = hook.url.strip_prefix("http://").ok_or("the fake delivers over plain HTTP only")?;
    let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(h, p)| (h, p.to_owned()));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(&address).await.map_err(|e| format!("Connection refused: {e}"))?;
    let body = body.to_string();
    let secret =
        hook.secret.as_ref().map(|s| format!("X-Telegram-Bot-Api-Secret-Token: {s}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n{secret}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let broken = |e: std::io::Error| format!("Connection reset: {e}");
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    stream.write_all(body.as_bytes()).await.map_err(broken)?;
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer).await.map_err(broken)?;
    let line = String::from_utf8_lossy(&answer[..read]).into_owned();
    match line.split_whitespace().nth(1).and_then(|c| c.parse::<u16>().ok()) {
        Some(200..=299) => Ok(()),
        Some(code) => Err(format!("Wrong response from the webhook: {code}")),
        None => Err("Wrong response from the webhook".to_owned()),
    }
}
