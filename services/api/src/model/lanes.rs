//! Lanes: one line a service, commit → run → image → dev → gate → prod; and what may be promoted.

use serde::Serialize;
use sluice_kubernetes::secrets::normalise_url;
use sluice_schemas::events::{Conclusion, HealthStatus, SyncStatus};
use sluice_schemas::ids::RepoSlug;
use sluice_schemas::state::AppState;
use sluice_schemas::{Digest, Sha, Timestamp};

use super::fold::{ReadModel, RepoView};
use super::runs::{RunPhase, RunView};

/// How a station looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StationState {
    /// Rests.
    Ok,
    /// Moves.
    Run,
    /// Broke.
    Bad,
    /// Waits for a person.
    Gate,
    /// Not yet.
    Queue,
    /// Will not come.
    Skip,
    /// Not known.
    Unknown,
}

/// A station of a lane.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Station {
    /// How it looks.
    pub(crate) state: StationState,
    /// The word under it.
    pub(crate) word: String,
    /// The small line under that.
    pub(crate) detail: String,
    /// Since when.
    pub(crate) at: Option<Timestamp>,
    /// Where it leads.
    pub(crate) href: String,
}

/// What would go to prod.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Promotable {
    /// `host/path` of the image.
    pub(crate) image: String,
    /// The tag that dev runs.
    pub(crate) tag: String,
    /// Its digest, when known.
    pub(crate) digest: Option<Digest>,
    /// The deploy repository.
    pub(crate) deploy_url: String,
    /// What prod's manifests name now.
    pub(crate) from: Option<String>,
    /// The automated application.
    pub(crate) dev: Option<String>,
    /// The gated application.
    pub(crate) prod: Option<String>,
    /// Whether it may be promoted now.
    pub(crate) ready: bool,
    /// Why not, or what speaks for it.
    pub(crate) reason: String,
}

/// A lane.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lane {
    /// The repository.
    pub(crate) repository: RepoSlug,
    /// Its short name.
    pub(crate) name: String,
    /// Its full name and branch.
    pub(crate) place: String,
    /// The newest run's chain.
    pub(crate) correlation: String,
    /// The commit.
    pub(crate) commit: Station,
    /// Its run.
    pub(crate) run: Station,
    /// The image.
    pub(crate) image: Station,
    /// The automated application.
    pub(crate) dev: Station,
    /// The gated one.
    pub(crate) prod: Station,
    /// Whether the gate is shut and a person is awaited.
    pub(crate) shut: bool,
    /// The gate in words.
    pub(crate) gate: String,
    /// Name of the gated application.
    pub(crate) prod_app: Option<String>,
    /// What would go to prod.
    pub(crate) promotable: Option<Promotable>,
    /// Sorting: the lower, the more it needs a person.
    pub(crate) rank: u8,
}

/// `registry/path` of an image reference.
#[must_use]
pub(crate) fn image_name(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    match reference.rfind(':') {
        Some(at) if !reference[at..].contains('/') => &reference[..at],
        _ => reference,
    }
}

/// The tag of an image reference; its digest where it has no tag.
#[must_use]
pub(crate) fn image_tag(reference: &str) -> &str {
    let plain = reference.split('@').next().unwrap_or(reference);
    match plain.rfind(':') {
        Some(at) if !plain[at..].contains('/') => &plain[at + 1..],
        _ => reference.split_once('@').map_or("latest", |(_, digest)| digest),
    }
}

impl ReadModel {
    /// The applications that run an image: the automated one and the gated one.
    fn apps_of(&self, image: &str) -> (Option<&AppState>, Option<&AppState>) {
        let runs =
            |app: &&AppState| app.images.iter().chain(&app.live_images).any(|it| image_name(it) == image);
        let mut dev = None;
        let mut prod = None;
        for app in self.apps.values().filter(runs) {
            let place = if app.gated { &mut prod } else { &mut dev };
            *place = place.or(Some(app));
        }
        (dev, prod)
    }

    fn image_of(repo: &RepoView) -> Option<String> {
        let published = repo.published.as_ref().map(|(image, _, _)| image.image.name());
        published.or_else(|| repo.bumped.as_ref().map(|(bump, _)| bump.image.clone()))
    }

