//! The web UI in a real browser, as a person uses it: a live log, an application's pages, SYNC with confirmation, a phone.

use serde_json::json;
use sluice_e2e::Event;
use sluice_e2e::browser::{Browser, Page};
use sluice_e2e::cli::Cli;
use sluice_e2e::story::grant::{by_web, log_in};
use sluice_e2e::story::{Report, about, dev, follow, prod, promote};
use sluice_e2e::world::{Shop, World};

use crate::stage::{SOON, shop};

/// What the slow step prints, a line at a time.
const TICKS: usize = 24;

#[tokio::test]
async fn a_person_follows_a_log_reads_the_pages_and_opens_the_gate() {
    let report = Report::plain();
    let (world, shop) = shop("browser").await;
    let cli = Cli::admin(&world).await.unwrap();
    let browser = Browser::start(&world.directory).await.unwrap();
    let page = browser.open(&world.api_url()).await.unwrap();
    let asked = page.eval("location.pathname").await.unwrap();
    assert_eq!(asked, "/login", "a stranger is sent to the door");
    log_in(&world, &page).await.unwrap();

    let since = world.witness().unwrap().now();
    let commit = push_a_slow_test(&shop).await;
    let run = watch_the_log(&world, &page, since, &commit).await;

    let chain = follow(&world, commit, "6.0.0", since, &report).await.unwrap();
    assert_eq!(chain.run, run);
    dev(&world, &shop, &chain, &report).await.unwrap();
    let waiting = promote(&world, &shop, &chain, &cli, &report).await.unwrap();
    read_the_application(&world, &page, &chain.tag, &waiting).await;

    let since = world.witness().unwrap().now();
    refuse_a_wrong_name(&world, &page).await;
    by_web(&world, &page, "shop-prod", &chain.image, &report).await.unwrap();
    prod(&world, &chain, since, "web", &report).await.unwrap();
    // The page that SYNC led to has followed it to its end, without being loaded again.
    page.until("document.querySelector('#sync-progress')?.dataset.phase === 'Succeeded'", SOON)
        .await
        .unwrap();
    page.until("document.querySelector('#app-sync').innerText.includes('Synced')", SOON).await.unwrap();
    page.until("document.querySelector('#app-health').innerText.includes('Healthy')", SOON).await.unwrap();

    let run = format!("/runs/{}/{run}", world.slug("shop-web"));
    let delivery = format!("/deliveries/{}", chain.correlation);
    on_a_phone(&world, &page, &[&run, &format!("{run}?job=build"), &delivery]).await;
    assert_eq!(browser.complaints(), Vec::<String>::new(), "what the browser refused or a script threw");
}

/// A change whose tests take a while, and print while they do.
async fn push_a_slow_test(shop: &Shop) -> String {
    let slow = format!("for n in $(seq {TICKS}); do echo \"tick $n\"; sleep 0.25; done; sh test/run.sh");
    let workflows = shop.web.path.join(".github/workflows");
    let file = std::fs::read_dir(workflows).unwrap().next().unwrap().unwrap().file_name();
    let file = format!(".github/workflows/{}", file.to_string_lossy());
    shop.web.replace(&file, "run: sh test/run.sh", &format!("run: {slow}")).unwrap();
    shop.web.write("VERSION", "6.0.0\n").unwrap();
    shop.web.ship("shop-web 6.0.0").await.unwrap()
}

/// From the list of runs into the step that runs; its lines come while it does, and the page is never loaded again.
async fn watch_the_log(world: &World, page: &Page<'_>, since: u64, commit: &str) -> u64 {
    page.go(&format!("{}/runs", world.api_url())).await.unwrap();
    let started =
        world.witness().unwrap().wait_after(since, "job.started", SOON, |e| e.data["key"] == "test");
    let started = started.await.unwrap();
    let queued =
        world.witness().unwrap().wait_after(since, "run.queued", SOON, |e| e.data["run"]["sha"] == commit);
    let run = queued.await.unwrap().data["run"]["number"].as_u64().unwrap();
    assert_eq!(started.data["run"]["number"].as_u64().unwrap_or(run), run);

    page.click(&format!("a[href^='/runs/{}/{run}']", world.slug("shop-web"))).await.unwrap();
    // The second step is the one that prints.
    page.click("#steps li:nth-child(2) a").await.unwrap();
    page.until("/[?&]step=1/.test(location.search) && !!document.querySelector('#log')", SOON).await.unwrap();
    page.eval("window.same = 1").await.unwrap();
    let line = |n: usize| {
        format!("[...document.querySelectorAll('#log li span')].some((e) => e.textContent === 'tick {n}')")
    };
    page.until(&line(2), SOON).await.unwrap();
    let early = format!("{} ? 'whole' : document.querySelector('#run-status').innerText", line(TICKS));
    let early = page.eval(&early).await.unwrap();
    let lines = page.eval("document.querySelectorAll('#log li').length").await.unwrap();
    assert!(early != json!("whole"), "the log came only when the step had ended");
    page.until(&format!("document.querySelectorAll('#log li').length > {lines}"), SOON).await.unwrap();
    page.screenshot(&world.directory.join("log.png")).await.unwrap();

    page.until(&line(TICKS), SOON).await.unwrap();
    world
        .witness()
        .unwrap()
        .wait_after(since, "run.finished", SOON, |e: &Event| e.data["run"]["number"] == run)
        .await
        .unwrap();
    page.until(&format!("document.querySelector('#run-status').innerText !== {early}"), SOON).await.unwrap();
    assert_eq!(page.eval("window.same").await.unwrap(), 1, "the page was loaded again");
    let numbers =
        page.eval("[...document.querySelectorAll('#log li a')].map((e) => +e.textContent).filter((n) => n)");
    let numbers: Vec<u64> = serde_json::from_value(numbers.await.unwrap()).unwrap();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each line once, in order: {numbers:?}");
    run
}

