//! Kill each service at its worst moments, and the bus in the middle: the same end, and nothing twice.

use std::collections::BTreeMap;

use sluice_e2e::World;
use sluice_e2e::cli::Cli;
use sluice_e2e::story::{Chain, Report, about, dev, follow, prod, promote};
use sluice_e2e::witness::Event;
use sluice_e2e::world::Shop;

use crate::stage::SOON;

/// Where a service dies while a push is on its way to dev.
const ON_THE_WAY: &[(&str, &str)] = &[
    ("ingress", "ingress-published-before-answer"),
    ("ingress", "ingress-appended-before-head"),
    ("builder", "builder-mid-step"),
    ("builder", "builder-image-before-event"),
    ("builder", "builder-event-before-ack"),
    ("publisher", "publisher-manifest-before-tag"),
    ("publisher", "publisher-pushed-before-event"),
    ("renderer", "renderer-command-taken"),
    ("renderer", "renderer-before-event"),
    ("reconciler", "reconciler-compared-before-event"),
    ("reconciler", "reconciler-applied-some"),
    ("notifier", "notifier-message-sent"),
    ("notifier", "notifier-mid-edit"),
];

/// Where a service dies while a person opens the gate.
const AT_THE_GATE: &[(&str, &str)] = &[
    ("api", "api-grant-signed"),
    ("api", "api-grant-issued"),
    ("reconciler", "reconciler-grant-consumed"),
    ("reconciler", "reconciler-applied-before-status"),
];

async fn apart(name: &str) -> (World, Shop) {
    let mut world = World::new(name).await.unwrap();
    let shop = world.populate().await.unwrap();
    world.up_apart().await.unwrap();
    // What the repositories hold comes up first; what follows is counted from there.
    let witness = world.witness().unwrap();
    let healthy = |e: &Event| about(e, "shop-dev") && e.data["to"] == "Healthy";
    witness.wait("app.health_changed", SOON, healthy).await.unwrap();
    witness.settle(std::time::Duration::from_secs(2), SOON).await.unwrap();
    (world, shop)
}

/// Starts a service anew, to die at `point`.
async fn arm(world: &mut World, service: &str, point: &str) {
    world.process(service).unwrap().kill().await.unwrap();
    world.start_service(service, &[("SLUICE_KILL_AT", point)]).await.unwrap();
    world.process(service).unwrap().ready(SOON).await.unwrap();
}

/// Waits for the death, and starts the service as it should be.
async fn bury_and_revive(world: &mut World, service: &str, point: &str) {
    let ended = world.process(service).unwrap().ended(SOON).await;
    ended.unwrap_or_else(|error| panic!("{point} was not come by: {error:#}\n{}", story(world)));
    world.start_service(service, &[]).await.unwrap();
    world.process(service).unwrap().ready(SOON).await.unwrap();
}

fn story(world: &World) -> String {
    world.witness().map(|witness| witness.story(0)).unwrap_or_default()
}

/// A commit that is pushed while `service` is going to die at `point`.
async fn pushed(world: &World, shop: &Shop, version: &str) -> (String, u64) {
    let since = world.witness().unwrap().now();
    shop.web.write("VERSION", &format!("{version}\n")).unwrap();
    let commit = shop.web.commit(&format!("shop-web {version}")).await.unwrap();
    shop.web.push().await.unwrap();
    (commit, since)
}

/// One of each, for this chain.
async fn once(world: &World, shop: &Shop, chain: &Chain, point: &str) {
    let witness = world.witness().unwrap();
    witness.settle(std::time::Duration::from_secs(2), SOON).await.unwrap();
    let ours = |e: &&Event| e.correlation() == chain.correlation;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in witness.events().iter().filter(ours) {
        *counts.entry(event.kind()).or_default() += 1;
    }
    for kind in ["run.queued", "run.finished", "image.built", "image.published", "bump.committed"] {
        assert_eq!(counts.get(kind), Some(&1), "{point}: {kind}: {counts:?}\n{}", witness.story(chain.since));
    }
    let syncs: std::collections::BTreeSet<String> = witness
        .all("sync.finished")
        .iter()
        .filter(|e| e.sequence > chain.since && about(e, "shop-dev") && e.data["outcome"] == "Succeeded")
        .map(|e| e.data["sync"]["sync"].to_string())
        .collect();
    assert_eq!(syncs.len(), 1, "{point}: dev is synced once\n{}", witness.story(chain.since));
    let title = format!("update(shop-web): {}", chain.tag);
    let commits = shop.deploy.git(&["log", "--format=%s", "origin/main"]).await.unwrap();
    assert_eq!(
        commits.lines().filter(|line| *line == title).count(),
        1,
        "{point}: one commit {title}\n{commits}"
    );
    let run = format!(">#{}<", chain.run);
    let messages = world.telegram.read(|state| {
        state.messages().iter().filter(|m| serde_json::to_string(m).unwrap().contains(&run)).count()
    });
    assert!(messages <= 1, "{point}: {messages} messages tell of run {}", chain.run);
}

