//! `deploy/dev` and `deploy/prod` of the organisation: created as Applications, compared, reported truthfully.
//!
//! Every file is as it was. Only the address in `app.yaml`, which names a host that is not reached from here,
//! is another: the test's Git server plays that host.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sluice_e2e::api::Api;
use sluice_e2e::cli::Cli;
use sluice_e2e::nats::{Nats, free_port};
use sluice_e2e::story::{QUIET, SOON, about};
use sluice_e2e::world::{Names, Ports};
use sluice_e2e::{Platform, World, seed, until};
use sluice_telegram_fake::{Fake, Options};

use crate::input;

const THEIRS: &str = "https://github.com/mapofzones/deploy.git";

/// Their names: one such world at a time on a cluster.
async fn world() -> World {
    sluice_e2e::install_crypto();
    let platform = Platform::get().await.unwrap();
    platform.check().await.unwrap();
    let directory = platform.root.join("target/e2e/conformance_deploy");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).unwrap();
    }
    let name = str::to_owned;
    let names = Names {
        owner: "mapofzones".into(),
        system: name("conformance-sluice"),
        apps: name("argocd"),
        dev: name("dev"),
        prod: name("prod"),
    };
    let kube = sluice_e2e::kubectl::Kubectl::new(&platform);
    let spaces = [names.apps.as_str(), &names.system, &names.dev, &names.prod];
    for space in spaces {
        let labels = kube.get("default", &format!("namespace/{space}")).await.unwrap();
        assert!(
            labels.is_none_or(|n| n["metadata"]["labels"]["conformance"] == "true" || platform.owns("kube")),
            "{space} is somebody's; this needs a cluster of its own"
        );
    }
    kube.delete_namespaces(&spaces).await.unwrap();
    until("an earlier run is gone", SOON, async || {
        let listed = kube.ok(&["get", "namespaces", "-o", "name"]).await.map_err(|e| e.to_string())?;
        let left = spaces.iter().find(|s| listed.lines().any(|l| l == format!("namespace/{s}")));
        left.map_or(Ok(()), |s| Err(format!("{s} is still there")))
    })
    .await
    .unwrap();
    let nats = Nats::start(&platform, &directory.join("nats")).await.unwrap();
    let ports =
        Ports { ingress: free_port().unwrap(), api: free_port().unwrap(), operations: free_port().unwrap() };
    let fake = Fake::start(Options::default()).await.unwrap();
    let token = fake.token().to_owned();
    World::assemble(platform, names, directory, nats, ports, fake, (token, -100_200)).await.unwrap()
}

/// Kind, API version and name of every document below a folder.
fn documents(folder: &Path) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(documents(&path));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for document in text.split("\n---") {
            // Some of these files are indented as a whole. Top level, and the first `name` of the metadata: enough
            // for them, and another reader than Sluice's.
            let indent = |line: &str| line.len() - line.trim_start().len();
            let lines: Vec<_> = document.lines().filter(|l| !l.trim().is_empty()).collect();
            let margin = lines.iter().map(|l| indent(l)).min().unwrap_or(0);
            let lines: Vec<_> = lines.iter().map(|l| &l[margin..]).collect();
            let top = |key: &str| lines.iter().find_map(|l| l.strip_prefix(key)).map(|v| v.trim().to_owned());
            let name = lines
                .iter()
                .skip_while(|l| !l.starts_with("metadata:"))
                .find_map(|l| l.trim().strip_prefix("name:"));
            if let (Some(version), Some(kind), Some(name)) = (top("apiVersion:"), top("kind:"), name) {
                all.insert((kind, version, name.trim().to_owned()));
            }
        }
    }
    all
}

