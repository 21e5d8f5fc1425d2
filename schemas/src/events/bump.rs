//! Bumps: image references written into a deploy repository. Written by the publisher.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact;
use crate::ids::{BumpId, Person, RepoSlug};
use crate::subject::Entity;
use crate::{Digest, Sha, Subject};

/// Why the deploy repository is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BumpKind {
    /// A new image goes to dev by itself.
    Bump,
    /// A person takes what dev runs to prod.
    Promotion,
}

/// What is written where: part of every bump fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BumpRef {
    /// This bump.
    pub bump: BumpId,
    /// The source repository that the image comes from.
    pub source: RepoSlug,
    /// Why.
    pub kind: BumpKind,
    /// Clone URL of the deploy repository.
    pub deploy_url: String,
    /// Its branch.
    pub branch: String,
    /// The directory below which files are changed, `dev`.
    pub directory: String,
    /// `host/path` of the image.
    pub image: String,
    /// The tag written.
    pub tag: String,
    /// The digest that the tag had.
    pub digest: Option<Digest>,
    /// Who asked, for promotions.
    pub person: Option<Person>,
}

/// One line changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageChange {
    /// Path in the deploy repository.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// The reference before.
    pub from: String,
    /// The reference now.
    pub to: String,
}

/// `evt.bump.<repo>.<bump>.committed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BumpCommitted {
    /// What.
    pub bump: BumpRef,
    /// The commit that landed.
    pub commit: Sha,
    /// What it changed.
    pub changes: Vec<ImageChange>,
    /// Pushes that lost a race before.
    pub retries: u32,
    /// How long.
    pub duration_ms: u64,
}

/// `evt.bump.<repo>.<bump>.unchanged`: already there, or no file names the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BumpUnchanged {
    /// What.
    pub bump: BumpRef,
    /// In words.
    pub reason: String,
}

/// `evt.bump.<repo>.<bump>.failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BumpFailed {
    /// What.
    pub bump: BumpRef,
    /// What happened, why, what to do.
    pub reason: String,
}

fact!(
    BumpCommitted,
    "bump.committed",
    |this| Subject::fact(Entity::Bump, &this.bump.source, &this.bump.bump, "committed"),
    {
        Self {
            bump: crate::catalogue::bump(),
            commit: crate::catalogue::sha('d'),
            changes: vec![ImageChange {
                path: "dev/deployments/shop-web.yaml".to_owned(),
                line: 21,
                from: "registry.example.com/shop/web:aaaaaaaa".to_owned(),
                to: "registry.example.com/shop/web:cccccccc".to_owned(),
            }],
            retries: 0,
            duration_ms: 140,
        }
    }
);
fact!(
    BumpUnchanged,
    "bump.unchanged",
    |this| Subject::fact(Entity::Bump, &this.bump.source, &this.bump.bump, "unchanged"),
    Self { bump: crate::catalogue::bump(), reason: "already there".to_owned() }
);
fact!(
    BumpFailed,
    "bump.failed",
    |this| Subject::fact(Entity::Bump, &this.bump.source, &this.bump.bump, "failed"),
    {
        Self {
            bump: crate::catalogue::bump(),
            reason: "the deploy repository refused the push: 403; give its credentials write access"
                .to_owned(),
        }
    }
);
