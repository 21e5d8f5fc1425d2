//! SyncGrant: the right to write to one gated application, once, for exactly what a person confirmed.
//!
//! Invariants: the signature covers every field; a grant lives at most [`MAX_LIFETIME_SECONDS`]; the reconciler, not
//! the API alone, verifies it. The nonce (the grant's id) is consumed by compare-and-swap elsewhere. Called by api
//! (sign) and reconciler (verify).

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::Surface;
use crate::ids::{AppId, GrantId, Person, ProjectId};
use crate::{Digest, Sha, Timestamp};

/// A grant cannot be valid for longer.
pub const MAX_LIFETIME_SECONDS: i64 = 15 * 60;

/// Separates these signatures from any other use of the key.
const CONTEXT: &[u8] = b"sluice sync grant v1\n";

/// What a grant allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantScope {
    /// One sync to the named revision.
    Sync,
    /// To switch automation on: the application is no longer gated.
    Automation,
}

/// What a person confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTerms {
    /// Single use.
    pub nonce: GrantId,
    /// What it allows.
    pub scope: GrantScope,
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// The commit previewed.
    pub revision: Sha,
    /// The manifests previewed.
    pub manifests: Digest,
    /// Whether deletions were shown and confirmed.
    pub prune: bool,
    /// Who.
    pub person: Person,
    /// Where.
    pub surface: Surface,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Terms and their signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncGrant {
    /// What was confirmed.
    pub terms: GrantTerms,
    /// Ed25519, 128 hexadecimal digits.
    pub signature: String,
}

/// What the bearer of a grant wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What for.
    pub scope: GrantScope,
    /// The application.
    pub app: &'a AppId,
    /// Its project.
    pub project: &'a ProjectId,
    /// The commit to apply.
    pub revision: &'a Sha,
    /// The manifests to apply.
    pub manifests: &'a Digest,
    /// Whether objects will be deleted.
    pub prune: bool,
}

/// Why a grant does not allow it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    /// Not signed by the API server's key.
    #[error("the grant's signature is not the API server's")]
    Signature,
    /// Too late.
    #[error("the grant expired at {0}")]
    Expired(Timestamp),
    /// Issued in the future, or for too long.
    #[error("the grant's times are not believable (issued {issued_at}, expires {expires_at})")]
    Times { issued_at: Timestamp, expires_at: Timestamp },
    /// For something else.
    #[error("the grant is for {what} {granted}, not {wanted}")]
    Other { what: &'static str, granted: String, wanted: String },
    /// Deletions were not confirmed.
    #[error("the grant does not cover deleting objects")]
    Prune,
}

impl SyncGrant {
    /// Signs `terms`.
    #[must_use]
    pub fn sign(terms: GrantTerms, key: &SigningKey) -> Self {
        let signature = hex::encode(key.sign(&signed_bytes(&terms)).to_bytes());
        Self { terms, signature }
    }

    /// Whether this grant allows `wanted` at `now`. Single use is checked elsewhere, after this.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn verify(
        &self,
        key: &VerifyingKey,
        wanted: &Wanted<'_>,
        now: Timestamp,
    ) -> Result<(), GrantRefusal> {
        let mut bytes = [0_u8; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| GrantRefusal::Signature)?;
        key.verify(&signed_bytes(&self.terms), &Signature::from_bytes(&bytes))
            .map_err(|_| GrantRefusal::Signature)?;
        let terms = &self.terms;
        let lifetime = terms.expires_at.unix_millis() - terms.issued_at.unix_millis();
        // A minute of clock skew between the API server and the reconciler is tolerated.
        if lifetime > MAX_LIFETIME_SECONDS * 1000 || terms.issued_at > now.plus_seconds(60) {
            return Err(GrantRefusal::Times { issued_at: terms.issued_at, expires_at: terms.expires_at });
        }
        if now > terms.expires_at {
            return Err(GrantRefusal::Expired(terms.expires_at));
        }
        if terms.scope != wanted.scope {
            return Err(other("the purpose", format!("{:?}", terms.scope), format!("{:?}", wanted.scope)));
        }
        if &terms.app != wanted.app || &terms.project != wanted.project {
            return Err(other(
                "application",
                format!("{}/{}", terms.project, terms.app),
                format!("{}/{}", wanted.project, wanted.app),
            ));
        }
        if &terms.revision != wanted.revision {
            return Err(other("revision", terms.revision.to_string(), wanted.revision.to_string()));
        }
        if &terms.manifests != wanted.manifests {
            return Err(other("the manifests", terms.manifests.to_string(), wanted.manifests.to_string()));
        }
        if wanted.prune && !terms.prune {
            return Err(GrantRefusal::Prune);
        }
        Ok(())
    }

    /// A grant of a fixed key, for examples.
    #[must_use]
    pub fn example() -> Self {
        Self::sign(
            GrantTerms {
                nonce: GrantId::from_text("0193c1f2a7b4"),
                scope: GrantScope::Sync,
                app: AppId::from_name("shop-prod"),
                project: ProjectId::from_name("default"),
                revision: crate::catalogue::sha('d'),
                manifests: Digest::of(b"[]"),
                prune: false,
                person: Person::from_text("ada"),
                surface: Surface::Web,
                issued_at: Timestamp::from_unix_millis(1_790_000_000_000),
                expires_at: Timestamp::from_unix_millis(1_790_000_900_000),
            },
            &SigningKey::from_bytes(&[7; 32]),
        )
    }
}

