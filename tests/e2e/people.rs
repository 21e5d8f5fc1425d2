//! Who may open the gate, and that every attempt is on record: in the events, the API and the audit page.

use reqwest::Method;
use serde_json::{Value, json};
use sluice_e2e::api::Api;
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::{DANA, OLEG, link, press, say, wait_for_button};
use sluice_e2e::story::{QUIET, Report, about, prod, promote};
use sluice_e2e::{Event, World, until};

use crate::eyes::{Person, text_of};
use crate::stage::{SOON, on_dev, shop};

const PASSWORD: &str = "a long password of theirs";
const SYNC: &str = "/api/v1/applications/shop-prod/sync";
const ROLLBACK: &str = "/api/v1/applications/shop-prod/rollback";
const GRANTS: &str = "/api/v1/apps/shop-prod/grants";

/// A gated prod, what it must stay, and the refusals so far.
struct Gate {
    world: World,
    before: Value,
    reasons: Vec<String>,
}

#[tokio::test]
async fn only_who_may_and_has_looked_opens_the_gate_and_every_attempt_is_on_record() {
    let report = Report::plain();
    let (world, shop) = shop("people").await;
    let admin = Person::admin(&world).await.unwrap();
    link(&world, &admin.cli).await.unwrap();
    let anybody = Api::anonymous(&world.api_url(), &world.http);
    let root = anybody.login("admin", &world.password().unwrap()).await.unwrap();
    let chain = on_dev(&world, &shop, "8.0.0").await;
    promote(&world, &shop, &chain, &admin.cli, &report).await.unwrap();
    let before = live(&world).await;
    let mut gate = Gate { world, before, reasons: Vec::new() };

    gate.by_an_account_without_the_right(&root, &anybody).await;
    gate.without_having_looked(&root).await;
    let since = gate.by_strangers_in_the_chat(&root, &anybody).await;

    // After all that, the person who asked confirms, and it is done.
    prod(&gate.world, &chain, since, "telegram", &report).await.unwrap();
    gate.before = live(&gate.world).await;
    let older = shop.deploy.git(&["rev-parse", "HEAD~1"]).await.unwrap();
    gate.back_to_what_was(&root, &admin.cli, &older).await;
    gate.by_its_own_automation(&root).await;
    gate.is_all_on_record(&root, &admin).await;
}

/// What stands in prod: identity and content of every object, whatever its controllers say of it.
async fn live(world: &World) -> Value {
    let objects = world.kube.list(&world.names.prod, "deployments,services,configmaps").await.unwrap();
    let part = |it: &Value| {
        let meta = &it["metadata"];
        json!([
            it["kind"],
            meta["name"],
            meta["uid"],
            meta["generation"],
            meta["annotations"],
            it["spec"],
            it["data"]
        ])
    };
    objects.iter().map(part).collect()
}

impl Gate {
    fn now(&self) -> u64 {
        self.world.witness().unwrap().now()
    }

    /// An attempt was refused on record, with these words, and changed nothing.
    async fn refused(&mut self, since: u64, attempt: &str, words: &[&str]) -> Event {
        let fits = |e: &Event| {
            let reason = e.data["reason"].as_str().unwrap_or_default();
            about(e, "shop-prod")
                && e.data["attempt"] == attempt
                && words.iter().all(|it| reason.contains(it))
        };
        let fact =
            self.world.witness().unwrap().wait_after(since, "grant.refused", SOON, fits).await.unwrap();
        self.reasons.push(fact.data["reason"].as_str().unwrap().to_owned());
        self.is_untouched().await;
        fact
    }

    async fn is_untouched(&self) {
        assert_eq!(
            live(&self.world).await,
            self.before,
            "{}",
            self.reasons.last().map_or("", String::as_str)
        );
    }

