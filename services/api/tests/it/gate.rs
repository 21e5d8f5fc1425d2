//! Grants: bound to what was looked at, once a key, and everything else refused and recorded.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice_bus::topology::RECONCILER_SYNC;
use sluice_schemas::commands::Sync;
use sluice_schemas::events::{GrantIssued, GrantRefused, Surface};
use sluice_schemas::grant::{GrantScope, Wanted};
use sluice_schemas::{Event, Timestamp};

use crate::support::{World, header, kind_of, sha};

const APP: &str = "shop-prod";

async fn looked(world: &World, token: &str) -> Value {
    let path = format!("/api/v1/apps/{APP}/preview");
    world.caught_up(token, &path, |value| value["revision"].is_string()).await
}

fn wish(preview: &Value) -> Value {
    json!({ "revision": preview["revision"], "manifestDigest": preview["manifestDigest"], "prune": true })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_says_exactly_what_was_confirmed() {
    let world = World::start().await;
    let admin = world.admin().await;
    let state = world.compared(APP, true, sha('d')).await;
    let preview = looked(&world, &admin).await;
    assert_eq!(preview["counts"], json!({ "create": 0, "update": 1, "prune": 1, "keep": 0, "unchanged": 0 }));
    assert_eq!(preview["images"][0]["to"], "registry.example.com/shop/web:cccccccc");
    assert_eq!(preview["objects"][0]["summary"], "image");
    let headers = header("user-agent", "sluice/0.1.0");
    let path = format!("/api/v1/apps/{APP}/grants");
    let (status, confirmed) =
        world.call_with(Method::POST, &path, Some(&admin), &wish(&preview), headers).await;
    assert_eq!(status, StatusCode::CREATED, "{confirmed}");
    assert_eq!((confirmed["person"].as_str(), confirmed["surface"].as_str()), (Some("admin"), Some("cli")));

    let issued = world.facts(kind_of::<GrantIssued>()).await;
    let commands = world.commands::<Sync>(RECONCILER_SYNC).await;
    assert_eq!((issued.len(), commands.len()), (1, 1));
    let command = &commands[0];
    let grant = command.grant.as_ref().expect("a grant");
    assert_eq!(grant.terms.nonce.as_str(), confirmed["grant"].as_str().expect("an id"));
    assert_eq!((command.prune, command.surface), (true, Surface::Cli));
    // The reconciler's view: with the public key from its Secret.
    let pem = world.cluster.signing_public().await.expect("readable").expect("a key");
    let key = public_key(pem.expose());
    let revision = sha('d');
    let manifests = state.manifests.expect("manifests");
    let wanted = Wanted {
        scope: GrantScope::Sync,
        app: &command.app,
        project: &command.project,
        revision: &revision,
        manifests: &manifests,
        prune: true,
    };
    assert_eq!(grant.verify(&key, &wanted, Timestamp::now()), Ok(()));
    // Until the reconciler speaks, the sync is pending.
    let sync = confirmed["sync"].as_str().expect("an id");
    let (_, view) = world.get(&format!("/api/v1/apps/{APP}/syncs/{sync}"), &admin).await;
    assert_eq!(view["phase"], "Pending");
    // It refuses: whoever waits for the sync is told.
    let refused = GrantRefused {
        grant: grant.terms.nonce.clone(),
        app: state.app.clone(),
        attempt: "sync".to_owned(),
        reason: "the grant expired".to_owned(),
        person: None,
    };
    world.fact(&refused, "c", "refused").await;
    let path = format!("/api/v1/apps/{APP}/syncs/{sync}");
    let view = world.caught_up(&admin, &path, |value| value["phase"] == "Refused").await;
    assert_eq!(view["message"], "the grant expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_grants_once() {
    let world = World::start().await;
    let admin = world.admin().await;
    world.compared(APP, true, sha('d')).await;
    let preview = looked(&world, &admin).await;
    let path = format!("/api/v1/apps/{APP}/grants");
    let send = async |body: &Value, key: &str| {
        world.call_with(Method::POST, &path, Some(&admin), body, header("idempotency-key", key)).await
    };
    let body = wish(&preview);
    let copies = futures::future::join_all((0..8).map(|_| send(&body, "one"))).await;
    for (status, answer) in &copies {
        assert_eq!(*status, StatusCode::CREATED, "{answer}");
        assert_eq!(answer["grant"], copies[0].1["grant"]);
        assert_eq!(answer["expiresAt"], copies[0].1["expiresAt"]);
    }
    assert_eq!(send(&body, "one").await.1, copies[0].1);
    assert_eq!(world.facts(kind_of::<GrantIssued>()).await.len(), 1);
    assert_eq!(world.commands_sent().await, 1);
    let other = json!({ "revision": preview["revision"], "manifestDigest": preview["manifestDigest"], "prune": false });
    let (status, error) = send(&other, "one").await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    assert_eq!(send(&other, "two").await.0, StatusCode::CREATED);
    assert_eq!(world.facts(kind_of::<GrantIssued>()).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_looked_at_cannot_be_confirmed() {
    let world = World::start().await;
    let admin = world.admin().await;
    let ada = world.ada(&admin, &["role:admin"]).await;
    let state = world.compared(APP, true, sha('d')).await;
    let path = format!("/api/v1/apps/{APP}/grants");
    let body = json!({ "revision": sha('d'), "manifestDigest": state.manifests });
    world.caught_up(&admin, &format!("/api/v1/apps/{APP}"), |value| value["revision"].is_string()).await;
    // Nobody looked.
    let (status, error) = world.post(&path, &ada, &body).await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    assert!(error["message"].as_str().is_some_and(|it| it.contains("did not look")), "{error}");
    // Another person looked: that does not count for ada.
    looked(&world, &admin).await;
    assert_eq!(world.post(&path, &ada, &body).await.0, StatusCode::CONFLICT);
    // Other revision, other manifests.
    let preview = looked(&world, &ada).await;
    for (revision, digest) in [
        (json!(sha('e')), preview["manifestDigest"].clone()),
        (preview["revision"].clone(), json!(format!("sha256:{}", "0".repeat(64)))),
    ] {
        let body = json!({ "revision": revision, "manifestDigest": digest });
        assert_eq!(world.post(&path, &ada, &body).await.0, StatusCode::CONFLICT);
    }
    // Git moves between looking and confirming.
    world.compared(APP, true, sha('e')).await;
    let (status, error) = world.post(&path, &ada, &wish(&preview)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(error["message"].as_str().is_some_and(|it| it.contains("Git moved")), "{error}");
    assert_eq!(world.commands_sent().await, 0);
    assert!(world.facts(kind_of::<GrantIssued>()).await.is_empty());
    let refused = world.facts(kind_of::<GrantRefused>()).await;
    assert_eq!(refused.len(), 5);
    for record in refused {
        let Event::GrantRefused(it) = record.event else { panic!("of another type") };
        assert_eq!(it.person.as_ref().map(ToString::to_string).as_deref(), Some("ada"));
    }
    // Looking again makes it possible again.
    let preview = world
        .caught_up(&ada, &format!("/api/v1/apps/{APP}/preview"), |value| value["revision"] == json!(sha('e')))
        .await;
    assert_eq!(world.post(&path, &ada, &wish(&preview)).await.0, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_preview_is_refused() {
    let world = World::with(|config| config.preview_seconds = 1).await;
    let admin = world.admin().await;
    world.compared(APP, true, sha('d')).await;
    let preview = looked(&world, &admin).await;
    let expires = Timestamp::parse(preview["expiresAt"].as_str().expect("a time")).expect("RFC 3339");
    while Timestamp::now() <= expires {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (status, error) = world.post(&format!("/api/v1/apps/{APP}/grants"), &admin, &wish(&preview)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    assert_eq!(world.commands_sent().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_is_needed_and_its_absence_recorded() {
    let world = World::with(|config| {
        config.policy = "p, role:dev, applications, sync, default/*-dev, allow\ng, ada, role:dev\ng, ada, role:readonly\n".to_owned();
    })
    .await;
    let admin = world.admin().await;
    let ada = world.ada(&admin, &[]).await;
    world.compared(APP, true, sha('d')).await;
    world.compared("shop-dev", false, sha('d')).await;
    let preview = looked(&world, &ada).await;
    let (status, error) = world.post(&format!("/api/v1/apps/{APP}/grants"), &ada, &wish(&preview)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let message = error["message"].as_str().expect("text");
    assert!(
        message.contains("applications, sync, default/shop-prod, sub: ada") && message.contains("role:admin"),
        "{message}"
    );
    assert_eq!(world.facts(kind_of::<GrantRefused>()).await.len(), 1);
    // An application that is not gated takes no grant, only the right.
    let path = "/api/v1/apps/shop-dev";
    let dev = world.caught_up(&ada, path, |value| value["revision"].is_string()).await;
    let (status, confirmed) = world.post(&format!("{path}/grants"), &ada, &wish(&dev)).await;
    assert_eq!(status, StatusCode::CREATED, "{confirmed}");
    assert_eq!(confirmed["grant"], Value::Null);
    let commands = world.commands::<Sync>(RECONCILER_SYNC).await;
    assert!(commands.len() == 1 && commands[0].grant.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cds_path_leads_through_the_same_gate() {
    let world = World::start().await;
    let admin = world.admin().await;
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": { "name": APP },
        "spec": {
            "project": "default", "destination": { "namespace": "prod", "server": "https://kubernetes.default.svc" },
            "source": { "repoURL": "http://git.example.com/dev/deploy.git", "path": "prod", "targetRevision": "HEAD" },
        },
    });
    let (status, made) = world.post("/api/v1/applications", &admin, &application).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    world.compared(APP, true, sha('d')).await;
    let preview = looked(&world, &admin).await;
    let path = format!("/api/v1/applications/{APP}");
    for body in [json!({}), json!({ "revision": "HEAD" }), json!({ "revision": sha('d') })] {
        let (status, error) = world.post(&format!("{path}/sync"), &admin, &body).await;
        assert_eq!((status, error["code"].as_u64()), (StatusCode::FORBIDDEN, Some(7)));
        assert!(
            error["error"].as_str().is_some_and(|it| it.contains("sluice app sync shop-prod")),
            "{error}"
        );
    }
    let (status, _) = world.post(&format!("{path}/rollback"), &admin, &json!({ "id": 0 })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(world.commands_sent().await, 0);
    let body = json!({ "revision": preview["revision"], "manifestDigest": preview["manifestDigest"] });
    let (status, synced) = world.post(&format!("{path}/sync"), &admin, &body).await;
    assert_eq!(status, StatusCode::OK, "{synced}");
    assert_eq!(synced["status"]["sync"]["status"], "OutOfSync");
    assert_eq!(world.commands_sent().await, 1);

    let (_, list) = world.get("/api/v1/applications", &admin).await;
    assert_eq!(list["items"][0]["status"]["sync"]["revision"], json!(sha('d')));
    let (_, tree) = world.get(&format!("{path}/resource-tree"), &admin).await;
    assert_eq!(tree["nodes"].as_array().map(Vec::len), Some(3));
    let pod =
        tree["nodes"].as_array().and_then(|it| it.iter().find(|it| it["kind"] == "Pod")).expect("a pod");
    assert_eq!(pod["parentRefs"][0]["kind"], "Deployment");
    let (_, managed) = world.get(&format!("{path}/managed-resources"), &admin).await;
    assert_eq!(managed["items"].as_array().map(Vec::len), Some(2));
    // A gated application's objects do not go with it.
    let (status, error) = world.call(Method::DELETE, &path, Some(&admin), &json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{error}");
    let alone = format!("{path}?cascade=false");
    assert_eq!(world.call(Method::DELETE, &alone, Some(&admin), &json!({})).await.0, StatusCode::OK);
    assert_eq!(world.get(&format!("{path}x"), &admin).await.0, StatusCode::NOT_FOUND);
}

fn public_key(pem: &str) -> ed25519_dalek::VerifyingKey {
    use ed25519_dalek::pkcs8::DecodePublicKey as _;
    ed25519_dalek::VerifyingKey::from_public_key_pem(pem).expect("a key")
}
