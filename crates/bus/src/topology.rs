//! Streams, consumers and buckets: the whole topology as constants. Provisioning makes them, services bind to them.

use std::time::Duration;

/// A stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamName {
    /// Verified webhooks.
    Inbox,
    /// Facts.
    Events,
    /// Commands.
    Work,
    /// Log chunks.
    Logs,
    /// Messages that could not be handled.
    DeadLetters,
    /// The broker's own notices of messages that were given up.
    Advisories,
}

impl StreamName {
    /// All of them, in the order in which they are made.
    pub const ALL: &'static [Self] =
        &[Self::Inbox, Self::Events, Self::Work, Self::Logs, Self::DeadLetters, Self::Advisories];

    /// As the `nats` CLI shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbox => "INBOX",
            Self::Events => "EVENTS",
            Self::Work => "WORK",
            Self::Logs => "LOGS",
            Self::DeadLetters => "DLQ",
            Self::Advisories => "ADVISORY",
        }
    }

    /// Share of the bus's storage, in thousandths.
    pub(crate) const fn share(self) -> u64 {
        match self {
            Self::Inbox | Self::Work | Self::DeadLetters => 20,
            Self::Events => 200,
            Self::Logs => 120,
            Self::Advisories => 5,
        }
    }
}

/// A KV bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// `RunState` by `<repo>.<n>`, `RunsOfPush` by `push.<push>`, counters.
    Runs,
    /// `AppState` by `<project>.<app>`.
    Apps,
    /// The last push of each ref.
    Heads,
    /// Ownership, ageing out.
    Leases,
    /// Consumed nonces.
    Grants,
    /// What the notifier said where.
    Chats,
    /// Sessions and tokens, hashed.
    Accounts,
    /// Renderings by input.
    Renders,
}

impl Bucket {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Runs,
        Self::Apps,
        Self::Heads,
        Self::Leases,
        Self::Grants,
        Self::Chats,
        Self::Accounts,
        Self::Renders,
    ];

    /// The bucket's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Apps => "apps",
            Self::Heads => "heads",
            Self::Leases => "leases",
            Self::Grants => "grants",
            Self::Chats => "chats",
            Self::Accounts => "accounts",
            Self::Renders => "renders",
        }
    }

    /// Share of the bus's storage, in thousandths.
    pub(crate) const fn share(self) -> u64 {
        15
    }
}

/// An object store bucket. Objects are named by their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Store {
    /// Webhook bodies.
    Payloads,
    /// Rendered manifests and comparisons.
    Manifests,
    /// Image blobs on their way.
    Artifacts,
    /// Archived step logs.
    Logs,
}

impl Store {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Payloads, Self::Manifests, Self::Artifacts, Self::Logs];

    /// The bucket's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payloads => "payloads",
            Self::Manifests => "manifests",
            Self::Artifacts => "artifacts",
            Self::Logs => "logs",
        }
    }

    /// How long objects are kept.
    pub(crate) const fn max_age(self) -> Duration {
        const DAY: u64 = 86_400;
        Duration::from_secs(match self {
            Self::Payloads => 14 * DAY,
            Self::Manifests | Self::Logs => 90 * DAY,
            Self::Artifacts => 3 * DAY,
        })
    }

    /// Share of the bus's storage, in thousandths.
    pub(crate) const fn share(self) -> u64 {
        match self {
            Self::Payloads => 40,
            Self::Manifests => 100,
            Self::Artifacts => 250,
            Self::Logs => 100,
        }
    }
}

/// A durable consumer.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerSpec {
    /// Durable name.
    pub name: &'static str,
    /// Its stream.
    pub stream: StreamName,
    /// What it gets.
    pub filter: &'static str,
    /// A message that is neither acknowledged nor reported on comes again after this.
    pub ack_wait: Duration,
    /// Deliveries at most; then the message goes to the DLQ.
    pub max_deliver: i64,
    /// Messages under way at most, over all replicas of the service.
    pub max_ack_pending: i64,
}

const fn consumer(
    name: &'static str,
    stream: StreamName,
    filter: &'static str,
    max_ack_pending: i64,
) -> ConsumerSpec {
    ConsumerSpec { name, stream, filter, ack_wait: Duration::from_secs(15), max_deliver: 8, max_ack_pending }
}

/// Ingress understands deliveries one after the other: the chain of a ref's pushes is built in order.
pub const INGRESS_INBOX: ConsumerSpec = consumer("ingress-inbox", StreamName::Inbox, "inbox.>", 1);
/// The builder plans runs.
pub const BUILDER_PUSH: ConsumerSpec =
    consumer("builder-push", StreamName::Events, "evt.push.*.*.received", 16);
/// The builder's coordinator follows its jobs, one fact after the other, so that states never go backwards.
pub const BUILDER_PROGRESS: ConsumerSpec = consumer("builder-progress", StreamName::Events, "evt.job.>", 1);
/// The builder's executors take jobs. Waiting for a lease uses up deliveries, hence their number.
pub const BUILDER_EXECUTE: ConsumerSpec = ConsumerSpec {
    max_deliver: 200,
    ..consumer("builder-execute", StreamName::Work, "cmd.builder.job.*", 64)
};
/// A person cancels a run.
pub const BUILDER_CANCEL: ConsumerSpec =
    consumer("builder-cancel", StreamName::Work, "cmd.builder.cancel.*", 16);
