//! A nats-server, a namespace and an API server of each test's own, and somebody who plays the other services.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sluice_api::Config;
use sluice_bus::{Bucket, Bus, BusConfig, ConsumerSpec, Delivery, Outcome, Recorded, Store, StreamName};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Secret, Service};
use sluice_kubernetes::secrets::SecretType;
use sluice_kubernetes::{Cluster, client};
use sluice_schemas::events::{AppCompared, AppRef, HealthStatus, SyncStatus};
use sluice_schemas::ids::{AppId, ProjectId};
use sluice_schemas::state::{AppState, Comparison, ObjectAction, ObjectComparison};
use sluice_schemas::{Digest, Fact, Filter, Sha, Timestamp};
use sluice_test_nats::NatsServer;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const ADA: &str = "ada's long password";

/// Everything a test needs; gone when it ends.
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) bus: Bus,
    pub(crate) cluster: Cluster,
    pub(crate) http: reqwest::Client,
    pub(crate) admin_password: String,
    service: Service,
    namespace: String,
    _nats: NatsServer,
    _directory: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sluice_chassis::process::install_crypto();
        let directory = tempfile::tempdir().expect("a directory");
        let nats = NatsServer::start();
        let namespace = format!("api-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let text = format!(
            "bus: {{ url: {:?}, storage_gib: 1 }}\nkubernetes: {{ namespace: {namespace}, applications_namespace: {namespace} }}\n",
            nats.url()
        );
        let file = ConfigFile::parse(PathBuf::new(), text, []).expect("a configuration");
        let service = Process::new(file).service("api");
        let kubernetes: client::Config = service.config().section("kubernetes").expect("a section");
        let cluster =
            client::connect(&kubernetes).await.expect("the platform's cluster; `tests/platform/platform up`");
        cluster.install_crds().await.expect("CRDs");
        let password_file = directory.path().join("admin");
        let mut config = Config {
            listen: "127.0.0.1:0".to_owned(),
            initial_password_file: Some(password_file.clone()),
            ..Config::default()
        };
        change(&mut config);
        let address: SocketAddr = sluice_api::start(&service, config).await.expect("starts").address;
        let bus_config: BusConfig = service.config().section("bus").expect("a section");
        let bus = Bus::connect(&service, &bus_config).await.expect("connects");
        let admin_password = std::fs::read_to_string(password_file).expect("written").trim().to_owned();
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self {
            url: format!("http://{address}"),
            bus,
            cluster,
            http,
            admin_password,
            service,
            namespace,
            _nats: nats,
            _directory: directory,
        }
    }

    /// A token of `admin`.
    pub(crate) async fn admin(&self) -> String {
        self.token("admin", &self.admin_password).await
    }

    /// Makes the account `ada` with these roles, and logs in.
    pub(crate) async fn ada(&self, admin: &str, roles: &[&str]) -> String {
        let body = json!({ "roles": roles, "password": ADA });
        let answer = self.call(Method::PUT, "/api/v1/accounts/ada", Some(admin), &body).await;
        assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
        self.token("ada", ADA).await
    }

    pub(crate) async fn token(&self, username: &str, password: &str) -> String {
        let body = json!({ "username": username, "password": password });
        let (status, value) = self.call(Method::POST, "/api/v1/session", None, &body).await;
        assert_eq!(status, StatusCode::OK, "{value}");
        value["token"].as_str().expect("a token").to_owned()
    }

    /// The notifier's token.
    pub(crate) async fn service_token(&self) -> Secret {
        let entry = self.cluster.secret_entry(SecretType::Telegram, "notifier-api").await.expect("readable");
        entry.and_then(|mut entry| entry.data.remove("api-token")).expect("a token")
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, Some(token), &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(token), body).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (StatusCode, Value) {
        self.call_with(method, path, token, body, HeaderMap::new()).await
    }

    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
        headers: HeaderMap,
    ) -> (StatusCode, Value) {
        let is_get = method == Method::GET;
        let mut request = self.http.request(method, format!("{}{path}", self.url)).headers(headers);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if !is_get {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("answered");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Logs in by the form, as a browser does. Gives the cookie.
    pub(crate) async fn cookie(&self, username: &str, password: &str) -> String {
        let answer = self.form("/login", None, &[("username", username), ("password", password)]).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        cookie.split(';').next().expect("a pair").to_owned()
    }

    pub(crate) async fn form(&self, path: &str, cookie: Option<&str>, fields: &[(&str, &str)]) -> Response {
        let mut request =
            self.http.post(format!("{}{path}", self.url)).header("origin", &self.url).form(fields);
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        request.send().await.expect("answered")
    }

    pub(crate) async fn page(&self, path: &str, cookie: &str) -> (StatusCode, String) {
        let request = self.http.get(format!("{}{path}", self.url)).header("cookie", cookie);
        let answer = request.send().await.expect("answered");
        (answer.status(), answer.text().await.expect("a body"))
    }

    /// Publishes a fact as some service would.
    pub(crate) async fn fact<F: Fact>(&self, fact: &F, chain: &str, seed: &str) -> u64 {
        let cause = sluice_schemas::Cause::root(chain.parse().expect("a chain id"), seed);
        self.bus.publish(fact, &cause).await.expect("published").sequence
    }

    /// Waits until the read model has folded everything published so far.
    pub(crate) async fn caught_up(&self, token: &str, path: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let last = std::cell::RefCell::new(Value::Null);
        eventually(async || {
            let (_, value) = self.get(path, token).await;
            let done = ready(&value);
            *last.borrow_mut() = value;
            done
        })
        .await
        .unwrap_or_else(|()| panic!("{path} did not become what was waited for: {}", last.borrow()));
        last.into_inner()
    }

    /// An application as the reconciler would have compared it, gated and OutOfSync.
    pub(crate) async fn compared(&self, name: &str, gated: bool, revision: Sha) -> AppState {
        let app = AppRef {
            app: AppId::from_name(name),
            project: ProjectId::from_name("default"),
            namespace: self.namespace.clone(),
        };
        let manifests = self.bus.objects(Store::Manifests).put(format!("[\"{revision}\"]").into()).await;
        let manifests = manifests.expect("stored");
        let comparison = comparison(&app, &revision, &manifests);
        let bytes = serde_json::to_vec(&comparison).expect("JSON");
        let digest = self.bus.objects(Store::Manifests).put(bytes.into()).await.expect("stored");
        let state = AppState {
            app: app.clone(),
            repository: "http://git.example.com/dev/deploy.git".to_owned(),
            path: "prod".to_owned(),
            target_revision: "HEAD".to_owned(),
            destination_namespace: "prod".to_owned(),
            gated,
            gate_reason: if gated { "it has no automated sync" } else { "" }.to_owned(),
            revision: Some(revision.clone()),
            manifests: Some(manifests.clone()),
            comparison: Some(digest.clone()),
            sync: SyncStatus::OutOfSync,
            health: HealthStatus::Healthy,
            health_message: String::new(),
            conditions: Vec::new(),
            render_error: None,
            images: vec!["registry.example.com/shop/web:cccccccc".to_owned()],
            live_images: vec!["registry.example.com/shop/web:aaaaaaaa".to_owned()],
            synced_revision: None,
            operation: None,
            history: Vec::new(),
            compared_at: Some(Timestamp::now()),
        };
        let kv = self.bus.kv::<AppState>(Bucket::Apps);
        kv.put(&format!("{}.{}", app.project, app.app), &state).await.expect("stored");
        let fact = AppCompared {
            app,
            revision: revision.clone(),
            manifests,
            sync: SyncStatus::OutOfSync,
            health: HealthStatus::Healthy,
            gated,
            out_of_sync: 1,
            objects: 2,
            images: state.images.clone(),
            live_images: state.live_images.clone(),
            comparison: digest,
            errors: Vec::new(),
        };
        self.fact(&fact, "compared", &format!("compared:{name}:{revision}")).await;
        state
    }

    /// All facts of one type there are.
    pub(crate) async fn facts(&self, kind: &str) -> Vec<Recorded> {
        let mut found = self.bus.aggregate(&Filter::all_facts()).await.expect("readable");
        found.retain(|record| record.event.kind() == kind);
        found
    }

    /// All commands sent so far, which must be of one type: takes them as their consumer would. Once a test.
    pub(crate) async fn commands<M: sluice_schemas::Message + Clone>(
        &self,
        consumer: ConsumerSpec,
    ) -> Vec<M> {
        let sent = self.commands_sent().await;
        let taken: Arc<Mutex<Vec<M>>> = Arc::default();
        let keep = taken.clone();
        let handler = move |delivery: Delivery<M>| {
            keep.lock().expect("not poisoned").push(delivery.message);
            std::future::ready(Outcome::Done)
        };
        self.bus.consume(&self.service, consumer, 1, handler).await.expect("a consumer");
        let there = eventually(async || taken.lock().expect("not poisoned").len() as u64 >= sent).await;
        there.expect("all commands arrive");
        let found = taken.lock().expect("not poisoned").clone();
        found
    }

    /// How many commands were sent.
    pub(crate) async fn commands_sent(&self) -> u64 {
        self.bus.last_sequence(StreamName::Work).await.expect("readable")
    }

    /// The first server-sent events of a path.
    pub(crate) async fn events(
        &self,
        path: &str,
        token: &str,
        headers: HeaderMap,
        number: usize,
    ) -> Vec<String> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token).headers(headers);
        let answer = request.header("accept", "text/event-stream").send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK);
        let mut bytes = answer.bytes_stream();
        let mut text = String::new();
        let read = async {
            while text.matches("\n\n").count() < number {
                let Some(chunk) = bytes.next().await else { break };
                text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk")));
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("events in time");
        text.split("\n\n").filter(|it| !it.is_empty() && !it.starts_with(':')).map(str::to_owned).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.service.shutdown().cancel();
        let (namespace, kubectl) = (self.namespace.clone(), kubectl());
        // Deleting takes a while and nobody waits for it.
        let deleted = std::process::Command::new(kubectl)
            .args(["delete", "namespace", &namespace, "--wait=false", "--ignore-not-found"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        drop(deleted);
    }
}

/// Waits for something to become true.
pub(crate) async fn eventually<F, Fut>(condition: F) -> Result<(), ()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if condition().await {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(())
}

pub(crate) fn sha(digit: char) -> Sha {
    Sha::try_from(digit.to_string().repeat(40)).expect("a commit")
}

pub(crate) fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse().expect("a value"));
    headers
}

