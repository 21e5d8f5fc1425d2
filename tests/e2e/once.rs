//! The same news told many times is one of everything.

use serde_json::json;
use sluice_e2e::story::{QUIET, Report, about, dev, follow};
use sluice_e2e::webhook::{Delivery, repository};
use sluice_e2e::{Event, World};

use crate::stage::{SOON, shop};

#[tokio::test]
async fn a_push_told_200_times_is_one_run_one_image_one_bump_one_sync_one_message() {
    let report = Report::plain();
    let (mut world, shop) = shop("once").await;
    // Told by hand only.
    world.unhook("shop-web").await.unwrap();
    let before = shop.web.git(&["rev-parse", "HEAD"]).await.unwrap();
    let since = world.witness().unwrap().now();
    shop.web.write("VERSION", "3.0.0\n").unwrap();
    let commit = shop.web.ship("shop-web 3.0.0").await.unwrap();
    let about_it = repository(&world.full_name("shop-web"), &world.clone_url("shop-web"));
    let push = Delivery::push(&world.webhook_url(), &world.planted.webhook, &about_it, &before, &commit);

    let statuses = at_once(&world, &push, 200).await;
    assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 199, "{statuses:?}");
    let chain = follow(&world, commit.clone(), "3.0.0", since, &report).await.unwrap();
    dev(&world, &shop, &chain, &report).await.unwrap();

    world.process("sluice").unwrap().kill().await.unwrap();
    world.processes.clear();
    world.up().await.unwrap();
    let mut fresh = push.clone();
    fresh.delivery = "99999999-aaaa-bbbb-cccc-dddddddddddd".to_owned();
    for delivery in [&push, &fresh] {
        let (status, body) = delivery.send(&world.http).await.unwrap();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["run"]["number"]), (200, &json!(chain.run)), "{body}");
    }
    world.witness().unwrap().settle(QUIET, SOON).await.unwrap();

    let ours = |e: &Event| e.correlation() == chain.correlation;
    for (kind, wanted) in [
        ("run.queued", 1),
        ("run.finished", 1),
        ("image.built", 1),
        ("image.published", 1),
        ("bump.committed", 1),
    ] {
        let found = world.witness().unwrap().all(kind).into_iter().filter(&ours).count();
        assert_eq!(found, wanted, "{kind}\n{}", world.witness().unwrap().story(since));
    }
    let deploy = shop.deploy.pull().await.unwrap();
    let synced = world.witness().unwrap().all("sync.finished");
    let synced =
        synced.iter().filter(|e| about(e, "shop-dev") && e.data["sync"]["revision"] == deploy.as_str());
    assert_eq!(synced.count(), 1);
    assert_eq!(shop.deploy.log().await.unwrap().len(), 2, "the first commit and one bump");

    let said = world.telegram.read(|s| s.messages().to_vec());
    let shown =
        |text: &str| said.iter().filter(|m| m.from.is_bot && !m.deleted && m.text.contains(text)).count();
    let run = format!("{} #{} ", world.full_name("shop-web"), chain.run);
    assert_eq!(shown(&run), 1, "one message about the run: {said:#?}");
    assert_eq!(
        shown(&format!("shop-web:{} → dev", chain.tag)),
        1,
        "one message about the delivery: {said:#?}"
    );
    assert_eq!(shown("✅success"), 1, "one message of the workflow's own: {said:#?}");
}

/// Sends it many times at once, half of them under a delivery id of their own.
async fn at_once(world: &World, push: &Delivery, times: usize) -> Vec<u16> {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..times {
        let mut push = push.clone();
        if at % 2 == 0 {
            push.delivery = format!("{at:08}-0000-0000-0000-000000000000");
        }
        let http = world.http.clone();
        tasks.spawn(async move { push.send(&http).await.map_or(0, |(status, _)| status) });
    }
    tasks.join_all().await
}
