//! What a sync would do: commits, images, objects, warnings. Looking is what makes confirming possible.
//!
//! Invariant: [`build`] is pure; [`preview`] has the look remembered.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::events::{HealthStatus, SyncStatus};
use sluice_schemas::state::{AppState, Comparison, ObjectAction, ObjectComparison};
use sluice_schemas::{Digest, Sha, Timestamp};

use super::looks;
use crate::Api;
use crate::access::Caller;
use crate::error::{Answer, ApiError};
use crate::model::ReadModel;
use crate::text::diff;

/// What a sync would do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    /// The application.
    pub(crate) app: String,
    /// Its project.
    pub(crate) project: String,
    /// Where its objects go.
    pub(crate) destination_namespace: String,
    /// Whether a person must grant it.
    pub(crate) gated: bool,
    /// Why.
    pub(crate) gate_reason: String,
    /// The commit that would be applied.
    pub(crate) revision: Sha,
    /// The manifests that would be applied.
    pub(crate) manifest_digest: Digest,
    /// The commit synced last.
    pub(crate) from_revision: Option<Sha>,
    /// Sync status now.
    pub(crate) sync: SyncStatus,
    /// Health now.
    pub(crate) health: HealthStatus,
    /// Commits between, newest first.
    pub(crate) commits: Vec<Change>,
    /// Whether these are all.
    pub(crate) commits_complete: bool,
    /// Images that change.
    pub(crate) images: Vec<ImageMove>,
    /// Objects that change, then those that cannot be compared.
    pub(crate) objects: Vec<Object>,
    /// How many of each.
    pub(crate) counts: Counts,
    /// What to know before.
    pub(crate) warnings: Vec<String>,
    /// Whether objects would be deleted.
    pub(crate) prune: bool,
    /// Whether there is nothing to do.
    pub(crate) nothing_to_do: bool,
    /// Until when this can be confirmed.
    pub(crate) expires_at: Timestamp,
}

/// A commit of the deploy repository.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// Its name.
    pub(crate) sha: Sha,
    /// First line.
    pub(crate) title: String,
    /// Its author.
    pub(crate) author: String,
    /// When it was pushed.
    pub(crate) time: Timestamp,
    /// The source commit that led to it.
    pub(crate) source: Option<SourceCommit>,
}

/// A commit of a source repository.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceCommit {
    /// Full name of the repository.
    pub(crate) repository: String,
    /// Its name.
    pub(crate) sha: Sha,
    /// First line.
    pub(crate) title: String,
    /// Its author.
    pub(crate) author: String,
    /// Its delivery.
    pub(crate) correlation: String,
}

/// An image that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageMove {
    /// Without tag.
    pub(crate) name: String,
    /// What runs; absent for a new one.
    pub(crate) from: Option<String>,
    /// What will; absent for one that goes.
    pub(crate) to: Option<String>,
}

/// An object that changes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Object {
    /// API group.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Kind.
    pub(crate) kind: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// What happens to it.
    pub(crate) action: ObjectAction,
    /// Which fields, in a few words.
    pub(crate) summary: String,
    /// Lines added.
    pub(crate) added: usize,
    /// Lines removed.
    pub(crate) removed: usize,
    /// Why it could not be compared.
    pub(crate) error: Option<String>,
}

/// How many objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Made.
    pub(crate) create: u32,
    /// Changed.
    pub(crate) update: u32,
    /// Deleted.
    pub(crate) prune: u32,
    /// No longer desired, but kept.
    pub(crate) keep: u32,
    /// Left as they are.
    pub(crate) unchanged: u32,
}

/// The preview of an application for `caller`, who may then confirm it.
///
/// # Errors
/// When nothing was compared yet, or the comparison is being replaced.
pub(crate) async fn preview(api: &Api, caller: &Caller, state: &AppState) -> Answer<Preview> {
    let (Some(revision), Some(manifests), Some(digest)) =
        (&state.revision, &state.manifests, &state.comparison)
    else {
        return Err(ApiError::precondition(format!(
            "{} was not compared yet: {}; wait a moment, or refresh it",
            state.app.app.name(),
            state.conditions.first().map_or("no revision is known", |it| it.message.as_str()),
        )));
    };
    let comparison = api.comparisons.get(digest).await?;
    if &comparison.revision != revision || &comparison.manifests != manifests {
        return Err(ApiError::conflict(format!(
            "{} is being compared at this moment; look again in a second",
            state.app.app.name()
        )));
    }
    let now = Timestamp::now();
    let mut preview = build(&api.model.read(), state, &comparison, revision, manifests, now);
    preview.expires_at = looks::remember(api, &caller.person, state, revision, manifests, now).await?;
    Ok(preview)
}

