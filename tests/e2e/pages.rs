//! The web UI's own guards, in a real browser: the door, and a sheet that went stale.

use sluice_e2e::World;
use sluice_e2e::browser::{Browser, Page};
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::log_in;
use sluice_e2e::story::{QUIET, Report, about, promote};

use crate::stage::{SOON, on_dev, shop};

#[tokio::test]
async fn a_guess_stays_outside_and_a_stale_sheet_grants_nothing() {
    let (world, shop) = shop("pages").await;
    let browser = Browser::start(&world.directory).await.unwrap();
    let page = browser.open(&world.api_url()).await.unwrap();
    door(&world, &page).await;

    let witness = world.witness().unwrap();
    let chain = on_dev(&world, &shop, "7.0.0").await;
    let cli = Cli::admin(&world).await.unwrap();
    promote(&world, &shop, &chain, &cli, &Report::plain()).await.unwrap();
    page.go(&format!("{}/apps/shop-prod/sync", world.api_url())).await.unwrap();
    page.fill("#typed", "shop-prod").await.unwrap();
    shop.deploy.replace("prod/web/configmap.yaml", "STAGE: prod", "STAGE: production").unwrap();
    let moved = shop.deploy.ship("another stage").await.unwrap();
    let seen = |e: &sluice_e2e::Event| about(e, "shop-prod") && e.data["revision"] == moved.as_str();
    witness.wait("app.compared", SOON, seen).await.unwrap();
    page.until("document.body.innerText.includes('Git moved')", SOON).await.unwrap();

    let noticed = browser.complaints().len();
    let since = witness.now();
    // By script: even a page that did not hear the news gets nothing.
    page.eval("document.querySelector('#sync-form').submit()").await.unwrap();
    page.until("document.readyState === 'complete' && !document.querySelector('#sync-form')", SOON)
        .await
        .unwrap();
    witness.settle(QUIET, SOON).await.unwrap();
    let after: Vec<_> =
        witness.events().into_iter().filter(|e| e.sequence > since && about(e, "shop-prod")).collect();
    assert!(
        after.iter().all(|e| !e.subject.starts_with("evt.sync") && e.kind() != "grant.issued"),
        "{after:#?}"
    );
    // The browser remarks on the refusal itself, and on nothing else.
    let complaints = &browser.complaints()[noticed..];
    assert!(complaints.iter().all(|c| c.contains("/ui/apps/shop-prod/sync")), "{complaints:?}");
}

/// A wrong password stays outside; without a session every page leads to the door.
async fn door(world: &World, page: &Page<'_>) {
    page.go(&format!("{}/apps", world.api_url())).await.unwrap();
    page.until("location.pathname === '/login'", SOON).await.unwrap();
    page.fill("input[name=username]", "admin").await.unwrap();
    page.fill("input[name=password]", "a guess").await.unwrap();
    page.key("Enter").await.unwrap();
    page.until("document.readyState === 'complete' && !!document.querySelector('[role=alert], .bad')", SOON)
        .await
        .unwrap();
    log_in(world, page).await.unwrap();
    let script = page.eval("document.cookie").await.unwrap();
    assert_eq!(script, "", "the session is not for scripts");
}
