//! The harness itself: worlds stand apart, the browser works, the demo's repositories are sound.

use sluice_e2e::browser::Browser;
use sluice_e2e::{Platform, World, kubectl::Kubectl, registry, seed};

#[tokio::test]
async fn a_world_has_repositories_and_a_running_prod() {
    let world = World::new("harness_world").await.unwrap();
    let shop = world.populate().await.unwrap();
    assert!(shop.deploy.read("dev/app.yaml").unwrap().contains(&world.clone_url("deploy")));
    assert!(registry::digest(&world.platform, &world.image_path(), seed::FIRST_TAG).await.unwrap().is_some());
    let image = format!("{}:{}", world.image(), seed::FIRST_TAG);
    world
        .kube
        .rolled_out(&world.names.prod, "web", &image, std::time::Duration::from_secs(60))
        .await
        .unwrap();
    let app = world.kube.get(&world.names.apps, "application/shop-prod").await.unwrap().unwrap();
    assert_eq!(app["spec"]["source"]["path"], "prod");
}

#[tokio::test]
async fn the_browser_clicks_types_and_reports() {
    sluice_e2e::install_crypto();
    let directory = tempfile::tempdir().unwrap();
    let fake = sluice_telegram_fake::Fake::start(sluice_telegram_fake::Options::default()).await.unwrap();
    let browser = Browser::start(directory.path()).await.unwrap();
    let page = browser.open(&fake.url()).await.unwrap();
    let within = std::time::Duration::from_secs(20);
    page.until("document.querySelectorAll('#user option').length === 2", within).await.unwrap();
    page.fill("#text", "/apps please").await.unwrap();
    page.click("#form button").await.unwrap();
    let seen = fake
        .wait(within, |s| s.messages().first().map(|m| (m.text.clone(), m.from.first_name.clone())))
        .await;
    assert_eq!(seen, Some(("/apps please".to_owned(), "Dana".to_owned())));
    page.until("document.querySelector('#log .text').textContent === '/apps please'", within).await.unwrap();
    page.resize(390, 800).await.unwrap();
    page.screenshot(&directory.path().join("chat.png")).await.unwrap();
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn the_platform_runs() {
    let platform = Platform::get().await.unwrap();
    platform.check().await.unwrap();
    let kube = Kubectl::new(&platform);
    assert!(kube.ok(&["get", "nodes"]).await.unwrap().contains("Ready"));
}
