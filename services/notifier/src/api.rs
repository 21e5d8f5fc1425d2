//! Calls of Sluice's API server, each as a linked Telegram user. The one module that knows its paths and JSON.
//!
//! Invariants: who a Telegram user is, the API server looks up, not the notifier; the service token goes in a header and nowhere
//! else; what is granted is exactly what a preview showed. Called by the handlers of commands and buttons.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_schemas::ids::{GrantId, Person, SyncId};
use sluice_schemas::{Digest, Sha};

use crate::story::{Ask, PreviewCard};
use crate::telegram::Sender;

mod json;

/// Why the API server did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiTrouble {
    /// The Telegram user is linked to no account.
    #[error("this Telegram user is not linked")]
    Unlinked,
    /// The account may not.
    #[error("{0}")]
    Denied(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// Not in this state.
    #[error("{0}")]
    Refused(String),
    /// It does not answer.
    #[error("{0}")]
    Away(String),
}

impl ApiTrouble {
    /// For metrics and facts.
    #[must_use]
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Unlinked => "unlinked",
            Self::Denied(_) => "denied",
            Self::Missing(_) => "missing",
            Self::Refused(_) => "refused",
            Self::Away(_) => "away",
        }
    }
}

/// An application in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppSummary {
    pub(crate) name: String,
    pub(crate) sync: String,
    pub(crate) health: String,
    pub(crate) gated: bool,
    pub(crate) revision: Option<String>,
    pub(crate) images: Vec<String>,
    pub(crate) conditions: Vec<String>,
}

/// A run in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunSummary {
    pub(crate) repository: String,
    pub(crate) number: u64,
    pub(crate) state: String,
    pub(crate) title: String,
}

/// What a sync would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preview {
    pub(crate) project: String,
    pub(crate) revision: Sha,
    pub(crate) manifests: Digest,
    pub(crate) card: PreviewCard,
}

/// The sync was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Absent for applications that need none.
    pub(crate) grant: Option<GrantId>,
    /// The operation.
    pub(crate) sync: Option<SyncId>,
}

/// A client. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    http: reqwest::Client,
    token: Arc<Mutex<Option<Secret>>>,
}

impl Api {
    /// A client of the API server at `base`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http, token: Arc::default() })
    }

    /// Takes the service token, which may appear or change while we run.
    pub(crate) fn set_token(&self, token: Option<Secret>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether the API server would know us. It makes the token at its own first start.
    pub(crate) fn has_token(&self) -> bool {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Links a Telegram user to the account that made `code`.
    ///
    /// # Errors
    /// When the code is not valid.
    pub(crate) async fn redeem(&self, code: &str, from: &Sender) -> Result<Person, ApiTrouble> {
        let body = json!({"code": code, "user": from.id, "name": from.name});
        let answer = self.call(Method::POST, "/api/v1/telegram/links", None, Some(&body), None).await?;
        person(&answer, "person")
    }

    /// Which account a Telegram user is.
    ///
    /// # Errors
    /// [`ApiTrouble::Unlinked`] when none.
    pub(crate) async fn whoami(&self, user: i64) -> Result<Person, ApiTrouble> {
        person(&self.get(user, "/api/v1/session/userinfo").await?, "username")
    }

    /// Applications that the person may see.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn applications(&self, user: i64) -> Result<Vec<AppSummary>, ApiTrouble> {
        let answer = self.get(user, "/api/v1/apps").await?;
        let mut apps: Vec<_> = json::list(&answer, "items").map(json::application).collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(apps)
    }

    /// One application.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn application(&self, user: i64, name: &str) -> Result<AppSummary, ApiTrouble> {
        Ok(json::application(&self.get(user, &app_path(name, "")?).await?))
    }

    /// The latest runs.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn runs(&self, user: i64) -> Result<Vec<RunSummary>, ApiTrouble> {
        let answer = self.get(user, "/api/v1/runs?limit=10").await?;
        Ok(json::list(&answer, "items").map(json::run).collect())
    }

    /// What a sync would do. Looking is what makes granting possible.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn preview(&self, user: i64, name: &str) -> Result<Preview, ApiTrouble> {
        json::preview(&self.get(user, &app_path(name, "/preview")?).await?)
    }

    /// What differs, as text.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn diff(&self, user: i64, name: &str) -> Result<String, ApiTrouble> {
        Ok(json::diff(&self.get(user, &app_path(name, "/diff")?).await?))
    }

    /// Grants and orders exactly what `ask` showed. Repeating it does nothing more.
    ///
    /// # Errors
    /// As every call.
    pub(crate) async fn grant(&self, user: i64, ask: &Ask) -> Result<Granted, ApiTrouble> {
        let path = app_path(&ask.app.name(), "/grants")?;
        let body = json!({
            "revision": ask.revision, "manifestDigest": ask.manifests, "prune": ask.card.pruned > 0,
        });
        let key = format!("telegram-{user}-{}-{}", ask.revision, ask.expires_at.unix_millis());
        let answer = self.call(Method::POST, &path, Some(user), Some(&body), Some(&key)).await?;
        Ok(Granted { grant: id(&answer, "grant"), sync: id(&answer, "sync") })
    }

    async fn get(&self, user: i64, path: &str) -> Result<Value, ApiTrouble> {
        self.call(Method::GET, path, Some(user), None, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        user: Option<i64>,
        body: Option<&Value>,
        once: Option<&str>,
    ) -> Result<Value, ApiTrouble> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(token) = token else {
            return Err(ApiTrouble::Away(
                "the notifier has no service token for the API server yet".to_owned(),
            ));
        };
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).bearer_auth(token.expose());
        if let Some(user) = user {
            request = request.header("X-Sluice-Act-As", format!("telegram:{user}"));
        }
        if let Some(key) = once {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| away(&error))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| away(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|_| ApiTrouble::Away("the API server's answer cannot be read".to_owned()));
        }
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Err(trouble(status, said["message"].as_str().or(said["error"].as_str()).unwrap_or_default()))
    }
}