    /// What of a repository would go to prod, and whether it may.
    #[must_use]
    pub(crate) fn promotable(&self, repo: &RepoView) -> Option<Promotable> {
        let (bump, _) = repo.bumped.as_ref()?;
        let image = bump.image.clone();
        let (dev, prod) = self.apps_of(&image);
        let on_dev = |app: &AppState| {
            let url = normalise_url(&app.repository) == normalise_url(&bump.deploy_url);
            url && app.live_images.iter().any(|it| image_name(it) == image)
        };
        let live = dev.and_then(|app| app.live_images.iter().find(|it| image_name(it) == image));
        let tag = live.map_or_else(|| bump.tag.clone(), |it| image_tag(it).to_owned());
        let published = repo.published.as_ref().filter(|(image, _, _)| image.tags.contains(&tag));
        let from = prod.and_then(|app| app.images.iter().find(|it| image_name(it) == image).cloned());
        let blocked = match dev {
            None => Some(format!("no automated application runs {image}, so nothing proves it")),
            Some(app) if !on_dev(app) => Some(format!("{} does not run {image} yet", app.app.app.name())),
            Some(app) if app.sync != SyncStatus::Synced => {
                Some(format!("{} is {:?}; wait until it is Synced", app.app.app.name(), app.sync))
            }
            Some(app) if app.health != HealthStatus::Healthy => {
                Some(format!("{} is {:?}: {}", app.app.app.name(), app.health, app.health_message))
            }
            Some(_) if from.as_deref().map(image_tag) == Some(tag.as_str()) => {
                Some(format!("prod's manifests name {tag} already"))
            }
            Some(_) => None,
        };
        let reason = blocked.clone().unwrap_or_else(|| format!("{tag} runs on dev and is healthy"));
        Some(Promotable {
            digest: published
                .map(|(image, _, _)| image.digest.clone())
                .or_else(|| bump.digest.clone().filter(|_| bump.tag == tag)),
            image,
            tag,
            deploy_url: bump.deploy_url.clone(),
            from,
            dev: dev.map(|app| app.app.app.name()),
            prod: prod.map(|app| app.app.app.name()),
            ready: blocked.is_none(),
            reason,
        })
    }

    /// All lanes, what needs a person first.
    #[must_use]
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<(u8, std::cmp::Reverse<Timestamp>, Lane)> = self
            .repositories
            .values()
            .filter_map(|repo| {
                let newest = repo.runs.values().max_by_key(|run| run.queued_at)?;
                let lane = self.lane(repo, newest);
                Some((lane.rank, std::cmp::Reverse(newest.queued_at), lane))
            })
            .collect();
        lanes.sort_by_key(|(rank, newest, _)| (*rank, *newest));
        lanes.into_iter().map(|(_, _, lane)| lane).collect()
    }

    fn lane(&self, repo: &RepoView, newest: &RunView) -> Lane {
        let slug = &repo.repository.slug;
        let image = Self::image_of(repo);
        let (dev, prod) = image.as_deref().map_or((None, None), |image| self.apps_of(image));
        let promotable = self.promotable(repo);
        let shut = prod.is_some_and(|app| app.sync == SyncStatus::OutOfSync);
        let delivery = format!("/deliveries/{}", newest.correlation);
        let gate = match (prod, &promotable) {
            (Some(app), _) if shut => {
                let revision = app.revision.as_ref().map_or("", Sha::short);
                format!("Closed. {}@{revision} waits for a person", app.app.app.name())
            }
            (_, Some(it)) if it.ready => format!("Closed. {} on dev is not promoted", it.tag),
            (Some(_), _) => "Nothing waits".to_owned(),
            (None, _) => "No gated application runs this image".to_owned(),
        };
        let failed = newest.conclusion == Some(Conclusion::Failure);
        let degraded = [dev, prod].into_iter().flatten().any(|app| app.health == HealthStatus::Degraded);
        let ready = promotable.as_ref().is_some_and(|it| it.ready);
        Lane {
            repository: slug.clone(),
            name: short_name(&repo.repository.full_name).to_owned(),
            place: format!("{}, {}", repo.repository.full_name, branch(&newest.run.git_ref)),
            correlation: newest.correlation.to_string(),
            commit: Station {
                state: StationState::Ok,
                word: newest.run.sha.short().to_owned(),
                detail: newest.author.clone(),
                at: Some(newest.received_at),
                href: delivery.clone(),
            },
            run: run_station(newest),
            image: image_station(repo, newest, &delivery),
            dev: dev.map_or_else(|| absent("No application"), |app| self.app_station(app, image.as_deref())),
            prod: prod
                .map_or_else(|| absent("No application"), |app| self.app_station(app, image.as_deref())),
            shut,
            gate,
            prod_app: prod.map(|app| app.app.app.name()),
            rank: if shut {
                0
            } else if ready {
                1
            } else if failed || degraded {
                2
            } else {
                3
            },
            promotable,
        }
    }

    fn app_station(&self, app: &AppState, image: Option<&str>) -> Station {
        let name = app.app.app.name();
        let marks = self.marks.get(&app.app.app);
        let tag =
            app.live_images.iter().find(|it| Some(image_name(it)) == image).map_or("", |it| image_tag(it));
        let (state, word) = app_word(app);
        let at = match state {
            StationState::Gate => marks.and_then(|marks| marks.differs_since),
            StationState::Bad => marks.and_then(|marks| marks.degraded_since),
            _ => marks.and_then(|marks| marks.healthy_since),
        };
        Station { state, word, detail: tag.to_owned(), at, href: format!("/apps/{name}") }
    }
}

