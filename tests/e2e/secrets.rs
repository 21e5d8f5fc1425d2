//! Planted secrets are looked for everywhere after a whole story in which a workflow tries to leak them.

mod search;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use sluice_e2e::story::{Chain, Report, about, dev, promote};
use sluice_e2e::world::{Shop, token};
use sluice_e2e::{Event, World};

use crate::eyes::Person;
use crate::stage::SOON;
use search::Search;
use watch::Watch;

/// Pages and calls that are followed from the home page.
const MOST_PAGES: usize = 250;

/// What this test plants beside what every world has.
struct Plants {
    plain: String,
    odd: String,
    lines: String,
    registry: String,
    git: String,
}

#[tokio::test]
async fn planted_secrets_are_found_nowhere() {
    let mut world = World::new("secrets").await.unwrap();
    world.settings = json!({"log": {"level": "debug"}});
    let plants = Plants {
        plain: format!("plain-{}", token(24)),
        odd: format!("od d'\"&<x>\\$%{}{{}}|é", token(16)),
        lines: format!("-----BEGIN KEY-----\n{}\n{}\n-----END KEY-----\n", token(40), token(40)),
        registry: format!("registry-{}", token(24)),
        git: format!("git-{}", token(24)),
    };
    let _account = GitAccount::add(&world, &plants.git);
    let shop = world.populate().await.unwrap();
    plant(&world, &plants).await;
    workflow(&world, &shop, &plants).await;
    let mut search = Search::default();
    for (name, secret) in [
        ("the webhook's secret", &world.planted.webhook),
        ("the DigitalOcean token", &world.planted.digitalocean),
        ("the bot's token", &world.planted.bot_token),
        ("PLAIN", &plants.plain),
        ("ODD", &plants.odd),
        ("LINES", &plants.lines.replace("-----BEGIN KEY-----\n", "").replace("\n-----END KEY-----\n", "")),
        ("the registry's password", &plants.registry),
        ("the Git password", &plants.git),
    ] {
        search.add(name, secret);
    }
    let bus = record(&world);
    let watch = Watch::start(&world.platform, &world.names.owner, &search);
    world.up().await.unwrap();
    let person = Person::admin(&world).await.unwrap();

    let chain = story(&world, &shop, &person).await;

    let (lines, containers) = watch.end();
    assert!(lines.different.iter().any(|line| line.contains("git")) && !containers.different.is_empty());
    lines.findings.into_iter().chain(containers.findings).for_each(|finding| search.note(finding));
    // These were made while the story ran.
    search.add("the admin's password", &world.password().unwrap());
    search.add("the browser's session", person.cookie.split_once('=').unwrap().1);
    search.add("the command's token", &token_of(&world));
    for (name, part) in grant_key(&world).await {
        search.add(&name, &part);
    }
    bus_traffic(&world, bus, &mut search).await;
    stored(&world, &mut search).await;
    surfaces(&world, &person, &chain, &mut search).await;
    files(&world, &shop, &mut search).await;
    cluster(&world, &mut search).await;
    search.assert_clean();
    assert!(search.looked_at > 1_000_000, "only {} bytes were looked at", search.looked_at);
}

/// The whole way to prod, with a grant.
async fn story(world: &World, shop: &Shop, person: &Person) -> Chain {
    let report = Report::silent();
    let chain = sluice_e2e::story::push(world, shop, "4.0.0", &report).await.unwrap();
    let witness = world.witness().unwrap();
    let ours = |e: &Event| e.correlation() == chain.correlation;
    let leaked = witness.wait("job.finished", SOON, |e| ours(e) && e.data["key"] == "test").await.unwrap();
    // The output that holds a secret is not passed on, as on GitHub.
    assert_eq!(leaked.data["outputs"]["fine"], "fine", "{}", leaked.data);
    assert!(leaked.data["outputs"]["plain"].is_null(), "{}", leaked.data);
    dev(world, shop, &chain, &report).await.unwrap();
    promote(world, shop, &chain, &person.cli, &report).await.unwrap();
    let since = witness.now();
    let preview = person.json(&["app", "sync", "shop-prod", "--preview"]).await.unwrap();
    let (revision, manifests) =
        (preview["revision"].as_str().unwrap(), preview["manifests"].as_str().unwrap());
    let words = ["app", "sync", "shop-prod", "--yes", "--revision", revision, "--manifests", manifests];
    person.cli.ok(&words).await.unwrap();
    witness.wait_after(since, "sync.finished", SOON, |e| about(e, "shop-prod")).await.unwrap();
    // And somebody who cannot log in, with something that may be another password of theirs.
    let wrong = person.cli.run(&["login", &world.api_url()], "not-the-password-at-all\n").await.unwrap();
    assert_ne!(wrong.code, 0);
    chain
}

