//! Makes streams, consumers and buckets, and checks that the broker echoes what was asked for.
//!
//! Old brokers drop configuration that they do not know without a word; the echo check turns that into a refusal to
//! start. Idempotent. Called once at the start of a service, and by `sluice bus provision`.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{self, Compression, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{kv, object_store};
use serde::Serialize;
use serde_json::Value;

use crate::topology::{self, Bucket, ConsumerSpec, Store, StreamName};
use crate::{Bus, BusConfig};

const DAY: Duration = Duration::from_secs(86_400);

/// Why the topology could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The broker refused.
    #[error("NATS refused to make {what} {name}: {reason}")]
    Refused { what: &'static str, name: String, reason: String },
    /// The broker made something else.
    #[error(
        "NATS keeps {what} {name} with {field} = {found} instead of {wanted}; is the server older than 2.12?"
    )]
    Echo { what: &'static str, name: String, field: String, wanted: String, found: String },
}

impl Bus {
    /// Makes everything that is missing and corrects what differs.
    ///
    /// # Errors
    /// When the broker refuses, or keeps another configuration than asked for.
    pub async fn provision(&self) -> Result<(), ProvisionError> {
        if !self.inner.config.provision {
            tracing::info!("bus.provision is off; taking the topology as it is");
            return Ok(());
        }
        let settings = &self.inner.config;
        for name in StreamName::ALL {
            self.provision_stream(stream_config(*name, settings)).await?;
        }
        for bucket in Bucket::ALL {
            let config = kv_config(*bucket, settings);
            let name = config.bucket.clone();
            let made = self.inner.js.create_or_update_key_value(config).await;
            made.map_err(|error| refused("bucket", &name, &error))?;
        }
        for store in Store::ALL {
            // There is no update of an object store; an existing one is taken as it is.
            let config = store_config(*store, settings);
            let name = config.bucket.clone();
            if self.inner.js.get_object_store(&name).await.is_err() {
                let made = self.inner.js.create_object_store(config).await;
                made.map_err(|error| refused("object store", &name, &error))?;
            }
        }
        for spec in topology::consumers() {
            self.provision_consumer(&spec).await?;
        }
        Ok(())
    }

    async fn provision_stream(&self, wanted: stream::Config) -> Result<(), ProvisionError> {
        let name = wanted.name.clone();
        let info = self.inner.js.create_or_update_stream(wanted.clone()).await;
        let info = info.map_err(|error| refused("stream", &name, &error))?;
        check_echo("stream", &name, &wanted, &info.config)
    }

    async fn provision_consumer(&self, spec: &ConsumerSpec) -> Result<(), ProvisionError> {
        let wanted = consumer_config(spec);
        let made = self.inner.js.create_consumer_on_stream(wanted.clone(), spec.stream.as_str()).await;
        let made = made.map_err(|error| refused("consumer", spec.name, &error))?;
        let echoed = &made.cached_info().config;
        let pairs = [
            ("filter_subject", spec.filter.to_owned(), echoed.filter_subject.clone()),
            ("max_deliver", spec.max_deliver.to_string(), echoed.max_deliver.to_string()),
            ("ack_wait", format!("{:?}", spec.ack_wait), format!("{:?}", echoed.ack_wait)),
            ("max_ack_pending", spec.max_ack_pending.to_string(), echoed.max_ack_pending.to_string()),
        ];
        for (field, wanted, found) in pairs {
            if wanted != found {
                let (name, field) = (spec.name.to_owned(), field.to_owned());
                return Err(ProvisionError::Echo { what: "consumer", name, field, wanted, found });
            }
        }
        Ok(())
    }
}

