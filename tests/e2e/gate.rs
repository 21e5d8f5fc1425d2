//! Ways to change prod without a grant. Each leaves the live objects as they are, and leaves a trace.
//!
//! The attacker has what an attacker inside could have: the bus, the cluster's Applications, the deploy
//! repository, old messages, and for the grants that must be refused for their terms even the true key.

use base64::Engine;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use reqwest::Method;
use serde_json::{Value, json};
use sluice_e2e::api::Api;
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::by_cli;
use sluice_e2e::story::{Chain, QUIET, Report, about, prod, promote};
use sluice_e2e::witness::Tap;
use sluice_e2e::world::{Shop, token};
use sluice_e2e::{Event, World};
use sluice_schemas::commands::Sync;
use sluice_schemas::grant::{GrantTerms, SyncGrant};
use sluice_schemas::ids::{AppId, GrantId, SyncId};
use sluice_schemas::{Digest, Sha, Timestamp};

use crate::stage::{SOON, on_dev, shop};

/// A world after one honest grant, with the next change waiting at the gate.
struct Siege {
    world: World,
    shop: Shop,
    cli: Cli,
    /// The honest command, as it passed on the bus.
    heard: Event,
    honest: Sync,
    key: SigningKey,
    /// Live objects before the attacks.
    before: Value,
    /// What waits.
    next: Chain,
    revision: Sha,
}

async fn siege(name: &str) -> Siege {
    let report = Report::plain();
    let (world, shop) = shop(name).await;
    let cli = Cli::admin(&world).await.unwrap();
    let chain = on_dev(&world, &shop, "5.0.0").await;
    promote(&world, &shop, &chain, &cli, &report).await.unwrap();
    let tap = Tap::start(&world.nats, "cmd.reconciler.sync.>").await.unwrap();
    let since = world.witness().unwrap().now();
    by_cli(&cli, "shop-prod", &report).await.unwrap();
    prod(&world, &chain, since, "cli", &report).await.unwrap();
    let heard = tap.wait(SOON, |e| !e.data["grant"].is_null()).await.unwrap();
    let honest: Sync = serde_json::from_value(heard.data.clone()).unwrap();

    let next = on_dev(&world, &shop, "5.0.1").await;
    let revision = promote(&world, &shop, &next, &cli, &report).await.unwrap().parse().unwrap();
    let (key, before) = (private_key(&world).await, live(&world).await);
    Siege { world, shop, cli, heard, honest, key, before, next, revision }
}

/// The key that signs grants.
async fn private_key(world: &World) -> SigningKey {
    let label =
        ["-n", &world.names.system, "get", "secret", "-l", "sluice.dev/secret-type=signing", "-o", "json"];
    let list: Value = serde_json::from_str(&world.kube.ok(&label).await.unwrap()).unwrap();
    let private =
        list["items"].as_array().unwrap().iter().find_map(|s| s["data"]["private"].as_str()).unwrap();
    let pem = base64::engine::general_purpose::STANDARD.decode(private).unwrap();
    SigningKey::from_pkcs8_pem(std::str::from_utf8(&pem).unwrap()).unwrap()
}

/// What stands in prod: every object's specification and generation.
async fn live(world: &World) -> Value {
    let objects = world.kube.list(&world.names.prod, "deployments,services,configmaps").await.unwrap();
    let part = |o: &Value| {
        json!([
            o["kind"],
            o["metadata"]["name"],
            o["metadata"]["generation"],
            o["metadata"]["annotations"],
            o["spec"],
            o["data"]
        ])
    };
    objects.iter().map(part).collect()
}

impl Siege {
    fn terms(&self) -> GrantTerms {
        let old = &self.honest.grant.as_ref().unwrap().terms;
        let now = Timestamp::now();
        GrantTerms {
            nonce: GrantId::from_text(&token(24)),
            revision: self.revision.clone(),
            manifests: self.waiting_manifests(),
            issued_at: now,
            expires_at: now.plus_seconds(600),
            ..old.clone()
        }
    }

    /// The digest that a preview would show.
    fn waiting_manifests(&self) -> Digest {
        let compared = self.world.witness().unwrap().all("app.compared");
        let last = compared
            .iter()
            .rev()
            .find(|e| about(e, "shop-prod") && e.data["revision"] == self.revision.as_str())
            .unwrap();
        serde_json::from_value(last.data["manifests"].clone()).unwrap()
    }

