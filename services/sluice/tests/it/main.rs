//! The command as a person and a script use it: the program itself, against an API that answers from a table, a real
//! nats-server, and the real start of services.

mod operate;
mod server;

use serde_json::json;
use server::{Server, TOKEN, command, run};

#[test]
fn a_login_is_kept_for_its_owner_alone_and_used() {
    let server = Server::start();
    let ended = server.run(&["login", &server.url(), "--username", "ada"], "pass word\n");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("as ada") && !ended.out.contains(TOKEN));
    let asked = server.asked("POST /api/v1/session");
    assert_eq!(asked[0].body, json!({"username": "ada", "password": "pass word"}));
    assert!(asked[0].agent.starts_with("sluice/"));
    let file = server.home.path().join(".config/sluice/logins.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("the file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    server.on(
        "GET /api/v1/apps",
        200,
        json!({"items": [{"name": "shop-dev", "sync": "Synced", "health": "Healthy", "gated": false}]}),
    );
    let ended = server.run(&["app", "ls"], "");
    assert_eq!((ended.code, ended.out.lines().count()), (0, 2), "{}", ended.err);
    assert!(ended.out.lines().nth(1).is_some_and(|line| line.starts_with("shop-dev  Synced  Healthy")));
    let json = server.run(&["app", "ls", "-o", "json"], "").out;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")["items"][0]["name"],
        "shop-dev"
    );
    assert!(server.run(&["app", "ls", "-o", "yaml"], "").out.contains("name: shop-dev"));

    server.on("DELETE /api/v1/session", 200, json!({}));
    assert_eq!(server.run(&["logout"], "").code, 0);
    assert!(!std::fs::read_to_string(&file).expect("the file").contains(TOKEN));
}

