//! Recording a push: the fact first, then the ref's head.
//!
//! Invariants: a push's id follows from repository, ref, commit and the push before it, so the same news told twice, by a
//! webhook and a poll, or after a crash between any two steps, is one fact; heads change by compare-and-swap; news older
//! than the head never move it back. Called by the inbox handler and the poller.

use sluice_bus::{AppendError, Bucket, Bus, Entry, Expected, KvError, ReadError};
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{Commit, PushReceived, PushSource, Repository};
use sluice_schemas::ids::{Correlation, DeliveryId, PushId};
use sluice_schemas::state::HeadState;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Event, Sha, Subject, Timestamp};

/// Others that move the same head at the same moment: a poll, a second replica.
const ATTEMPTS: u32 = 5;

/// A push as it was heard of.
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub(crate) repository: Repository,
    pub(crate) git_ref: String,
    /// Where the ref stood before, as the teller has it.
    pub(crate) before: Sha,
    pub(crate) after: Sha,
    pub(crate) created: bool,
    pub(crate) deleted: bool,
    pub(crate) forced: bool,
    pub(crate) head_commit: Option<Commit>,
    /// The chain that the head commit continues.
    pub(crate) correlation: Option<Correlation>,
    pub(crate) pusher: String,
    pub(crate) changed_files: Vec<String>,
    pub(crate) changed_files_complete: bool,
    pub(crate) delivery: Option<DeliveryId>,
    pub(crate) source: PushSource,
    pub(crate) received_at: Timestamp,
}

/// What became of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// A fact was written.
    New(PushId),
    /// It had been written before.
    Known(PushId),
}

/// Why nothing could be recorded. Trying again is always safe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Heads(#[from] KvError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the head of {0} is moved by others again and again")]
    Contended(String),
}

/// What the head says about news.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The ref stands there because of this push.
    Known(PushId),
    /// The ref moves there.
    Moves { previous: Option<PushId> },
    /// The ref stood there, and moved on.
    Late { previous: Option<PushId> },
}

impl Recorded {
    /// The push, new or known.
    pub(crate) fn push(&self) -> &PushId {
        match self {
            Self::New(push) | Self::Known(push) => push,
        }
    }
}

