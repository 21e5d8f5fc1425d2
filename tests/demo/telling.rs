//! The story, in order.

use std::time::Duration;

use serde_json::Value;
use sluice_e2e::browser::Browser;
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::{by_button, by_cli, by_web, link, log_in};
use sluice_e2e::story::{Chain, Report, SOON, about, dev, ledger, prod, promote, push};
use sluice_e2e::until;
use sluice_e2e::world::{Shop, World};

use crate::real;
use crate::stage::Stage;

/// A person may think as long as they like.
const PATIENCE: Duration = Duration::from_secs(365 * 86_400);

pub(crate) async fn tell(
    stage: &mut Stage,
    report: &Report,
    real: bool,
    attended: bool,
) -> anyhow::Result<()> {
    report.chapter("The real parts (10 s the first time, 30 s with the images)");
    let real = if real { Some(real::bot(report).await?) } else { None };
    stage.platform(report).await?;

    report.chapter("Sluice, with two repositories: shop-web and deploy (15 s)");
    let pictures = stage.folder()?;
    let world = stage.world(real).await?;
    let shop = world.populate().await?;
    world.up().await?;
    for line in urls(world)? {
        report.note(&line);
    }
    let cli = Cli::admin(world).await?;

    if attended {
        let chain = delivery(world, &shop, &cli, "1.4.1", report).await?;
        waiting(world, &chain, report).await?;
        end(world, &cli, &chain, report).await?;
        report.chapter("Everything stays up. Ctrl-C stops it");
        for line in urls(world)? {
            report.note(&line);
        }
        std::future::pending().await
    }

    report.chapter("The person's places: the browser, a terminal, the chat");
    link(world, &cli).await?;
    let browser = Browser::start(&world.directory).await?;
    let page = browser.open(&world.api_url()).await?;
    log_in(world, &page).await?;
    for (version, surface) in [("1.4.1", "web"), ("1.4.2", "cli"), ("1.4.3", "telegram")] {
        let chain = delivery(world, &shop, &cli, version, report).await?;
        report.chapter(&format!("4  A person presses SYNC: {surface}"));
        let since = world.witness()?.now();
        match surface {
            "web" => by_web(world, &page, "shop-prod", &chain.image, report).await?,
            "cli" => drop(by_cli(&cli, "shop-prod", report).await?),
            _ => by_button(world, "shop-prod", &chain.tag, report).await?,
        }
        prod(world, &chain, since, surface, report).await?;
        end(world, &cli, &chain, report).await?;
    }
    page.go(&world.api_url()).await?;
    page.until("document.body.innerText.includes('shop-prod')", SOON).await?;
    page.screenshot(&pictures.join("home.png")).await?;
    page.go(&world.telegram.url()).await?;
    page.until("document.querySelectorAll('article').length > 3", SOON).await?;
    page.screenshot(&pictures.join("chat.png")).await?;
    report.note(&format!("pictures: {}", pictures.display()));
    report.expect("the browser had nothing to complain about", browser.complaints().is_empty())?;
    scraped(world, report).await
}

/// Steps 1 to 3.
async fn delivery(
    world: &World,
    shop: &Shop,
    cli: &Cli,
    version: &str,
    report: &Report,
) -> anyhow::Result<Chain> {
    report.chapter(&format!("1  A push to shop-web: {version}"));
    let chain = push(world, shop, version, report).await?;
    report.chapter("2  The tag goes to deploy/dev, and dev follows");
    dev(world, shop, &chain, report).await?;
    report.chapter("3  Promoted to deploy/prod, and nothing else happens");
    promote(world, shop, &chain, cli, report).await?;
    Ok(chain)
}

/// Step 4, by the person before the screen, on the surface that they like.
async fn waiting(world: &World, chain: &Chain, report: &Report) -> anyhow::Result<()> {
    let sluice = world.platform.ours("sluice");
    let sluice = sluice.display();
    report.chapter("4  Your turn: prod waits for a person. Choose one");
    report.note(&format!(
        "web       {}/apps/shop-prod/sync   (admin / {})",
        world.api_url(),
        world.password()?
    ));
    report.note(&format!("terminal  {sluice} login {} && {sluice} app sync shop-prod", world.api_url()));
    report.note(&format!(
        "chat      {sluice} link, send what it prints to the bot, then press the button: {}",
        chat(world)
    ));
    let witness = world.witness()?;
    let since = witness.now();
    let issued = witness.wait_after(since, "grant.issued", PATIENCE, |e| about(e, "shop-prod")).await?;
    let surface = issued.data["surface"].as_str().unwrap_or_default().to_owned();
    prod(world, chain, since, &surface, report).await
}

/// Step 5.
async fn end(world: &World, cli: &Cli, chain: &Chain, report: &Report) -> anyhow::Result<()> {
    report.chapter("5  The time ledger, from commit to pod");
    ledger(world, cli, chain, report).await
}

fn urls(world: &World) -> anyhow::Result<Vec<String>> {
    Ok(vec![
        format!(
            "web UI      {}   (admin / {}; the password is told this once)",
            world.api_url(),
            world.password()?
        ),
        format!("chat        {}", chat(world)),
        format!("webhooks    {}", world.webhook_url()),
        format!(
            "metrics     http://127.0.0.1:{}/metrics, in Prometheus {}",
            world.ports.operations, world.platform.prometheus_url
        ),
        format!("Git         {} and {}", world.clone_url("shop-web"), world.clone_url("deploy")),
        format!("cluster     export KUBECONFIG={}", world.platform.kubeconfig.display()),
        format!(
            "live        {} --server {} sub 'evt.>'",
            world.platform.bin.join("nats").display(),
            world.nats.url
        ),
    ])
}

fn chat(world: &World) -> String {
    if world.real_telegram { "your Telegram".to_owned() } else { world.telegram.url() }
}

/// Prometheus has our metrics.
async fn scraped(world: &World, report: &Report) -> anyhow::Result<()> {
    let url = format!(
        "{}/api/v1/query?query=up%7Bjob%3D%22sluice%22%2Cworld%3D%22demo%22%7D",
        world.platform.prometheus_url
    );
    until("Prometheus scrapes Sluice", SOON, async || {
        let answer: Value = world
            .http
            .get(&url)
            .send()
            .await
            .map_err(|e| e.to_string())?
            .json()
            .await
            .map_err(|e| e.to_string())?;
        if answer["data"]["result"][0]["value"][1] == "1" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await?;
    report.expect("Prometheus scrapes Sluice", true)
}
