//! Where secrets are looked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sluice_e2e::World;
use sluice_e2e::story::Chain;
use sluice_e2e::world::Shop;
use tokio::process::Child;

use super::search::Search;
use crate::eyes::Person;

/// Pages and calls that are followed from the home page.
const MOST_PAGES: usize = 250;

/// Everything that passes on the bus from now on, into a file.
pub(super) fn record(world: &World) -> Child {
    let file = std::fs::File::create(world.directory.join("bus.dump")).unwrap();
    let mut command = world.nats.cli(&["sub", ">", "--dump=-"]);
    command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

pub(super) async fn traffic(world: &World, mut recorder: Child, search: &mut Search) {
    recorder.kill().await.unwrap();
    let file = world.directory.join("bus.dump");
    let dump = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(messages("the bus", &dump, search) > 500);
}

/// Every message that streams, buckets and object stores hold.
pub(super) async fn stored(world: &World, search: &mut Search) {
    let names = world.nats.ok(&["stream", "ls", "--names", "--all"]).await.unwrap();
    let names: Vec<&str> = names.split_whitespace().collect();
    for wanted in ["INBOX", "EVENTS", "LOGS", "DLQ", "KV_runs", "KV_grants", "OBJ_logs", "OBJ_payloads"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    for name in names {
        let (held, _) = world.nats.state(name).await.unwrap();
        if held == 0 {
            continue;
        }
        let mut command =
            world.nats.cli(&["sub", "--stream", name, "--all", "--terminate-at-end", "--dump=-"]);
        command.kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("{name} is not read to its end")).unwrap();
        let read = messages(name, &output.stdout, search);
        assert!(read > 0, "nothing was read of {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Subjects, headers and payloads of a dump; what was cut into messages is put together as well.
fn messages(place: &str, dump: &[u8], search: &mut Search) -> usize {
    let mut whole: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut read = 0;
    for message in dump.split(|byte| *byte == 0) {
        let Ok(message) = serde_json::from_slice::<Value>(message) else { continue };
        let subject = message["Subject"].as_str().unwrap_or_default();
        let data = STANDARD.decode(message["Data"].as_str().unwrap_or_default()).unwrap();
        let head = format!("{subject} {}", message["Header"]);
        search.look(&format!("{place}, headers of {subject}"), head.as_bytes());
        search.look(&format!("{place}, {subject}"), &data);
        if subject.starts_with("log.") || subject.starts_with("$O.") {
            whole.entry(subject.to_owned()).or_default().extend(text_of_chunk(&data));
        }
        read += 1;
    }
    for (subject, data) in whole {
        search.look(&format!("{place}, all of {subject}"), &data);
    }
    read
}

/// The text alone of a piece of a log: a secret must not be there in two pieces.
fn text_of_chunk(data: &[u8]) -> Vec<u8> {
    let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
    match chunk["lines"].as_array() {
        Some(lines) => lines.iter().filter_map(|line| line["text"].as_str()).collect::<String>().into_bytes(),
        None => data.to_vec(),
    }
}

/// Pages, calls, the command and the chat, with all that an admin may see.
pub(super) async fn surfaces(world: &World, person: &Person, chain: &Chain, search: &mut Search) {
    let mut queue: VecDeque<String> = calls(world, chain).into();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut good = 0;
    while let Some(path) = queue.pop_front() {
        let (status, body) = person.get(&path).await.unwrap();
        assert!(status < 500, "{path}: {status}");
        good += usize::from(status == 200);
        search.look(&path, body.as_bytes());
        for link in links(&body) {
            if seen.len() < MOST_PAGES && seen.insert(link.clone()) {
                queue.push_back(link);
            }
        }
    }
    assert!(good > 40, "only {good} pages and calls answered");
    for file in ["metrics", "readyz"] {
        let url = format!("http://127.0.0.1:{}/{file}", world.ports.operations);
        let text = world.http.get(url).send().await.unwrap().text().await.unwrap();
        search.look(file, text.as_bytes());
    }
    command(world, person, chain, search).await;
    let chat = world.telegram.read(|s| serde_json::to_string(s.messages()).unwrap());
    assert!(chat.contains(&chain.tag));
    search.look("the chat", chat.as_bytes());
}

async fn command(world: &World, person: &Person, chain: &Chain, search: &mut Search) {
    let run = format!("shop-web#{}", chain.run);
    let log = person.cli.ok(&["run", "logs", &run]).await.unwrap();
    search.look("sluice run logs", log.as_bytes());
    // The values were really there to be masked.
    for masked in [
        "plain ***",
        "odd ***",
        "twice ***",
        "half ***",
        "PLAIN=***",
        "*** is in the script",
        "it is .",
        "/no/such/***",
    ] {
        assert!(log.contains(masked), "{masked:?} is not in the log:\n{log}");
    }
    assert!(!log.contains("there is a LEAK"), "{log}");
    let config = world.directory.join("sluice.yaml");
    let config = config.to_str().unwrap();
    for words in [
        ["run", "ls", "-o", "yaml"].as_slice(),
        &["run", "watch", &run],
        &["app", "get", "shop-prod", "-o", "json"],
        &["trace", &chain.commit],
        &["replay", &chain.commit, "-o", "json"],
        &["secret", "ls", "shop-web"],
        &["repo", "ls", "--config", config],
        &["dlq", "ls", "--direct", "--config", config],
        &["up", "--dump-config", "--config", config],
    ] {
        let mut command = person.cli.command(words);
        command.env("KUBECONFIG", &world.platform.kubeconfig);
        let output = command.output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "sluice {words:?}: {}", String::from_utf8_lossy(&said));
        search.look(&format!("sluice {words:?}"), &said);
    }
}

/// Where the walk begins: what the pages may not link to.
fn calls(world: &World, chain: &Chain) -> Vec<String> {
    let slug = world.slug("shop-web");
    let run = format!("/api/v1/runs/{slug}/{}", chain.run);
    let mut calls: Vec<String> =
        ["/", "/audit", "/dlq", "/account", "/promote/shop-web", "/api/version"].map(str::to_owned).into();
    let lists = ["apps", "applications", "runs", "deliveries", "lanes", "audit", "dlq", "session/userinfo"];
    calls.extend(lists.map(|path| format!("/api/v1/{path}")));
    calls.push(format!("{run}/logs?raw=true&timestamps=true"));
    calls.push(format!("/api/v1/deliveries/{}", chain.correlation));
    calls.push(format!("/api/v1/repositories/{slug}/secrets"));
    calls.push(format!("/api/v1/promotions/{slug}"));
    calls.push(format!("/api/v1/trace/{}", chain.commit));
    calls.push(run);
    for app in ["shop-dev", "shop-prod"] {
        for part in ["", "/diff", "/preview"] {
            calls.push(format!("/api/v1/apps/{app}{part}"));
        }
        for part in ["", "/resource-tree", "/managed-resources", "/manifests"] {
            calls.push(format!("/api/v1/applications/{app}{part}"));
        }
    }
    calls
}

/// Links of a page to others of ours.
fn links(html: &str) -> Vec<String> {
    let hrefs = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    hrefs
        .map(|link| link.split('#').next().unwrap_or_default().replace("&amp;", "&"))
        .filter(|link| link.starts_with('/') && !link.starts_with("/logout"))
        .collect()
}

/// Logs of the services, what they keep on disk, and what they wrote into repositories and images.
pub(super) async fn files(world: &World, shop: &Shop, search: &mut Search) {
    let log = std::fs::read_to_string(world.directory.join("sluice.log")).unwrap();
    assert!(log.contains("DEBUG"), "the log is not as detailed as was asked for");
    // The one time that the first password is shown.
    let lines = log.lines().filter(|line| !line.contains("first start: sign in as"));
    search.look("the log", lines.collect::<Vec<_>>().join("\n").as_bytes());
    folder(&world.directory.join("data"), search);
    search.look("sluice.yaml", &std::fs::read(world.directory.join("sluice.yaml")).unwrap());
    for copy in [&shop.web, &shop.deploy] {
        copy.pull().await.unwrap();
        let text = copy.git(&["log", "-p", "--all"]).await.unwrap();
        search.look(&format!("commits of {}", copy.url), text.as_bytes());
    }
    let mut list = world.platform.docker();
    list.args(["image", "ls", "-q", "--filter", &format!("reference={}:*", world.image())]);
    let images = list.output().await.unwrap().stdout;
    for image in String::from_utf8_lossy(&images).split_whitespace() {
        for words in [["inspect", image].as_slice(), &["history", "--no-trunc", image]] {
            let mut docker = world.platform.docker();
            search.look("an image", &docker.args(words).output().await.unwrap().stdout);
        }
    }
}

fn folder(path: &Path, search: &mut Search) {
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            folder(&path, search);
        } else if kind.is_file() {
            // The services still run: a file may go while it is looked at.
            search.look(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default());
        }
    }
}

/// Everything in the world's name spaces but the Secrets themselves.
pub(super) async fn cluster(world: &World, search: &mut Search) {
    let names = &world.names;
    for namespace in [&names.system, &names.apps, &names.dev, &names.prod] {
        let kinds = "events,configmaps,pods,deployments,services,leases,applications.argoproj.io,appprojects.argoproj.io";
        let objects = world.kube.list(namespace, kinds).await.unwrap();
        search.look(&format!("objects of {namespace}"), json!(objects).to_string().as_bytes());
    }
}

/// The private half of the key that signs grants: as it is stored, and the seed in it.
pub(super) async fn grant_key(world: &World) -> [(&'static str, String); 2] {
    let secrets = world.kube.list(&world.names.system, "secrets").await.unwrap();
    let key = secrets.iter().find_map(|secret| secret["data"]["private"].as_str()).unwrap();
    let pem = String::from_utf8(STANDARD.decode(key).unwrap()).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    // PKCS#8 of Ed25519: a fixed head of 16 bytes, then the seed of 32.
    let seed = hex::encode(&STANDARD.decode(&body).unwrap()[16..48]);
    [("the grant key", body), ("the grant key's seed", seed)]
}

/// The token of the command's login.
pub(super) fn token_of(world: &World) -> String {
    let file = world.directory.join("homes/admin/.config/sluice/logins.json");
    let logins: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    logins["servers"][world.api_url()]["token"].as_str().unwrap().to_owned()
}
