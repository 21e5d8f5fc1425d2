//! Promotion: what dev runs healthily goes into prod's manifests. It deploys nothing.

use serde::{Deserialize, Serialize};
use sluice_schemas::commands::Promote;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::BumpKind;
use sluice_schemas::ids::{BumpId, Correlation, hash_token};
use sluice_schemas::{Cause, Digest};

use super::once::Seed;
use crate::Api;
use crate::access::Caller;
use crate::error::{Answer, ApiError};
use crate::model::RepoView;

/// What a person wants promoted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PromoteWish {
    /// The tag; absent means what dev runs. Another tag than that is refused.
    #[serde(default)]
    pub(crate) tag: Option<String>,
}

/// What was ordered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Promoted {
    /// The bump that it becomes.
    pub(crate) bump: BumpId,
    /// Full name of the source repository.
    pub(crate) repository: String,
    /// `host/path` of the image.
    pub(crate) image: String,
    /// Its tag.
    pub(crate) tag: String,
    /// Its digest, when known.
    pub(crate) digest: Option<Digest>,
    /// The chain: that of the commit.
    pub(crate) correlation: Correlation,
}

/// Orders the promotion. The caller's right was checked.
///
/// # Errors
/// When dev does not prove it.
pub(crate) async fn promote(
    api: &Api,
    caller: &Caller,
    repo: &RepoView,
    wish: PromoteWish,
    seed: Seed,
) -> Answer<Promoted> {
    let name = &repo.repository.full_name;
    let found = api.model.read().promotable(repo);
    let Some(found) = found else {
        return Err(ApiError::conflict(format!(
            "no image of {name} was written into a deploy repository yet, so there is nothing to promote; push to {name} first"
        )));
    };
    if let Some(tag) = wish.tag.filter(|tag| tag != &found.tag) {
        return Err(ApiError::conflict(format!(
            "dev runs {} and not {tag}; only what dev proves can be promoted",
            found.tag
        )));
    }
    if !found.ready {
        return Err(ApiError::conflict(format!("{name} cannot be promoted now: {}", found.reason)));
    }
    let bump = BumpId::from_text(&hash_token(&["promotion", &seed.id, repo.repository.slug.as_str()]));
    let chain = {
        let model = api.model.read();
        let of_tag = model.chains().find(|chain| {
            let it = &chain.summary;
            it.image.as_deref() == Some(&found.image) && it.tag.as_deref() == Some(&found.tag)
        });
        of_tag.map(|chain| chain.correlation.clone())
    };
    let correlation = chain.unwrap_or_else(|| correlation_of(bump.as_str()));
    let command = Promote {
        bump: bump.clone(),
        source: repo.repository.slug.clone(),
        deploy_url: found.deploy_url,
        image: found.image.clone(),
        tag: found.tag.clone(),
        digest: found.digest.clone(),
        person: caller.person.clone(),
        surface: caller.surface,
        kind: BumpKind::Promotion,
    };
    let cause = Cause::root(correlation.clone(), format!("promotion:{bump}"));
    api.bus.publish(&command, &cause).await.map_err(|error| ApiError::away("the bus", &error))?;
    Ok(Promoted {
        bump,
        repository: name.clone(),
        image: found.image,
        tag: found.tag,
        digest: found.digest,
        correlation,
    })
}
