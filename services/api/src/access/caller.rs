//! Who makes a request, and by what right. The only way for a handler to learn it.
//!
//! Invariants: no credential, no caller (401); a cookie on an unsafe request needs same origin and JSON, or a form with
//! its token; the notifier speaks only for linked people. Called as an extractor by every handler that is not open.

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;
use sluice_chassis::Secret;
use sluice_schemas::Timestamp;
use sluice_schemas::events::Surface;
use sluice_schemas::ids::Person;
use subtle::ConstantTimeEq as _;

use super::csrf;
use crate::Api;
use crate::error::{Answer, ApiError};

/// Header by which the notifier names the person it acts for.
const ACT_AS: &str = "x-sluice-act-as";
/// Largest form of the web UI.
const MAX_FORM: usize = 64 * 1024;

/// What a caller showed.
#[derive(Clone)]
pub(crate) enum Credential {
    /// The web UI's cookie; holds the session's id.
    Cookie(Secret),
    /// A bearer token; holds the session's id.
    Bearer(Secret),
    /// The notifier, for a linked person.
    Notifier,
}

/// A person, and how they got here.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Who.
    pub(crate) person: Person,
    /// Roles of the account.
    pub(crate) roles: Vec<String>,
    /// From where.
    pub(crate) surface: Surface,
    /// By what.
    pub(crate) credential: Credential,
    /// Until when.
    pub(crate) expires_at: Timestamp,
}

impl Caller {
    /// The token for forms; empty for callers without a cookie, which no form accepts.
    #[must_use]
    pub(crate) fn form_token(&self) -> String {
        match &self.credential {
            Credential::Cookie(id) => csrf::form_token(id.expose()),
            Credential::Bearer(_) | Credential::Notifier => String::new(),
        }
    }

    /// Whether the session and the account are still there: asked by long streams.
    pub(crate) async fn still_valid(&self, api: &Api) -> bool {
        let session = match &self.credential {
            Credential::Cookie(id) | Credential::Bearer(id) => api.sessions.get(id).await,
            Credential::Notifier => return true,
        };
        match (session, api.accounts.get(&self.person).await) {
            (Ok(session), Ok(account)) => session.is_some() && account.is_some(),
            // A part is away: the stream says what it still hears.
            _ => self.expires_at > Timestamp::now(),
        }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        let caller = authenticate(&parts.headers, api).await?;
        if matches!(caller.credential, Credential::Cookie(_)) && is_unsafe(&parts.method) {
            if !csrf::same_origin(&parts.headers, api.config.public_url.as_deref()) {
                return Err(foreign());
            }
            if !is_json(&parts.headers) {
                return Err(ApiError::media_type("send JSON, with Content-Type application/json"));
            }
        }
        Ok(caller)
    }
}

/// A form of the web UI whose token was checked, and its caller.
pub(crate) struct CookieForm<T>(pub Caller, pub T);

/// The token's field.
#[derive(serde::Deserialize)]
struct TokenField {
    #[serde(default)]
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<Api> for CookieForm<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, api: &Api) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let caller = authenticate(&parts.headers, api).await?;
        let Credential::Cookie(id) = &caller.credential else {
            return Err(ApiError::denied("this is a form of the web UI; programs use /api/v1"));
        };
        if !csrf::same_origin(&parts.headers, api.config.public_url.as_deref()) {
            return Err(foreign());
        }
        let body = axum::body::to_bytes(body, MAX_FORM)
            .await
            .map_err(|_| ApiError::invalid("the form is too large or was cut off; load the page again"))?;
        let token: TokenField = decode(body.clone()).await?;
        if !csrf::is_form_token(id.expose(), &token.csrf) {
            return Err(ApiError::denied(
                "this form belongs to another session; load the page again and repeat",
            ));
        }
        let form = decode(body).await?;
        Ok(Self(caller, form))
    }
}

