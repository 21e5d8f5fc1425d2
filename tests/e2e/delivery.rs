//! The main story and its parts.

use sluice_e2e::browser::Browser;
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::{by_button, by_cli, by_command, by_web, link, log_in};
use sluice_e2e::story::{Report, prod, promote};

use crate::stage::{on_dev, shop};

/// The whole story four times, the gate opened once on each surface.
#[tokio::test]
async fn a_push_becomes_a_running_pod_and_prod_waits_for_a_person() {
    let report = Report::plain();
    let (world, shop) = shop("story").await;
    let cli = Cli::admin(&world).await.unwrap();
    link(&world, &cli).await.unwrap();
    let browser = Browser::start(&world.directory).await.unwrap();
    let page = browser.open(&world.api_url()).await.unwrap();
    log_in(&world, &page).await.unwrap();
    for (version, surface) in
        [("1.4.1", "web"), ("1.4.2", "cli"), ("1.4.3", "telegram"), ("1.4.4", "telegram")]
    {
        let chain = on_dev(&world, &shop, version).await;
        promote(&world, &shop, &chain, &cli, &report).await.unwrap();
        let since = world.witness().unwrap().now();
        match version {
            "1.4.1" => by_web(&world, &page, "shop-prod", &chain.image, &report).await.unwrap(),
            "1.4.2" => drop(by_cli(&cli, "shop-prod", &report).await.unwrap()),
            "1.4.3" => by_button(&world, "shop-prod", &chain.tag, &report).await.unwrap(),
            _ => by_command(&world, "shop-prod", &report).await.unwrap(),
        }
        prod(&world, &chain, since, surface, &report).await.unwrap();
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