fn other(what: &'static str, granted: String, wanted: String) -> GrantRefusal {
    GrantRefusal::Other { what, granted, wanted }
}

/// The bytes that are signed: a context line, then the terms as JSON with the fields in the order of the struct.
/// Both sides make them from the typed terms, so a re-ordered or padded message cannot change their meaning.
fn signed_bytes(terms: &GrantTerms) -> Vec<u8> {
    let mut bytes = CONTEXT.to_vec();
    // Terms are plain strings, times and booleans, which always serialise; an empty rest would verify nothing else.
    bytes.extend(serde_json::to_vec(terms).unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(terms: &GrantTerms) -> Wanted<'_> {
        Wanted {
            scope: GrantScope::Sync,
            app: &terms.app,
            project: &terms.project,
            revision: &terms.revision,
            manifests: &terms.manifests,
            prune: false,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_millis(1_790_000_100_000)
    }

    fn key() -> VerifyingKey {
        SigningKey::from_bytes(&[7; 32]).verifying_key()
    }

    #[test]
    fn allows_exactly_what_was_confirmed() {
        let grant = SyncGrant::example();
        assert_eq!(grant.verify(&key(), &wanted(&grant.terms), now()), Ok(()));
    }

    #[test]
    fn refuses_every_change_of_the_terms() {
        let good = SyncGrant::example();
        let changes: Vec<fn(&mut GrantTerms)> = vec![
            |t| t.nonce = GrantId::from_text("other"),
            |t| t.scope = GrantScope::Automation,
            |t| t.app = AppId::from_name("other"),
            |t| t.project = ProjectId::from_name("other"),
            |t| t.revision = crate::catalogue::sha('e'),
            |t| t.manifests = Digest::of(b"other"),
            |t| t.prune = true,
            |t| t.person = Person::from_text("eve"),
            |t| t.surface = Surface::Cli,
            |t| t.expires_at = t.expires_at.plus_seconds(1),
        ];
        for change in changes {
            let mut grant = good.clone();
            change(&mut grant.terms);
            let terms = grant.terms.clone();
            assert_eq!(grant.verify(&key(), &wanted(&terms), now()), Err(GrantRefusal::Signature));
        }
    }

    #[test]
    fn refuses_other_wishes_times_and_keys() {
        let grant = SyncGrant::example();
        let later = grant.terms.expires_at.plus_seconds(1);
        assert!(matches!(grant.verify(&key(), &wanted(&grant.terms), later), Err(GrantRefusal::Expired(_))));
        let other_revision = crate::catalogue::sha('e');
        let wish = Wanted { revision: &other_revision, ..wanted(&grant.terms) };
        assert!(matches!(
            grant.verify(&key(), &wish, now()),
            Err(GrantRefusal::Other { what: "revision", .. })
        ));
        let wish = Wanted { prune: true, ..wanted(&grant.terms) };
        assert_eq!(grant.verify(&key(), &wish, now()), Err(GrantRefusal::Prune));
        let foreign = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert_eq!(grant.verify(&foreign, &wanted(&grant.terms), now()), Err(GrantRefusal::Signature));
        let mut long = grant.terms.clone();
        long.expires_at = long.issued_at.plus_seconds(MAX_LIFETIME_SECONDS + 1);
        let long = SyncGrant::sign(long, &SigningKey::from_bytes(&[7; 32]));
        assert!(matches!(long.verify(&key(), &wanted(&long.terms), now()), Err(GrantRefusal::Times { .. })));
    }
}
