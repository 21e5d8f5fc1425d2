//! Containers that run ahead of jobs: taken by one job each, replaced, and gone when the builder ends.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use sluice_schemas::events::Conclusion;

use crate::support::{docker, world};

const WORKFLOW: &str = "on: push
jobs:
  one:
    runs-on: ubuntu-latest
    outputs: { host: \"${{ steps.h.outputs.host }}\" }
    steps:
      - id: h
        run: |
          test -z \"$(ls -A)\"
          touch dirt
          echo \"host=$(cat /etc/hostname)\" >> \"$GITHUB_OUTPUT\"
";

/// Ids of running containers that wait in the builder whose data lie below `directory`.
fn waiting(directory: &std::path::Path) -> BTreeSet<String> {
    let output = Command::new("docker")
        .env("DOCKER_HOST", docker())
        .args(["ps", "--no-trunc", "--filter", "label=sluice.job=warm", "--format", "{{.ID}} {{.Names}}"])
        .output()
        .expect("docker runs");
    let jobs = directory.join("builder-1/jobs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, name)| jobs.join(name).exists())
        .map(|(id, _)| id.to_owned())
        .collect()
}

async fn until(what: &str, found: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_takes_the_one_that_waits_and_leaves_nothing() {
    let mut world = world("warm", &[(".github/workflows/w.yml", WORKFLOW)]).await;
    let directory = world.directory.path().to_owned();
    world.builder_with_warm(&[], 1).await;
    until("a container runs ahead of jobs", || waiting(&directory).len() == 1).await;
    let first = waiting(&directory).pop_first().expect("one");

    world.push().await;
    let run = world.run_finished().await;
    assert_eq!(run.conclusion, Conclusion::Success, "{run:?}");
    let host = world.jobs().await["one"].outputs["host"].clone();
    assert!(first.starts_with(&host), "the job ran in {host} and not in {first}");
    until("another one waits", || {
        let now = waiting(&directory);
        now.len() == 1 && !now.contains(&first)
    })
    .await;

    world.end().await;
    assert_eq!(waiting(&directory), BTreeSet::new());
}
