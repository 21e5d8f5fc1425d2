//! Forms of the pages. Each ends in a redirect, so that loading again does nothing again.
//!
//! Invariant: every handler takes a [`CookieForm`], whose token was checked, and calls the same function as REST.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::Markup;
use serde::Deserialize;
use sluice_chassis::Secret;
use sluice_schemas::grant::GrantScope;

use super::errors::{PageError, encoded};
use super::layout::Toast;
use super::{View, account, login};
use crate::Api;
use crate::access::{Action, CookieForm, Credential};
use crate::error::ApiError;
use crate::gate::{PromoteWish, Wish};
use crate::rest::{audit, promotions, runs, session, sync as syncing};

/// What a redirect tells the next page. Texts come from here, never from the address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    /// A word of [`toast`].
    pub(super) done: String,
    /// The sync that was ordered.
    pub(super) sync: Option<String>,
}

/// The toast for what was done.
pub(super) fn toast(done: &Done) -> Option<Toast> {
    let (title, text) = match done.done.as_str() {
        "granted" => ("Granted", "The reconciler applies exactly what you saw."),
        "opened" => {
            ("Automation granted", "The application syncs by itself once the reconciler has used the grant.")
        }
        "refreshing" => ("Asked for a comparison", "The page changes when it is there."),
        "promoted" => ("Promotion ordered", "The prod commit is written now; prod then waits for SYNC."),
        "rerun" => ("Re-run ordered", "The next attempt appears here."),
        "cancelled" => ("Cancel ordered", "Jobs that run are being stopped."),
        "retried" => ("Sent again", "If it fails again it comes back here."),
        "unlinked" => ("Unlinked", "Telegram can no longer act for you."),
        "password" => ("Password changed", "Use the new one from now on."),
        _ => return None,
    };
    Some(Toast { good: true, title: title.to_owned(), text: text.to_owned() })
}

type Answered = Result<Redirect, PageError>;

/// Forms without further fields.
#[derive(Deserialize)]
pub(super) struct Keyed {
    #[serde(default)]
    key: String,
}

impl Keyed {
    fn key(&self) -> Option<&str> {
        Some(self.key.as_str()).filter(|key| !key.is_empty())
    }
}

#[derive(Deserialize)]
pub(super) struct SyncForm {
    #[serde(default)]
    key: String,
    revision: String,
    manifest_digest: String,
    #[serde(default)]
    prune: Option<String>,
    /// Set by the form that opens the gate for good.
    #[serde(default)]
    automation: Option<String>,
    #[serde(default)]
    typed: String,
}

pub(super) async fn sync(
    State(api): State<Api>,
    Path(name): Path<String>,
    CookieForm(caller, form): CookieForm<SyncForm>,
) -> Answered {
    if form.typed.trim() != name {
        return Err(ApiError::invalid(format!(
            "the name typed is not {name}; nothing was granted. Go back and type it"
        ))
        .into());
    }
    let wish = Wish {
        revision: form
            .revision
            .parse()
            .map_err(|error| ApiError::invalid(format!("{error}; load the page again")))?,
        manifest_digest: form
            .manifest_digest
            .parse()
            .map_err(|error| ApiError::invalid(format!("{error}; load the page again")))?,
        prune: form.prune.is_some(),
        scope: if form.automation.is_some() { GrantScope::Automation } else { GrantScope::Sync },
    };
    let for_good = wish.scope == GrantScope::Automation;
    let key = Some(form.key.as_str()).filter(|key| !key.is_empty());
    let confirmed = syncing::granted(&api, &caller, &name, wish, key).await?;
    if for_good {
        return Ok(Redirect::to(&format!("/apps/{}?done=opened", encoded(&name))));
    }
    Ok(Redirect::to(&format!("/apps/{}?done=granted&sync={}", encoded(&name), confirmed.sync)))
}

pub(super) async fn refresh(
    State(api): State<Api>,
    Path(name): Path<String>,
    CookieForm(caller, _): CookieForm<Keyed>,
) -> Answered {
    let state = api.app(&caller, &name, Action::Get).await?;
    syncing::order_refresh(&api, &state.app.app, &state.app.project, false).await?;
    Ok(Redirect::to(&format!("/apps/{}?done=refreshing", encoded(&name))))
}

