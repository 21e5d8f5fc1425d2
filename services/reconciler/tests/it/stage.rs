//! A stage for one test: bus, cluster, a played renderer, the reconciler.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePublicKey;
use futures::StreamExt;
use serde_json::{Value, json};
use sluice_bus::topology::{Bucket, RENDERER_RENDER, Store};
use sluice_bus::{Bus, BusConfig, Expected, From, Outcome};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::{Process, Secret};
use sluice_gitops::{Gvk, manifest};
use sluice_kubernetes::apply::{Objects, Propagation};
use sluice_kubernetes::discovery::Discovery;
use sluice_kubernetes::{AppProject, Application, Cluster};
use sluice_schemas::commands::{Render, Sync};
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{
    Event, PushReceived, RenderFailed, RenderRef, RenderSucceeded, Surface, SyncFinished, SyncOutcome,
    SyncStatus,
};
use sluice_schemas::grant::{GrantScope, GrantTerms, SyncGrant};
use sluice_schemas::ids::{AppId, GrantId, Person, PushId, SyncId};
use sluice_schemas::state::AppState;
use sluice_schemas::{Cause, Filter, Message, Sha, Timestamp};
use sluice_test_nats::NatsServer;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

pub(crate) const URL: &str = "http://git.test/dev/deploy.git";
const PATIENCE: Duration = Duration::from_secs(30);

static ALONE: std::sync::LazyLock<Arc<RwLock<()>>> = std::sync::LazyLock::new(Arc::default);

/// Held while the test runs.
#[allow(dead_code, reason = "it is held, not read")]
enum Turn {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

/// What each application's source holds: revision and objects, or why it cannot be rendered.
type Sources = Arc<Mutex<HashMap<AppId, (Sha, Result<Vec<Value>, String>)>>>;

pub(crate) struct Stage {
    pub(crate) bus: Bus,
    pub(crate) cluster: Cluster,
    pub(crate) objects: Objects,
    pub(crate) discovery: Discovery,
    /// Of the Applications.
    pub(crate) namespace: String,
    /// Of what they deploy.
    pub(crate) destination: String,
    pub(crate) key: SigningKey,
    sources: Sources,
    reconciler: Option<Process>,
    tester: Process,
    server: NatsServer,
    _turn: Turn,
}

impl Stage {
    pub(crate) async fn new(name: &str) -> Self {
        let turn = Turn::Shared(ALONE.clone().read_owned().await);
        Self::build(name, turn).await
    }

    /// With failpoints: nothing else runs meanwhile.
    pub(crate) async fn alone(name: &str) -> Self {
        let turn = Turn::Alone(ALONE.clone().write_owned().await);
        Self::build(name, turn).await
    }

    async fn build(name: &str, turn: Turn) -> Self {
        sluice_chassis::process::install_crypto();
        let server = NatsServer::start();
        let namespace = format!("reconciler-it-{name}-{}", std::process::id());
        let destination = format!("{namespace}-to");
        let tester = process(&server.url(), &namespace);
        let service = tester.service("renderer");
        let config: BusConfig = service.config().section("bus").expect("valid");
        let bus = Bus::connect(&service, &config).await.expect("the bus");
        bus.provision().await.expect("provisioned");
        let kubernetes: sluice_kubernetes::Config = service.config().section("kubernetes").expect("valid");
        let cluster = sluice_kubernetes::connect(&kubernetes).await.expect("KUBECONFIG; run `make up`");
        for name in [&namespace, &destination] {
            cluster.ensure_namespace(name).await.expect("a namespace");
        }
        cluster.install_crds().await.expect("the CRDs");
        let key = SigningKey::from_bytes(&[9; 32]);
        let pem = key.verifying_key().to_public_key_pem(Default::default()).expect("PEM");
        cluster.put_signing_public(Secret::new(pem)).await.expect("the public key");
        let sources = Sources::default();
        play_renderer(&bus, &tester, &sources).await;
        let objects = Objects::new(cluster.client());
        let discovery = Discovery::new(cluster.client());
        let mut stage = Self {
            bus,
            cluster,
            objects,
            discovery,
            namespace,
            destination,
            key,
            sources,
            reconciler: None,
            tester,
            server,
            _turn: turn,
        };
        stage.start().await;
        stage
    }

