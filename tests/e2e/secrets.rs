//! Planted secret values are found nowhere: not on the bus, in logs, the API, pages, the chat, command lines,
//! files of the services or the cluster's events. The workflow does its best to leak them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use sluice_e2e::World;
use sluice_e2e::api::Api;
use sluice_e2e::story::QUIET;
use sluice_e2e::world::token;

use crate::stage::{SOON, shop};

const LEAKY: &str = r###"name: leaky
on: push
env:
  SAUCE: ${{ secrets.SAUCE }}
jobs:
  leak:
    runs-on: ubuntu-latest
    outputs:
      sauce: ${{ steps.show.outputs.sauce }}
    steps:
      - uses: actions/checkout@v2
      - id: show
        run: |
          echo "plain $SAUCE"
          echo "twice $SAUCE$SAUCE"
          printf '%s' "$SAUCE" | sed 's/^/in a line: /'
          echo "sauce=$SAUCE" >> "$GITHUB_OUTPUT"
          echo "## $SAUCE" >> "$GITHUB_STEP_SUMMARY"
          printf 'half a secret: %s' "$(printf %s "$SAUCE" | cut -c1-12)"; sleep 0.6; printf %s "$SAUCE" | cut -c13-
      - name: An argument ${{ secrets.SAUCE }}
        run: "true # ${{ secrets.SAUCE }}"
      - run: |
          env | sort
          set -x
          : "$SAUCE"
      - run: |
          echo "::error file=README.md,line=1::bad sauce $SAUCE"
          echo "::notice::$SAUCE"
          cat "/no/such/$SAUCE"
  told:
    runs-on: ubuntu-latest
    needs: leak
    if: always()
    steps:
      - run: echo "${{ needs.leak.outputs.sauce }}"
      - uses: yanzay/notify-telegram@v0.1.0
        if: always()
        with:
          chat: ${{ secrets.chat }}
          token: ${{ secrets.token }}
          status: ${{ secrets.SAUCE }}
"###;

#[tokio::test]
async fn planted_values_are_found_nowhere() {
    let (world, shop) = shop("secrets").await;
    let sauce = format!("sauce-{}", token(30));
    let values = [
        ("SAUCE", sauce.clone()),
        ("DIGITALOCEAN_ACCESS_TOKEN", world.planted.digitalocean.clone()),
        ("IMAGE_PATH", world.image_path()),
        ("chat", world.chat.to_string()),
        ("token", world.planted.bot_token.clone()),
    ];
    world.apply(&[world.ci_secret("shop-web", &values)]).await.unwrap();
    let planted = [
        sauce,
        world.planted.digitalocean.clone(),
        world.planted.bot_token.clone(),
        world.planted.webhook.clone(),
    ];
    let found = Arc::new(Mutex::new(BTreeSet::new()));
    let watch = CommandLines::watch(&planted, &found);

    // The chat answers with errors, too: those are logged.
    for code in [500, 502, 403] {
        let fault = json!({"method": "sendMessage", "error_code": code});
        world.telegram.fault(serde_json::from_value(fault).unwrap());
    }
    let since = world.witness().unwrap().now();
    shop.web.write(".github/workflows/leaky.yml", LEAKY).unwrap();
    shop.web.write("VERSION", "4.0.0\n").unwrap();
    let commit = shop.web.ship("leak").await.unwrap();
    for workflow in ["leaky.yml", "build.yml"] {
        let fits = |e: &sluice_e2e::Event| {
            e.data["run"]["sha"] == commit.as_str()
                && e.data["run"]["workflow_file"].as_str().is_some_and(|f| f.ends_with(workflow))
        };
        world.witness().unwrap().wait_after(since, "run.finished", SOON, fits).await.unwrap();
    }
    world.witness().unwrap().settle(QUIET, SOON).await.unwrap();
    drop(watch);

    let note = |place: &str, bytes: &[u8]| {
        for value in &planted {
            if contains(bytes, value.as_bytes()) {
                let kind = value.split(['-', '_', ':']).next().unwrap_or_default();
                found.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{kind}… in {place}"));
            }
        }
    };
    bus(&world, &note).await;
    files(&world.directory, &world.directory, &note);
    surfaces(&world, &note).await;
    world.telegram.read(|s| note("the chat", &serde_json::to_vec(s.messages()).unwrap()));
    let kinds = "events,pods,configmaps,deployments,services,applications.argoproj.io";
    for space in [&world.names.system, &world.names.apps, &world.names.dev, &world.names.prod] {
        note(
            "the cluster",
            world.kube.ok(&["-n", space, "get", kinds, "-o", "json"]).await.unwrap().as_bytes(),
        );
    }
    assert_eq!(*found.lock().unwrap(), BTreeSet::new());
}

