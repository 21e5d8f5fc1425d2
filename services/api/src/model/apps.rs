//! What is remembered of applications and deploy repositories beside their state: since when, and which pushes.

use sluice_schemas::events::{HealthStatus, RenderFailed, SyncStatus};
use sluice_schemas::ids::{Correlation, RepoSlug};
use sluice_schemas::{Sha, Timestamp};

/// Marks of one application.
#[derive(Debug, Clone, Default)]
pub(crate) struct AppMarks {
    /// Since when it is OutOfSync.
    pub(crate) differs_since: Option<Timestamp>,
    /// Since when it is Degraded.
    pub(crate) degraded_since: Option<Timestamp>,
    /// Since when it is Healthy.
    pub(crate) healthy_since: Option<Timestamp>,
    /// Last sync status seen.
    pub(crate) sync: Option<SyncStatus>,
    /// Last health seen.
    pub(crate) health: Option<HealthStatus>,
    /// The rendering that failed, until one succeeds.
    pub(crate) render_failed: Option<(RenderFailed, Timestamp)>,
    /// The chain of the last sync: late health facts belong to it.
    pub(crate) sync_chain: Option<Correlation>,
}

impl AppMarks {
    pub(super) fn saw_sync(&mut self, status: SyncStatus, at: Timestamp) {
        if status == SyncStatus::OutOfSync {
            self.differs_since = self.differs_since.or(Some(at));
        } else if status == SyncStatus::Synced {
            self.differs_since = None;
        }
        self.sync = Some(status);
    }

    pub(super) fn saw_health(&mut self, health: HealthStatus, at: Timestamp) {
        if self.health == Some(health) {
            return;
        }
        self.health = Some(health);
        self.degraded_since = (health == HealthStatus::Degraded).then_some(at);
        self.healthy_since = (health == HealthStatus::Healthy).then_some(at);
    }
}

/// A push, as far as previews tell of it.
#[derive(Debug, Clone)]
pub(crate) struct PushNote {
    /// Where.
    pub(crate) repository: RepoSlug,
    /// Clone URL in one form for all spellings.
    pub(crate) url: String,
    /// Before.
    pub(crate) before: Sha,
    /// Now.
    pub(crate) after: Sha,
    /// First line of the newest commit.
    pub(crate) title: String,
    /// Its author.
    pub(crate) author: String,
    /// When it was received.
    pub(crate) at: Timestamp,
    /// The chain.
    pub(crate) correlation: Correlation,
}

/// Pushes of a deploy repository between two commits, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved {
    /// The pushes.
    pub(crate) pushes: Vec<PushNote>,
    /// Whether the older commit was found: else there may be more.
    pub(crate) complete: bool,
}

/// Walks back from `to` towards `from` along the pushes' `before`.
pub(super) fn between<'a>(
    pushes: impl DoubleEndedIterator<Item = &'a PushNote> + Clone,
    url: &str,
    from: Option<&Sha>,
    to: &Sha,
) -> Moved {
    const MOST: usize = 50;
    let mut moved = Moved::default();
    let mut wanted = to.clone();
    for push in pushes.rev().filter(|push| push.url == url) {
        if Some(&wanted) == from || moved.pushes.len() >= MOST {
            break;
        }
        if push.after == wanted {
            wanted = push.before.clone();
            moved.pushes.push(push.clone());
        }
    }
    moved.complete = Some(&wanted) == from || (from.is_none() && wanted.is_null());
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(digit: char) -> Sha {
        Sha::try_from(digit.to_string().repeat(40)).expect("a commit")
    }

    fn push(before: char, after: char) -> PushNote {
        PushNote {
            repository: RepoSlug::from_full_name("dev/deploy"),
            url: "git/dev/deploy".to_owned(),
            before: sha(before),
            after: sha(after),
            title: format!("to {after}"),
            author: "Ada".to_owned(),
            at: Timestamp::now(),
            correlation: Correlation::from_text("c"),
        }
    }

    #[test]
    fn walks_from_the_wanted_commit_back_to_the_one_that_runs() {
        let pushes = [push('0', 'a'), push('a', 'b'), push('b', 'c'), push('c', 'd')];
        let moved = between(pushes.iter(), "git/dev/deploy", Some(&sha('a')), &sha('c'));
        let titles: Vec<_> = moved.pushes.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, ["to c", "to b"]);
        assert!(moved.complete);
    }

    #[test]
    fn says_when_the_older_commit_is_not_known() {
        let pushes = [push('b', 'c')];
        let moved = between(pushes.iter(), "git/dev/deploy", Some(&sha('a')), &sha('c'));
        assert_eq!((moved.pushes.len(), moved.complete), (1, false));
        assert!(between(pushes.iter(), "other", Some(&sha('a')), &sha('c')).pushes.is_empty());
    }

    #[test]
    fn differs_since_the_first_time() {
        let mut marks = AppMarks::default();
        let (early, late) = (Timestamp::from_unix_millis(1_000), Timestamp::from_unix_millis(2_000));
        marks.saw_sync(SyncStatus::OutOfSync, early);
        marks.saw_sync(SyncStatus::OutOfSync, late);
        assert_eq!(marks.differs_since, Some(early));
        marks.saw_sync(SyncStatus::Synced, late);
        assert_eq!(marks.differs_since, None);
    }
}
