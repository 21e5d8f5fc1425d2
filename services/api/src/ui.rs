//! The web UI: pages, their live updates and their forms. Everything comes from the binary.
//!
//! Invariants: no inline script or style; every text is escaped by maud; every form carries its session's token; the same
//! functions make a page and its live fragments, for exactly what the person may see. Called by [`crate::rest`].

mod account;
mod app;
mod apps;
mod assets;
mod audit;
mod dag;
mod deliveries;
mod diff;
mod dlq;
mod errors;
mod find;
mod forms;
mod home;
mod layout;
mod ledger;
mod log;
mod login;
mod parts;
mod promote;
mod run;
mod runs;
mod sheet;
mod stream;
mod tree;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use sluice_schemas::Timestamp;

use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::model::Need;

pub(crate) use errors::not_found;

/// A person looking at a page; whoever is not logged in is sent to the door.
pub(crate) struct Viewer(pub(crate) Caller);

impl FromRequestParts<Api> for Viewer {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        match Caller::from_request_parts(parts, api).await {
            Ok(caller) => Ok(Self(caller)),
            Err(error) => Err(errors::at_the_door(parts, error)),
        }
    }
}

/// What page functions share.
pub(crate) struct View<'a> {
    /// The parts of the server.
    pub(crate) api: &'a Api,
    /// Who looks.
    pub(crate) caller: &'a Caller,
    /// The moment that ages count to.
    pub(crate) now: Timestamp,
}

impl<'a> View<'a> {
    /// A look by `caller` now.
    pub(crate) fn new(api: &'a Api, caller: &'a Caller) -> Self {
        Self { api, caller, now: Timestamp::now() }
    }

    /// Whether the person may.
    pub(crate) fn may(&self, resource: Resource, action: Action, object: &str) -> bool {
        self.api.may(self.caller, resource, action, object)
    }

    /// Whether the person may see an application.
    pub(crate) fn sees(&self, state: &sluice_schemas::state::AppState) -> bool {
        self.may(Resource::Applications, Action::Get, &object_of(state))
    }
}

/// The object of an application in rules.
pub(crate) fn object_of(state: &sluice_schemas::state::AppState) -> String {
    format!("{}/{}", state.app.project.name(), state.app.app.name())
}

/// What waits for this person: of what they may see.
pub(crate) fn needs_of(api: &Api, caller: &Caller) -> Vec<Need> {
    let model = api.model.read();
    let needs = model.needs().into_iter().filter(|need| {
        if let Some(state) = model.apps.get(&sluice_schemas::ids::AppId::from_name(&need.name)) {
            return api.may(caller, Resource::Applications, Action::Get, &object_of(state));
        }
        let slug = need.href.split('/').nth(2).unwrap_or("-");
        api.may(caller, Resource::Runs, Action::Get, slug)
    });
    needs.collect()
}

/// Pages, forms, assets.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(home::page))
        .route("/login", get(login::page).post(login::submit))
        .route("/apps", get(apps::page))
        .route("/apps/{name}", get(app::tree_page))
        .route("/apps/{name}/diff", get(app::diff_page))
        .route("/apps/{name}/history", get(app::history_page))
        .route("/apps/{name}/events", get(app::events_page))
        .route("/apps/{name}/manifest", get(app::manifest_page))
        .route("/apps/{name}/sync", get(sheet::page))
        .route("/runs", get(runs::page))
        .route("/runs/{repo}/{number}", get(run::page))
        .route("/deliveries", get(deliveries::page))
        .route("/deliveries/{correlation}", get(ledger::page))
        .route("/promote/{repo}", get(promote::page))
        .route("/audit", get(audit::page))
        .route("/dlq", get(dlq::page))
        .route("/account", get(account::page))
        .route("/help", get(find::help))
        .route("/ui/find", get(find::find))
        .route("/ui/stream", get(stream::stream))
        .route("/ui/apps/{name}/sync", post(forms::sync))
        .route("/ui/apps/{name}/refresh", post(forms::refresh))
        .route("/ui/promote/{repo}", post(forms::promote))
        .route("/ui/runs/{repo}/{number}/rerun", post(forms::rerun))
        .route("/ui/runs/{repo}/{number}/cancel", post(forms::cancel))
        .route("/ui/dlq/{id}/retry", post(forms::retry))
        .route("/ui/account/link", post(forms::link))
        .route("/ui/account/unlink", post(forms::unlink))
        .route("/ui/account/password", post(forms::password))
        .route("/ui/theme", post(forms::theme))
        .route("/logout", post(forms::logout))
        .route("/assets/{name}", get(assets::get))
        .route("/favicon.ico", get(assets::favicon))
}
