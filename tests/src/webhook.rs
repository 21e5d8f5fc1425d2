//! Webhooks sent by hand: the honest, the repeated and the forged.

use anyhow::Context;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// A delivery as a forge sends it, with every part open to be wrong.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub url: String,
    pub event: String,
    pub delivery: String,
    pub body: Vec<u8>,
    /// `sha256=…`; none sends no signature.
    pub signature: Option<String>,
}

impl Delivery {
    /// A signed push, as GitHub tells of it. Only what GitHub always sends.
    pub fn push(url: &str, secret: &str, repository: &Value, before: &str, after: &str) -> Self {
        let commit = json!({
            "id": after, "message": "by hand", "timestamp": "2026-01-02T03:04:05Z", "url": "", "distinct": true,
            "author": {"name": "Dana Dev", "email": "dana@example.invalid"},
            "committer": {"name": "Dana Dev", "email": "dana@example.invalid"}, "added": [], "removed": [], "modified": ["VERSION"],
        });
        let body = json!({
            "ref": "refs/heads/main", "before": before, "after": after, "created": false, "deleted": false, "forced": false,
            "base_ref": null, "compare": "", "commits": [commit], "head_commit": commit, "repository": repository,
            "pusher": {"name": "dana", "email": "dana@example.invalid"}, "sender": {"login": "dana", "type": "User"},
        });
        let body = body.to_string().into_bytes();
        let signature = Some(sign(secret, &body));
        Self {
            url: url.to_owned(),
            event: "push".into(),
            delivery: "11111111-2222-3333-4444-555555555555".into(),
            body,
            signature,
        }
    }

    /// Sends it and answers the status and the body.
    pub async fn send(&self, http: &reqwest::Client) -> anyhow::Result<(u16, String)> {
        let mut request = http
            .post(&self.url)
            .header("content-type", "application/json")
            .header("user-agent", "GitHub-Hookshot/test")
            .header("x-github-event", &self.event)
            .header("x-github-delivery", &self.delivery)
            .body(self.body.clone());
        if let Some(signature) = &self.signature {
            request = request.header("x-hub-signature-256", signature);
        }
        let answer = request.send().await.context("the webhook could not be sent")?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

/// GitHub's signature of `body`.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| unreachable!("any length is a key"));
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// The `repository` object of a payload.
pub fn repository(full_name: &str, clone_url: &str) -> Value {
    let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
    json!({
        "id": 1, "name": name, "full_name": full_name, "private": false, "owner": {"login": owner, "name": owner, "type": "User"},
        "html_url": clone_url.trim_end_matches(".git"), "clone_url": clone_url, "default_branch": "main",
    })
}