fn comparison(app: &AppRef, revision: &Sha, manifests: &Digest) -> Comparison {
    let deployment = |image: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "shop-web", "namespace": "prod" },
            "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": image }] } } }
        })
    };
    let object = |kind: &str, name: &str, action, desired, live, parent: Option<&str>| ObjectComparison {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: "prod".to_owned(),
        name: name.to_owned(),
        sync: SyncStatus::OutOfSync,
        action,
        health: Some(HealthStatus::Healthy),
        health_message: String::new(),
        hook: false,
        wave: 0,
        error: None,
        desired,
        live,
        parent: parent.map(str::to_owned),
    };
    let new = deployment("registry.example.com/shop/web:cccccccc");
    let old = deployment("registry.example.com/shop/web:aaaaaaaa");
    Comparison {
        app: app.clone(),
        revision: revision.clone(),
        manifests: manifests.clone(),
        objects: vec![
            object("Deployment", "shop-web", ObjectAction::Update, Some(new), Some(old), None),
            object("ConfigMap", "gone", ObjectAction::Prune, None, Some(json!({"kind": "ConfigMap"})), None),
            object(
                "Pod",
                "shop-web-x",
                ObjectAction::None,
                None,
                Some(json!({"kind": "Pod"})),
                Some("Deployment/shop-web"),
            ),
        ],
    }
}

fn kubectl() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let ours = home.join(".cache/sluice-platform/bin/kubectl");
    if ours.exists() { ours } else { PathBuf::from("kubectl") }
}

/// The type of a message, for [`World::facts`].
pub(crate) fn kind_of<M: sluice_schemas::Message>() -> &'static str {
    M::TYPE
}