/// Secrets in the cluster, where Sluice finds them.
async fn plant(world: &World, plants: &Plants) {
    let mut all = Vec::new();
    for name in ["shop-web", "deploy"] {
        let mut secret = world.repository_secret(name);
        secret["stringData"]["username"] = json!(world.names.owner);
        secret["stringData"]["password"] = json!(plants.git);
        all.push(secret);
    }
    all.push(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "registry", "namespace": world.names.system, "labels": {"sluice.dev/secret-type": "registry"},
                     "annotations": {"sluice.dev/registry": world.platform.registry}},
        "stringData": {"username": "robot", "password": plants.registry},
    }));
    all.push(world.ci_secret(
        "shop-web",
        &[
            ("IMAGE_PATH", world.image_path()),
            ("DIGITALOCEAN_ACCESS_TOKEN", world.planted.digitalocean.clone()),
            ("chat", world.chat.to_string()),
            ("token", world.planted.bot_token.clone()),
            ("PLAIN", plants.plain.clone()),
            ("ODD", plants.odd.clone()),
            ("LINES", plants.lines.clone()),
        ],
    ));
    world.apply(&all).await.unwrap();
}

/// The workflow's first job is given three secrets and does with them what people do by accident.
async fn workflow(world: &World, shop: &Shop, plants: &Plants) {
    let file = ".github/workflows/build.yml";
    // Pieces, put together only in the shell: the workflow must not hold what is looked for.
    let pieces =
        [&plants.plain, &plants.git, &plants.registry, &world.planted.bot_token, &world.planted.webhook];
    let pieces: Vec<String> = pieces.iter().map(|s| format!("'{}''{}'", &s[..6], &s[6..16])).collect();
    let leak = LEAK.replace("PIECES", &pieces.join(" "));
    let steps = "    steps:\n      - uses: actions/checkout@v2\n      - name: Run the tests\n";
    let outputs = "    outputs:\n      plain: ${{ steps.leak.outputs.plain }}\n      fine: ${{ steps.leak.outputs.fine }}\n";
    shop.web.replace(file, steps, &format!("{outputs}{leak}      - name: Run the tests\n")).unwrap();
}

const LEAK: &str = r#"    steps:
      - uses: actions/checkout@v2
      - name: Ask for nothing
        run: |
          for piece in PIECES; do
            printf '%s\n' "$piece" >/tmp/piece
            for file in /proc/[0-9]*/environ; do
              tr '\0' '\n' <"$file" 2>/dev/null | grep -qF -f /tmp/piece && echo "there is a LE""AK in $file"
            done
            rm /tmp/piece
            found=$(grep -rlsF --exclude-dir=proc --exclude-dir=sys -e "$piece" /) && echo "there is a LE""AK in $found"
          done
          true
      - name: Leak ${{ secrets.PLAIN }}
        id: leak
        env:
          PLAIN: ${{ secrets.PLAIN }}
          ODD: ${{ secrets.ODD }}
          LINES: ${{ secrets.LINES }}
        run: |
          echo "$PLAIN"; echo "$ODD" >&2; echo "$LINES"
          for prefix in '' a ab user:; do printf '%s%s' "$prefix" "$PLAIN" | base64 -w0; echo; done
          printf %s "$ODD" | base64; printf %s "$LINES" | base64 -w 0; echo
          set -x
          : "$PLAIN" "$ODD" "$LINES"
          set +x
          env
          echo "${{ secrets.PLAIN }} is in the script"
          echo "::error file=VERSION,line=1::it is $PLAIN"
          echo "::warning::it is $ODD"
          echo "::group::$PLAIN"; echo "::endgroup::"
          echo "plain=$PLAIN" >>"$GITHUB_OUTPUT"
          echo "fine=fine" >>"$GITHUB_OUTPUT"
          echo "it is $PLAIN" >>"$GITHUB_STEP_SUMMARY"
          printf %s "${PLAIN%????????}"; sleep 0.6; printf '%s\n' "${PLAIN#??????????????????????}"
          head -c 16370 /dev/zero | tr '\0' x; echo "$PLAIN"
          printf '\033[1m%s\033[0m\n' "$PLAIN"
      - name: Fail with ${{ secrets.PLAIN }}
        continue-on-error: true
        env:
          PLAIN: ${{ secrets.PLAIN }}
        run: |
          echo "fatal: $PLAIN" >&2
          exit 3