    /// Starts a reconciler, the way its program does.
    pub(crate) async fn start(&mut self) {
        let process = process(&self.server.url(), &self.namespace);
        let config = process.config().section("reconciler").expect("valid");
        sluice_reconciler::run(process.service("reconciler"), config).await.expect("it starts");
        self.reconciler = Some(process);
    }

    /// Starts one more beside it.
    pub(crate) async fn second(&self) -> Process {
        let process = process(&self.server.url(), &self.namespace);
        let config = process.config().section("reconciler").expect("valid");
        sluice_reconciler::run(process.service("reconciler"), config).await.expect("it starts");
        process
    }

    /// Ends it without a word of good-bye for its leases' holders.
    pub(crate) async fn stop(&mut self) {
        if let Some(process) = self.reconciler.take() {
            process.tasks().shutdown().cancel();
            process.tasks().wait(Duration::from_secs(5)).await;
        }
    }

    /// Waits until it died at a failpoint.
    pub(crate) async fn died(&mut self) {
        let process = self.reconciler.take().expect("it runs");
        let shutdown = process.tasks().shutdown().clone();
        tokio::time::timeout(PATIENCE, shutdown.cancelled()).await.expect("it dies");
        process.tasks().wait(Duration::from_secs(5)).await;
    }

    pub(crate) async fn finish(mut self) {
        self.stop().await;
        self.tester.tasks().shutdown().cancel();
        let kind = self.discovery.resolve(&Gvk::new("", "v1", "Namespace")).await.expect("a kind");
        for name in [&self.namespace, &self.destination] {
            self.objects.delete(&kind, "", name, None, Propagation::Background).await.expect("deleted");
        }
    }

    /// Creates or changes an Application.
    pub(crate) async fn app(&self, name: &str, policy: Value) {
        self.app_with(name, json!({ "syncPolicy": policy }), json!({})).await;
    }

    pub(crate) async fn app_with(&self, name: &str, spec: Value, metadata: Value) {
        let object = self.app_object(name, spec, metadata);
        self.cluster.apply_declared::<Application>(object).await.expect("accepted");
    }

