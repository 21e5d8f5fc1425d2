//! Where a ref stands: bucket `heads`, key `<repo>.<ref as a token>`. Written by ingress alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{PushId, RepoSlug, hash_token, tokenise};
use crate::{Sha, Timestamp};

/// The newest push of a ref.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeadState {
    /// The ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// Where it stood before.
    pub before: Sha,
    /// Where it stands; null when it is gone.
    pub after: Sha,
    /// The push that moved it there; absent when it stood there before Sluice looked for the first time.
    pub push: Option<PushId>,
    /// The push before that one: together with the commit it makes a push's id.
    pub previous: Option<PushId>,
    /// When this was written.
    pub seen_at: Timestamp,
}

impl HeadState {
    /// The key in the bucket.
    #[must_use]
    pub fn key(repository: &RepoSlug, git_ref: &str) -> String {
        format!("{repository}.{}", tokenise(git_ref))
    }

    /// The id of a push: the same commit coming back to a ref later is another push, the same news told twice is not.
    #[must_use]
    pub fn push_id(repository: &RepoSlug, git_ref: &str, after: &Sha, previous: Option<&PushId>) -> PushId {
        let previous = previous.map_or("", PushId::as_str);
        PushId::from_text(&hash_token(&["push", repository.as_str(), git_ref, after.as_str(), previous]))
    }
}

/// What became of a webhook delivery: bucket `deliveries`, key `<repo>.<delivery>`. Written by ingress, so that the
/// answer to a repeated webhook can name what the first one led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryState {
    /// The push that it told of, or that was known already.
    pub push: Option<PushId>,
    /// Why it led to nothing.
    pub ignored: Option<String>,
}