"#;

/// A user of the platform's Git server with a password of this test, until it ends.
struct GitAccount {
    file: std::path::PathBuf,
    line: String,
}

impl GitAccount {
    fn add(world: &World, password: &str) -> Self {
        let file = world.platform.directory.join("git/users");
        let line = format!("{}:{password}\n", world.names.owner);
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &line).unwrap();
        Self { file, line }
    }
}

impl Drop for GitAccount {
    fn drop(&mut self) {
        let users = std::fs::read_to_string(&self.file).unwrap_or_default();
        std::fs::write(&self.file, users.replace(&self.line, "")).ok();
    }
}

/// Everything that passes on the bus from now on, into a file.
fn record(world: &World) -> tokio::process::Child {
    let file = std::fs::File::create(world.directory.join("bus.dump")).unwrap();
    let mut command = world.nats.cli(&["sub", ">", "--dump=-"]);
    command
        .stdin(std::process::Stdio::null())
        .stdout(file)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn bus_traffic(world: &World, mut recorder: tokio::process::Child, search: &mut Search) {
    recorder.kill().await.unwrap();
    let file = world.directory.join("bus.dump");
    let dump = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    messages("the bus", &dump, search);
}

/// Every message that streams, buckets and object stores hold.
async fn stored(world: &World, search: &mut Search) {
    let names = world.nats.ok(&["stream", "ls", "--names", "--all"]).await.unwrap();
    let names: Vec<&str> = names.split_whitespace().collect();
    for wanted in ["INBOX", "EVENTS", "LOGS", "DLQ", "KV_runs", "KV_grants", "OBJ_logs", "OBJ_payloads"] {
        assert!(names.contains(&wanted), "{names:?}");
    }
    for name in names {
        if world.nats.state(name).await.unwrap().0 == 0 {
            continue;
        }
        let words = ["sub", ">", "--stream", name, "--start-sequence", "1", "--terminate-at-end", "--dump=-"];
        let mut command = world.nats.cli(&words);
        let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await.unwrap().unwrap();
        assert!(!output.stdout.is_empty(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        messages(name, &output.stdout, search);
    }
}

/// Subjects, headers and payloads of a dump; what was cut into messages is put together as well.
fn messages(place: &str, dump: &[u8], search: &mut Search) {
    let mut whole: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for message in dump.split(|byte| *byte == 0) {
        let Ok(message) = serde_json::from_slice::<Value>(message) else { continue };
        let subject = message["Subject"].as_str().unwrap_or_default();
        let data = message["Data"].as_str().unwrap_or_default();
        let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        search.look(
            &format!("{place}, headers of {subject}"),
            format!("{subject} {}", message["Header"]).as_bytes(),
        );
        search.look(&format!("{place}, {subject}"), &data);
        if subject.starts_with("log.") || subject.starts_with("$O.") {
            whole.entry(subject.to_owned()).or_default().extend(text_of_chunk(&data));
        }
    }
    for (subject, data) in whole {
        search.look(&format!("{place}, all of {subject}"), &data);
    }
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
async fn surfaces(world: &World, person: &Person, chain: &Chain, search: &mut Search) {
    let slug = world.slug("shop-web");
    let run = format!("/api/v1/runs/{slug}/{}", chain.run);
    let mut queue: VecDeque<String> =
        ["/", "/audit", "/dlq", "/account", "/promote/shop-web", "/api/version"]
            .into_iter()
            .map(str::to_owned)
            .chain(
                ["apps", "applications", "runs", "deliveries", "lanes", "audit", "dlq", "session/userinfo"]
                    .map(|p| format!("/api/v1/{p}")),
            )
            .chain([
                run.clone(),
                format!("{run}/logs?raw=true&timestamps=true"),
                format!("/api/v1/deliveries/{}", chain.correlation),
            ])
            .chain([
                format!("/api/v1/repositories/{slug}/secrets"),
                format!("/api/v1/promotions/{slug}"),
                format!("/api/v1/trace/{}", chain.commit),
            ])
            .chain(["shop-dev", "shop-prod"].iter().flat_map(|app| {
                let of = move |path: &str| path.replace('*', app);
                [
                    "apps/*",
                    "apps/*/diff",
                    "apps/*/preview",
                    "applications/*",
                    "applications/*/resource-tree",
                    "applications/*/managed-resources",
                    "applications/*/manifests",
                ]
                .map(|path| format!("/api/v1/{}", of(path)))
            }))
            .collect();
    let mut seen: BTreeSet<String> = queue.iter().cloned().collect();
    let mut pages = 0;
    while let Some(path) = queue.pop_front() {
        let (status, body) = person.get(&path).await.unwrap();
        assert!(status < 500, "{path}: {status}");
        // The page shows its own session's form token, never the session.
        search.look(&path, body.as_bytes());
        pages += 1;
        for link in links(&body) {
            if pages + queue.len() < MOST_PAGES && seen.insert(link.clone()) {
                queue.push_back(link);
            }
        }
    }
    assert!(pages > 40, "only {pages} pages were found");
    for file in ["metrics", "readyz"] {
        let url = format!("http://127.0.0.1:{}/{file}", world.ports.operations);
        search.look(file, world.http.get(url).send().await.unwrap().text().await.unwrap().as_bytes());
    }
    let log = person.cli.ok(&["run", "logs", &format!("shop-web#{}", chain.run)]).await.unwrap();
    assert!(log.contains("***") && log.contains("is in the script"), "{log}");
    assert!(!log.contains("there is a LEAK"), "{log}");
    let config = world.directory.join("sluice.yaml");
    let config = config.to_str().unwrap();
    for words in [
        ["run", "ls", "-o", "yaml"].as_slice(),
        &["run", "watch", "shop-web"],
        &["app", "get", "shop-prod", "-o", "json"],
        &["trace", &chain.commit],
        &["replay", &chain.commit, "-o", "json"],
        &["secret", "ls", "shop-web"],
        &["repo", "ls", "--config", config],
        &["dlq", "ls", "--direct", "--config", config],
        &["up", "--dump-config", "--config", config],
    ] {
        let output = person.cli.run(words, "").await.unwrap();
        assert_eq!(output.code, 0, "sluice {words:?}: {}", output.stderr);
        search.look(&format!("sluice {words:?}"), format!("{}{}", output.stdout, output.stderr).as_bytes());
    }
    search.look("sluice run logs", log.as_bytes());
    let chat = world.telegram.read(|s| format!("{:?}", s.messages()));
    assert!(chat.contains(&chain.tag));
    search.look("the chat", chat.as_bytes());
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
async fn files(world: &World, shop: &Shop, search: &mut Search) {
    let log = std::fs::read_to_string(world.directory.join("sluice.log")).unwrap();
    assert!(log.contains("DEBUG"), "the log is not as detailed as was asked for");
    // The one time that it is shown.
    let first = log.lines().filter(|line| !line.contains("first start: sign in as"));
    search.look("the log", first.collect::<Vec<_>>().join("\n").as_bytes());
    folder(&world.directory.join("data"), search);
    for copy in [&shop.web, &shop.deploy] {
        copy.pull().await.unwrap();
        let text = copy.git(&["log", "-p", "--all"]).await.unwrap();
        search.look(&format!("commits of {}", copy.url), text.as_bytes());
    }
    let mut docker = world.platform.docker();
    docker.args(["image", "ls", "-q", "--filter", &format!("reference={}:*", world.image())]);
    let images = docker.output().await.unwrap().stdout;
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
async fn cluster(world: &World, search: &mut Search) {
    let names = &world.names;
    for namespace in [&names.system, &names.apps, &names.dev, &names.prod] {
        let kinds = "events,configmaps,pods,deployments,services,leases,applications.argoproj.io,appprojects.argoproj.io";
        let objects = world.kube.list(namespace, kinds).await.unwrap();
        search.look(&format!("objects of {namespace}"), json!(objects).to_string().as_bytes());
    }
}

/// The private half of the key that signs grants: its PEM, and the seed in it.
async fn grant_key(world: &World) -> Vec<(String, String)> {
    let secrets = world.kube.list(&world.names.system, "secrets").await.unwrap();
    let key = secrets.iter().find_map(|s| s["data"]["private"].as_str()).unwrap();
    let pem = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
    let pem = String::from_utf8(pem).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(&body).unwrap();
    // PKCS#8 of Ed25519: a fixed head of 16 bytes, then the seed of 32.
    let seed = &der[16..48];
    vec![("the grant key".to_owned(), body), ("the grant key's seed".to_owned(), hex::encode(seed))]
}

/// The token of the command's login.
fn token_of(world: &World) -> String {
    let file = world.directory.join("homes/admin/.config/sluice/logins.json");
    let logins: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    logins["servers"][world.api_url()]["token"].as_str().unwrap().to_owned()
}
