//! A nats-server, and buses connected to it under the names of services.

use std::path::PathBuf;

use sluice_bus::{Bus, BusConfig};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Service};
use sluice_test_nats::NatsServer;

pub(crate) struct Server {
    pub(crate) nats: NatsServer,
    service: Service,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self { nats: NatsServer::start(), service: service("builder") }
    }

    pub(crate) async fn bus(&self, name: &'static str) -> Bus {
        let config =
            BusConfig { url: self.nats.url(), lease_seconds: 3, storage_gib: 1, ..BusConfig::default() };
        let bus = Bus::connect(&service(name), &config).await.expect("connects");
        bus.provision().await.expect("provisions");
        bus
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    pub(crate) async fn publish_raw(&self, subject: &'static str, payload: &'static str) {
        let client = async_nats::connect(self.nats.url()).await.expect("connects");
        let js = async_nats::jetstream::new(client);
        js.publish(subject, payload.into()).await.expect("sent").await.expect("stored");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.service.shutdown().cancel();
    }
}

fn service(name: &'static str) -> Service {
    let file = ConfigFile::parse(PathBuf::new(), String::new(), []).expect("an empty configuration");
    Process::new(file).service(name)
}