    /// Ada may look, and no more: by the API, at her terminal, on the page.
    async fn by_an_account_without_the_right(&mut self, root: &Api, anybody: &Api) {
        account(root, "ada", "role:readonly").await;
        let ada = anybody.login("ada", PASSWORD).await.unwrap();
        let preview = ada.get("/api/v1/apps/shop-prod/preview").await.unwrap();
        let wish = json!({"revision": preview["revision"], "manifestDigest": preview["manifestDigest"]});
        assert_eq!(anybody.call(Method::POST, GRANTS, Some(&wish)).await.unwrap().0, 401);
        for path in [GRANTS, SYNC] {
            let since = self.now();
            let (status, answer) = ada.call(Method::POST, path, Some(&wish)).await.unwrap();
            assert_eq!(status, 403, "{answer}");
            let fact = self.refused(since, "sync", &["permission denied", "ada", "role:admin"]).await;
            assert_eq!(fact.data["person"], "ada");
        }
        let cli = Cli::new(&self.world, "ada").unwrap();
        let url = self.world.api_url();
        let login = cli.run(&["login", &url, "--username", "ada"], &format!("{PASSWORD}\n")).await.unwrap();
        login.ok("sluice login").unwrap();
        let since = self.now();
        let (revision, digest) =
            (wish["revision"].as_str().unwrap(), wish["manifestDigest"].as_str().unwrap());
        let sync = ["app", "sync", "shop-prod", "--yes", "--revision", revision, "--manifests", digest];
        let output = cli.run(&sync, "").await.unwrap();
        assert!(
            output.code == 5 && output.stderr.contains("role:admin"),
            "{}: {}",
            output.code,
            output.stderr
        );
        self.refused(since, "sync", &["permission denied", "ada"]).await;
        assert_eq!(ada.call(Method::GET, "/api/v1/audit", None).await.unwrap().0, 403);
        let (status, page) = ada.call(Method::GET, "/apps/shop-prod", None).await.unwrap();
        let page = text_of(page.as_str().unwrap());
        assert!(
            status == 200 && page.contains("needs applications, sync on default/shop-prod"),
            "{status}: {page}"
        );
    }

    /// The right alone is not enough: what is confirmed must have been looked at, and be what stands there now.
    async fn without_having_looked(&mut self, root: &Api) {
        let since = self.now();
        let (status, answer) = root.call(Method::POST, SYNC, Some(&json!({}))).await.unwrap();
        assert_eq!(status, 403, "{answer}");
        self.refused(since, "sync", &["gated", "sluice app sync shop-prod", "/sync shop-prod"]).await;
        let state = root.get("/api/v1/apps/shop-prod").await.unwrap();
        let other =
            json!({"revision": state["revision"], "manifestDigest": format!("sha256:{}", "0".repeat(64))});
        let since = self.now();
        let (status, answer) = root.call(Method::POST, GRANTS, Some(&other)).await.unwrap();
        assert_eq!(status, 409, "{answer}");
        self.refused(since, "sync", &["look at the preview again"]).await;
    }

    /// Dana asks; Oleg, first unknown and then known, presses what is hers. Ends with her own press.
    async fn by_strangers_in_the_chat(&mut self, root: &Api, anybody: &Api) -> u64 {
        let (world, chat) = (&self.world, self.world.chat);
        let since = self.now();
        say(world, chat, OLEG, "/sync shop-prod").unwrap();
        self.chat(since, OLEG, "sync", "unlinked").await;
        world
            .telegram
            .wait(SOON, |s| {
                s.messages().iter().any(|m| m.from.is_bot && m.text.contains("/link CODE")).then_some(())
            })
            .await
            .unwrap();
        let card = wait_for_button(world, |m, label| {
            m.text.contains("prod") && label.to_lowercase().starts_with("sync")
        });
        let card = card.await.unwrap();
        let since = self.now();
        press(world, &card, OLEG).unwrap();
        self.chat(since, OLEG, "sync", "unlinked").await;

        say(world, chat, DANA, "/sync shop-prod").unwrap();
        let confirm =
            wait_for_button(world, |_, label| label.starts_with("Confirm sync shop-prod")).await.unwrap();
        let since = self.now();
        press(world, &confirm, OLEG).unwrap();
        self.chat(since, OLEG, "button", "refused").await;
        // Somebody who might sync as well, but did not ask.
        account(root, "oleg", "role:admin").await;
        let code = anybody
            .login("oleg", PASSWORD)
            .await
            .unwrap()
            .post("/api/v1/account/link", &json!({}))
            .await
            .unwrap();
        let since = self.now();
        say(world, OLEG, OLEG, code["command"].as_str().unwrap()).unwrap();
        self.chat(since, OLEG, "link", "answered").await;
        let since = self.now();
        press(world, &confirm, OLEG).unwrap();
        let fact = self.chat(since, OLEG, "button", "refused").await;
        assert_eq!(fact.data["person"], "oleg");
        world.witness().unwrap().settle(QUIET / 2, SOON).await.unwrap();
        self.is_untouched().await;
        assert_eq!(world.witness().unwrap().all("grant.issued").len(), 0);

        let since = self.now();
        press(world, &confirm, DANA).unwrap();
        // The button works once.
        self.chat(since, DANA, "confirm", "confirmed").await;
        press(world, &confirm, DANA).ok();
        since
    }

    /// The fact of what somebody did in the chat.
    async fn chat(&self, since: u64, user: i64, command: &str, outcome: &str) -> Event {
        let fits = |e: &Event| {
            e.data["user"] == user && e.data["command"] == command && e.data["outcome"] == outcome
        };
        self.world.witness().unwrap().wait_after(since, "chat.command", SOON, fits).await.unwrap()
    }