/// Records a push. `parent` is the message that told of it, if one did.
pub(crate) async fn record(bus: &Bus, news: &News, parent: Option<&Cause>) -> Result<Recorded, RecordError> {
    let heads = bus.kv::<HeadState>(Bucket::Heads);
    let key = HeadState::key(&news.repository.slug, &news.git_ref);
    for _ in 0..ATTEMPTS {
        let head = heads.get(&key).await?;
        let previous = match judge(head.as_ref().map(|entry| &entry.value), news) {
            Verdict::Known(push) => return Ok(Recorded::Known(push)),
            Verdict::Late { previous } => return late(bus, news, previous, parent).await,
            Verdict::Moves { previous } => previous,
        };
        let push = HeadState::push_id(&news.repository.slug, &news.git_ref, &news.after, previous.as_ref());
        fail::fail_point!("ingress-before-append");
        let recorded = append(bus, news, push.clone(), false, parent).await?;
        fail::fail_point!("ingress-appended-before-head");
        let next = HeadState {
            git_ref: news.git_ref.clone(),
            before: head.as_ref().map_or_else(|| news.before.clone(), |entry| entry.value.after.clone()),
            after: news.after.clone(),
            push: Some(push),
            previous,
            seen_at: Timestamp::now(),
        };
        let written = match &head {
            Some(Entry { revision, .. }) => heads.update(&key, &next, *revision).await,
            None => heads.create(&key, &next).await,
        };
        match written {
            Ok(_) => return Ok(recorded),
            // Somebody else moved the head, perhaps to the same place with the same fact: look again.
            Err(KvError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(RecordError::Contended(news.git_ref.clone()))
}

fn judge(head: Option<&HeadState>, news: &News) -> Verdict {
    let Some(head) = head else { return Verdict::Moves { previous: None } };
    match &head.push {
        Some(push) if head.after == news.after => Verdict::Known(push.clone()),
        // Where the ref stood when Sluice first looked: the webhook that tells of it may still be on its way.
        None if head.after == news.after => Verdict::Moves { previous: head.previous.clone() },
        push => {
            let went_back = news.before == head.after;
            if news.source == PushSource::Webhook && news.after == head.before && !went_back && push.is_some()
            {
                Verdict::Late { previous: head.previous.clone() }
            } else {
                Verdict::Moves { previous: push.clone() }
            }
        }
    }
}

/// News of a push that a newer one has overtaken: a fact, because its workflows are to run, but the head stays.
async fn late(
    bus: &Bus,
    news: &News,
    previous: Option<PushId>,
    parent: Option<&Cause>,
) -> Result<Recorded, RecordError> {
    // The push before the head may be this very one, heard of in other words.
    if let Some(previous) = &previous {
        let subject = Subject::fact(Entity::Push, &news.repository.slug, previous, "received");
        let fact = bus.last_fact(&subject).await?;
        if let Some(Event::PushReceived(push)) = fact.map(|recorded| recorded.event)
            && push.after == news.after
        {
            return Ok(Recorded::Known(previous.clone()));
        }
    }
    let push = HeadState::push_id(&news.repository.slug, &news.git_ref, &news.after, previous.as_ref());
    append(bus, news, push, true, parent).await
}

async fn append(
    bus: &Bus,
    news: &News,
    push: PushId,
    superseded: bool,
    parent: Option<&Cause>,
) -> Result<Recorded, RecordError> {
    let correlation = news.correlation.clone().unwrap_or_else(|| correlation_of(push.as_str()));
    let cause = match parent {
        Some(parent) => Cause { correlation, ..parent.seeded(push.as_str()) },
        None => Cause::root(correlation, push.as_str()),
    };
    let fact = PushReceived {
        push: push.clone(),
        repository: news.repository.clone(),
        git_ref: news.git_ref.clone(),
        before: news.before.clone(),
        after: news.after.clone(),
        created: news.created,
        deleted: news.deleted,
        forced: news.forced,
        head_commit: news.head_commit.clone(),
        superseded,
        pusher: news.pusher.clone(),
        changed_files: news.changed_files.clone(),
        changed_files_complete: news.changed_files_complete,
        delivery: news.delivery.clone(),
        source: news.source,
        received_at: news.received_at,
    };
    match bus.append(&fact, &cause, Expected::Absent).await {
        Ok(sequence) => {
            tracing::info!(repository = news.repository.full_name, git_ref = news.git_ref, %push, sequence, "push recorded");
            Ok(Recorded::New(push))
        }
        // Written by a handler that ended before it could say so.
        Err(AppendError::Conflict { .. }) => Ok(Recorded::Known(push)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::ids::RepoSlug;

    use super::*;

    fn sha(digit: char) -> Sha {
        digit.to_string().repeat(40).parse().expect("40 digits")
    }

    fn news(before: char, after: char) -> News {
        News {
            repository: Repository {
                slug: RepoSlug::from_full_name("dev/shop-web"),
                full_name: "dev/shop-web".to_owned(),
                clone_url: String::new(),
                html_url: String::new(),
                default_branch: "main".to_owned(),
            },
            git_ref: "refs/heads/main".to_owned(),
            before: sha(before),
            after: sha(after),
            created: false,
            deleted: false,
            forced: false,
            head_commit: None,
            correlation: None,
            pusher: String::new(),
            changed_files: Vec::new(),
            changed_files_complete: false,
            delivery: None,
            source: PushSource::Webhook,
            received_at: Timestamp::now(),
        }
    }

    fn head(before: char, after: char, push: Option<&str>) -> HeadState {
        HeadState {
            git_ref: "refs/heads/main".to_owned(),
            before: sha(before),
            after: sha(after),
            push: push.map(PushId::from_text),
            previous: Some(PushId::from_text("p0")),
            seen_at: Timestamp::now(),
        }
    }

    fn id(text: &str) -> Option<PushId> {
        Some(PushId::from_text(text))
    }

    #[test]
    fn news_are_judged_against_the_head() {
        let at_b = head('a', 'b', Some("p1"));
        assert_eq!(judge(None, &news('a', 'b')), Verdict::Moves { previous: None });
        assert_eq!(judge(Some(&at_b), &news('a', 'b')), Verdict::Known(PushId::from_text("p1")));
        assert_eq!(judge(Some(&at_b), &news('b', 'c')), Verdict::Moves { previous: id("p1") });
        // A forced push back to where the branch stood.
        assert_eq!(judge(Some(&at_b), &news('b', 'a')), Verdict::Moves { previous: id("p1") });
        // The push before the head's, arriving after it.
        assert_eq!(judge(Some(&at_b), &news('e', 'a')), Verdict::Late { previous: id("p0") });
        // A webhook was lost in between.
        assert_eq!(judge(Some(&at_b), &news('c', 'd')), Verdict::Moves { previous: id("p1") });
        // What Git says now is never late.
        let polled = News { source: PushSource::Poll, ..news('e', 'a') };
        assert_eq!(judge(Some(&at_b), &polled), Verdict::Moves { previous: id("p1") });
        // Seen by the first look, told by a webhook that came later.
        let found = HeadState { previous: None, ..head('b', 'b', None) };
        assert_eq!(judge(Some(&found), &news('a', 'b')), Verdict::Moves { previous: None });
    }
}