#[derive(Deserialize)]
pub(super) struct PromoteForm {
    #[serde(default)]
    key: String,
    #[serde(default)]
    tag: String,
}

pub(super) async fn promote(
    State(api): State<Api>,
    Path(repo): Path<String>,
    CookieForm(caller, form): CookieForm<PromoteForm>,
) -> Answered {
    let wish = PromoteWish { tag: Some(form.tag).filter(|tag| !tag.is_empty()) };
    let key = Some(form.key.as_str()).filter(|key| !key.is_empty());
    promotions::order(&api, &caller, &repo, wish, key).await?;
    Ok(Redirect::to("/?done=promoted"))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct RerunQuery {
    failed: bool,
}

pub(super) async fn rerun(
    State(api): State<Api>,
    Path((repo, number)): Path<(String, u64)>,
    Query(query): Query<RerunQuery>,
    CookieForm(caller, form): CookieForm<Keyed>,
) -> Answered {
    runs::order_rerun(&api, &caller, &repo, number, query.failed, form.key()).await?;
    Ok(Redirect::to(&format!("/runs/{}/{number}?done=rerun", encoded(&repo))))
}

pub(super) async fn cancel(
    State(api): State<Api>,
    Path((repo, number)): Path<(String, u64)>,
    CookieForm(caller, form): CookieForm<Keyed>,
) -> Answered {
    runs::order_cancel(&api, &caller, &repo, number, form.key()).await?;
    Ok(Redirect::to(&format!("/runs/{}/{number}?done=cancelled", encoded(&repo))))
}

pub(super) async fn retry(
    State(api): State<Api>,
    Path(id): Path<String>,
    CookieForm(caller, _): CookieForm<Keyed>,
) -> Answered {
    audit::retry_letter(&api, &caller, &id).await?;
    Ok(Redirect::to("/dlq?done=retried"))
}

/// The code is shown in the answer itself: it stands in no address and no history.
pub(super) async fn link(
    State(api): State<Api>,
    headers: HeaderMap,
    CookieForm(caller, _): CookieForm<Keyed>,
) -> Result<Markup, PageError> {
    let (code, _) = api.links.offer(&caller.person).await?;
    let view = View::new(&api, &caller);
    account::show(&view, &headers, Some(code.expose()), &Done::default()).await
}

pub(super) async fn unlink(State(api): State<Api>, CookieForm(caller, _): CookieForm<Keyed>) -> Answered {
    for (user, _) in api.links.of(&caller.person).await? {
        api.links.remove(user).await?;
    }
    Ok(Redirect::to("/account?done=unlinked"))
}

#[derive(Deserialize)]
pub(super) struct PasswordForm {
    current: Secret,
    new: Secret,
}

pub(super) async fn password(
    State(api): State<Api>,
    CookieForm(caller, form): CookieForm<PasswordForm>,
) -> Answered {
    session::change_password(&api, &caller, form.current, form.new).await?;
    Ok(Redirect::to("/account?done=password"))
}

#[derive(Deserialize)]
pub(super) struct ThemeForm {
    #[serde(default)]
    theme: String,
}

pub(super) async fn theme(CookieForm(_, form): CookieForm<ThemeForm>) -> Response {
    let mut response = Redirect::to("/account").into_response();
    let cookie = match form.theme.as_str() {
        "dark" => "theme=dark; Path=/; SameSite=Strict; Max-Age=31536000",
        "light" => "theme=light; Path=/; SameSite=Strict; Max-Age=31536000",
        _ => "theme=; Path=/; SameSite=Strict; Max-Age=0",
    };
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
    response
}

pub(super) async fn logout(
    State(api): State<Api>,
    CookieForm(caller, _): CookieForm<Keyed>,
) -> Result<Response, PageError> {
    if let Credential::Cookie(id) = &caller.credential {
        api.sessions.close(id).await?;
    }
    let mut response = Redirect::to("/login").into_response();
    login::set_cookie(&api, &mut response, "", 0);
    Ok(response)
}
