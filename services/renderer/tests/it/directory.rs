//! What a directory renders to.

use std::os::unix::fs::symlink;

use sluice_bus::Store;
use sluice_gitops::manifest::from_canonical;
use sluice_schemas::commands::SourceKind;
use sluice_schemas::events::RenderSucceeded;

use crate::support::World;

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata: {{}}\n")
}

async fn names(world: &World, fact: &RenderSucceeded) -> Vec<String> {
    let bytes = world.bus.objects(Store::Manifests).get(&fact.manifests).await.unwrap();
    let objects = from_canonical(&bytes).unwrap();
    assert_eq!(objects.len(), fact.objects as usize);
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_chosen_as_argo_cd_chooses_them() {
    let world = World::new().await;
    world.start().await;
    let app = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: dev-app}\nspec: {}\n";
    world.write("dev/app.yaml", app);
    world.write("dev/a.yml", format!("{}---\n{}", config_map("a1"), config_map("a2")));
    world.write("dev/b.json", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b"}}"#);
    world.write("dev/deep/c.yaml", config_map("c"));
    world.write("dev/deep/skipped.yaml", format!("# +argocd:skip-file-rendering\n{}", config_map("no")));
    world.write("dev/values.yaml", "replicas: 2\n");
    world.write("dev/README.md", "text");
    world.write("dev2/other.yaml", config_map("no"));
    world.write("base/shared.yaml", config_map("shared"));
    symlink("../base/shared.yaml", world.work.join("dev/link.yaml")).unwrap();
    let sha = world.push("one");
    let fact = world.render(world.command("r1", "dev", Some(&sha))).await.unwrap();
    assert_eq!(names(&world, &fact).await, ["a1", "a2", "dev-app", "b", "c", "shared"]);

    let mut command = world.command("r2", "./dev/", None);
    command.source.recurse = false;
    command.source.exclude = "{app.yaml,*.json}".to_owned();
    let fact = world.render(command).await.unwrap();
    assert_eq!(fact.render.revision, Some(sha));
    assert_eq!(names(&world, &fact).await, ["a1", "a2", "shared"]);

    let mut command = world.command("r3", "dev", None);
    command.source.include = "deep/*".to_owned();
    assert_eq!(names(&world, &world.render(command).await.unwrap()).await, ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_is_one_fetch_and_an_untouched_directory_costs_nothing() {
    let world = World::new().await;
    world.start().await;
    for n in 0..10 {
        world.write(&format!("apps/{n}/a.yaml"), config_map(&format!("app-{n}")));
    }
    world.write("base/shared.yaml", config_map("shared"));
    symlink("../../base/shared.yaml", world.work.join("apps/0/link.yaml")).unwrap();
    let one = world.push("one");
    for n in 0..10 {
        world.send(&world.command(&format!("one-{n}"), &format!("apps/{n}"), Some(&one))).await;
    }
    for n in 0..10 {
        let fact = world.end_of(&world.command(&format!("one-{n}"), "", None).render).await.unwrap();
        assert!(!fact.cached);
    }
    assert_eq!(world.fetches(), 1);

    world.write("apps/1/a.yaml", config_map("changed"));
    let two = world.push("two");
    let render = |n: usize, push: &'static str, sha| {
        let command = world.command(&format!("{push}-{n}"), &format!("apps/{n}"), Some(sha));
        world.render(command)
    };
    assert!(render(0, "two", &two).await.unwrap().cached);
    assert!(!render(1, "two", &two).await.unwrap().cached);
    assert!(render(2, "two", &two).await.unwrap().cached);
    assert_eq!(world.fetches(), 2);

    // What a link out of the directory leads to counts as well.
    world.write("base/shared.yaml", config_map("shared-anew"));
    let three = world.push("three");
    let fact = render(0, "three", &three).await.unwrap();
    assert!(!fact.cached);
    assert_eq!(names(&world, &fact).await, ["app-0", "shared-anew"]);
    let mut hard = world.command("hard", "apps/2", Some(&three));
    hard.hard = true;
    assert!(!world.render(hard).await.unwrap().cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_with_file_line_and_column() {
    let world = World::new().await;
    world.start().await;
    world.write("broken/good.yaml", config_map("good"));
    world.write("broken/bad.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\n\tspec: {}\n");
    world.write("chart/Chart.yaml", "name: x\n");
    world.write("overlay/kustomization.yml", "resources: []\n");
    world.write("js/main.jsonnet", "{}\n");
    world.write("out/a.yaml", config_map("a"));
    symlink("../../../../etc/passwd", world.work.join("out/evil.yaml")).unwrap();
    let sha = world.push("one");
    let failed = world.render(world.command("broken", "broken", Some(&sha))).await.unwrap_err();
    let annotation = &failed.annotations[0];
    assert_eq!((annotation.file.as_str(), annotation.line), ("broken/bad.yaml", 5), "{failed:?}");
    assert!(annotation.column > 0 && failed.reason.contains("broken/bad.yaml, line 5"), "{failed:?}");
    for (path, word) in [
        ("chart", "Helm"),
        ("overlay", "Kustomize"),
        ("js", "Jsonnet"),
        ("out", "points out of the repository"),
        ("nowhere", "app path does not exist"),
        ("../x", "leaves the repository"),
        ("/etc", "absolute"),
    ] {
        let id = format!("wrong-{}", word.len());
        let failed = world.render(world.command(&id, path, Some(&sha))).await.unwrap_err();
        assert!(failed.reason.contains(word), "{path}: {failed:?}");
    }
    let mut helm = world.command("explicit", "broken", Some(&sha));
    helm.source.kind = SourceKind::Helm;
    assert!(world.render(helm).await.unwrap_err().reason.contains("Helm sources are not supported yet"));
    let mut gone = world.command("gone", "broken", None);
    gone.target_revision = "no-such-branch".to_owned();
    let failed = world.render(gone).await.unwrap_err();
    assert!(failed.reason.contains("no-such-branch"), "{failed:?}");
    let mut glob = world.command("glob", "broken", None);
    glob.source.exclude = "{a".to_owned();
    assert!(world.render(glob).await.unwrap_err().reason.contains("glob"));
}