#[test]
fn exit_codes_are_kept_and_every_error_has_a_next_step() {
    let server = Server::with_login();
    let nobody = Server::start();
    server.on("GET /api/v1/runs?limit=20", 403, json!({"message": "ada may not list runs"}));
    server.on("GET /api/v1/apps/web", 404, json!({"message": "there is no application web"}));
    server.on("GET /api/v1/apps", 200, json!({"items": [{"name": "web1"}]}));
    server.on(
        "GET /api/v1/apps/slow",
        200,
        json!({"sync": "OutOfSync", "health": "Progressing", "operation": null}),
    );
    server.on(
        "GET /api/v1/apps/shop/diff",
        200,
        json!({"items": [{"kind": "Service", "name": "web", "action": "update", "diff": "-a\n+b\n"}]}),
    );
    let url = nobody.url();
    let away = ["app", "ls", "--server", "http://127.0.0.1:1"];
    for (arguments, code, words) in [
        (&["run", "ls"][..], 5, "may not"),
        (&["app", "get", "web"], 1, "did you mean `web1`"),
        (&["app", "wait", "slow", "--timeout", "0"], 3, "took longer"),
        (&["app", "ls", "--server", &url], 4, "sluice login http://"),
        (&away, 1, "sluice up"),
        (&["run", "rerun", "x#y"], 2, "shop-web#42"),
        (&["secret", "set", "web", "A=b"], 2, "IMAGE_PATH"),
        (&["app", "create", "-f", "/no/file"], 2, "check the path"),
    ] {
        let ended = server.run(arguments, "");
        assert_eq!(ended.code, code, "{arguments:?}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains(words) && ended.err.contains("next:  "), "{arguments:?}: {}", ended.err);
    }
    let ended = server.run(&["app", "diff", "shop"], "");
    assert_eq!((ended.code, ended.err.as_str()), (1, ""), "different, and said");
    assert_eq!(ended.out, "update Service web\n-a\n+b\n");
    assert_eq!(server.run(&["ap"], "").code, 2);
}

#[test]
fn a_gated_sync_grants_exactly_what_was_shown_and_only_when_confirmed() {
    let server = Server::with_login();
    let (revision, digest) = ("d".repeat(40), format!("sha256:{}", "e".repeat(64)));
    server.on("GET /api/v1/apps/shop-prod", 200, json!({"name": "shop-prod"}));
    server.on(
        "GET /api/v1/apps/shop-prod/preview",
        200,
        json!({"app": "shop-prod", "gated": true, "gateReason": "no automated policy", "revision": revision, "manifestDigest": digest,
            "fromRevision": "c".repeat(40), "prune": false, "nothingToDo": false,
            "commits": [{"sha": revision, "title": "promote shop-web", "author": "Sluice"}],
            "images": [{"name": "r/shop-web", "from": "aaaaaaaa", "to": "bbbbbbbb"}],
            "objects": [{"kind": "Deployment", "namespace": "prod", "name": "web", "action": "update", "summary": "image"},
                        {"kind": "Service", "namespace": "prod", "name": "web", "action": "none"}]}),
    );
    let post = "POST /api/v1/apps/shop-prod/grants";
    server.on(post, 409, json!({"message": "Git moved: nothing was applied"}));
    server.on(
        "GET /api/v1/apps/shop-prod/syncs/s1",
        200,
        json!({"phase": "Succeeded", "revision": revision, "message": "all applied",
        "results": [{"kind": "Deployment", "namespace": "prod", "name": "web", "status": "Synced"}]}),
    );
    let sync = ["app", "sync", "shop-prod"];

    // Nobody to ask: the way for scripts is told.
    let ended = server.run(&sync, "");
    let way = format!("sluice app sync shop-prod --yes --revision {revision} --manifests {digest}");
    assert!(ended.code == 2 && ended.err.contains(&way), "{}", ended.err);
    assert_eq!(server.run(&["app", "sync", "shop-prod", "--yes"], "").code, 2);
    assert_eq!(server.run(&sync, "y\n").code, 1, "a yes is not the name");
    let stale = ["app", "sync", "shop-prod", "--yes", "--revision", &"a".repeat(40), "--manifests", &digest];
    assert!(server.asked(post).is_empty());
    let ended = server.run(&stale, "");
    assert!(ended.code == 1 && ended.err.contains("Git moved"), "{}", ended.err);
    assert_eq!(server.asked(post)[0].body["revision"], "a".repeat(40), "refused by the server, on record");
    server.on(post, 201, json!({"grant": "g1", "sync": "s1", "revision": revision, "person": "ada"}));

    let ended = server.run(&sync, "shop-prod\n");
    assert_eq!(ended.code, 0, "{}", ended.err);
    for words in [
        "promote shop-web",
        "r/shop-web  aaaaaaaa → bbbbbbbb",
        "update  Deployment prod/web",
        "granted to ada as g1",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    assert!(!ended.out.contains("Service prod/web"), "what stays as it is is not shown");
    let body = json!({"revision": revision, "manifestDigest": digest, "prune": false});
    assert_eq!(server.asked(post)[1].body, body);
    let exact = ["app", "sync", "shop-prod", "--yes", "--revision", &revision, "--manifests", &digest];
    assert_eq!(server.run(&exact, "").code, 0);
    server.on(
        "GET /api/v1/apps/shop-prod/syncs/s1",
        200,
        json!({"phase": "Refused", "message": "the grant was used before"}),
    );
    let ended = server.run(&exact, "");
    assert!(ended.code == 5 && ended.err.contains("used before"), "{}", ended.err);
}

#[test]
fn secrets_come_from_standard_input_or_a_file() {
    let server = Server::with_login();
    let put = "PUT /api/v1/repositories/dev%2Fshop/secrets/IMAGE_PATH";
    server.on(put, 200, json!({}));
    let ended = server.run(&["secret", "set", "dev/shop", "IMAGE_PATH"], "dev/shop-web\n");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let file = server.home.path().join("value");
    std::fs::write(&file, "a\nb\n").expect("written");
    let path = file.to_str().expect("a path");
    assert_eq!(server.run(&["secret", "set", "dev/shop", "IMAGE_PATH", "--from-file", path], "").code, 0);
    let values: Vec<_> = server.asked(put).iter().map(|asked| asked.body["value"].clone()).collect();
    assert_eq!(values, [json!("dev/shop-web"), json!("a\nb\n")]);
    assert_eq!(
        server.run(&["secret", "set", "dev/shop", "IMAGE_PATH"], "\n").code,
        2,
        "an empty value is a mistake"
    );
}

#[test]
fn credentials_of_registries_are_set_listed_and_removed() {
    let server = Server::with_login();
    let (put, delete) =
        ("PUT /api/v1/registries/127.0.0.1%3A5000", "DELETE /api/v1/registries/127.0.0.1%3A5000");
    server.on(put, 200, json!({"registry": "127.0.0.1:5000"}));
    server.on(delete, 200, json!({"registry": "127.0.0.1:5000"}));
    server.on("GET /api/v1/registries", 200, json!({"items": ["127.0.0.1:5000"]}));
    let set = ["registry", "set", "http://127.0.0.1:5000/", "--username", "bot"];
    let ended = server.run(&set, "token\n");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("127.0.0.1:5000 as bot") && !ended.out.contains("token"), "{}", ended.out);
    let file = server.home.path().join("token");
    std::fs::write(&file, "from a file\n").expect("written");
    let path = file.to_str().expect("a path");
    assert_eq!(server.run(&[&set[..], &["--password-file", path]].concat(), "").code, 0);
    let sent: Vec<_> = server.asked(put).into_iter().map(|asked| asked.body).collect();
    let body = |password: &str| json!({"username": "bot", "password": password});
    assert_eq!(sent, [body("token"), body("from a file")]);
    assert_eq!(server.run(&["registry", "ls"], "").out, "REGISTRY\n127.0.0.1:5000\n");
    assert_eq!(server.run(&["registry", "rm", "127.0.0.1:5000"], "").code, 0);
    assert_eq!(server.run(&["registry", "set", "127.0.0.1:5000"], "x").code, 2, "no user");
}

#[test]
fn a_promotion_is_followed_to_its_commit_and_a_trace_tells_the_story() {
    let server = Server::with_login();
    server.on(
        "GET /api/v1/promotions/shop-web",
        200,
        json!({"ready": true, "tag": "cc846571", "prod": "shop-prod"}),
    );
    server.on(
        "POST /api/v1/promotions/shop-web",
        201,
        json!({"bump": "b1", "image": "r/shop-web", "tag": "cc846571"}),
    );
    server.on(
        "GET /api/v1/promotions/shop-web/b1",
        200,
        json!({"state": "committed", "commit": "d".repeat(40),
        "changes": [{"path": "prod/web.yaml", "line": 17, "from": "aaaaaaaa", "to": "cc846571"}]}),
    );
    let ended = server.run(&["promote", "127.0.0.1:5000/dev/shop-web:cc846571"], "");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(
        ended.out.contains("prod/web.yaml:17  aaaaaaaa → cc846571")
            && ended.out.contains("sluice app sync shop-prod")
    );
    server.on(
        "GET /api/v1/promotions/till",
        200,
        json!({"ready": false, "tag": "", "reason": "dev is not healthy"}),
    );
    let ended = server.run(&["promote", "till"], "");
    assert!(ended.code == 1 && ended.err.contains("dev is not healthy"));

    server.on("GET /api/v1/trace/cc846571", 200, json!({"items": [{"correlation": "k1"}]}));
    server.on("GET /api/v1/deliveries/k1", 200, json!({"correlation": "k1", "sha": "cc846571aa", "title": "Totals", "author": "Ada",
        "repository": "dev/shop-web", "status": "deployed", "replay": "nats sub …", "pushToDevMs": 41_200, "gateMs": 60_000,
        "segments": [{"kind": "build", "what": "image", "app": null, "ms": 9000, "waits": false}], "totals": {"build": 9000},
        "grants": [{"person": "ada", "surface": "cli", "app": "shop-prod", "issuedAt": "2025-01-01T00:00:00Z", "revision": "dddd"}],
        "facts": [{"sequence": 3}, {"sequence": 9}]}));
    let ended = server.run(&["trace", "r.example.com/shop-web:cc846571"], "");
    assert_eq!(ended.code, 0, "{}", ended.err);
    for words in [
        "Totals",
        "build  image  -    9.0 s",
        "push → dev 41.2 s",
        "granted by ada (cli) for shop-prod",
        "nats sub",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    server.on("GET /api/v1/apps", 200, json!({"items": []}));
    assert_eq!(server.run(&["trace", "nowhere"], "").code, 1);
}

#[test]
fn workflows_are_checked_without_a_server() {
    let home = tempfile::tempdir().expect("a home");
    let folder = home.path().join(".github/workflows");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(
        folder.join("good.yml"),
        "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make test\n",
    )
    .expect("written");
    let ended = run(command(home.path(), &["workflow", "lint"]), "");
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    std::fs::write(
        folder.join("bad.yml"),
        "on: push\njobs:\n  test:\n    runs-on: x\n    steps:\n      - run: ${{ nothing( }}\n",
    )
    .expect("written");
    let ended = run(command(home.path(), &["workflow", "lint"]), "");
    assert!(ended.code == 1 && ended.out.contains(".github/workflows/bad.yml:6:"), "{}", ended.out);
    let parsed =
        run(command(home.path(), &["workflow", "parse", ".github/workflows/good.yml", "-o", "json"]), "").out;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&parsed).expect("JSON")["jobs"][0]["steps"][0]["name"],
        "Run make test"
    );
    std::fs::write(home.path().join("c.json"), r#"{"github": {"ref": "refs/heads/main"}}"#).expect("written");
    let arguments =
        ["workflow", "eval", "${{ endsWith(github.ref, 'main') && 'yes' }}", "--context", "c.json"];
    assert_eq!(run(command(home.path(), &arguments), "").out, "yes\n");
}

#[test]
fn completions_and_help_are_there_without_anything_running() {
    let home = tempfile::tempdir().expect("a home");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ended = run(command(home.path(), &["completions", shell]), "");
        assert!(ended.code == 0 && ended.out.contains("promote"), "{shell}");
    }
    let help = run(command(home.path(), &["app", "sync", "--help"]), "").out;
    assert!(help.contains("Examples:") && help.contains("--manifests"));
}