#[tokio::test]
async fn dev_and_prod_are_compared_and_reported_object_by_object() {
    let mut world = world().await;
    let source = input::real_input(&world.platform).join("deploy");
    let copy = seed::empty(&world, "deploy").await.unwrap();
    input::copy(&source, &copy.path);
    for stage in ["dev", "prod"] {
        copy.replace(&format!("{stage}/app.yaml"), THEIRS, &world.clone_url("deploy")).unwrap();
    }
    copy.ship("as it was, from another host").await.unwrap();
    world.hook("deploy").await.unwrap();
    world.up().await.unwrap();
    let cli = Cli::admin(&world).await.unwrap();
    for stage in ["dev", "prod"] {
        let file = copy.path.join(stage).join("app.yaml");
        cli.ok(&["app", "create", "-f", &file.to_string_lossy()]).await.unwrap();
    }
    let witness = world.witness().unwrap();
    for app in ["dev-moz", "prod-moz"] {
        witness.wait("app.compared", SOON, |e| about(e, app)).await.unwrap();
    }
    // dev is automated: it is tried, and what the cluster lacks fails by itself.
    let synced = witness.wait("sync.finished", SOON, |e| about(e, "dev-moz")).await.unwrap();
    println!("dev: {} {}", synced.data["outcome"], synced.data["message"]);
    witness.settle(QUIET, SOON).await.unwrap();
    let api = Api::anonymous(&world.api_url(), &world.http)
        .login("admin", &world.password().unwrap())
        .await
        .unwrap();
    for (stage, app) in [("dev", "dev-moz"), ("prod", "prod-moz")] {
        report(&world, &api, &cli, app, &documents(&source.join(stage))).await;
    }
    let prod = witness.all("sync.started");
    assert!(prod.iter().all(|e| !about(e, "prod-moz")), "nobody granted anything to prod");
    for kind in ["deployments", "services", "ingresses"] {
        let found = world.kube.list("prod", kind).await.unwrap_or_default();
        assert!(found.is_empty(), "prod was written to: {} {kind}", found.len());
    }
}

/// Each object of the files is in the report; each of a kind that the cluster lacks has its error, and no other.
async fn report(world: &World, api: &Api, cli: &Cli, app: &str, files: &BTreeSet<(String, String, String)>) {
    let seen = api.get(&format!("/api/v1/applications/{app}")).await.unwrap();
    let resources = seen["status"]["resources"].as_array().unwrap_or_else(|| panic!("{app}: {seen:#}"));
    let named: BTreeSet<_> = resources.iter().map(|r| (text(&r["kind"]), text(&r["name"]))).collect();
    let wanted: BTreeSet<_> = files.iter().map(|(kind, _, name)| (kind.clone(), name.clone())).collect();
    let missing: Vec<_> = wanted.difference(&named).collect();
    assert!(missing.is_empty(), "{app}: not reported: {missing:?}\n{resources:#?}");
    let invented: Vec<_> = named.difference(&wanted).collect();
    assert!(invented.is_empty(), "{app}: reported, but in no file: {invented:?}");

    let gone: Vec<_> = files.iter().filter(|(_, version, _)| version == "extensions/v1beta1").collect();
    let shown = cli.run(&["app", "get", app], "").await.unwrap().stdout;
    let conditions = seen["status"].to_string();
    println!("{app}: {} objects, {} of kinds that are gone\n{shown}", files.len(), gone.len());
    for (kind, version, name) in &gone {
        let told = |text: &str| text.contains(name.as_str()) && text.contains(version.as_str());
        assert!(told(&conditions), "{app}: {kind} {name} ({version}) has no error in the API: {conditions}");
        assert!(
            shown.contains(name.as_str()) && shown.contains(version.as_str()),
            "{app}: {name} ({version}):\n{shown}"
        );
    }
    let compared = world.witness().unwrap().all("app.compared");
    let last = compared.iter().rev().find(|e| about(e, app)).unwrap();
    assert_eq!(
        last.data["errors"].as_array().map_or(0, Vec::len),
        gone.len(),
        "{app}: {:#}",
        last.data["errors"]
    );
    assert_ne!(seen["status"]["sync"]["status"], "Synced", "{app}: something is not as the files say");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