async fn authenticate(headers: &HeaderMap, api: &Api) -> Answer<Caller> {
    let bearer = bearer(headers)?;
    if let Some(token) = &bearer
        && is_service(api, token)
    {
        return notifier(headers, api).await;
    }
    if headers.contains_key(ACT_AS) {
        return Err(ApiError::denied("only the notifier, with its service token, may act for somebody"));
    }
    let (id, by_cookie) = match (bearer, cookie(headers, api.cookie_name())) {
        (Some(token), _) => (token, false),
        (None, Some(id)) => (id, true),
        (None, None) => {
            return Err(ApiError::unauthenticated(
                "nobody is logged in; run `sluice login`, or sign in on the web page",
            ));
        }
    };
    let ended = || {
        ApiError::unauthenticated(
            "this login is not valid or has ended; run `sluice login`, or sign in again",
        )
    };
    let session = api.sessions.get(&id).await?.ok_or_else(ended)?;
    let account = api.accounts.get(&session.person).await?.ok_or_else(ended)?;
    let (surface, credential) = match by_cookie {
        true => (Surface::Web, Credential::Cookie(id)),
        false => (program_surface(headers), Credential::Bearer(id)),
    };
    Ok(Caller {
        person: session.person,
        roles: account.roles,
        surface,
        credential,
        expires_at: session.expires_at,
    })
}

/// The notifier names a Telegram user; who that is, is looked up here and not believed.
async fn notifier(headers: &HeaderMap, api: &Api) -> Answer<Caller> {
    let named = headers.get(ACT_AS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let user =
        named.strip_prefix("telegram:").and_then(|user| user.parse::<i64>().ok()).ok_or_else(|| {
            ApiError::unauthenticated(
                "the service token needs X-Sluice-Act-As: telegram:<user id> on this path",
            )
        })?;
    let unlinked = || {
        ApiError::unauthenticated(
            "this Telegram user is not linked to an account; get a code on the account page and send /link CODE",
        )
    };
    let person = api.links.person(user).await?.ok_or_else(unlinked)?;
    let account = api.accounts.get(&person).await?.ok_or_else(unlinked)?;
    Ok(Caller {
        person,
        roles: account.roles,
        surface: Surface::Telegram,
        credential: Credential::Notifier,
        expires_at: Timestamp::now().plus_seconds(60),
    })
}

/// Refuses everybody but the notifier speaking for itself.
pub(crate) fn service_only(headers: &HeaderMap, api: &Api) -> Answer<()> {
    match bearer(headers)? {
        Some(token) if is_service(api, &token) => Ok(()),
        Some(_) => Err(ApiError::denied("only the notifier's service token may do this")),
        None => Err(ApiError::unauthenticated("the notifier's service token is needed here")),
    }
}

/// The cookie's value.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| Secret::new(value))
}

/// Which program speaks: the command says so in `User-Agent`.
pub(crate) fn program_surface(headers: &HeaderMap) -> Surface {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if agent.starts_with("sluice/") { Surface::Cli } else { Surface::Api }
}

/// Exactly JSON: parameters are refused as by Argo CD, and no form can send it.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) == Some("application/json")
}

pub(crate) fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn bearer(headers: &HeaderMap) -> Answer<Option<Secret>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    match token {
        Some(token) if !token.is_empty() => Ok(Some(Secret::new(token))),
        _ => Err(ApiError::unauthenticated(
            "the Authorization header must be `Bearer <token>`; run `sluice login`",
        )),
    }
}

fn is_service(api: &Api, token: &Secret) -> bool {
    api.service_token.expose().as_bytes().ct_eq(token.expose().as_bytes()).into()
}

fn foreign() -> ApiError {
    ApiError::denied("this request did not come from Sluice's own pages; open Sluice's page and repeat there")
}

async fn decode<T: DeserializeOwned>(body: Bytes) -> Answer<T> {
    let request = Request::builder()
        .method(Method::POST)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .map_err(|error| ApiError::internal("reading a form", &error))?;
    let form = Form::<T>::from_request(request, &()).await;
    form.map(|Form(value)| value)
        .map_err(|error| ApiError::invalid(format!("the form cannot be read: {error}; load the page again")))
}
