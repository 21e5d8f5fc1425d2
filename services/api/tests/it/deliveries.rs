//! Runs, logs, deliveries, promotion, events: what the log of facts adds up to.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sluice_bus::Store;
use sluice_bus::topology::PUBLISHER_PROMOTE;
use sluice_schemas::commands::Promote;
use sluice_schemas::events::{
    AppHealthChanged, BumpCommitted, Conclusion, GrantIssued, HealthStatus, ImageBuilt, ImagePublished,
    JobFinished, JobStarted, PushReceived, RenderSucceeded, RunFinished, RunQueued, RunRefused, StepFinished,
    StepKind, SyncFinished, SyncStatus,
};
use sluice_schemas::ids::AppId;
use sluice_schemas::log::{LogChunk, LogLine};
use sluice_schemas::state::AppState;
use sluice_schemas::{Message as _, Timestamp};

use crate::support::{World, header, sha};

/// Plays the story of one commit up to pods on dev.
async fn story(world: &World, chain: &str) {
    let push = PushReceived::example();
    world.fact(&push, chain, "push").await;
    world.fact(&RunQueued::example(), chain, "queued").await;
    let started = JobStarted { epoch: 1, ..JobStarted::example() };
    world.fact(&started, chain, "started").await;
    let line = |text: &str| LogLine { at: Timestamp::now(), text: text.to_owned() };
    let archive: String = ["\u{1b}[32mok\u{1b}[0m", "<script>alert(1)</script>"]
        .iter()
        .map(|text| serde_json::to_string(&line(text)).expect("JSON") + "\n")
        .collect();
    let log = world.bus.objects(Store::Logs).put(archive.into()).await.expect("stored");
    let step = StepFinished {
        job: started.job.clone(),
        epoch: 1,
        step: 0,
        kind: StepKind::Run,
        outcome: Conclusion::Success,
        conclusion: Conclusion::Success,
        log: Some(log),
        log_lines: 2,
        ..StepFinished::example()
    };
    world.fact(&step, chain, "step").await;
    let finished =
        JobFinished { job: started.job, epoch: 1, conclusion: Conclusion::Success, ..JobFinished::example() };
    world.fact(&finished, chain, "job").await;
    world.fact(&ImageBuilt::example(), chain, "built").await;
    world.fact(&ImagePublished::example(), chain, "published").await;
    let done = RunFinished { conclusion: Conclusion::Success, reason: None, ..RunFinished::example() };
    world.fact(&done, chain, "finished").await;
    world.fact(&BumpCommitted::example(), chain, "bump").await;
    world.fact(&RenderSucceeded::example(), chain, "rendered").await;
    let mut sync = SyncFinished::example();
    sync.sync.app.app = AppId::from_name("shop-dev");
    sync.sync.trigger = sluice_schemas::events::SyncTrigger::Automated;
    let begun = sluice_schemas::events::SyncStarted { sync: sync.sync.clone(), epoch: 1, apply: 1, prune: 0 };
    world.fact(&begun, chain, "sync").await;
    world.fact(&sync, chain, "synced").await;
    let mut health = AppHealthChanged::example();
    health.app.app = AppId::from_name("shop-dev");
    health.to = HealthStatus::Healthy;
    // A watch saw it: it comes with a chain of its own.
    world.fact(&health, "watch", "healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_told_from_commit_to_pod() {
    let world = World::start().await;
    let admin = world.admin().await;
    story(&world, "chain1").await;
    let ready = |value: &Value| value["pushToDevMs"].is_number();
    let delivery = world.caught_up(&admin, "/api/v1/deliveries/chain1", ready).await;
    let kinds: Vec<&str> =
        delivery["segments"].as_array().expect("rows").iter().filter_map(|it| it["kind"].as_str()).collect();
    for kind in ["receive", "queue", "test", "build", "push", "bump", "render", "apply", "rollout"] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
        assert!(delivery["totals"][kind].is_number());
    }
    assert_eq!(delivery["status"], "on_dev");
    assert!(delivery["replay"].as_str().is_some_and(|it| it.contains("nats sub") && it.contains("chain1")));
    let sequences: Vec<u64> = delivery["facts"]
        .as_array()
        .expect("facts")
        .iter()
        .filter_map(|it| it["sequence"].as_u64())
        .collect();
    assert!(sequences.is_sorted() && sequences.len() >= 13);
    // By commit, by image tag, by digest.
    let push = PushReceived::example();
    for what in [
        push.after.short(),
        ImagePublished::example().tags[0].as_str(),
        ImagePublished::example().digest.as_str(),
    ] {
        let (_, found) = world.get(&format!("/api/v1/trace/{what}"), &admin).await;
        assert_eq!(found["items"][0]["correlation"], "chain1", "{what}");
    }
    let (status, error) = world.get("/api/v1/deliveries/unknown", &admin).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_their_logs_are_shown() {
    let world = World::start().await;
    let admin = world.admin().await;
    story(&world, "chain1").await;
    let run = world.caught_up(&admin, "/api/v1/runs/shop-web/42", |value| value["phase"] == "finished").await;
    assert_eq!((run["conclusion"].as_str(), run["jobs"][0]["key"].as_str()), (Some("success"), Some("test")));
    for name in ["dev_shop-web", "dev%2Fshop-web", "shop-web"] {
        let (status, log) = world.get(&format!("/api/v1/runs/{name}/42/logs?job=test&step=0"), &admin).await;
        assert_eq!((status, log.as_str()), (StatusCode::OK, Some("ok\n<script>alert(1)</script>\n")));
    }
    // The page shows the same as text.
    let cookie = world.cookie("admin", &world.admin_password).await;
    let (status, page) = world.page("/runs/dev_shop-web/42?job=test&step=0", &cookie).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !page.contains("<script>alert"));
    assert!(page.contains("<span class=\"g\">ok</span>") && !page.contains("style="));
    let (status, _) =
        world.post("/api/v1/runs/shop-web/42/rerun", &admin, &json!({ "failedOnly": false })).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.commands_sent().await, 1);
    let (status, error) = world.post("/api/v1/runs/shop-web/42/cancel", &admin, &json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{error}");
    assert_eq!(world.get("/api/v1/runs/shop-web/43", &admin).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_log_is_followed_to_its_end() {
    let world = World::start().await;
    let admin = world.admin().await;
    world.fact(&RunQueued::example(), "chain1", "queued").await;
    let started = JobStarted { epoch: 1, ..JobStarted::example() };
    world.fact(&started, "chain1", "started").await;
    world.caught_up(&admin, "/api/v1/runs/shop-web/42", |value| value["phase"] == "running").await;
    let repo = &started.run.repository.slug;
    let chunk = |seq: u64, first_line: u64, text: &str| LogChunk {
        epoch: 1,
        seq,
        first_line,
        lines: vec![LogLine { at: Timestamp::now(), text: text.to_owned() }],
        last: false,
    };
    world.bus.log(repo, &started.job, 0, &chunk(0, 1, "before")).await.expect("logged");
    let path = format!("/api/v1/runs/shop-web/42/logs?job={}&follow=true", started.key);
    let reader = world.events(&path, &admin, HeaderMap::new(), 3);
    let writer = async {
        world.bus.log(repo, &started.job, 0, &chunk(1, 2, "while")).await.expect("logged");
        let finished = JobFinished { job: started.job.clone(), epoch: 1, ..JobFinished::example() };
        world.fact(&finished, "chain1", "job").await;
    };
    let (events, ()) = tokio::join!(reader, writer);
    assert!(events[0].contains("event: line") && events[0].contains("\"text\":\"before\""), "{events:?}");
    assert!(events[1].contains("\"n\":2") && events[1].contains("\"text\":\"while\""), "{events:?}");
    assert!(events[2].contains("event: end"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_workflow_is_named_with_file_and_line() {
    let world = World::start().await;
    let admin = world.admin().await;
    world.fact(&PushReceived::example(), "chain1", "push").await;
    world.fact(&RunRefused::example(), "chain1", "refused").await;
    let run = world.caught_up(&admin, "/api/v1/runs/shop-web/42", |value| value["phase"] == "refused").await;
    assert!(run["reason"].as_str().is_some_and(|it| it.starts_with(".github/workflows/build.yml, line 12:")));
    let cookie = world.cookie("admin", &world.admin_password).await;
    let (_, page) = world.page("/runs/dev_shop-web/42", &cookie).await;
    assert!(
        page.contains(".github/workflows/build.yml")
            && page.contains("line 12")
            && page.contains("did you mean")
    );
    let (_, home) = world.page("/", &cookie).await;
    assert!(
        home.contains("lane-dev_shop-web")
            && home.contains("Refused")
            && home.contains("need-dev_shop-web-42")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_dev_proves_is_promoted() {
    let world = World::start().await;
    let admin = world.admin().await;
    story(&world, "chain1").await;
    let path = "/api/v1/promotions/shop-web";
    let look = world.caught_up(&admin, path, |value| value["image"].is_string()).await;
    assert_eq!(look["ready"], false);
    let (status, error) = world.post(path, &admin, &json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    // dev runs it, healthily; prod still names the old one.
    let bump = BumpCommitted::example().bump;
    let image = format!("{}:{}", bump.image, bump.tag);
    let kv = world.bus.kv::<AppState>(sluice_bus::Bucket::Apps);
    let mut dev = world.compared("shop-dev", false, sha('d')).await;
    dev.repository.clone_from(&bump.deploy_url);
    dev.sync = SyncStatus::Synced;
    dev.images = vec![image.clone()];
    dev.live_images = vec![image];
    kv.put("default.shop-dev", &dev).await.expect("stored");
    let mut prod = world.compared("shop-prod", true, sha('c')).await;
    prod.images = vec![format!("{}:aaaaaaaa", bump.image)];
    kv.put("default.shop-prod", &prod).await.expect("stored");
    let look = world.caught_up(&admin, path, |value| value["ready"] == true).await;
    assert_eq!((look["tag"].as_str(), look["prod"].as_str()), (Some(bump.tag.as_str()), Some("shop-prod")));
    let (status, error) = world.post(path, &admin, &json!({ "tag": "other" })).await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    let (status, promoted) = world.post(path, &admin, &json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{promoted}");
    // One id from commit to pod.
    assert_eq!(promoted["correlation"], "chain1");
    let commands = world.commands::<Promote>(PUBLISHER_PROMOTE).await;
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0].digest, Some(ImagePublished::example().digest));
    let (_, lanes) = world.get("/api/v1/lanes", &admin).await;
    assert_eq!(lanes["items"][0]["shut"], true);
    assert!(lanes["needs"].as_array().is_some_and(|it| it.iter().any(|it| it["kind"] == "sync")));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_resumed_without_a_gap() {
    let world = World::start().await;
    let admin = world.admin().await;
    let first = world.fact(&RunQueued::example(), "chain1", "queued").await;
    world.fact(&RunFinished::example(), "chain1", "finished").await;
    world.fact(&GrantIssued::example(), "chain1", "granted").await;
    let path = "/api/v1/events?filter=evt.run.%3E&from=start";
    let events = world.events(path, &admin, HeaderMap::new(), 2).await;
    assert!(
        events[0].contains("event: dev.sluice.run.queued.v1") && events[0].contains(&format!("id: {first}"))
    );
    let resumed = world.events(path, &admin, header("last-event-id", &first.to_string()), 1).await;
    assert!(resumed[0].contains("event: dev.sluice.run.finished.v1"), "{resumed:?}");
    // Who may see no application is told nothing of grants.
    let ada = world.ada(&admin, &[]).await;
    world.fact(&RunQueued::example(), "chain2", "queued again").await;
    let (status, audit) = world.get("/api/v1/audit", &ada).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{audit}");
    let (_, audit) = world.get("/api/v1/audit?q=shop-prod", &admin).await;
    assert_eq!(audit["items"][0]["action"], "granted");
}
