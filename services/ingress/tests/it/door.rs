//! A front door on a nats-server of its own, and a Git host's side of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use sluice_bus::{Bus, BusConfig, From, StreamName};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Secret, Service};
use sluice_ingress::{Config, KnownRepository, StaticSource};
use sluice_schemas::events::PushReceived;
use sluice_schemas::ids::RepoSlug;
use sluice_schemas::{Envelope, Event, Filter};
use sluice_test_nats::NatsServer;
use tempfile::TempDir;

pub(crate) const SECRET: &str = "the webhook's secret";
pub(crate) const NEXT_SECRET: &str = "the one that replaces it";

pub(crate) struct Door {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    service: Service,
    data: TempDir,
}

impl Door {
    pub(crate) async fn open() -> Self {
        Self::open_for("https://git.example.invalid/dev/shop-web.git", 0).await
    }

    /// For a repository at this URL, looked at so often.
    pub(crate) async fn open_for(url: &str, poll_seconds: u64) -> Self {
        sluice_chassis::process::install_crypto();
        let nats = NatsServer::start();
        let data = TempDir::new().expect("a directory");
        let (service, bus, address) = start(&nats, data.path(), url, poll_seconds).await;
        Self { nats, bus, address, client: reqwest::Client::new(), service, data }
    }

    /// Ends the service in an orderly way and starts another one on the same bus.
    pub(crate) async fn reopen(&mut self) {
        self.service.shutdown().cancel();
        assert!(self.service.tasks().wait(Duration::from_secs(10)).await, "everything ends");
        let url = "https://git.example.invalid/dev/shop-web.git";
        (self.service, self.bus, self.address) = start(&self.nats, self.data.path(), url, 0).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhooks/github", self.address)
    }

    /// A request as GitHub makes it, signed.
    pub(crate) fn request(&self, event: &str, body: &[u8]) -> reqwest::RequestBuilder {
        self.unsigned(event, body).header("X-Hub-Signature-256", sign(SECRET, body))
    }

    pub(crate) fn unsigned(&self, event: &str, body: &[u8]) -> reqwest::RequestBuilder {
        self.client
            .post(self.url())
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", event)
            .header("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .body(body.to_vec())
    }

    pub(crate) async fn deliver(&self, body: &Value) -> (u16, Value) {
        answer(self.request("push", body.to_string().as_bytes())).await
    }

    /// Pushes recorded so far and from now on.
    pub(crate) async fn pushes(&self) -> Pushes {
        let facts = self.bus.facts(&Filter::all_facts(), From::Start).await.expect("a reader");
        Pushes(Box::pin(facts.filter_map(|recorded| async move {
            match recorded.expect("readable") {
                sluice_bus::Recorded { event: Event::PushReceived(push), envelope, .. } => {
                    Some((envelope, *push))
                }
                _ => None,
            }
        })))
    }

    /// How many messages the inbox and the log of facts ever took.
    pub(crate) async fn sequences(&self) -> (u64, u64) {
        let inbox = self.bus.last_sequence(StreamName::Inbox).await.expect("readable");
        (inbox, self.bus.last_sequence(StreamName::Events).await.expect("readable"))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.service.shutdown().cancel();
    }
}

pub(crate) struct Pushes(std::pin::Pin<Box<dyn futures::Stream<Item = (Envelope, PushReceived)> + Send>>);

impl Pushes {
    pub(crate) async fn next(&mut self) -> (Envelope, PushReceived) {
        tokio::time::timeout(Duration::from_secs(30), self.0.next()).await.expect("in time").expect("a push")
    }
}

async fn start(nats: &NatsServer, data: &Path, url: &str, poll_seconds: u64) -> (Service, Bus, SocketAddr) {
    let file = ConfigFile::parse(PathBuf::new(), String::new(), []).expect("an empty configuration");
    let service = Process::new(file).service("ingress");
    let bus_config = BusConfig { url: nats.url(), lease_seconds: 3, storage_gib: 1, ..BusConfig::default() };
    let bus = Bus::connect(&service, &bus_config).await.expect("connects");
    bus.provision().await.expect("provisions");
    let config = Config {
        listen: "127.0.0.1:0".to_owned(),
        poll_seconds,
        poll_grace_seconds: 0,
        data_dir: data.join("git"),
        ..Config::default()
    };
    let source = StaticSource(vec![
        known("dev/shop-web", url, &[SECRET, NEXT_SECRET]),
        known("dev/open", "https://git.example.invalid/dev/open.git", &[]),
        known("dev/other", "https://git.example.invalid/dev/other.git", &["another secret"]),
    ]);
    let address =
        sluice_ingress::start(&service, config, bus.clone(), Arc::new(source)).await.expect("starts");
    (service, bus, address)
}

fn known(full_name: &str, url: &str, secrets: &[&str]) -> KnownRepository {
    KnownRepository {
        slug: RepoSlug::from_full_name(full_name),
        full_name: full_name.to_owned(),
        url: url.to_owned(),
        credentials: None,
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

pub(crate) fn sha(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// A push of `main` from one commit to another, the commits named by a digit each.
pub(crate) fn push(before: char, after: char) -> Value {
    let commit = json!({
        "id": sha(after), "message": format!("Commit {after}"), "timestamp": "2025-11-24T10:00:00Z",
        "author": {"name": "Ada", "email": "ada@example.com"}, "added": [], "modified": ["src/a.sh"], "removed": []});
    json!({
        "ref": "refs/heads/main", "before": sha(before), "after": sha(after), "created": before == '0',
        "deleted": false, "forced": false, "commits": [commit], "head_commit": commit, "pusher": {"name": "ada"},
        "repository": {"full_name": "dev/shop-web", "default_branch": "main", "html_url": "https://git.example.invalid/dev/shop-web",
            "clone_url": "https://elsewhere.example.invalid/evil.git"}})
}

pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