    /// Back to an earlier state: by Argo CD's path, by ours, at a terminal, and by the object itself.
    async fn back_to_what_was(&mut self, root: &Api, cli: &Cli, older: &str) {
        let state = root.get("/api/v1/applications/shop-prod").await.unwrap();
        let entry = &state["status"]["history"][0];
        let since = self.now();
        let (status, answer) =
            root.call(Method::POST, ROLLBACK, Some(&json!({"id": entry["id"]}))).await.unwrap();
        assert_eq!(status, 403, "{answer}");
        self.refused(since, "rollback", &["revert the commits", "SYNC"]).await;
        let digest = format!("sha256:{}", "1".repeat(64));
        let since = self.now();
        let (status, answer) = root
            .call(Method::POST, GRANTS, Some(&json!({"revision": older, "manifestDigest": digest})))
            .await
            .unwrap();
        assert_eq!(status, 409, "{answer}");
        self.refused(since, "sync", &["Git moved", "look at the preview again"]).await;
        let since = self.now();
        let sync = ["app", "sync", "shop-prod", "--yes", "--revision", older, "--manifests", &digest];
        let output = cli.run(&sync, "").await.unwrap();
        assert!(
            output.code == 1 && output.stderr.contains("Git moved"),
            "{}: {}",
            output.code,
            output.stderr
        );
        self.refused(since, "sync", &["Git moved"]).await;
        let since = self.now();
        let revision = &entry["revision"];
        let operation =
            json!({"operation": {"sync": {"revision": revision}, "initiatedBy": {"username": "mallory"}}});
        self.patch(&operation).await;
        let fact = self.refused(since, "sync", &["gated", "sluice app sync shop-prod"]).await;
        assert_eq!(fact.data["person"], "mallory");
    }

    /// Automation with self-heal, switched on with kubectl; then a live object is changed: told of, and left.
    async fn by_its_own_automation(&mut self, root: &Api) {
        let since = self.now();
        self.patch(&json!({"spec": {"syncPolicy": {"automated": {"prune": true, "selfHeal": true}}}})).await;
        self.refused(since, "automation", &["switched on", "a person grants its automation"]).await;
        let since = self.now();
        let drift = json!({"data": {"STAGE": "drifted"}}).to_string();
        let patch = ["-n", &self.world.names.prod, "patch", "configmap", "web", "--type=merge", "-p", &drift];
        self.world.kube.ok(&patch).await.unwrap();
        self.before = live(&self.world).await;
        self.refused(since, "self_heal", &["drifted", "a person grants its automation"]).await;
        self.world.witness().unwrap().settle(QUIET, SOON).await.unwrap();
        self.is_untouched().await;
        let state = root.get("/api/v1/apps/shop-prod").await.unwrap();
        assert_eq!((&state["sync"], &state["gated"]), (&json!("OutOfSync"), &json!(true)), "{state:#}");
        let synced =
            self.world.witness().unwrap().all("sync.started").into_iter().filter(|e| about(e, "shop-prod"));
        assert_eq!(synced.count(), 1, "the one that Dana granted");
    }

    /// Every refusal is told by the API's audit log and by the page.
    async fn is_all_on_record(&self, root: &Api, admin: &Person) {
        let audit = root.get("/api/v1/audit?q=shop-prod&limit=2000").await.unwrap();
        let audit = audit["items"].as_array().unwrap();
        for reason in &self.reasons {
            let told = audit.iter().any(|it| it["result"] == "refused" && it["detail"] == reason.as_str());
            assert!(told, "{reason}\n{audit:#?}");
        }
        until("the audit page tells every refusal", SOON, async || {
            let page = admin.page("/audit").await.map_err(|e| format!("{e:#}"))?;
            match self.reasons.iter().find(|reason| !page.contains(reason.as_str())) {
                Some(reason) => Err(format!("{reason}\n{page}")),
                None => Ok(()),
            }
        })
        .await
        .unwrap();
        let events = admin.page("/apps/shop-prod/events").await.unwrap();
        assert!(events.contains("attempted self_heal of") && events.contains("ada"), "{events}");
    }

    async fn patch(&self, patch: &Value) {
        let (namespace, patch) = (&self.world.names.apps, patch.to_string());
        let arguments = ["-n", namespace, "patch", "application", "shop-prod", "--type=merge", "-p", &patch];
        self.world.kube.ok(&arguments).await.unwrap();
    }
}

async fn account(root: &Api, name: &str, role: &str) {
    let body = json!({"roles": [role], "password": PASSWORD});
    let (status, answer) =
        root.call(Method::PUT, &format!("/api/v1/accounts/{name}"), Some(&body)).await.unwrap();
    assert_eq!(status, 200, "{answer}");
}
