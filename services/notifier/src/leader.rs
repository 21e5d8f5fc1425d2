//! Who speaks and listens: one replica, by lease. Telegram gives updates to one program only, and a message must have one sender.
//!
//! Invariant: desk and poller run only while the lease is held; losing it stops both before another may have it. The tokens are
//! read again every so often, so they can be set after the start. Called once, by [`crate::run`].

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sluice_bus::{Bus, Lease};
use sluice_chassis::{CancellationToken, Service};
use sluice_kubernetes::Cluster;
use sluice_schemas::Timestamp;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::bot::{Bots, Credentials};
use crate::config::{ChatConfig, Config};
use crate::desk::Desk;
use crate::poller::{COMPONENT, Poller};
use crate::store::Store;

/// Key of the lease.
const LEASE: &str = "notifier.telegram";
/// How often a standby asks for the lease.
const STANDBY: Duration = Duration::from_secs(2);
/// How often tokens are read while there is none.
const NO_TOKEN: Duration = Duration::from_secs(3);
/// How often tokens are read again.
const REFRESH: Duration = Duration::from_secs(30);
/// How often old memories are forgotten.
const FORGET: Duration = Duration::from_secs(6 * 3600);
/// How long stories are remembered.
const REMEMBER_SECONDS: i64 = 30 * 86_400;

/// Everything that runs while the lease is held.
pub(crate) struct Leader {
    pub(crate) service: Service,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) config: Config,
    pub(crate) bots: Arc<Bots>,
    pub(crate) api: Api,
    pub(crate) desk: Arc<Desk>,
    pub(crate) poller: Poller,
}

impl Leader {
    /// Works until the process ends.
    pub(crate) async fn run(self) {
        let shutdown = self.service.shutdown().clone();
        while !shutdown.is_cancelled() {
            match self.bus.leases().acquire(&self.service, LEASE).await {
                Ok(Some(lease)) => {
                    tracing::info!(epoch = lease.epoch(), "this replica speaks and listens");
                    self.lead(&lease, &shutdown).await;
                }
                Ok(None) => tracing::debug!("another replica speaks and listens"),
                Err(error) => tracing::warn!(%error, "the lease cannot be asked for"),
            }
            tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(STANDBY) => {} }
        }
    }

    async fn lead(&self, lease: &Lease, shutdown: &CancellationToken) {
        let stop = shutdown.child_token();
        let mut desk = JoinSet::new();
        // The desk needs a token as well, but notes may bring theirs.
        self.refresh().await;
        desk.spawn(self.desk.clone().run(stop.clone()));
        tokio::select! {
            () = lease.lost().cancelled() => tracing::warn!("the lease is lost; another replica takes over"),
            () = shutdown.cancelled() => {}
            () = self.listen(&stop) => {}
            () = self.keep_fresh() => {}
            () = self.forget() => {}
        }
        stop.cancel();
        while desk.join_next().await.is_some() {}
    }

    /// Polls as long as there is a token.
    async fn listen(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.bots.own() {
                Some(outbox) => self.poller.run(&outbox, stop).await,
                // Chat is a convenience: without a token everything else works, and so the process is ready.
                None => self.service.health().ready(COMPONENT),
            }
            tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(NO_TOKEN) => {} }
        }
    }

    async fn keep_fresh(&self) {
        loop {
            let complete = self.bots.own().is_some() && self.api.has_token();
            let pause = if complete { REFRESH } else { NO_TOKEN };
            tokio::time::sleep(pause).await;
            self.refresh().await;
        }
    }

    async fn refresh(&self) {
        let found = Credentials::read(&self.config, self.cluster.as_ref()).await;
        if let Err(error) = self.bots.set_own(found.token.as_ref()) {
            tracing::error!(%error, "the bot cannot be used");
        }
        self.api.set_token(found.service_token);
        let mut chats = self.config.chats.clone();
        for chat in found.chats {
            if !chats.iter().any(|known| known.chat == chat) {
                chats.push(ChatConfig { chat, ..ChatConfig::default() });
            }
        }
        *self.desk.chats.lock().unwrap_or_else(PoisonError::into_inner) = chats;
    }

    async fn forget(&self) {
        loop {
            tokio::time::sleep(FORGET).await;
            let now = Timestamp::now();
            // Telegram itself gives an update up after a day.
            match self
                .store
                .forget_old(now.plus_seconds(-REMEMBER_SECONDS), now.plus_seconds(-2 * 86_400))
                .await
            {
                Ok(0) => {}
                Ok(forgotten) => tracing::info!(forgotten, "old messages are no longer kept up to date"),
                Err(error) => tracing::warn!(%error, "old messages could not be forgotten"),
            }
        }
    }
}