/// The tree says what stands in prod, the differences say what would change.
async fn read_the_application(world: &World, page: &Page<'_>, tag: &str, waiting: &str) {
    page.go(&format!("{}/apps", world.api_url())).await.unwrap();
    page.click("a[href='/apps/shop-prod']").await.unwrap();
    page.until("location.pathname === '/apps/shop-prod' && !!document.querySelector('#tree li')", SOON)
        .await
        .unwrap();
    let head = page.eval("document.querySelector('#app-head').innerText").await.unwrap();
    let head = head.as_str().unwrap();
    for word in ["shop-prod", "gated", &waiting[..8], "SYNC"] {
        assert!(head.contains(word), "{word} is not in the head:\n{head}");
    }
    let tree = page.eval("document.querySelector('#tree').innerText").await.unwrap();
    let tree = tree.as_str().unwrap();
    for word in ["Deployment", "Service", "ConfigMap", "Namespace"] {
        assert!(tree.to_lowercase().contains(&word.to_lowercase()), "{word} is not in the tree:\n{tree}");
    }
    page.screenshot(&world.directory.join("tree.png")).await.unwrap();
    page.key("d").await.unwrap();
    page.until("location.pathname === '/apps/shop-prod/diff'", SOON).await.unwrap();
    page.until(&format!("document.querySelector('main').innerText.includes('{tag}')"), SOON).await.unwrap();
    let diff = page.text().await.unwrap();
    assert!(diff.contains("00000000"), "the image that runs now is shown, too:\n{diff}");
    page.screenshot(&world.directory.join("diff.png")).await.unwrap();
}

/// With another name than the application's, the button does nothing.
async fn refuse_a_wrong_name(world: &World, page: &Page<'_>) {
    let since = world.witness().unwrap().now();
    page.go(&format!("{}/apps/shop-prod", world.api_url())).await.unwrap();
    page.key("s").await.unwrap();
    page.until("!!document.querySelector('dialog.sheet[open] #typed')", SOON).await.unwrap();
    page.fill("#typed", "shop-dev").await.unwrap();
    page.key("Enter").await.unwrap();
    page.eval("document.querySelector('#sync-form button.gate').click()").await.unwrap();
    let invalid = page.eval("!document.querySelector('#sync-form').checkValidity()").await.unwrap();
    assert_eq!(invalid, true);
    page.screenshot(&world.directory.join("sheet.png")).await.unwrap();
    page.key("Escape").await.unwrap();
    page.until("!document.querySelector('dialog.sheet[open]')", SOON).await.unwrap();
    let facts = world.witness().unwrap().events();
    let asked = facts
        .iter()
        .find(|e| e.sequence > since && e.subject.starts_with("evt.grant.") && about(e, "shop-prod"));
    assert!(asked.is_none(), "{asked:?}");
}

/// At a phone's width no page scrolls sideways, the open sheet included.
async fn on_a_phone(world: &World, page: &Page<'_>, more: &[&str]) {
    let pages = [
        "/",
        "/apps",
        "/apps/shop-prod",
        "/apps/shop-prod/diff",
        "/apps/shop-prod/history",
        "/apps/shop-prod/events",
        "/apps/shop-prod/manifest",
        "/apps/shop-prod/sync",
        "/promote/shop-web",
        "/runs",
        "/deliveries",
        "/audit",
        "/dlq",
        "/account",
        "/help",
    ];
    for width in [360, 390] {
        page.resize(width, 800).await.unwrap();
        for path in pages.iter().chain(more) {
            page.go(&format!("{}{path}", world.api_url())).await.unwrap();
            let over = page.eval(
                "[document.documentElement.scrollWidth - innerWidth, [...document.querySelectorAll('body *')]\
                 .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, .log, svg, dialog:not([open])'))\
                 .slice(0, 3).map((e) => e.outerHTML.slice(0, 120))]",
            );
            let over = over.await.unwrap();
            assert!(over[0].as_i64().unwrap() <= 0, "{path} at {width}: {over:#}");
        }
    }
    page.go(&format!("{}/apps/shop-prod", world.api_url())).await.unwrap();
    page.screenshot(&world.directory.join("phone.png")).await.unwrap();
}
