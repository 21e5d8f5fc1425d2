//! Where steps run and what they find there: images, shells, directories, checkouts, limits.

use sluice_schemas::events::Conclusion;

use crate::support::world;

const FILE: &str = ".github/workflows/build.yml";

#[tokio::test(flavor = "multi_thread")]
async fn checkouts_of_every_kind_are_real_clones() {
    let text = r#"
on: push
jobs:
  a:
    runs-on: x
    steps:
      - run: mkdir -p old && echo old > old/file && ln -s /etc link
      - id: here
        uses: actions/checkout@v4
      - run: |
          test ! -e old && test ! -L link
          test "${{ steps.here.outputs.commit }}/${{ steps.here.outputs.ref }}" = "$GITHUB_SHA/refs/heads/main"
          test "$(git rev-list --count HEAD)" = 1
          test "$(git rev-parse origin/main)" = "$GITHUB_SHA"
          git remote get-url origin | grep -q builder-it/checkouts
          ! grep -rq "dev:dev" .git && ! grep -q extraheader .git/config
          git status --porcelain | grep . && exit 1 || true
          echo changed > file.txt
      - uses: actions/checkout@v4
        with: { fetch-depth: 0 }
      - run: |
          test "$(git rev-list --count HEAD)" = 3
          git show-ref -q refs/tags/v1 && git show-ref -q refs/remotes/origin/other
          test "$(cat file.txt)" = two
      - uses: actions/checkout@v4
        with: { ref: v1, path: sub/v1 }
      - uses: actions/checkout@v4
        with: { ref: other, path: sub/other }
      - run: |
          test "$(cat sub/v1/file.txt)/$(cat sub/other/file.txt)" = one/side
          test "$(git -C sub/v1 rev-parse --abbrev-ref HEAD)/$(git -C sub/other rev-parse --abbrev-ref HEAD)" = HEAD/other
          ln -s / escape
      - id: out
        uses: actions/checkout@v4
        continue-on-error: true
        with: { path: escape/tmp/stolen }
      - run: test "${{ steps.out.outcome }}" = failure
"#;
    let mut world = world("checkouts", &[(FILE, "name: x\n"), ("file.txt", "one\n")]).await;
    world.git(&["tag", "v1"]);
    world.git(&["checkout", "-q", "-b", "other"]);
    world.commit(&[("file.txt", "side\n")], "Aside");
    world.git(&["checkout", "-q", "main"]);
    let url = world.repository.clone_url.replace("://", "://dev:dev@");
    world.git(&["push", "-q", &url, "v1", "other"]);
    world.commit(&[("file.txt", "two\n")], "Two");
    world.commit(&[(FILE, text)], "Three");
    world.builder(&[]).await;
    world.push().await;
    let run = world.run_finished().await;
    let mut said = String::new();
    for step in world.steps("a").await {
        said.push_str(&format!(
            "== {} {:?} {:?}\n{}",
            step.name,
            step.outcome,
            step.reason,
            world.log(&step).await
        ));
    }
    assert_eq!(run.conclusion, Conclusion::Success, "{said}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_shells_directories_and_limits() {
    let text = r#"
on: push
defaults: { run: { working-directory: ./deep } }
jobs:
  busybox:
    runs-on: x
    container: 127.0.0.1:5000/platform/busybox:1
    defaults: { run: { working-directory: . } }
    steps:
      - run: test ! -e /usr/bin/git && test "$0" != bash && mkdir deep
      - run: test "$(basename "$(pwd)")" = deep
        working-directory: deep
  shells:
    runs-on: x
    strategy: { matrix: { n: [ 1, 2 ] } }
    steps:
      - run: mkdir deep
        working-directory: /github/workspace
      - run: test "$(pwd)" = /github/workspace/deep && false | true
      - id: pipe
        run: false | true
        shell: bash
        continue-on-error: true
      - run: test "${{ steps.pipe.outcome }}${{ matrix.n }}-$RUNNER_OS" = "failure${{ strategy.job-index == 0 && 1 || 2 }}-Linux"
      - run: const fs = require('fs'); if (fs.readdirSync('.').length) process.exit(1)
        shell: node {0}
      - id: long
        run: sleep 60
        timeout-minutes: 0.02
        continue-on-error: true
      - run: test "${{ steps.long.outcome }}" = failure
  windows: { runs-on: windows-latest, steps: [ { run: dir } ] }
  pull: { runs-on: x, container: "127.0.0.1:5000/no/such:image", steps: [ { run: dir } ] }
"#;
    let mut world = world("places", &[(FILE, text)]).await;
    world.builder(&[]).await;
    world.push().await;
    world.run_finished().await;
    let mut said = String::new();
    for key in ["busybox", "shells-1", "shells-2"] {
        for step in world.steps(key).await {
            said.push_str(&format!(
                "== {key} {} {:?} {:?}\n{}",
                step.name,
                step.outcome,
                step.reason,
                world.log(&step).await
            ));
        }
    }
    let jobs = world.jobs().await;
    let conclusions: Vec<_> = jobs.iter().map(|(key, job)| (key.as_str(), job.conclusion)).collect();
    use Conclusion::{Failure, Success};
    assert_eq!(
        conclusions,
        [("busybox", Success), ("pull", Failure), ("shells", Success), ("windows", Failure)],
        "{said}"
    );
    let reason = jobs["pull"].reason.clone().expect("a reason");
    assert!(reason.contains("127.0.0.1:5000/no/such:image"), "{reason}");
    let reason = jobs["windows"].reason.clone().expect("a reason");
    assert!(reason.contains("windows-latest"), "{reason}");
    world.end().await;
}