/// A person runs a run again.
pub const BUILDER_RERUN: ConsumerSpec =
    consumer("builder-rerun", StreamName::Work, "cmd.builder.rerun.*", 16);
/// The publisher uploads images.
pub const PUBLISHER_BUILT: ConsumerSpec =
    consumer("publisher-built", StreamName::Events, "evt.image.*.*.built", 8);
/// The publisher bumps deploy repositories.
pub const PUBLISHER_BUMP: ConsumerSpec = ConsumerSpec {
    max_deliver: 60,
    ..consumer("publisher-bump", StreamName::Events, "evt.image.*.*.published", 8)
};
/// The publisher promotes.
pub const PUBLISHER_PROMOTE: ConsumerSpec = ConsumerSpec {
    max_deliver: 60,
    ..consumer("publisher-promote", StreamName::Work, "cmd.publisher.promote.*", 8)
};
/// The renderer renders.
pub const RENDERER_RENDER: ConsumerSpec =
    consumer("renderer-render", StreamName::Work, "cmd.renderer.render.*", 16);
/// The reconciler hears of pushes to deploy repositories.
pub const RECONCILER_PUSH: ConsumerSpec =
    consumer("reconciler-push", StreamName::Events, "evt.push.*.*.received", 16);
/// The reconciler compares what was rendered.
pub const RECONCILER_RENDERED: ConsumerSpec =
    consumer("reconciler-rendered", StreamName::Events, "evt.render.>", 16);
/// The reconciler syncs when told. Waiting for an application's lease uses up deliveries, hence their number.
pub const RECONCILER_SYNC: ConsumerSpec = ConsumerSpec {
    max_deliver: 60,
    ..consumer("reconciler-sync", StreamName::Work, "cmd.reconciler.sync.*", 16)
};
/// The reconciler compares again when told.
pub const RECONCILER_REFRESH: ConsumerSpec =
    consumer("reconciler-refresh", StreamName::Work, "cmd.reconciler.refresh.*", 16);
/// The notifier tells the story, one fact after the other.
pub const NOTIFIER_FACTS: ConsumerSpec = consumer("notifier-facts", StreamName::Events, "evt.>", 1);
/// The notifier says what a workflow wants said.
pub const NOTIFIER_SEND: ConsumerSpec = consumer("notifier-send", StreamName::Work, "cmd.notifier.send.*", 8);
/// Moves what the broker gave up into the DLQ.
pub(crate) const DEAD_LETTER_MOVER: ConsumerSpec =
    consumer("dead-letter-mover", StreamName::Advisories, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", 16);

/// Each service's consumer of messages that `sluice dlq retry` sends to one consumer again.
const fn redelivery(name: &'static str, filter: &'static str) -> ConsumerSpec {
    consumer(name, StreamName::Work, filter, 8)
}

/// By service.
pub(crate) const REDELIVERIES: &[(&str, ConsumerSpec)] = &[
    ("ingress", redelivery("ingress-redelivery", "cmd.ingress.redeliver.*")),
    ("builder", redelivery("builder-redelivery", "cmd.builder.redeliver.*")),
    ("publisher", redelivery("publisher-redelivery", "cmd.publisher.redeliver.*")),
    ("renderer", redelivery("renderer-redelivery", "cmd.renderer.redeliver.*")),
    ("reconciler", redelivery("reconciler-redelivery", "cmd.reconciler.redeliver.*")),
    ("notifier", redelivery("notifier-redelivery", "cmd.notifier.redeliver.*")),
];

/// Every durable consumer.
#[must_use]
pub fn consumers() -> Vec<ConsumerSpec> {
    let mut all = vec![
        INGRESS_INBOX,
        BUILDER_PUSH,
        BUILDER_PROGRESS,
        BUILDER_EXECUTE,
        BUILDER_CANCEL,
        BUILDER_RERUN,
        PUBLISHER_BUILT,
        PUBLISHER_BUMP,
        PUBLISHER_PROMOTE,
        RENDERER_RENDER,
        RECONCILER_PUSH,
        RECONCILER_RENDERED,
        RECONCILER_SYNC,
        RECONCILER_REFRESH,
        NOTIFIER_FACTS,
        NOTIFIER_SEND,
        DEAD_LETTER_MOVER,
    ];
    all.extend(REDELIVERIES.iter().map(|(_, spec)| *spec));
    all
}

/// The service that a consumer belongs to: the first word of its name.
pub(crate) fn service_of(consumer: &str) -> &str {
    consumer.split('-').next().unwrap_or(consumer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_belong_to_services() {
        let names: BTreeSet<_> = consumers().iter().map(|c| c.name).collect();
        assert_eq!(names.len(), consumers().len());
    }

    #[test]
    fn shares_fit_into_the_whole() {
        let streams: u64 = StreamName::ALL.iter().map(|s| s.share()).sum();
        let buckets: u64 = Bucket::ALL.iter().map(|b| b.share()).sum();
        let stores: u64 = Store::ALL.iter().map(|s| s.share()).sum();
        assert!(streams + buckets + stores <= 1000);
    }

    #[test]
    fn work_filters_are_disjoint() {
        let filters: Vec<_> = consumers().into_iter().filter(|c| c.stream == StreamName::Work).collect();
        let unique: BTreeSet<_> = filters.iter().map(|c| c.filter).collect();
        assert_eq!(unique.len(), filters.len());
        assert!(filters.iter().all(|c| c.filter.split('.').count() == 4 && c.filter.ends_with(".*")));
    }
}