/// What a sync to `revision` would do.
#[must_use]
pub(crate) fn build(
    model: &ReadModel,
    state: &AppState,
    comparison: &Comparison,
    revision: &Sha,
    manifests: &Digest,
    now: Timestamp,
) -> Preview {
    let moved = model.moved(&state.repository, state.synced_revision.as_ref(), revision);
    let commits = moved.pushes.iter().map(|push| {
        let chain = model.chain(&push.correlation).filter(|chain| {
            chain.summary.repository.as_ref().is_some_and(|repository| repository.slug != push.repository)
        });
        let source = chain.and_then(|chain| {
            Some(SourceCommit {
                repository: chain.summary.repository.as_ref()?.full_name.clone(),
                sha: chain.summary.sha.clone()?,
                title: chain.summary.title.clone(),
                author: chain.summary.author.clone(),
                correlation: chain.correlation.to_string(),
            })
        });
        Change {
            sha: push.after.clone(),
            title: push.title.clone(),
            author: push.author.clone(),
            time: push.at,
            source,
        }
    });
    let counts = counts(&comparison.objects);
    let objects: Vec<Object> = comparison
        .objects
        .iter()
        .filter(|it| it.action != ObjectAction::None || it.error.is_some())
        .map(object)
        .collect();
    Preview {
        app: state.app.app.name(),
        project: state.app.project.name(),
        destination_namespace: state.destination_namespace.clone(),
        gated: state.gated,
        gate_reason: state.gate_reason.clone(),
        revision: revision.clone(),
        manifest_digest: manifests.clone(),
        from_revision: state.synced_revision.clone(),
        sync: state.sync,
        health: state.health,
        commits: commits.collect(),
        commits_complete: moved.complete,
        images: images(&state.live_images, &state.images),
        warnings: warnings(state, &objects, counts),
        prune: counts.prune > 0,
        nothing_to_do: counts.create + counts.update + counts.prune == 0,
        objects,
        counts,
        // Set by the caller, who remembers the look.
        expires_at: now,
    }
}

fn counts(objects: &[ObjectComparison]) -> Counts {
    let mut counts = Counts::default();
    for object in objects {
        let count = match object.action {
            ObjectAction::None => &mut counts.unchanged,
            ObjectAction::Create => &mut counts.create,
            ObjectAction::Update => &mut counts.update,
            ObjectAction::Prune => &mut counts.prune,
            ObjectAction::Keep => &mut counts.keep,
        };
        // Children of managed objects (pods and the like) are in the tree, not in the sync.
        if object.desired.is_some() || object.action != ObjectAction::None {
            *count += 1;
        }
    }
    counts
}

fn object(it: &ObjectComparison) -> Object {
    let change = diff::of(it.live.as_ref(), it.desired.as_ref());
    Object {
        group: it.group.clone(),
        version: it.version.clone(),
        kind: it.kind.clone(),
        namespace: it.namespace.clone(),
        name: it.name.clone(),
        action: it.action,
        summary: match it.action {
            ObjectAction::Create => "is made".to_owned(),
            ObjectAction::Prune => "is deleted".to_owned(),
            ObjectAction::Keep => "is no longer in Git, and stays".to_owned(),
            ObjectAction::Update | ObjectAction::None => change.fields.join(", "),
        },
        added: change.added,
        removed: change.removed,
        error: it.error.clone(),
    }
}

/// Images by name: what runs against what is wanted.
fn images(live: &[String], desired: &[String]) -> Vec<ImageMove> {
    use crate::model::image_name;
    let mut moves: BTreeMap<&str, (Vec<&String>, Vec<&String>)> = BTreeMap::new();
    for image in live {
        moves.entry(image_name(image)).or_default().0.push(image);
    }
    for image in desired {
        moves.entry(image_name(image)).or_default().1.push(image);
    }
    let mut found = Vec::new();
    for (name, (live, desired)) in moves {
        let goes: Vec<_> = live.iter().filter(|it| !desired.contains(it)).collect();
        let comes: Vec<_> = desired.iter().filter(|it| !live.contains(it)).collect();
        for at in 0..goes.len().max(comes.len()) {
            found.push(ImageMove {
                name: name.to_owned(),
                from: goes.get(at).map(|it| (**it).clone()),
                to: comes.get(at).map(|it| (**it).clone()),
            });
        }
    }
    found
}

fn warnings(state: &AppState, objects: &[Object], counts: Counts) -> Vec<String> {
    let mut warnings = Vec::new();
    if counts.prune > 0 {
        let names: Vec<String> = objects
            .iter()
            .filter(|it| it.action == ObjectAction::Prune)
            .take(5)
            .map(|it| format!("{} {}", it.kind, it.name))
            .collect();
        warnings.push(format!("Pruned means deleted: {}", names.join(", ")));
    }
    for object in objects.iter().filter(|it| it.error.is_some()).take(5) {
        let error = object.error.as_deref().unwrap_or_default();
        warnings.push(format!("{} {} cannot be compared: {error}", object.kind, object.name));
    }
    for condition in &state.conditions {
        warnings.push(format!("{}: {}", condition.kind, condition.message));
    }
    if state.health == HealthStatus::Degraded {
        warnings.push(format!("It is Degraded now: {}", state.health_message));
    }
    if state.operation.as_ref().is_some_and(|operation| operation.finished_at.is_none()) {
        warnings.push("A sync is under way; this one starts after it".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_paired_by_name() {
        let live = ["r/web:1".to_owned(), "r/side:1".to_owned(), "r/old:3".to_owned()];
        let desired = ["r/web:2".to_owned(), "r/side:1".to_owned(), "r/new:1".to_owned()];
        let moves = images(&live, &desired);
        let pairs: Vec<_> = moves.iter().map(|it| (it.from.as_deref(), it.to.as_deref())).collect();
        assert_eq!(
            pairs,
            [(None, Some("r/new:1")), (Some("r/old:3"), None), (Some("r/web:1"), Some("r/web:2"))]
        );
    }
}
