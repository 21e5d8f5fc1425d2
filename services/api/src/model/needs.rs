//! What waits for a person: decisions first, the oldest first, then what broke.

use serde::Serialize;
use sluice_schemas::events::{Conclusion, HealthStatus, SyncStatus};
use sluice_schemas::state::AppState;
use sluice_schemas::{Sha, Timestamp};

use super::fold::ReadModel;
use super::lanes::short_name;
use super::runs::place;

/// Why a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NeedKind {
    /// SYNC.
    Sync,
    /// Promote.
    Promote,
    /// Look at a failed run.
    Run,
    /// Look at an application.
    App,
}

/// Something that waits for a person.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Need {
    /// Element id.
    pub(crate) id: String,
    /// Why.
    pub(crate) kind: NeedKind,
    /// The thing.
    pub(crate) name: String,
    /// What follows the name in the first line.
    pub(crate) title: String,
    /// The consequence.
    pub(crate) text: String,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// Where it is dealt with.
    pub(crate) href: String,
}

impl ReadModel {
    /// What waits for a person: decisions first, the oldest first, then what broke.
    #[must_use]
    pub(crate) fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        for app in self.apps.values() {
            let name = app.app.app.name();
            let marks = self.marks.get(&app.app.app);
            if app.gated && app.sync == SyncStatus::OutOfSync {
                let revision = app.revision.as_ref().map_or("", Sha::short);
                needs.push(Need {
                    id: format!("need-{}", app.app.app),
                    kind: NeedKind::Sync,
                    title: "waits for SYNC".to_owned(),
                    text: format!(
                        "{revision} differs from what runs. Nothing happens until a person grants it."
                    ),
                    since: marks.and_then(|marks| marks.differs_since),
                    href: format!("/apps/{name}/sync"),
                    name: name.clone(),
                });
            }
            let broken = marks.and_then(|marks| marks.render_failed.as_ref());
            if let Some((failed, at)) = broken {
                let place = failed.annotations.first().map_or_else(|| failed.reason.clone(), place);
                needs.push(app_need(
                    app,
                    "could not be rendered",
                    format!("{place}. Live objects are untouched."),
                    Some(*at),
                ));
            } else if app.health == HealthStatus::Degraded {
                let since = marks.and_then(|marks| marks.degraded_since);
                needs.push(app_need(app, "is Degraded", app.health_message.clone(), since));
            } else if let Some(condition) = app.conditions.iter().find(|it| it.kind.ends_with("Error")) {
                needs.push(app_need(
                    app,
                    &format!("has {}", condition.kind),
                    condition.message.clone(),
                    Some(condition.since),
                ));
            }
        }
        for repo in self.repositories.values() {
            let slug = &repo.repository.slug;
            let name = short_name(&repo.repository.full_name).to_owned();
            if let Some(it) = self.promotable(repo).filter(|it| it.ready) {
                let since = it.dev.as_ref().and_then(|dev| {
                    let id = sluice_schemas::ids::AppId::from_name(dev);
                    self.marks.get(&id).and_then(|marks| marks.healthy_since)
                });
                needs.push(Need {
                    id: format!("need-{slug}"),
                    kind: NeedKind::Promote,
                    name: name.clone(),
                    title: "is proven on dev, not promoted".to_owned(),
                    text: format!("{}. Promotion writes the prod commit, it deploys nothing.", it.reason),
                    since,
                    href: format!("/promote/{slug}"),
                });
            }
            let newest = repo.runs.values().max_by_key(|run| run.queued_at);
            if let Some(run) = newest.filter(|run| run.conclusion == Some(Conclusion::Failure)) {
                needs.push(Need {
                    id: format!("need-{slug}-{}", run.run.number),
                    kind: NeedKind::Run,
                    title: format!("#{} failed", run.run.number),
                    text: run.reason.clone().unwrap_or_else(|| "a job failed".to_owned()),
                    since: run.finished_at,
                    href: format!("/runs/{slug}/{}", run.run.number),
                    name,
                });
            }
        }
        needs.sort_by_key(|need| (need.kind > NeedKind::Promote, need.since, need.id.clone()));
        needs
    }
}

fn app_need(app: &AppState, title: &str, text: String, since: Option<Timestamp>) -> Need {
    let name = app.app.app.name();
    Need {
        id: format!("need-app-{}", app.app.app),
        kind: NeedKind::App,
        title: title.to_owned(),
        text,
        since,
        href: format!("/apps/{name}"),
        name,
    }
}