    pub(crate) fn app_object(&self, name: &str, spec: Value, metadata: Value) -> Value {
        let mut object = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": { "name": name, "namespace": self.namespace },
            "spec": {
                "project": "default",
                "source": { "repoURL": URL, "path": name, "targetRevision": "HEAD", "directory": { "recurse": true } },
                "destination": { "server": "https://kubernetes.default.svc", "namespace": self.destination },
            },
        });
        merge(&mut object["spec"], spec);
        merge(&mut object["metadata"], metadata);
        object
    }

    pub(crate) async fn project(&self, object: Value) {
        self.cluster.apply_declared::<AppProject>(object).await.expect("accepted");
    }

    /// What Git holds from now on, without a push.
    pub(crate) fn source(&self, app: &str, revision: char, objects: Vec<Value>) {
        self.sources.lock().expect("fine").insert(AppId::from_name(app), (sha(revision), Ok(objects)));
    }

    pub(crate) fn broken_source(&self, app: &str, revision: char, reason: &str) {
        let source = (sha(revision), Err(reason.to_owned()));
        self.sources.lock().expect("fine").insert(AppId::from_name(app), source);
    }

    /// A push to the deploy repository.
    pub(crate) async fn push(&self, app: &str, revision: char, objects: Vec<Value>) -> String {
        self.source(app, revision, objects);
        self.announce(revision).await
    }

    pub(crate) async fn announce(&self, revision: char) -> String {
        self.announce_with(revision, |_| {}).await
    }

    pub(crate) async fn announce_with(
        &self,
        revision: char,
        change: impl FnOnce(&mut PushReceived),
    ) -> String {
        let mut push = PushReceived::example();
        push.push = PushId::from_text(&format!("push-{revision}"));
        push.repository.clone_url = URL.to_owned();
        push.git_ref = "refs/heads/main".to_owned();
        push.after = sha(revision);
        change(&mut push);
        let correlation = correlation_of(&format!("chain-{revision}"));
        let cause = Cause::root(correlation.clone(), format!("push-{revision}"));
        self.bus.publish(&push, &cause).await.expect("published");
        correlation.to_string()
    }

    pub(crate) fn config_map(&self, name: &str, value: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "value": value } })
    }

    /// The value that a ConfigMap of the destination holds; `None` when there is none.
    pub(crate) async fn value(&self, name: &str) -> Option<String> {
        let object = self.get("", "v1", "ConfigMap", name).await?;
        Some(object["data"]["value"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) async fn get(&self, group: &str, version: &str, kind: &str, name: &str) -> Option<Value> {
        let kind = self.discovery.resolve(&Gvk::new(group, version, kind)).await.expect("a kind");
        self.objects.get(&kind, &self.destination, name).await.expect("answered")
    }

    /// Waits until the garbage collector has let a ConfigMap go.
    pub(crate) async fn vanishes(&self, name: &str) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while self.value(name).await.is_some() {
            assert!(tokio::time::Instant::now() < until, "{name} stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Changes a live ConfigMap as a person would with kubectl.
    pub(crate) async fn edit(&self, name: &str, value: &str) {
        let kind = self.discovery.resolve(&Gvk::new("", "v1", "ConfigMap")).await.expect("a kind");
        let patch = json!({ "data": { "value": value } });
        self.objects.merge(&kind, &self.destination, name, &patch).await.expect("edited");
    }

    pub(crate) async fn remove(&self, name: &str) {
        let kind = self.discovery.resolve(&Gvk::new("", "v1", "ConfigMap")).await.expect("a kind");
        self.objects
            .delete(&kind, &self.destination, name, None, Propagation::Background)
            .await
            .expect("removed");
    }

    /// Waits for a fact, from the beginning of the log on.
    pub(crate) async fn fact<T>(&self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let waited = async {
            let mut facts = self.bus.facts(&Filter::all_facts(), From::Start).await.expect("readable");
            while let Some(recorded) = facts.next().await {
                if let Some(found) = pick(&recorded.expect("a fact").event) {
                    return found;
                }
            }
            unreachable!("the log does not end")
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} within {PATIENCE:?}; the log: {:#?}", self.log().await),
        }
    }

    /// Everything recorded so far: subject and payload.
    pub(crate) async fn log(&self) -> Vec<String> {
        let all = self.bus.aggregate(&Filter::all_facts()).await.expect("readable");
        all.iter().map(|it| format!("{} {}", it.subject, it.event.payload())).collect()
    }

    pub(crate) async fn facts(&self) -> Vec<Event> {
        let all = self.bus.aggregate(&Filter::all_facts()).await.expect("readable");
        all.into_iter().map(|it| it.event).collect()
    }

    /// Waits for the end of a sync of a revision.
    pub(crate) async fn synced(&self, app: &str, revision: char) -> SyncFinished {
        let (id, revision) = (AppId::from_name(app), sha(revision));
        self.fact("end of a sync", |event| match event {
            Event::SyncFinished(it) if it.sync.app.app == id && it.sync.revision == revision => {
                Some((**it).clone())
            }
            _ => None,
        })
        .await
    }

    /// Waits for a refusal of this attempt; gives its reason.
    pub(crate) async fn refused(&self, app: &str, attempt: &str) -> String {
        let id = AppId::from_name(app);
        self.fact(&format!("refused {attempt}"), |event| match event {
            Event::GrantRefused(it) if it.app.app == id && it.attempt == attempt => Some(it.reason.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the stored state is as wanted.
    pub(crate) async fn state(&self, app: &str, mut is_wanted: impl FnMut(&AppState) -> bool) -> AppState {
        let kv = self.bus.kv::<AppState>(Bucket::Apps);
        let key = format!("*.{}", AppId::from_name(app));
        let last = Mutex::new(None);
        let waited = async {
            let mut changes = kv.watch(&key).await.expect("watched");
            while let Some(change) = changes.next().await {
                if let Some(state) = change.value {
                    if is_wanted(&state) {
                        return state;
                    }
                    *last.lock().expect("fine") = Some(state);
                }
            }
            unreachable!("the watch does not end")
        };
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(state) => state,
            Err(_) => panic!(
                "not the wanted state within {PATIENCE:?}: {:#?}\n{:#?}",
                last.lock(),
                self.log().await
            ),
        }
    }

    pub(crate) async fn is_out_of_sync(&self, app: &str, revision: char) -> AppState {
        self.state(app, |it| it.sync == SyncStatus::OutOfSync && it.revision == Some(sha(revision))).await
    }

    pub(crate) async fn is_synced(&self, app: &str, revision: char) -> AppState {
        self.state(app, |it| {
            let idle = it.operation.as_ref().is_none_or(|it| it.finished_at.is_some());
            it.sync == SyncStatus::Synced && it.revision == Some(sha(revision)) && idle
        })
        .await
    }

    /// Terms of a good grant for an application as it stands.
    pub(crate) fn terms(&self, state: &AppState, nonce: &str) -> GrantTerms {
        let now = Timestamp::now();
        GrantTerms {
            nonce: GrantId::from_text(nonce),
            scope: GrantScope::Sync,
            app: state.app.app.clone(),
            project: state.app.project.clone(),
            revision: state.revision.clone().expect("compared"),
            manifests: state.manifests.clone().expect("compared"),
            prune: false,
            person: Person::from_text("ada"),
            surface: Surface::Web,
            issued_at: now,
            expires_at: now.plus_seconds(300),
        }
    }

    pub(crate) fn grant(&self, terms: GrantTerms) -> SyncGrant {
        SyncGrant::sign(terms, &self.key)
    }

    /// Sends the sync command, as the API server (or somebody who plays it) would.
    pub(crate) async fn command(&self, state: &AppState, id: &str, grant: Option<SyncGrant>) {
        let revision = state.revision.clone().expect("compared");
        self.command_at(state, id, revision, grant).await;
    }

    pub(crate) async fn command_at(
        &self,
        state: &AppState,
        id: &str,
        revision: Sha,
        grant: Option<SyncGrant>,
    ) {
        let command = Sync {
            sync: SyncId::from_text(id),
            app: state.app.app.clone(),
            project: state.app.project.clone(),
            revision,
            prune: grant.as_ref().is_some_and(|it| it.terms.prune),
            person: Person::from_text("ada"),
            surface: Surface::Web,
            grant,
        };
        let cause = Cause::root(correlation_of(id), format!("command-{id}"));
        self.bus.publish(&command, &cause).await.expect("published");
    }
}

pub(crate) fn sha(digit: char) -> Sha {
    digit.to_string().repeat(40).parse().expect("a commit")
}

pub(crate) fn automated() -> Value {
    json!({ "automated": { "prune": true, "selfHeal": true } })
}

pub(crate) fn succeeded(finished: &SyncFinished) {
    assert_eq!(finished.outcome, SyncOutcome::Succeeded, "{finished:#?}");
}

fn process(url: &str, namespace: &str) -> Process {
    let text = format!(
        "bus: {{url: '{url}', storage_gib: 1, lease_seconds: 2}}\nkubernetes: {{namespace: {namespace}, applications_namespace: {namespace}}}\nreconciler: {{sync_timeout_seconds: 60}}\n"
    );
    Process::new(ConfigFile::parse("test.yaml".into(), text, []).expect("valid"))
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

async fn play_renderer(bus: &Bus, process: &Process, sources: &Sources) {
    let (speaker, sources) = (bus.clone(), sources.clone());
    bus.consume::<Render, _, _>(&process.service("renderer"), RENDERER_RENDER, 4, move |delivery| {
        let (bus, sources) = (speaker.clone(), sources.clone());
        async move {
            let command = &delivery.message;
            let source = sources.lock().expect("fine").get(&command.app).cloned();
            let Some((head, rendered)) = source else { return Outcome::Done };
            let render = RenderRef {
                render: command.render.clone(),
                app: command.app.clone(),
                project: command.project.clone(),
                repository: command.repository.clone(),
                revision: Some(command.revision.clone().unwrap_or(head)),
                path: command.source.path.clone(),
            };
            let appended = match rendered {
                Ok(objects) => {
                    let count = u32::try_from(objects.len()).expect("few");
                    let bytes = Bytes::from(manifest::canonical(objects));
                    let manifests = bus.objects(Store::Manifests).put(bytes).await.expect("stored");
                    let fact = RenderSucceeded {
                        render,
                        manifests,
                        objects: count,
                        cached: false,
                        fetch_ms: 0,
                        render_ms: 0,
                    };
                    bus.append(&fact, &delivery.cause(), Expected::Absent).await
                }
                Err(reason) => {
                    let fact = RenderFailed { render, reason, annotations: vec![] };
                    bus.append(&fact, &delivery.cause(), Expected::Absent).await
                }
            };
            drop(appended);
            Outcome::Done
        }
    })
    .await
    .expect("consumed");
}
