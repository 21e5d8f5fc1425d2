//! What Git says against what was recorded: the refs of one repository that moved without anybody telling.
//!
//! Invariant: what stood there at the first look is written down and is no difference. Called by the poller.

use std::collections::{BTreeMap, BTreeSet};

use sluice_bus::{Bucket, Bus, KvError};
use sluice_git::RemoteHeads;
use sluice_schemas::state::HeadState;
use sluice_schemas::{Sha, Timestamp};

use crate::repositories::KnownRepository;

/// More tags than this are not looked at: releases that old are not news.
const MAX_TAGS: usize = 1000;

/// A ref that stands elsewhere than was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) git_ref: String,
    pub(crate) before: Sha,
    pub(crate) after: Sha,
}

/// Compares, and notes what stands there at the first look.
pub(crate) async fn compare(
    bus: &Bus,
    known: &KnownRepository,
    heads: &RemoteHeads,
) -> Result<Vec<Difference>, KvError> {
    let there = current(heads);
    let kv = bus.kv::<HeadState>(Bucket::Heads);
    let prefix = format!("{}.", known.slug);
    let keys: BTreeSet<String> =
        kv.keys().await?.into_iter().filter(|key| key.starts_with(&prefix)).collect();
    let marker = format!("baseline.{}", known.slug);
    let first_look = bus.kv::<Timestamp>(Bucket::Heads).get(&marker).await?.is_none();
    let mut differences = Vec::new();
    for (git_ref, after) in &there {
        let key = HeadState::key(&known.slug, git_ref);
        let head = if keys.contains(&key) { kv.get(&key).await? } else { None };
        match head {
            Some(head) if &head.value.after == after => {}
            None if first_look => stands(bus, &key, git_ref, after).await?,
            head => differences.push(Difference {
                git_ref: git_ref.clone(),
                before: head.map_or_else(null, |head| head.value.after),
                after: after.clone(),
            }),
        }
    }
    let there_keys: BTreeSet<String> = there.keys().map(|r| HeadState::key(&known.slug, r)).collect();
    for key in keys.difference(&there_keys) {
        let Some(head) = kv.get(key).await? else { continue };
        let looked_for = head.value.git_ref.starts_with("refs/heads/") || tags_are_looked_at(heads);
        if looked_for && !head.value.after.is_null() {
            differences.push(Difference {
                git_ref: head.value.git_ref,
                before: head.value.after,
                after: null(),
            });
        }
    }
    if first_look {
        bus.kv(Bucket::Heads).put(&marker, &Timestamp::now()).await?;
    }
    Ok(differences)
}

/// Notes where a ref stood before Sluice looked for the first time.
async fn stands(bus: &Bus, key: &str, git_ref: &str, after: &Sha) -> Result<(), KvError> {
    let head = HeadState {
        git_ref: git_ref.to_owned(),
        before: after.clone(),
        after: after.clone(),
        push: None,
        previous: None,
        seen_at: Timestamp::now(),
    };
    match bus.kv(Bucket::Heads).create(key, &head).await {
        // A webhook was quicker.
        Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Branches, and tags unless there are too many.
fn current(heads: &RemoteHeads) -> BTreeMap<String, Sha> {
    let tags = tags_are_looked_at(heads);
    heads
        .refs
        .iter()
        .filter(|r| {
            r.name.as_str().starts_with("refs/heads/") || tags && r.name.as_str().starts_with("refs/tags/")
        })
        .map(|r| (r.name.to_string(), r.sha.clone()))
        .collect()
}

fn tags_are_looked_at(heads: &RemoteHeads) -> bool {
    heads.refs.iter().filter(|r| r.name.as_str().starts_with("refs/tags/")).count() <= MAX_TAGS
}

fn null() -> Sha {
    // The constant is 40 zeros, which is a commit id by its form.
    Sha::NULL.parse().unwrap_or_else(|_| unreachable!("40 digits"))
}
