//! Pushes: written by ingress, read by the builder and the reconciler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact;
use crate::ids::{DeliveryId, PushId, RepoSlug};
use crate::subject::Entity;
use crate::{Sha, Subject, Timestamp};

/// A repository as its Git host describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Repository {
    /// The token on subjects.
    pub slug: RepoSlug,
    /// `owner/name`.
    pub full_name: String,
    /// Where to fetch from, without credentials.
    pub clone_url: String,
    /// For links; empty when unknown.
    pub html_url: String,
    /// Usually `main`.
    pub default_branch: String,
}

/// A commit as far as people want to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// Its name.
    pub sha: Sha,
    /// The whole message.
    pub message: String,
    /// Author's name.
    pub author_name: String,
    /// Author's address.
    pub author_email: String,
    /// Commit time; absent when the host did not say.
    pub time: Option<Timestamp>,
}

impl Commit {
    /// First line of the message.
    #[must_use]
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// How Sluice came to know of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushSource {
    /// A signed webhook.
    Webhook,
    /// The slow look at the heads found it.
    Poll,
}

/// `evt.push.<repo>.<push>.received`: a ref moved, appeared or vanished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushReceived {
    /// This push.
    pub push: PushId,
    /// Where.
    pub repository: Repository,
    /// `refs/heads/main`, `refs/tags/v1`.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The ref's commit before; null on creation.
    pub before: Sha,
    /// The ref's commit now; null on deletion.
    pub after: Sha,
    /// The ref is new.
    pub created: bool,
    /// The ref is gone.
    pub deleted: bool,
    /// History was rewritten.
    pub forced: bool,
    /// The newest commit; absent on deletion.
    pub head_commit: Option<Commit>,
    /// A newer push of the ref was known when this one arrived: build it, but deploy the newer one.
    #[serde(default)]
    pub superseded: bool,
    /// Who pushed, as the host names them.
    pub pusher: String,
    /// Paths that the push touched, at most 300; only to be trusted when `changed_files_complete`.
    pub changed_files: Vec<String>,
    /// Whether `changed_files` is all of them.
    pub changed_files_complete: bool,
    /// The verified delivery; absent for polled pushes.
    pub delivery: Option<DeliveryId>,
    /// How it was found.
    pub source: PushSource,
    /// When the host's request or the poll arrived.
    pub received_at: Timestamp,
}

impl PushReceived {
    /// The branch, when the ref is one.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/heads/")
    }

    /// The tag, when the ref is one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.git_ref.strip_prefix("refs/tags/")
    }
}

fact!(
    PushReceived,
    "push.received",
    |this| Subject::fact(Entity::Push, &this.repository.slug, &this.push, "received"),
    {
        Self {
            push: PushId::from_text("7d1c5f6e0a9b4c3d"),
            repository: crate::catalogue::repository(),
            git_ref: "refs/heads/main".to_owned(),
            before: crate::catalogue::sha('a'),
            after: crate::catalogue::sha('c'),
            created: false,
            deleted: false,
            forced: false,
            head_commit: Some(Commit {
                sha: crate::catalogue::sha('c'),
                message: "Show the basket's total".to_owned(),
                author_name: "Ada".to_owned(),
                author_email: "ada@example.com".to_owned(),
                time: Some(Timestamp::from_unix_millis(1_790_000_000_000)),
            }),
            superseded: false,
            pusher: "ada".to_owned(),
            changed_files: vec!["src/basket.sh".to_owned()],
            changed_files_complete: true,
            delivery: Some(DeliveryId::from_text("2f6b8c1d")),
            source: PushSource::Webhook,
            received_at: Timestamp::from_unix_millis(1_790_000_000_250),
        }
    }
);
