//! Answering a registry's challenge: Basic, or a Bearer token of its token server.
//!
//! Invariants: tokens are asked for with the narrowest scope and kept in memory
//! until shortly before they end; nothing of them is ever logged.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use sluice_chassis::Secret;

use super::{Registry, RegistryError, Target};

/// What the specification says where a token server says nothing.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
const MAX_TOKENS: usize = 1000;

/// Tokens by registry and scope.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<(String, String), (Header, Instant)>>);

#[derive(Clone)]
pub(crate) enum Header {
    Bearer(Secret),
    Basic { username: Secret, password: Secret },
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<u64>,
}

impl Registry {
    /// Sends what `request` builds, with a token when we have one; answers one
    /// challenge and sends again. `request` is called once or twice.
    pub(crate) async fn send<F>(
        &self,
        target: &Target,
        scope: &str,
        mut request: F,
    ) -> Result<Response, RegistryError>
    where
        F: FnMut() -> RequestBuilder + Send,
    {
        let known = self.tokens.get(target, scope);
        let response = self.once(target, request(), known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(header) = self.answer(target, scope, &response).await? else { return Ok(response) };
        self.once(target, request(), Some(&header)).await
    }

    /// Gets a token beforehand, for requests whose body cannot be sent twice.
    pub(crate) async fn authorise(
        &self,
        target: &Target,
        scope: &str,
        request: RequestBuilder,
    ) -> RequestBuilder {
        match self.tokens.get(target, scope) {
            Some(header) => apply(request, &header),
            None => request,
        }
    }

    async fn once(
        &self,
        target: &Target,
        request: RequestBuilder,
        header: Option<&Header>,
    ) -> Result<Response, RegistryError> {
        let request = match header {
            Some(header) => apply(request, header),
            None => request,
        };
        request.send().await.map_err(|error| RegistryError::from_transport(target, &error))
    }

    async fn answer(
        &self,
        target: &Target,
        scope: &str,
        challenged: &Response,
    ) -> Result<Option<Header>, RegistryError> {
        let registry = target.registry.clone();
        let login = self
            .logins
            .login(&target.registry)
            .await
            .map_err(|reason| RegistryError::Login { registry: registry.clone(), reason })?;
        let challenges: Vec<Challenge> = challenged
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let header = match challenges.first() {
            Some(Challenge::Bearer { realm, service }) => {
                let mut query = vec![("scope", scope.to_owned())];
                query.extend(service.clone().map(|service| ("service", service)));
                // A token server on plain HTTP is believed only where the registry itself is.
                if realm.starts_with("http://") && self.base(&registry).starts_with("https://") {
                    let reason = "it names a token server without encryption".to_owned();
                    return Err(RegistryError::Login { registry, reason });
                }
                let mut request = self.http.get(realm).query(&query);
                if let Some(login) = &login {
                    request = request.basic_auth(login.username.expose(), Some(login.password.expose()));
                }
                let response =
                    request.send().await.map_err(|error| RegistryError::from_transport(target, &error))?;
                if !response.status().is_success() {
                    return Err(RegistryError::from_response(target, response).await);
                }
                let answer: TokenAnswer =
                    response.json().await.map_err(|error| RegistryError::from_transport(target, &error))?;
                let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
                let Some(token) = answer.token.or(answer.access_token) else { return Ok(None) };
                (Header::Bearer(token), life)
            }
            Some(Challenge::Basic) => match login {
                Some(login) => {
                    (Header::Basic { username: login.username, password: login.password }, DEFAULT_LIFE)
                }
                None => return Ok(None),
            },
            None => return Ok(None),
        };
        self.tokens.put(target, scope, &header.0, header.1);
        Ok(Some(header.0))
    }
}

impl Tokens {
    fn get(&self, target: &Target, scope: &str) -> Option<Header> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (header, until) = tokens.get(&(target.registry.clone(), scope.to_owned()))?;
        (*until > Instant::now()).then(|| header.clone())
    }

    fn put(&self, target: &Target, scope: &str, header: &Header, life: Duration) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.clear();
        }
        // A token must outlast the request that it is for.
        let until = Instant::now() + life.mul_f32(0.8);
        tokens.insert((target.registry.clone(), scope.to_owned()), (header.clone(), until));
    }
}

fn apply(request: RequestBuilder, header: &Header) -> RequestBuilder {
    match header {
        Header::Bearer(token) => request.bearer_auth(token.expose()),
        Header::Basic { username, password } => {
            request.basic_auth(username.expose(), Some(password.expose()))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut service = None;
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// `a="b, c",d=e`: commas inside quotes are part of the value.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some((value, next)) => (value, next),
                None => (quoted, ""),
            },
            None => after.split_once(',').map_or((after, ""), |(value, next)| (value, next)),
        };
        found.push((key.trim_matches([' ', ',']).to_owned(), value.trim().to_owned()));
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example.com/token?a=b",service="registry.example.com",scope="repository:a/b:pull,push""#;
        assert_eq!(
            Challenge::parse(text),
            Some(Challenge::Bearer {
                realm: "https://auth.example.com/token?a=b".into(),
                service: Some("registry.example.com".into())
            })
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
    }
}
