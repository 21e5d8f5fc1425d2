//! The API over HTTP, as any client of Argo CD's paths would use it.

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// A session at one server.
#[derive(Debug, Clone)]
pub struct Api {
    pub base: String,
    http: reqwest::Client,
    token: Option<String>,
}

impl Api {
    /// Nobody yet.
    pub fn anonymous(base: &str, http: &reqwest::Client) -> Self {
        Self { base: base.to_owned(), http: http.clone(), token: None }
    }

    /// With a token that somebody has.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Logs in as Argo CD's clients do.
    pub async fn login(&self, user: &str, password: &str) -> anyhow::Result<Self> {
        let body = json!({"username": user, "password": password});
        let answer = self.post("/api/v1/session", &body).await?;
        let token = answer["token"].as_str().context("the session has no token")?;
        Ok(self.with_token(token))
    }

    /// Status and JSON (or the text, as a string).
    pub async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{path} of the API"))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.good(reqwest::Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.good(reqwest::Method::POST, path, Some(body)).await
    }

    async fn good(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        match self.call(method.clone(), path, body).await? {
            (200..=299, body) => Ok(body),
            (status, body) => bail!("{method} {path}: {status}: {body}"),
        }
    }
}
