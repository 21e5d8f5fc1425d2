//! Planted secrets are looked for everywhere after a whole story in which a workflow does its best to leak them: on
//! the bus and in what it stores, in logs, pages, the API, the command, the chat, command lines, containers, files of
//! the services, commits, images, and the cluster.

mod places;
mod search;
mod watch;

use serde_json::json;
use sluice_e2e::story::{Chain, Report, about, dev, promote};
use sluice_e2e::world::{Shop, token};
use sluice_e2e::{Event, World};

use crate::eyes::Person;
use crate::stage::SOON;
use search::Search;
use watch::Watch;

const WORKFLOW: &str = ".github/workflows/build.yml";

/// What this test plants beside what every world has.
struct Plants {
    plain: String,
    odd: String,
    lines: String,
    registry: String,
    git: String,
}

impl Plants {
    fn new() -> Self {
        Self {
            plain: format!("plain-{}", token(24)),
            odd: format!("od d'\"&<x>\\$%{}{{}}|é", token(16)),
            lines: format!("{}\n{}\n", token(40), token(40)),
            registry: format!("registry-{}", token(24)),
            git: format!("git-{}", token(24)),
        }
    }
}

#[tokio::test]
async fn planted_values_are_found_nowhere() {
    let mut world = World::new("secrets").await.unwrap();
    world.settings = json!({"log": {"level": "debug"}});
    let plants = Plants::new();
    let _account = GitAccount::add(&world, &plants.git);
    let shop = world.populate().await.unwrap();
    plant(&world, &plants).await;
    workflow(&world, &shop, &plants);
    let mut search = Search::default();
    for (name, secret) in [
        ("the webhook's secret", &world.planted.webhook),
        ("the DigitalOcean token", &world.planted.digitalocean),
        ("the bot's token", &world.planted.bot_token),
        ("PLAIN", &plants.plain),
        ("ODD", &plants.odd),
        ("LINES", &plants.lines),
        ("the registry's password", &plants.registry),
        ("the Git password", &plants.git),
    ] {
        search.add(name, secret);
    }
    let recorder = places::record(&world);
    let watch = Watch::start(&world.platform, &world.names.owner, &search);
    world.up().await.unwrap();
    let person = Person::admin(&world).await.unwrap();
    // The chat answers with errors, too: those are logged.
    for (method, code) in [("sendMessage", 500), ("editMessageText", 502), ("editMessageText", 403)] {
        let fault = json!({"method": method, "error_code": code});
        world.telegram.fault(serde_json::from_value(fault).unwrap());
    }

    let chain = story(&world, &shop, &person).await;

    let (lines, containers) = watch.end();
    assert!(lines.different.iter().any(|line| line.contains("git")), "no process was seen");
    assert!(!containers.different.is_empty(), "no container was seen");
    lines.findings.into_iter().chain(containers.findings).for_each(|finding| search.note(finding));
    // These were made while the story ran.
    search.add("the admin's password", &world.password().unwrap());
    search.add("the browser's session", person.cookie.split_once('=').unwrap().1);
    search.add("the command's token", &places::token_of(&world));
    for (name, part) in places::grant_key(&world).await {
        search.add(name, &part);
    }
    places::traffic(&world, recorder, &mut search).await;
    places::stored(&world, &mut search).await;
    places::surfaces(&world, &person, &chain, &mut search).await;
    places::files(&world, &shop, &mut search).await;
    places::cluster(&world, &mut search).await;
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
    let part = |name: &str| preview[name].as_str().unwrap_or_else(|| panic!("{preview:#}"));
    let words = [
        "app",
        "sync",
        "shop-prod",
        "--yes",
        "--revision",
        part("revision"),
        "--manifests",
        part("manifestDigest"),
    ];
    person.cli.ok(&words).await.unwrap();
    witness.wait_after(since, "sync.finished", SOON, |e| about(e, "shop-prod")).await.unwrap();
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
        "metadata": {"name": "registry", "namespace": world.names.system,
                     "labels": {"sluice.dev/secret-type": "registry"},
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
fn workflow(world: &World, shop: &Shop, plants: &Plants) {
    // Pieces, put together only in the shell: the workflow must not hold what is looked for.
    let pieces =
        [&plants.plain, &plants.git, &plants.registry, &world.planted.bot_token, &world.planted.webhook];
    let pieces: Vec<String> = pieces.iter().map(|s| format!("'{}''{}'", &s[..6], &s[6..16])).collect();
    let leak = LEAK.replace("PIECES", &pieces.join(" "));
    let head = "    steps:\n      - uses: actions/checkout@v2\n      - name: Run the tests\n";
    shop.web.replace(WORKFLOW, head, &format!("{leak}      - name: Run the tests\n")).unwrap();
    let told = "    needs: test\n    steps:\n      - uses: actions/checkout@v2\n";
    let told_too = format!("{told}      - run: echo \"it is ${{{{ needs.test.outputs.plain }}}}.\"\n");
    shop.web.replace(WORKFLOW, told, &told_too).unwrap();
    shop.web
        .replace(WORKFLOW, "status: ${{ job.status }}", "status: ${{ job.status }} ${{ secrets.PLAIN }}")
        .unwrap();
}

const LEAK: &str = r#"    outputs:
      plain: ${{ steps.leak.outputs.plain }}
      fine: ${{ steps.leak.outputs.fine }}
    steps:
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
          echo "plain $PLAIN"; echo "odd $ODD" >&2; echo "$LINES"
          echo "twice $PLAIN$PLAIN"
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
          printf 'half %s' "$(printf %s "$PLAIN" | cut -c1-12)"; sleep 0.6; printf %s "$PLAIN" | cut -c13-
          head -c 16370 /dev/zero | tr '\0' x; echo "$PLAIN"
          printf '\033[1m%s\033[0m\n' "$PLAIN"
          : <"/no/such/$PLAIN" || true
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