fn absent(word: &str) -> Station {
    Station {
        state: StationState::Queue,
        word: word.to_owned(),
        detail: String::new(),
        at: None,
        href: "/apps".to_owned(),
    }
}

fn run_station(run: &RunView) -> Station {
    let number = format!("#{}", run.run.number);
    let (state, word, at) = match (run.phase, run.conclusion) {
        (RunPhase::Queued, _) => (StationState::Queue, "Queued", Some(run.queued_at)),
        (RunPhase::Running, _) => (StationState::Run, "Running", run.started_at),
        (RunPhase::Refused, _) => (StationState::Bad, "Refused", run.finished_at),
        (RunPhase::Finished, Some(Conclusion::Success)) => (StationState::Ok, "Passed", run.finished_at),
        (RunPhase::Finished, Some(Conclusion::Failure)) => (StationState::Bad, "Failed", run.finished_at),
        (RunPhase::Finished, Some(Conclusion::Cancelled)) => {
            (StationState::Skip, "Cancelled", run.finished_at)
        }
        (RunPhase::Finished, _) => (StationState::Skip, "Skipped", run.finished_at),
    };
    let href = format!("/runs/{}/{}", run.run.repository.slug, run.run.number);
    Station { state, word: word.to_owned(), detail: number, at, href }
}

fn image_station(repo: &RepoView, newest: &RunView, delivery: &str) -> Station {
    let href = delivery.to_owned();
    let of_this = repo.published.as_ref().filter(|(image, _, _)| image.image.run.number == newest.run.number);
    if let Some((image, _, at)) = of_this {
        let word = image.tags.first().cloned().unwrap_or_else(|| image.digest.short().to_owned());
        return Station {
            state: StationState::Ok,
            word,
            detail: image.digest.short().to_owned(),
            at: Some(*at),
            href,
        };
    }
    let (state, word) = match newest.conclusion {
        None => (StationState::Queue, "Not yet"),
        Some(Conclusion::Success) => (StationState::Skip, "None"),
        Some(_) => (StationState::Skip, "Skipped"),
    };
    Station { state, word: word.to_owned(), detail: String::new(), at: None, href }
}

/// The loudest thing about an application, in one word.
#[must_use]
pub(crate) fn app_word(app: &AppState) -> (StationState, String) {
    let running = app.operation.as_ref().is_some_and(|operation| operation.finished_at.is_none());
    match (app.sync, app.health) {
        _ if running => (StationState::Run, "Syncing".to_owned()),
        (_, HealthStatus::Degraded) => (StationState::Bad, "Degraded".to_owned()),
        (SyncStatus::OutOfSync, _) if app.gated => (StationState::Gate, "Waits".to_owned()),
        (_, HealthStatus::Progressing) => (StationState::Run, "Progressing".to_owned()),
        (SyncStatus::OutOfSync, _) => (StationState::Run, "OutOfSync".to_owned()),
        (SyncStatus::Unknown, _) => (StationState::Unknown, "Unknown".to_owned()),
        (_, HealthStatus::Healthy) => (StationState::Ok, "Healthy".to_owned()),
        (_, health) => (StationState::Unknown, format!("{health:?}")),
    }
}

pub(super) fn short_name(full_name: &str) -> &str {
    full_name.rsplit('/').next().unwrap_or(full_name)
}

fn branch(git_ref: &str) -> &str {
    git_ref.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_taken_apart() {
        for (reference, name, tag) in [
            ("127.0.0.1:5000/shop/web:cccccccc", "127.0.0.1:5000/shop/web", "cccccccc"),
            ("127.0.0.1:5000/shop/web", "127.0.0.1:5000/shop/web", "latest"),
            ("shop/web@sha256:ab", "shop/web", "sha256:ab"),
            ("r/shop/web:1@sha256:ab", "r/shop/web", "1"),
        ] {
            assert_eq!((image_name(reference), image_tag(reference)), (name, tag), "{reference}");
        }
    }
}