/// Every stream's messages, buckets and objects included.
async fn bus(world: &World, note: &impl Fn(&str, &[u8])) {
    let names = world.nats.ok(&["stream", "ls", "--all", "--names"]).await.unwrap();
    let mut seen = 0;
    for stream in names.lines().map(str::trim).filter(|n| !n.is_empty()) {
        if world.nats.state(stream).await.unwrap().0 == 0 {
            continue;
        }
        let arguments = ["sub", "--stream", stream, "--all", "--terminate-at-end", "--dump=-"];
        let dump = world.nats.ok(&arguments).await.unwrap();
        for message in dump.split('\0').filter(|m| !m.trim().is_empty()) {
            let message: Value =
                serde_json::from_str(message).unwrap_or_else(|e| panic!("{stream}: {e}: {message}"));
            note(&format!("headers of {stream}"), message.to_string().as_bytes());
            let body = message["Data"].as_str().unwrap_or_default();
            let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
            note(&format!("{} of {stream}", message["Subject"]), &body);
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} messages were looked at");
}

/// Logs and data of the services. The bus's own files hold what [`bus`] has looked at.
fn files(root: &Path, folder: &Path, note: &impl Fn(&str, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let skipped = ["chromium", "nats", "copies"].iter().any(|s| entry.path() == root.join(s));
        if kind.is_dir() && !skipped {
            files(root, &entry.path(), note);
        } else if kind.is_file() {
            // What a service removes while we look is not there to be found.
            note(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap_or_default());
        }
    }
}

/// What the API and the pages show to somebody who may see everything.
async fn surfaces(world: &World, note: &impl Fn(&str, &[u8])) {
    let api = Api::anonymous(&world.api_url(), &world.http)
        .login("admin", &world.password().unwrap())
        .await
        .unwrap();
    let slug = world.slug("shop-web");
    let mut paths = vec![
        "applications",
        "apps",
        "runs",
        "deliveries",
        "audit",
        "lanes",
        "projects",
        "repositories",
        "dlq",
    ]
    .into_iter()
    .map(|p| format!("/api/v1/{p}"))
    .collect::<Vec<_>>();
    for app in ["shop-dev", "shop-prod"] {
        for part in ["", "/resource-tree", "/managed-resources", "/manifests"] {
            paths.push(format!("/api/v1/applications/{app}{part}"));
        }
    }
    for run in 1..=2 {
        for part in ["".to_owned(), "/logs".to_owned()] {
            paths.push(format!("/api/v1/runs/{slug}/{run}{part}"));
        }
        paths.push(format!("/runs/{slug}/{run}"));
    }
    let mut answered = 0;
    for path in paths {
        let (status, body) = api.call(reqwest::Method::GET, &path, None).await.unwrap();
        answered += usize::from(status == 200);
        note(&path, body.to_string().as_bytes());
    }
    assert!(answered >= 10, "only {answered} paths answered");
    let person = crate::eyes::Person::admin(world).await.unwrap();
    let mut read = String::new();
    for run in ["1", "2"] {
        let logs = person
            .cli
            .run(&["run", "logs", &format!("{}#{run}", world.full_name("shop-web"))], "")
            .await
            .unwrap();
        note("sluice run logs", format!("{}{}", logs.stdout, logs.stderr).as_bytes());
        read.push_str(&logs.stdout);
    }
    // The values were really there to be masked.
    for masked in
        ["plain ***", "twice ***", "in a line: ***", "half a secret: ***", "SAUCE=***", "/no/such/***"]
    {
        assert!(read.contains(masked), "{masked:?} is not in the logs:\n{read}");
    }
}

/// Looks at all command lines again and again, from a thread of its own.
struct CommandLines {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl CommandLines {
    fn watch(planted: &[String], found: &Arc<Mutex<BTreeSet<String>>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, values, found) = (Arc::clone(&stop), planted.to_vec(), Arc::clone(found));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                    if values.iter().any(|value| contains(&line, value.as_bytes())) {
                        let line = String::from_utf8_lossy(&line).replace('\0', " ");
                        let first: String = line.chars().take(40).collect();
                        found
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(format!("a command line: {first}…"));
                    }
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for CommandLines {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn contains(bytes: &[u8], value: &[u8]) -> bool {
    bytes.windows(value.len()).any(|window| window == value)
}
