//! The bots: the installation's own, whose token may appear or change while we run, and those that repositories bring along.
//!
//! Invariant: a token is held only inside a client; bots are told apart by public names. Called by desk, notes and poller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sluice_chassis::Secret;
use sluice_kubernetes::Cluster;
use sluice_schemas::Digest;
use sluice_schemas::ids::ChatId;

use crate::config::Config;
use crate::limiter::Limiter;
use crate::metrics::NotifierMetrics;
use crate::outbox::Outbox;
use crate::store::Store;
use crate::telegram::Telegram;

/// Bots of repositories whose clients are kept.
const OTHERS: usize = 64;

/// What the installation's bot needs; read again every so often.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    /// The bot's token.
    pub(crate) token: Option<Secret>,
    /// The token by which the API server knows the notifier.
    pub(crate) service_token: Option<Secret>,
    /// Chats that are told everything.
    pub(crate) chats: Vec<i64>,
}

/// All bots.
pub(crate) struct Bots {
    name: ChatId,
    api_url: String,
    store: Store,
    limiter: Arc<Limiter>,
    metrics: NotifierMetrics,
    own: Mutex<Option<(Digest, Outbox)>>,
    others: Mutex<HashMap<(ChatId, Digest), Outbox>>,
}

impl Credentials {
    /// Reads files and Secret. A part that cannot be read is missing, and the log says why.
    pub(crate) async fn read(config: &Config, cluster: Option<&Cluster>) -> Self {
        let mut found = Self::default();
        if let Some(cluster) = cluster {
            match cluster.telegram().await {
                Ok(mut data) => {
                    found.token = data.remove("token");
                    found.service_token = data.remove("api-token");
                    let chats = data.remove("chats");
                    let chats = chats.as_ref().map(Secret::expose).unwrap_or_default();
                    found.chats = chats.split(',').filter_map(|chat| chat.trim().parse().ok()).collect();
                }
                Err(error) => tracing::warn!(%error, "the Telegram Secret cannot be read"),
            }
        }
        for (file, place) in
            [(&config.token_file, &mut found.token), (&config.service_token_file, &mut found.service_token)]
        {
            let Some(path) = file else { continue };
            match tokio::fs::read_to_string(path).await {
                Ok(text) => *place = Some(Secret::new(text.trim())),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a token file cannot be read"),
            }
        }
        found.token = found.token.filter(|token| !token.is_empty());
        found.service_token = found.service_token.filter(|token| !token.is_empty());
        found
    }
}

impl Bots {
    /// No bot yet.
    #[must_use]
    pub(crate) fn new(config: &Config, store: Store, metrics: NotifierMetrics) -> Self {
        Self {
            name: ChatId::from_text(&config.bot),
            api_url: config.api_url.clone(),
            store,
            limiter: Arc::new(Limiter::new(config.messages_per_minute)),
            metrics,
            own: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// The installation's bot on subjects.
    #[must_use]
    pub(crate) fn name(&self) -> &ChatId {
        &self.name
    }

    /// The limits that all bots share.
    #[must_use]
    pub(crate) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The installation's bot, once it has a token.
    #[must_use]
    pub(crate) fn own(&self) -> Option<Outbox> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.as_ref().map(|(_, outbox)| outbox.clone())
    }

    /// Takes a token for the installation's bot.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn set_own(&self, token: Option<&Secret>) -> anyhow::Result<()> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = token else {
            *own = None;
            return Ok(());
        };
        let digest = Digest::of(token.expose().as_bytes());
        if own.as_ref().is_none_or(|(known, _)| *known != digest) {
            *own = Some((digest, self.outbox(self.name.clone(), token)?));
        }
        Ok(())
    }

    /// The bot of a repository.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn other(&self, name: ChatId, token: &Secret) -> anyhow::Result<Outbox> {
        let digest = Digest::of(token.expose().as_bytes());
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, outbox)) = own.as_ref().filter(|(known, _)| *known == digest) {
            return Ok(outbox.clone());
        }
        drop(own);
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), digest);
        if let Some(outbox) = others.get(&key) {
            return Ok(outbox.clone());
        }
        if others.len() >= OTHERS {
            others.clear();
        }
        let outbox = self.outbox(name, token)?;
        others.insert(key, outbox.clone());
        Ok(outbox)
    }

    fn outbox(&self, name: ChatId, token: &Secret) -> anyhow::Result<Outbox> {
        let telegram = Telegram::new(&self.api_url, token)?;
        Ok(Outbox::new(name, telegram, self.store.clone(), self.limiter.clone(), self.metrics.clone()))
    }
}