    fn command(&self, grant: Option<SyncGrant>) -> Sync {
        Sync {
            sync: SyncId::from_text(&token(24)),
            revision: self.revision.clone(),
            grant,
            ..self.honest.clone()
        }
    }

    /// Puts a command on the bus, under the headers of an honest one.
    async fn inject(&self, command: &Sync) {
        let id = token(26);
        let headers: Vec<(&str, &str)> = self
            .heard
            .headers
            .iter()
            .filter(|(name, _)| !name.starts_with("Nats-"))
            .map(|(name, value)| (name.as_str(), if name == "ce-id" { id.as_str() } else { value.as_str() }))
            .chain([("Nats-Msg-Id", id.as_str())])
            .collect();
        let subject = format!("cmd.reconciler.sync.{}", command.sync);
        self.world.nats.publish(&subject, &headers, &serde_json::to_string(command).unwrap()).await.unwrap();
    }

    /// The refusal after `since`, with a reason that holds these words and says how to get a grant.
    async fn refused(&self, since: u64, words: &str) -> Event {
        let witness = self.world.witness().unwrap();
        let fits =
            |e: &Event| about(e, "shop-prod") && e.data["reason"].as_str().is_some_and(|r| r.contains(words));
        let refused = witness.wait_after(since, "grant.refused", SOON, fits).await.unwrap();
        let reason = refused.data["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("shop-prod"), "it should say how to get a grant: {reason}");
        refused
    }

    async fn injected(&self, what: &str, command: Sync, words: &str) {
        let since = self.world.witness().unwrap().now();
        self.inject(&command).await;
        println!("{what}: {}", self.refused(since, words).await.data);
        self.untouched(what).await;
    }

    /// Nothing of prod changed, after the bus has come to rest.
    async fn untouched(&self, what: &str) {
        self.world.witness().unwrap().settle(QUIET / 2, SOON).await.unwrap();
        assert_eq!(live(&self.world).await, self.before, "{what}");
    }
}

#[tokio::test]
async fn a_grant_is_good_once_for_what_it_says_and_for_nothing_else() {
    let siege = siege("gate_grants").await;
    let key = &siege.key;

    siege.injected("no grant", siege.command(None), "").await;

    let mut expired = siege.terms();
    expired.issued_at = Timestamp::now().plus_seconds(-1200);
    expired.expires_at = Timestamp::now().plus_seconds(-600);
    siege.injected("expired", siege.command(Some(SyncGrant::sign(expired, key))), "expired").await;

    let mut long = siege.terms();
    long.expires_at = Timestamp::now().plus_seconds(86_400);
    siege.injected("for a day", siege.command(Some(SyncGrant::sign(long, key))), "times").await;

    let mut again = siege.honest.clone();
    again.sync = SyncId::from_text(&token(24));
    siege.injected("used again", again, "").await;

    let mut other = siege.terms();
    other.revision = siege.honest.revision.clone();
    siege
        .injected("for another revision", siege.command(Some(SyncGrant::sign(other, key))), "revision")
        .await;

    let mut other = siege.terms();
    other.app = AppId::from_name("shop-dev");
    siege
        .injected("for another application", siege.command(Some(SyncGrant::sign(other, key))), "application")
        .await;

    let forged = SyncGrant::sign(siege.terms(), &SigningKey::from_bytes(&[7; 32]));
    siege.injected("signed by another key", siege.command(Some(forged)), "signature").await;

    let mut altered = SyncGrant::sign(siege.terms(), key);
    altered.terms.prune = true;
    siege.injected("altered after signing", siege.command(Some(altered)), "signature").await;

    // And the honest way still works.
    let report = Report::plain();
    let since = siege.world.witness().unwrap().now();
    by_cli(&siege.cli, "shop-prod", &report).await.unwrap();
    prod(&siege.world, &siege.next, since, "cli", &report).await.unwrap();
}

#[tokio::test]
async fn neither_git_nor_the_cluster_nor_drift_nor_rollback_opens_the_gate() {
    let siege = siege("gate_around").await;
    let (world, shop) = (&siege.world, &siege.shop);

    // Facts that nobody made.
    let mut headers: Vec<(&str, &str)> =
        siege.heard.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    headers.retain(|(name, _)| !name.starts_with("Nats-") && *name != "ce-id" && *name != "ce-type");
    let forged = token(24);
    headers.extend([("ce-id", forged.as_str()), ("ce-type", "dev.sluice.grant.issued.v1")]);
    let mut fact = world.witness().unwrap().all("grant.issued").last().unwrap().data.clone();
    fact["grant"] = json!(forged);
    fact["revision"] = json!(siege.revision);
    world
        .nats
        .publish(&format!("evt.grant.default.{forged}.issued"), &headers, &fact.to_string())
        .await
        .unwrap();
    siege.untouched("a grant that is only told of").await;

    // The switch, in Git and in the cluster.
    let since = world.witness().unwrap().now();
    let automated = "syncPolicy:\n    automated:\n      prune: true\n      selfHeal: true";
    shop.deploy.replace("prod/app.yaml", "syncPolicy: null", automated).unwrap();
    let commit = shop.deploy.ship("prod by itself").await.unwrap();
    let seen = |e: &Event| about(e, "shop-prod") && e.data["revision"] == commit.as_str();
    world.witness().unwrap().wait_after(since, "app.compared", SOON, seen).await.unwrap();
    siege.untouched("automation in Git").await;
    world.kube.apply(&shop.deploy.read("prod/app.yaml").unwrap()).await.unwrap();
    siege.refused(since, "").await;
    siege.untouched("automation in the cluster").await;
    let app = world.kube.get(&world.names.apps, "application/shop-prod").await.unwrap().unwrap();
    assert!(!app["spec"]["syncPolicy"]["automated"].is_null(), "the switch is there, and does nothing");

    // Argo CD's way of asking through the object.
    let operation = json!({"operation": {"sync": {"revision": siege.honest.revision}, "initiatedBy": {"username": "mallory"}}});
    let name = [
        "-n",
        &world.names.apps,
        "patch",
        "application",
        "shop-prod",
        "--type=merge",
        "-p",
        &operation.to_string(),
    ];
    world.kube.ok(&name).await.unwrap();
    siege.untouched("an operation in the object").await;

    // Rollback: by a command to an older revision, and by Argo CD's path.
    let since = world.witness().unwrap().now();
    let mut back = siege.command(None);
    back.revision = siege.honest.revision.clone();
    siege.inject(&back).await;
    siege.refused(since, "").await;
    siege.untouched("a command to an older revision").await;
    let anonymous = Api::anonymous(&world.api_url(), &world.http);
    let (status, _) = anonymous
        .call(Method::POST, "/api/v1/applications/shop-prod/rollback", Some(&json!({"id": 0})))
        .await
        .unwrap();
    assert_eq!(status, 401);
    let admin = anonymous.login("admin", &world.password().unwrap()).await.unwrap();
    for (path, body) in [("rollback", json!({"id": 0})), ("sync", json!({"revision": siege.honest.revision}))]
    {
        let path = format!("/api/v1/applications/shop-prod/{path}");
        let (status, answer) = admin.call(Method::POST, &path, Some(&body)).await.unwrap();
        assert!((400..500).contains(&status), "{path}: {status} {answer}");
    }
    siege.untouched("rollback and sync without a preview").await;

    // With a grant it is synced; it stays gated, though Git and the cluster say automated and self-heal.
    let report = Report::plain();
    let since = world.witness().unwrap().now();
    by_cli(&siege.cli, "shop-prod", &report).await.unwrap();
    prod(world, &siege.next, since, "cli", &report).await.unwrap();
    let synced = |e: &Event| about(e, "shop-prod") && e.data["sync"] == "Synced";
    world.witness().unwrap().wait_after(since, "app.compared", SOON, synced).await.unwrap();

    // Drift is told of, not healed.
    let since = world.witness().unwrap().now();
    world.kube.ok(&["-n", &world.names.prod, "scale", "deployment/web", "--replicas=3"]).await.unwrap();
    let drifted = live(world).await;
    let seen = |e: &Event| about(e, "shop-prod") && e.data["sync"] == "OutOfSync";
    world.witness().unwrap().wait_after(since, "app.compared", SOON, seen).await.unwrap();
    let refused = siege.refused(since, "").await;
    assert_eq!(refused.data["attempt"], "self_heal");
    world.witness().unwrap().settle(QUIET, SOON).await.unwrap();
    assert_eq!(live(world).await, drifted, "self-heal needs a grant, too");

    let synced =
        world.witness().unwrap().all("sync.started").iter().filter(|e| about(e, "shop-prod")).count();
    assert_eq!(synced, 2, "the honest ones");
}
