//! Logging in, rights, CSRF, acting for linked people.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sluice_chassis::Secret;
use sluice_schemas::events::{SessionOpened, SessionRefused};

use crate::support::{ADA, World, header, kind_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_lasts_until_it_is_ended() {
    let world = World::start().await;
    let token = world.admin().await;
    let (status, info) = world.get("/api/v1/session/userinfo", &token).await;
    assert_eq!((status, info["username"].as_str()), (StatusCode::OK, Some("admin")));
    assert_eq!(info["groups"], json!(["role:admin"]));
    let (status, _) = world.call(Method::DELETE, "/api/v1/session", Some(&token), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let (status, error) = world.get("/api/v1/apps", &token).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(error["code"], 16);
    assert!(error["message"].as_str().is_some_and(|it| it.contains("sluice login")), "{error}");
    assert_eq!(world.facts(kind_of::<SessionOpened>()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed_down_and_recorded() {
    let world = World::start().await;
    for name in ["admin", "nobody"] {
        let mut answers = Vec::new();
        for _ in 0..6 {
            let body = json!({ "username": name, "password": "wrong" });
            answers.push(world.call(Method::POST, "/api/v1/session", None, &body).await);
        }
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| status.as_u16()).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "{name}");
        // Whether the name exists is not told.
        assert_eq!(
            answers[0].1["message"],
            "Name and password do not match. 4 tries are left, then a pause of 30 s."
        );
    }
    // The right password does not help during the pause.
    let body = json!({ "username": "admin", "password": world.admin_password });
    let (status, _) = world.call(Method::POST, "/api/v1/session", None, &body).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.facts(kind_of::<SessionRefused>()).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_to_be_had_without_a_login_or_a_right() {
    let world = World::start().await;
    let calls: &[(Method, &str)] = &[
        (Method::DELETE, "/api/v1/session"),
        (Method::PUT, "/api/v1/account/password"),
        (Method::GET, "/api/v1/account/can-i/applications/get/default/x"),
        (Method::POST, "/api/v1/account/link"),
        (Method::DELETE, "/api/v1/account/link"),
        (Method::PUT, "/api/v1/accounts/ada"),
        (Method::POST, "/api/v1/telegram/links"),
        (Method::DELETE, "/api/v1/telegram/links/7"),
        (Method::GET, "/api/v1/applications"),
        (Method::POST, "/api/v1/applications"),
        (Method::GET, "/api/v1/applications/shop-prod"),
        (Method::DELETE, "/api/v1/applications/shop-prod"),
        (Method::GET, "/api/v1/applications/shop-prod/resource-tree"),
        (Method::GET, "/api/v1/applications/shop-prod/managed-resources"),
        (Method::GET, "/api/v1/applications/shop-prod/manifests"),
        (Method::POST, "/api/v1/applications/shop-prod/sync"),
        (Method::POST, "/api/v1/applications/shop-prod/rollback"),
        (Method::GET, "/api/v1/apps"),
        (Method::GET, "/api/v1/apps/shop-prod"),
        (Method::GET, "/api/v1/apps/shop-prod/preview"),
        (Method::GET, "/api/v1/apps/shop-prod/diff"),
        (Method::POST, "/api/v1/apps/shop-prod/grants"),
        (Method::GET, "/api/v1/apps/shop-prod/syncs/x"),
        (Method::POST, "/api/v1/apps/shop-prod/refresh"),
        (Method::GET, "/api/v1/runs"),
        (Method::GET, "/api/v1/runs/shop-web/1"),
        (Method::GET, "/api/v1/runs/shop-web/1/logs"),
        (Method::POST, "/api/v1/runs/shop-web/1/rerun"),
        (Method::POST, "/api/v1/runs/shop-web/1/cancel"),
        (Method::GET, "/api/v1/deliveries"),
        (Method::GET, "/api/v1/deliveries/x"),
        (Method::GET, "/api/v1/trace/aaaaaaaa"),
        (Method::GET, "/api/v1/lanes"),
        (Method::GET, "/api/v1/promotions/shop-web"),
        (Method::POST, "/api/v1/promotions/shop-web"),
        (Method::GET, "/api/v1/promotions/shop-web/x"),
        (Method::GET, "/api/v1/repositories/dev%2Fshop-web/secrets"),
        (Method::PUT, "/api/v1/repositories/dev%2Fshop-web/secrets/A"),
        (Method::DELETE, "/api/v1/repositories/dev%2Fshop-web/secrets/A"),
        (Method::GET, "/api/v1/registries"),
        (Method::PUT, "/api/v1/registries/registry.example.com"),
        (Method::DELETE, "/api/v1/registries/registry.example.com"),
        (Method::GET, "/api/v1/events"),
        (Method::GET, "/api/v1/audit"),
        (Method::GET, "/api/v1/dlq"),
        (Method::GET, "/api/v1/dlq/x"),
        (Method::POST, "/api/v1/dlq/x/retry"),
        (Method::GET, "/ui/stream"),
    ];
    // A body that every call can read, so that the right is what decides.
    let body = json!({
        "value": "x", "code": "x", "user": 7, "metadata": { "name": "shop-prod" }, "spec": {},
        "revision": "d".repeat(40), "manifestDigest": format!("sha256:{}", "0".repeat(64)),
        "currentPassword": "x", "newPassword": "longer than ten", "username": "x", "password": "x",
    });
    let admin = world.admin().await;
    let ada = world.ada(&admin, &[]).await;
    for (method, path) in calls {
        let (status, error) = world.call(method.clone(), path, None, &body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}: {error}");
        let forged = world.call(method.clone(), path, Some("slc_forged"), &body).await;
        let refused = matches!(forged.0, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        assert!(refused, "{method} {path}: {} {}", forged.0, forged.1);
        // Her own account, and lists that are empty for her, are all that ada may reach.
        let own = [
            "/session",
            "/account/",
            "/telegram",
            "/ui/stream",
            "/events",
            "/trace/",
            "/lanes",
            "/deliveries",
        ];
        let lists = ["/api/v1/applications", "/api/v1/apps", "/api/v1/runs"];
        if own.iter().any(|it| path.contains(it)) || (*method == Method::GET && lists.contains(path)) {
            continue;
        }
        let (status, error) = world.call(method.clone(), path, Some(&ada), &body).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {error}");
    }
    for path in lists_for_ada() {
        assert_eq!(world.get(path, &ada).await.1["items"], json!([]), "{path}");
    }
    for page in
        ["/", "/apps", "/runs", "/deliveries", "/audit", "/dlq", "/account", "/apps/x/sync", "/promote/x"]
    {
        let answer = world.http.get(format!("{}{page}", world.url)).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{page}");
        assert!(answer.headers()["location"].to_str().is_ok_and(|it| it.starts_with("/login?next=")));
    }
}

fn lists_for_ada() -> [&'static str; 5] {
    ["/api/v1/applications", "/api/v1/apps", "/api/v1/runs", "/api/v1/deliveries", "/api/v1/lanes"]
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_use_the_cookie() {
    let world = World::start().await;
    let cookie = world.cookie("admin", &world.admin_password).await;
    let (status, page) = world.page("/account", &cookie).await;
    assert_eq!(status, StatusCode::OK);
    let token = hidden(&page, "csrf");
    let send = async |origin: Option<&str>, csrf: &str| {
        let request = world.http.post(format!("{}/ui/account/unlink", world.url)).header("cookie", &cookie);
        let request = request.form(&[("csrf", csrf)]);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        request.send().await.expect("answered").status()
    };
    assert_eq!(send(Some(&world.url), &token).await, StatusCode::SEE_OTHER);
    assert_eq!(send(Some("http://evil.example"), &token).await, StatusCode::FORBIDDEN);
    assert_eq!(send(Some("null"), &token).await, StatusCode::FORBIDDEN);
    assert_eq!(send(None, &token).await, StatusCode::FORBIDDEN);
    assert_eq!(send(Some(&world.url), "").await, StatusCode::FORBIDDEN);
    assert_eq!(send(Some(&world.url), &"0".repeat(32)).await, StatusCode::FORBIDDEN);
    // REST with the cookie: never by a form's content type, and never from elsewhere.
    for (kind, origin, wanted) in [
        ("text/plain", world.url.as_str(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", world.url.as_str(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/json", "http://evil.example", StatusCode::FORBIDDEN),
        ("application/json", world.url.as_str(), StatusCode::OK),
    ] {
        let request = world.http.post(format!("{}/api/v1/account/link", world.url));
        let request = request.header("cookie", &cookie).header("content-type", kind).header("origin", origin);
        assert_eq!(request.body("{}").send().await.expect("answered").status(), wanted, "{kind} {origin}");
    }
    let answer = world.http.get(format!("{}/login", world.url)).send().await.expect("answered");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(answer.headers()["x-frame-options"], "DENY");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notifier_acts_for_linked_people_only() {
    let world = World::start().await;
    let admin = world.admin().await;
    let ada = world.ada(&admin, &["role:readonly"]).await;
    let service = world.service_token().await;
    let service = service.expose();
    let act = |user: &str| header("x-sluice-act-as", user);
    let apps = async |token: &str, headers: HeaderMap| {
        world.call_with(Method::GET, "/api/v1/apps", Some(token), &Value::Null, headers).await.0
    };
    assert_eq!(apps(service, HeaderMap::new()).await, StatusCode::UNAUTHORIZED);
    assert_eq!(apps(service, act("telegram:7")).await, StatusCode::UNAUTHORIZED);
    // A person's token does not let them act for anybody.
    assert_eq!(apps(&ada, act("telegram:7")).await, StatusCode::FORBIDDEN);
    let (_, offer) = world.post("/api/v1/account/link", &ada, &json!({})).await;
    let redeem = json!({ "code": offer["code"], "user": 7, "name": "@ada" });
    assert_eq!(world.post("/api/v1/telegram/links", &ada, &redeem).await.0, StatusCode::FORBIDDEN);
    let (status, linked) = world.post("/api/v1/telegram/links", service, &redeem).await;
    assert_eq!((status, linked["person"].as_str()), (StatusCode::OK, Some("ada")));
    // The code is used up.
    let again = json!({ "code": offer["code"], "user": 8, "name": "@eve" });
    assert_eq!(world.post("/api/v1/telegram/links", service, &again).await.0, StatusCode::NOT_FOUND);
    assert_eq!(apps(service, act("telegram:7")).await, StatusCode::OK);
    assert_eq!(apps(service, act("telegram:8")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(apps(service, act("ada")).await, StatusCode::UNAUTHORIZED);
    // With ada's rights and no more.
    let audit =
        world.call_with(Method::GET, "/api/v1/audit", Some(service), &Value::Null, act("telegram:7")).await;
    assert_eq!(audit.0, StatusCode::FORBIDDEN, "{}", audit.1);
    let (_, removed) = world.call(Method::DELETE, "/api/v1/account/link", Some(&ada), &json!({})).await;
    assert_eq!(removed["removed"], 1);
    assert_eq!(apps(service, act("telegram:7")).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_changed_by_its_owner() {
    let world = World::start().await;
    let admin = world.admin().await;
    let ada = world.ada(&admin, &[]).await;
    let change = async |current: &str, new: &str| {
        let body = json!({ "currentPassword": current, "newPassword": new });
        world.call(Method::PUT, "/api/v1/account/password", Some(&ada), &body).await.0
    };
    assert_eq!(change(ADA, "short").await, StatusCode::BAD_REQUEST);
    assert_eq!(change("wrong password", "a new password").await, StatusCode::BAD_REQUEST);
    assert_eq!(change(ADA, "a new password").await, StatusCode::OK);
    world.token("ada", "a new password").await;
    let accounts = world.cluster.accounts().await.expect("readable");
    for data in accounts.values() {
        for value in data.values() {
            assert!(!value.expose().contains(ADA) && !value.expose().contains(&world.admin_password));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_in_and_never_come_out() {
    let world = World::start().await;
    let admin = world.admin().await;
    let path = "/api/v1/repositories/dev%2Fshop-web/secrets";
    let (status, error) = world
        .call(Method::PUT, &format!("{path}/IMAGE_PATH"), Some(&admin), &json!({ "value": "planted-4711" }))
        .await;
    assert_eq!(status, StatusCode::OK, "{error}");
    let (_, names) = world.get(path, &admin).await;
    assert_eq!(names["items"], json!(["IMAGE_PATH"]));
    assert!(!names.to_string().contains("planted"));
    let (status, _) = world
        .call(Method::PUT, &format!("{path}/GITHUB_TOKEN"), Some(&admin), &json!({ "value": "x" }))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) =
        world.call(Method::DELETE, &format!("{path}/IMAGE_PATH"), Some(&admin), &json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(world.get(path, &admin).await.1["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_credentials_go_in_and_never_come_out() {
    let world = World::start().await;
    let admin = world.admin().await;
    let all = "/api/v1/registries";
    let one = format!("{all}/127.0.0.1%3A5000");
    let body = json!({ "username": "planted-user", "password": "planted-4711" });
    let (status, answer) = world.call(Method::PUT, &one, Some(&admin), &body).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "registry": "127.0.0.1:5000" })));
    assert_eq!(world.get(all, &admin).await.1, json!({ "items": ["127.0.0.1:5000"] }));
    let stored = world.cluster.registries().await.expect("readable");
    let password =
        stored.iter().find(|it| it.is_for("http://127.0.0.1:5000/")).and_then(|it| it.password.clone());
    assert_eq!(password.as_ref().map(Secret::expose), Some("planted-4711"));
    let empty = json!({ "username": "", "password": "x" });
    assert_eq!(world.call(Method::PUT, &one, Some(&admin), &empty).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.call(Method::DELETE, &one, Some(&admin), &json!({})).await.0, StatusCode::OK);
    assert_eq!(world.call(Method::DELETE, &one, Some(&admin), &json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(world.get(all, &admin).await.1["items"], json!([]));
}

/// The value of a hidden field.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let from = page.find(&mark).unwrap_or_else(|| panic!("no field {name}")) + mark.len();
    page[from..].split('"').next().expect("a value").to_owned()
}
