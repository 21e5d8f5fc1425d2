//! The API server: REST, login, grants, web UI.
//!
//! Purpose: the only door for people and programs, and the only place where a grant is made. Invariants: state is a
//! read model folded from the log, so any replica can answer; every right is decided by [`Api::authorize`]; nothing is
//! written to a cluster or repository from here, only facts and commands. Called by `main.rs` and `sluice up`.

mod access;
mod config;
mod error;
mod gate;
mod metrics;
mod model;
mod rest;
mod start;
mod text;
mod ui;

use std::ops::Deref;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use sluice_bus::Bus;
use sluice_chassis::{CancellationToken, Secret};
use sluice_kubernetes::Cluster;
use sluice_schemas::ids::AppId;
use sluice_schemas::state::AppState;

use access::{Accounts, Action, Caller, Links, Policy, Resource, Sessions, Throttle};
use error::{Answer, ApiError};
use gate::{Comparisons, Once};
use metrics::ApiMetrics;
use model::Model;

pub use config::Config;
pub use start::{Started, run, start};

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api(Arc<Parts>);

pub(crate) struct Parts {
    config: Config,
    bus: Bus,
    cluster: Cluster,
    policy: Policy,
    accounts: Accounts,
    sessions: Sessions,
    links: Links,
    throttle: Throttle,
    once: Once,
    model: Model,
    comparisons: Comparisons,
    signing_key: SigningKey,
    service_token: Secret,
    http: reqwest::Client,
    metrics: ApiMetrics,
    shutdown: CancellationToken,
}

impl Deref for Api {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Api {
    /// The cookie of the web UI; `__Host-` where TLS allows it.
    fn cookie_name(&self) -> &'static str {
        if self.config.secure() { "__Host-sluice" } else { "sluice" }
    }

    /// Whether `caller` may. The only decision there is.
    fn authorize(&self, caller: &Caller, resource: Resource, action: Action, object: &str) -> Answer<()> {
        self.policy
            .authorize(&caller.person, &caller.roles, resource, action, object)
            .map_err(|denied| ApiError::denied(denied.to_string()))
    }

    /// As [`Api::authorize`], for what is shown or left out.
    fn may(&self, caller: &Caller, resource: Resource, action: Action, object: &str) -> bool {
        self.authorize(caller, resource, action, object).is_ok()
    }

    /// An application as its state is now, for a caller who may do `action` with it. Who may not see everything is told
    /// the same whether it exists or not.
    async fn app(&self, caller: &Caller, name: &str, action: Action) -> Answer<AppState> {
        let id = AppId::from_name(name);
        let known = self.model.read().apps.get(&id).map(|state| state.app.project.clone());
        let Some(project) = known else {
            self.authorize(caller, Resource::Applications, Action::Get, &format!("*/{name}"))?;
            return Err(ApiError::missing(self.no_app(name)));
        };
        let object = format!("{}/{name}", project.name());
        if action != Action::Get {
            self.authorize(caller, Resource::Applications, Action::Get, &object)?;
        }
        self.authorize(caller, Resource::Applications, action, &object)?;
        let kv = self.bus.kv::<AppState>(sluice_bus::Bucket::Apps);
        let found =
            kv.get(&format!("{project}.{id}")).await.map_err(|error| ApiError::away("the bus", &error))?;
        found.map(|entry| entry.value).ok_or_else(|| ApiError::missing(self.no_app(name)))
    }

    fn no_app(&self, name: &str) -> String {
        let model = self.model.read();
        let mut near: Vec<String> = model
            .apps
            .values()
            .map(|state| state.app.app.name())
            .filter(|known| {
                known.contains(name)
                    || name.contains(known.as_str())
                    || known.chars().next() == name.chars().next()
            })
            .take(3)
            .collect();
        near.sort();
        match near.is_empty() {
            true => format!("there is no application {name}; `sluice app ls` lists those there are"),
            false => format!("there is no application {name}; did you mean {}?", near.join(" or ")),
        }
    }
}
