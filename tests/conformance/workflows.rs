//! The workflows of the organisation's two services, unchanged, on stand-in sources.

use sluice_e2e::git::Copy;
use sluice_e2e::story::SOON;
use sluice_e2e::{World, registry, seed};

use crate::input;

/// A repository with a service's workflows as they are, on branch master as theirs.
async fn service(world: &World, name: &str, secrets: &[(&str, String)], files: &[(&str, String)]) -> Copy {
    let copy = seed::empty(world, name).await.unwrap();
    let source = input::real_input(&world.platform).join(name).join(".github");
    input::copy(&source, &copy.path.join(".github"));
    for (file, text) in files {
        copy.write(file, text).unwrap();
    }
    copy.commit("as it was").await.unwrap();
    copy.git(&["push", "-q", "origin", "HEAD:refs/heads/master"]).await.unwrap();
    seed::default_branch(world, name, "master").await.unwrap();
    copy.git(&["checkout", "-q", "-b", "master"]).await.unwrap();
    world.apply(&[world.repository_secret(name), world.ci_secret(name, secrets)]).await.unwrap();
    world.hook(name).await.unwrap();
    copy
}

fn stand_in(world: &World, what: &str) -> String {
    format!("FROM {}\nRUN echo {what} >/what\nCMD [\"/bin/cat\", \"/what\"]\n", world.platform.image_busybox)
}

/// Waits for the run of a commit by this workflow file, and answers its conclusion.
async fn conclusion(world: &World, commit: &str, file: &str) -> String {
    let fits = |e: &sluice_e2e::Event| {
        e.data["run"]["sha"] == commit
            && e.data["run"]["workflow_file"].as_str().is_some_and(|f| f.ends_with(file))
    };
    let finished = world.witness().unwrap().wait("run.finished", SOON, fits).await.unwrap();
    finished.data["conclusion"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn token_matcher_builds_publishes_and_tells() {
    let mut world = World::new("conformance_token_matcher").await.unwrap();
    let secrets = [
        ("DIGITALOCEAN_ACCESS_TOKEN", world.planted.digitalocean.clone()),
        ("IMAGE_PATH", format!("{}/token-matcher", world.names.owner)),
        ("chat", world.chat.to_string()),
        ("token", world.planted.bot_token.clone()),
    ];
    let dockerfile = ("Dockerfile", stand_in(&world, "token-matcher"));
    let copy = service(&world, "token-matcher", &secrets, &[dockerfile]).await;
    world.up().await.unwrap();
    let commit = copy.ship("change").await.unwrap();
    assert_eq!(conclusion(&world, &commit, "build-check.yml").await, "success");

    let path = &secrets[1].1;
    let tagged = registry::digest(&world.platform, path, &commit[..8]).await.unwrap();
    assert!(tagged.is_some(), "tags: {:?}", registry::tags(&world.platform, path).await);
    assert_eq!(registry::digest(&world.platform, path, "latest").await.unwrap(), tagged);
    let full_name = world.full_name("token-matcher");
    let told = |text: &str| text.contains("success") && text.contains(&full_name) && text.contains("Java CI");
    let seen = world.telegram.wait(SOON, |s| s.messages().iter().find(|m| told(&m.text)).cloned()).await;
    assert!(seen.is_some(), "{:?}", world.telegram.read(|s| s.messages().to_vec()));
}

#[tokio::test]
async fn calculation_services_build_what_changed() {
    let mut world = World::new("conformance_calculation").await.unwrap();
    let owner = world.names.owner.clone();
    let secrets = [
        ("DIGITALOCEAN_ACCESS_TOKEN", world.planted.digitalocean.clone()),
        ("API_IMAGE_PATH", format!("{owner}/calculation-api")),
        ("CALC_IMAGE_PATH", format!("{owner}/calculations")),
    ];
    let files = [
        ("api/Dockerfile", stand_in(&world, "api")),
        ("calculations/Dockerfile", stand_in(&world, "calculations")),
    ];
    let copy = service(&world, "calculation-services", &secrets, &files).await;
    world.up().await.unwrap();

    copy.write("api/README", "one").unwrap();
    let api = copy.ship("api").await.unwrap();
    assert_eq!(conclusion(&world, &api, "api-build.yml").await, "success");
    copy.write("calculations/README", "two").unwrap();
    let calculations = copy.ship("calculations").await.unwrap();
    assert_eq!(conclusion(&world, &calculations, "calculations-build.yml").await, "success");
    copy.write("README", "neither").unwrap();
    let neither = copy.ship("neither").await.unwrap();
    world
        .witness()
        .unwrap()
        .wait("push.received", SOON, |e| e.data["after"] == neither.as_str())
        .await
        .unwrap();

    let facts = world.witness().unwrap().settle(sluice_e2e::story::QUIET, SOON).await.unwrap();
    let runs: Vec<_> =
        facts.iter().filter(|e| e.kind() == "run.queued").map(|e| e.data["run"]["sha"].clone()).collect();
    assert_eq!(
        runs,
        [api.as_str(), calculations.as_str()],
        "each workflow ran for its own folder and for nothing else"
    );
    for (path, commit) in [(&secrets[1].1, &api), (&secrets[2].1, &calculations)] {
        assert!(registry::digest(&world.platform, path, &commit[..8]).await.unwrap().is_some(), "{path}");
    }
}
