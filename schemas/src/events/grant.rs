//! The life of a grant: issued by api, consumed or refused by the reconciler. This is the audit of the gate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppRef, Surface, fact};
use crate::ids::{GrantId, Person};
use crate::subject::Entity;
use crate::{Digest, Sha, Subject, Timestamp};

/// `evt.grant.<project>.<grant>.issued`: a person confirmed exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantIssued {
    /// The grant.
    pub grant: GrantId,
    /// For what.
    pub app: AppRef,
    /// Which commit.
    pub revision: Sha,
    /// Which manifests.
    pub manifests: Digest,
    /// Who.
    pub person: Person,
    /// Where.
    pub surface: Surface,
    /// Until when.
    pub expires_at: Timestamp,
}

/// `evt.grant.<project>.<grant>.consumed`: the gate opens once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantConsumed {
    /// The grant.
    pub grant: GrantId,
    /// For what.
    pub app: AppRef,
    /// Which commit.
    pub revision: Sha,
    /// Who granted.
    pub person: Person,
    /// Where.
    pub surface: Surface,
}

/// `evt.grant.<project>.<grant or attempt>.refused`: something wanted to write to a gated application and may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRefused {
    /// The grant, or a token for the attempt when there was none.
    pub grant: GrantId,
    /// For what.
    pub app: AppRef,
    /// What was attempted: `sync`, `automation`, `self_heal`, `rollback`.
    pub attempt: String,
    /// Why not, and how to get a grant.
    pub reason: String,
    /// Who, as far as known.
    pub person: Option<Person>,
}

fact!(
    GrantIssued,
    "grant.issued",
    |this| Subject::fact(Entity::Grant, &this.app.project, &this.grant, "issued"),
    {
        Self {
            grant: GrantId::from_text("0193c1f2a7b4"),
            app: crate::catalogue::app(),
            revision: crate::catalogue::sha('d'),
            manifests: Digest::of(b"[]"),
            person: Person::from_text("ada"),
            surface: Surface::Web,
            expires_at: Timestamp::from_unix_millis(1_790_000_900_000),
        }
    }
);
fact!(
    GrantConsumed,
    "grant.consumed",
    |this| Subject::fact(Entity::Grant, &this.app.project, &this.grant, "consumed"),
    {
        Self {
            grant: GrantId::from_text("0193c1f2a7b4"),
            app: crate::catalogue::app(),
            revision: crate::catalogue::sha('d'),
            person: Person::from_text("ada"),
            surface: Surface::Web,
        }
    }
);
fact!(
    GrantRefused,
    "grant.refused",
    |this| Subject::fact(Entity::Grant, &this.app.project, &this.grant, "refused"),
    {
        Self {
            grant: GrantId::from_text("0193c1f2a7b4"),
            app: crate::catalogue::app(),
            attempt: "sync".to_owned(),
            reason: "the grant was already used; get a new one with `sluice app sync shop-prod`".to_owned(),
            person: Some(Person::from_text("ada")),
        }
    }
);