fn stream_config(name: StreamName, config: &BusConfig) -> stream::Config {
    let base = stream::Config {
        name: name.as_str().to_owned(),
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_bytes: share_of(config, name.share()),
        duplicate_window: Duration::from_secs(600),
        allow_direct: true,
        discard: DiscardPolicy::Old,
        ..stream::Config::default()
    };
    match name {
        StreamName::Inbox => stream::Config {
            description: Some("Verified webhooks; the second of the same subject is refused".to_owned()),
            subjects: vec!["inbox.>".to_owned()],
            max_age: 14 * DAY,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..base
        },
        StreamName::Events => stream::Config {
            description: Some("Facts: the log that everything is folded from".to_owned()),
            subjects: vec!["evt.>".to_owned()],
            max_age: 90 * DAY,
            deny_delete: true,
            deny_purge: true,
            compression: Some(Compression::S2),
            ..base
        },
        StreamName::Work => stream::Config {
            description: Some("Commands; gone when acknowledged".to_owned()),
            subjects: vec!["cmd.>".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            max_age: 3 * DAY,
            max_messages: 100_000,
            discard: DiscardPolicy::New,
            ..base
        },
        StreamName::Logs => stream::Config {
            description: Some(
                "Log chunks of running steps; archived in the object store when a step ends".to_owned(),
            ),
            subjects: vec!["log.>".to_owned()],
            max_age: 7 * DAY,
            compression: Some(Compression::S2),
            ..base
        },
        StreamName::DeadLetters => stream::Config {
            description: Some("Messages that could not be handled, with the reason".to_owned()),
            subjects: vec!["dlq.>".to_owned()],
            max_age: 30 * DAY,
            ..base
        },
        StreamName::Advisories => stream::Config {
            description: Some("The broker's notices of messages given up".to_owned()),
            subjects: vec!["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>".to_owned()],
            max_age: 7 * DAY,
            ..base
        },
    }
}

fn consumer_config(spec: &ConsumerSpec) -> pull::Config {
    pull::Config {
        durable_name: Some(spec.name.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: spec.ack_wait,
        max_deliver: spec.max_deliver,
        filter_subject: spec.filter.to_owned(),
        max_ack_pending: spec.max_ack_pending,
        ..pull::Config::default()
    }
}

fn kv_config(bucket: Bucket, config: &BusConfig) -> kv::Config {
    let (history, max_age) = match bucket {
        Bucket::Leases => (1, Duration::from_secs(config.lease_seconds)),
        Bucket::Runs | Bucket::Apps => (5, Duration::ZERO),
        _ => (1, Duration::ZERO),
    };
    kv::Config {
        bucket: bucket.as_str().to_owned(),
        history,
        max_age,
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_bytes: share_of(config, bucket.share()),
        // Lets single keys have a time to live, and watchers see them go.
        limit_markers: Some(Duration::from_secs(60)),
        ..kv::Config::default()
    }
}

fn store_config(store: Store, config: &BusConfig) -> object_store::Config {
    object_store::Config {
        bucket: store.as_str().to_owned(),
        max_age: store.max_age(),
        max_bytes: share_of(config, store.share()),
        storage: StorageType::File,
        num_replicas: config.replicas,
        ..object_store::Config::default()
    }
}

/// Bytes of a share in thousandths.
fn share_of(config: &BusConfig, share: u64) -> i64 {
    let bytes = config.storage_gib.saturating_mul(1 << 30) / 1000 * share;
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn refused(what: &'static str, name: &str, error: &dyn std::error::Error) -> ProvisionError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        reason = format!("{reason}: {error}");
        source = error.source();
    }
    ProvisionError::Refused { what, name: name.to_owned(), reason }
}

/// Every field that was set must come back as it was set.
fn check_echo<T: Serialize>(
    what: &'static str,
    name: &str,
    wanted: &T,
    found: &T,
) -> Result<(), ProvisionError> {
    let (Ok(Value::Object(wanted)), Ok(Value::Object(found))) =
        (serde_json::to_value(wanted), serde_json::to_value(found))
    else {
        return Ok(());
    };
    for (field, wanted) in wanted {
        let unset = matches!(&wanted, Value::Null | Value::Bool(false))
            || wanted.as_i64() == Some(0)
            || wanted.as_str() == Some("")
            || wanted.as_array().is_some_and(Vec::is_empty)
            || wanted.as_object().is_some_and(serde_json::Map::is_empty);
        // The broker adds its own metadata, and writes limits of 0 as -1.
        if unset || field == "metadata" {
            continue;
        }
        let found = found.get(&field).cloned().unwrap_or(Value::Null);
        if found != wanted {
            return Err(ProvisionError::Echo {
                what,
                name: name.to_owned(),
                field,
                wanted: wanted.to_string(),
                found: found.to_string(),
            });
        }
    }
    Ok(())
}