fn trouble(status: StatusCode, message: &str) -> ApiTrouble {
    let message =
        if message.is_empty() { format!("the API server answers {status}") } else { message.to_owned() };
    match status {
        StatusCode::UNAUTHORIZED if message.contains("link") => ApiTrouble::Unlinked,
        // Our own token is not taken: nothing that the person could mend.
        StatusCode::UNAUTHORIZED => ApiTrouble::Away(message),
        StatusCode::FORBIDDEN => ApiTrouble::Denied(message),
        StatusCode::NOT_FOUND => ApiTrouble::Missing(message),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => ApiTrouble::Away(message),
        _ => ApiTrouble::Refused(message),
    }
}

/// Without the address and whatever else a library puts into its errors.
fn away(error: &reqwest::Error) -> ApiTrouble {
    let what = if error.is_timeout() { "answers too slowly" } else { "cannot be reached" };
    ApiTrouble::Away(format!("the API server {what}"))
}

fn app_path(name: &str, rest: &str) -> Result<String, ApiTrouble> {
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && !name.contains("..");
    if valid {
        Ok(format!("/api/v1/apps/{name}{rest}"))
    } else {
        let shown: String = name.chars().take(60).collect();
        Err(ApiTrouble::Missing(format!("There is no application {shown}. /apps lists them.")))
    }
}

fn person(answer: &Value, field: &str) -> Result<Person, ApiTrouble> {
    id(answer, field).ok_or(ApiTrouble::Unlinked)
}

fn id<T: DeserializeOwned>(answer: &Value, field: &str) -> Option<T> {
    serde_json::from_value(answer[field].clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_elsewhere() {
        assert_eq!(app_path("shop.prod", "/diff").as_deref(), Ok("/api/v1/apps/shop.prod/diff"));
        for name in ["", "../session", "a/b", "a?x", "A", "%2e"] {
            assert!(app_path(name, "").is_err(), "{name}");
        }
    }

    #[test]
    fn answers_are_told_apart_by_what_a_person_can_do() {
        let unlinked = "this Telegram user is not linked to an account";
        assert_eq!(trouble(StatusCode::UNAUTHORIZED, unlinked), ApiTrouble::Unlinked);
        assert!(matches!(trouble(StatusCode::FORBIDDEN, "no"), ApiTrouble::Denied(_)));
        assert!(matches!(trouble(StatusCode::CONFLICT, "Git moved"), ApiTrouble::Refused(_)));
        assert!(matches!(trouble(StatusCode::SERVICE_UNAVAILABLE, ""), ApiTrouble::Away(_)));
    }
}
