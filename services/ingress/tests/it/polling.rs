//! Pushes whose webhook never came.

use sluice_bus::Bucket;
use sluice_schemas::events::PushSource;
use sluice_schemas::ids::RepoSlug;
use sluice_schemas::state::HeadState;
use tempfile::TempDir;

use crate::door::{Door, git, push};

#[tokio::test(flavor = "multi_thread")]
async fn missed_pushes_are_made_up_for_and_what_stood_there_before_is_none() {
    let directory = TempDir::new().expect("a directory");
    let (bare, work) = (directory.path().join("origin.git"), directory.path().join("work"));
    git(directory.path(), &["init", "-q", "--bare", "origin.git"]);
    git(directory.path(), &["init", "-q", "work"]);
    git(&work, &["remote", "add", "origin", bare.to_str().expect("a path")]);
    let commit = |file: &str, message: &str| {
        std::fs::write(work.join(file), message).expect("written");
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "-q", "-m", message]);
        git(&work, &["push", "-q", "origin", "HEAD:refs/heads/main"]);
        git(&work, &["rev-parse", "HEAD"])
    };
    let old = commit("a.txt", "Old");
    let door = Door::open_for(&format!("file://{}", bare.display()), 1).await;
    let mut pushes = door.pushes().await;
    let slug = RepoSlug::from_full_name("dev/shop-web");
    let heads = door.bus.kv::<HeadState>(Bucket::Heads);
    let key = HeadState::key(&slug, "refs/heads/main");
    while heads.get(&key).await.expect("readable").is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(door.sequences().await, (0, 0), "what stood there is no push");

    let new = commit("b.txt", "New\n\nSluice-Correlation: c0ffee");
    let (envelope, fact) = pushes.next().await;
    assert_eq!((fact.before.as_str(), fact.after.as_str()), (old.as_str(), new.as_str()));
    assert_eq!((fact.source, fact.changed_files_complete, fact.forced), (PushSource::Poll, true, false));
    assert_eq!(fact.changed_files, ["b.txt"]);
    assert_eq!(fact.head_commit.expect("a commit").author_name, "Ada");
    assert_eq!((envelope.correlation.as_str(), fact.repository.default_branch.as_str()), ("c0ffee", "main"));

    // Its webhook comes after all: nothing new.
    let mut late = push('a', 'b');
    for (field, value) in [("before", &old), ("after", &new)] {
        late[field] = serde_json::json!(value);
    }
    assert_eq!(door.deliver(&late).await.0, 202);

    git(&work, &["push", "-q", "origin", "HEAD:refs/heads/topic"]);
    let (_, fact) = pushes.next().await;
    assert_eq!((fact.branch(), fact.created), (Some("topic"), true));
    git(&work, &["push", "-q", "origin", ":refs/heads/topic"]);
    let (_, fact) = pushes.next().await;
    assert_eq!((fact.branch(), fact.deleted), (Some("topic"), true));
    assert_eq!(door.sequences().await, (1, 3));
}
