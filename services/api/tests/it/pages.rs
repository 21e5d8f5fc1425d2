//! Pages as a browser without script sees them: SYNC by form, live fragments, the chain of a webhook.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap as AxumHeaders;
use axum::routing::post;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use sluice_bus::topology::RECONCILER_SYNC;
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{GrantIssued, RunQueued, Surface};
use sluice_schemas::grant::GrantScope;
use sluice_schemas::{Event, Message as _};

use crate::login::hidden;
use crate::support::{World, kind_of, sha};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_syncs_by_typing_the_name() {
    let world = World::start().await;
    let admin = world.admin().await;
    let cookie = world.cookie("admin", &world.admin_password).await;
    world.compared("shop-prod", true, sha('d')).await;
    world.caught_up(&admin, "/api/v1/apps/shop-prod", |value| value["revision"].is_string()).await;
    let (_, home) = world.page("/", &cookie).await;
    assert!(home.contains("waits for SYNC") && home.contains("/apps/shop-prod/sync"));
    let (_, tree) = world.page("/apps/shop-prod", &cookie).await;
    assert!(tree.contains("OutOfSync") && tree.contains("image differs") && tree.contains("will be pruned"));
    let (_, diff) = world.page("/apps/shop-prod/diff", &cookie).await;
    assert!(
        diff.contains("registry.example.com/shop/web") && diff.contains("<ins>") && diff.contains("<del>")
    );
    let (status, sheet) = world.page("/apps/shop-prod/sync", &cookie).await;
    assert_eq!(status, StatusCode::OK);
    assert!(sheet.contains("What you grant") && sheet.contains("Pruned means deleted"));
    let fields = |typed: &'static str| {
        [
            ("csrf", hidden(&sheet, "csrf")),
            ("key", hidden(&sheet[sheet.find("sync-form").expect("the form")..], "key")),
            ("revision", hidden(&sheet, "revision")),
            ("manifest_digest", hidden(&sheet, "manifest_digest")),
            ("prune", "true".to_owned()),
            ("typed", typed.to_owned()),
        ]
    };
    let send = async |typed| {
        let fields = fields(typed);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.form("/ui/apps/shop-prod/sync", Some(&cookie), &fields).await
    };
    assert_eq!(send("shop-dev").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(world.commands_sent().await, 0);
    let answer = send("shop-prod").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    assert!(location.starts_with("/apps/shop-prod?done=granted&sync="), "{location}");
    // Pressed twice, granted once.
    assert_eq!(send("shop-prod").await.status(), StatusCode::SEE_OTHER);
    assert_eq!(world.commands_sent().await, 1);
    let issued = world.facts(kind_of::<GrantIssued>()).await;
    let [record] = issued.as_slice() else { panic!("{} grants", issued.len()) };
    let Event::GrantIssued(fact) = &record.event else { panic!("of another type") };
    assert_eq!((fact.surface, fact.person.as_str()), (Surface::Web, "admin"));
    let (_, page) = world.page(&location, &cookie).await;
    assert!(page.contains("sync-progress") && page.contains("Granted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there_and_clean() {
    let world = World::start().await;
    let cookie = world.cookie("admin", &world.admin_password).await;
    world.compared("shop-prod", true, sha('d')).await;
    world.fact(&RunQueued::example(), "chain1", "queued").await;
    let admin = world.admin().await;
    world.caught_up(&admin, "/api/v1/runs/shop-web/42", |value| value["number"] == 42).await;
    world.caught_up(&admin, "/api/v1/apps/shop-prod", |value| value["revision"].is_string()).await;
    for path in [
        "/",
        "/apps",
        "/apps/shop-prod",
        "/apps/shop-prod/diff",
        "/apps/shop-prod/history",
        "/apps/shop-prod/events",
        "/apps/shop-prod/manifest",
        "/apps/shop-prod/sync",
        "/runs",
        "/runs?repo=dev_shop-web",
        "/runs/dev_shop-web/42",
        "/deliveries",
        "/deliveries/chain1",
        "/promote/dev_shop-web",
        "/audit",
        "/dlq",
        "/account",
        "/help",
        "/ui/find?q=shop",
        "/assets/style.css",
        "/assets/icons.svg",
        "/assets/app.js",
    ] {
        let (status, page) = world.page(path, &cookie).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        if !path.starts_with("/assets") {
            for forbidden in [" style=", " onclick=", "javascript:", "<style"] {
                assert!(!page.contains(forbidden), "{path} holds {forbidden}");
            }
        }
    }
    assert_eq!(world.page("/nowhere", &cookie).await.0, StatusCode::NOT_FOUND);
    let (status, page) = world.page("/apps/shop-prd", &cookie).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(page.contains("did you mean shop-prod"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_told_what_changed() {
    let world = World::start().await;
    let admin = world.admin().await;
    world.caught_up(&admin, "/api/v1/lanes", |value| value["items"].is_array()).await;
    let reader = world.events("/ui/stream?page=home", &admin, HeaderMap::new(), 11);
    let writer = async {
        for attempt in 0..40 {
            let mut run = RunQueued::example();
            run.run.number.0 += attempt;
            world.fact(&run, "chain1", &format!("queued {attempt}")).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let events = tokio::select! {
        events = reader => events,
        () = async { writer.await; std::future::pending().await } => unreachable!("the stream never says anything"),
    };
    assert!(events[0].contains("event: patch") && events[0].contains("\"op\":\"replace\""), "{events:?}");
    assert!(events[7..].iter().any(|it| it.contains("lane-dev_shop-web")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_handed_to_ingress_as_it_came() {
    let ingress = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = ingress.local_addr().expect("an address");
    let echo = |headers: AxumHeaders, body: Bytes| async move {
        let signature = headers["x-hub-signature-256"].to_str().expect("text").to_owned();
        assert!(!headers.contains_key("cookie") && !headers.contains_key("authorization"));
        (axum::http::StatusCode::ACCEPTED, format!("{signature} {}", body.len()))
    };
    let router = Router::new().route("/webhooks/github", post(echo));
    let server = tokio::spawn(async move { axum::serve(ingress, router).await.expect("serves") });
    let world = World::with(|config| config.ingress_url = format!("http://{address}")).await;
    let send = |event: Option<&'static str>| {
        let mut request = world.http.post(format!("{}/api/webhook", world.url));
        if let Some(event) = event {
            request = request.header("x-github-event", event);
        }
        request.header("x-hub-signature-256", "sha256=abc").header("cookie", "a=b").body("{\"a\": 1}").send()
    };
    let answer = send(Some("push")).await.expect("answered");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(answer.text().await.expect("text"), "sha256=abc 8");
    assert_eq!(send(None).await.expect("answered").status(), StatusCode::BAD_REQUEST);
    server.abort();
    drop(server.await);
    assert_eq!(send(Some("push")).await.expect("answered").status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn automation_that_is_held_back_can_be_let_through_for_good() {
    let world = World::start().await;
    let admin = world.admin().await;
    let cookie = world.cookie("admin", &world.admin_password).await;
    let application = serde_json::json!({
        "metadata": { "name": "shop-prod" },
        "spec": {
            "project": "default", "destination": { "namespace": "prod" }, "syncPolicy": { "automated": {} },
            "source": { "repoURL": "http://git.example.com/dev/deploy.git", "path": "prod", "targetRevision": "HEAD" },
        },
    });
    assert_eq!(world.post("/api/v1/applications", &admin, &application).await.0, StatusCode::OK);
    world.compared("shop-prod", true, sha('d')).await;
    world.caught_up(&admin, "/api/v1/apps/shop-prod", |value| value["revision"].is_string()).await;
    let (_, sheet) = world.page("/apps/shop-prod/sync", &cookie).await;
    assert!(sheet.contains("Let it sync by itself from now on"), "{sheet}");
    let (csrf, revision, digest) =
        (hidden(&sheet, "csrf"), hidden(&sheet, "revision"), hidden(&sheet, "manifest_digest"));
    let fields = [
        ("csrf", csrf.as_str()),
        ("revision", revision.as_str()),
        ("manifest_digest", digest.as_str()),
        ("automation", "true"),
        ("typed", "shop-prod"),
    ];
    let answer = world.form("/ui/apps/shop-prod/sync", Some(&cookie), &fields).await;
    assert_eq!(answer.headers()["location"], "/apps/shop-prod?done=opened");
    let commands = world.commands::<Sync>(RECONCILER_SYNC).await;
    let scope = commands[0].grant.as_ref().map(|grant| grant.terms.scope);
    assert_eq!(scope, Some(GrantScope::Automation));
}