#[tokio::test]
async fn chaos_on_the_way_to_dev() {
    let (mut world, shop) = apart("chaos_dev").await;
    for (number, (service, point)) in ON_THE_WAY.iter().enumerate() {
        println!("{point}");
        arm(&mut world, service, point).await;
        let version = format!("2.0.{number}");
        let (commit, since) = pushed(&world, &shop, &version).await;
        bury_and_revive(&mut world, service, point).await;
        let report = Report::silent();
        let chain = follow(&world, commit, &version, since, &report).await;
        let chain = chain.unwrap_or_else(|error| panic!("{point}: {error:#}"));
        let on_dev = dev(&world, &shop, &chain, &report).await;
        on_dev
            .unwrap_or_else(|error| panic!("{point}: {error:#}\n{}", world.witness().unwrap().story(since)));
        once(&world, &shop, &chain, point).await;
    }
}

#[tokio::test]
async fn chaos_at_the_gate() {
    let (mut world, shop) = apart("chaos_gate").await;
    let cli = Cli::admin(&world).await.unwrap();
    for (number, (service, point)) in AT_THE_GATE.iter().enumerate() {
        println!("{point}");
        let version = format!("3.0.{number}");
        let (commit, since) = pushed(&world, &shop, &version).await;
        let report = Report::silent();
        let chain = follow(&world, commit, &version, since, &report).await.unwrap();
        dev(&world, &shop, &chain, &report).await.unwrap();
        promote(&world, &shop, &chain, &cli, &report).await.unwrap();
        let since = world.witness().unwrap().now();
        arm(&mut world, service, point).await;
        // The command waits for the sync's end, so the service is revived meanwhile.
        let asking = sluice_e2e::story::grant::by_cli(&cli, "shop-prod", &report);
        let (asked, ()) = tokio::join!(asking, bury_and_revive(&mut world, service, point));
        if *service == "api" {
            asked.expect_err("the API server died under the question");
            sluice_e2e::story::grant::by_cli(&cli, "shop-prod", &report).await.unwrap();
        } else {
            asked.unwrap();
        }
        let witness = world.witness().unwrap();
        let finished = witness.wait_after(since, "sync.finished", SOON, |e| about(e, "shop-prod")).await;
        let finished = finished.unwrap_or_else(|error| panic!("{point}: {error:#}"));
        assert_eq!(finished.data["outcome"], "Succeeded", "{point}: {}", finished.data);
        world.kube.rolled_out(&world.names.prod, "web", &chain.image, SOON).await.unwrap();
        witness.settle(std::time::Duration::from_secs(2), SOON).await.unwrap();
        let after = |kind: &str| {
            witness.all(kind).iter().filter(|e| e.sequence > since && about(e, "shop-prod")).count()
        };
        assert_eq!(after("grant.consumed"), 1, "{point}: one grant is used\n{}", witness.story(since));
        assert_eq!(after("sync.finished"), 1, "{point}: one sync\n{}", witness.story(since));
    }
}

#[tokio::test]
async fn chaos_the_bus_goes_away_in_the_middle() {
    let (mut world, shop) = apart("chaos_bus").await;
    let (commit, since) = pushed(&world, &shop, "4.0.0").await;
    let witness = world.witness().unwrap();
    witness.wait_after(since, "job.started", SOON, |_| true).await.unwrap();
    world.nats.kill().await.unwrap();
    world.nats.resume().await.unwrap();
    world.watch_again().await.unwrap();
    let report = Report::silent();
    let chain = follow(&world, commit, "4.0.0", since, &report).await.unwrap();
    dev(&world, &shop, &chain, &report).await.unwrap();
    once(&world, &shop, &chain, "the bus").await;
    let cli = Cli::admin(&world).await.unwrap();
    promote(&world, &shop, &chain, &cli, &report).await.unwrap();
    let since = world.witness().unwrap().now();
    sluice_e2e::story::grant::by_cli(&cli, "shop-prod", &report).await.unwrap();
    prod(&world, &chain, since, "cli", &report).await.unwrap();
}
