//! Commits without a work tree, and pushes that lose races.

use std::collections::BTreeMap;

use sluice_git::{CommitError, Edit, Mirror, NewCommit, PushError, RefName, RepoPath, Signature, Want};
use sluice_schemas::Sha;
use time::OffsetDateTime;

use crate::support::{Fixture, git};

async fn edit(
    mirror: &Mirror,
    base: &Sha,
    path: &str,
    content: &str,
    message: &str,
) -> Result<Sha, CommitError> {
    let who = Signature { name: "Sluice".into(), email: "sluice@example.invalid".into() };
    let edits = BTreeMap::from([(RepoPath::parse(path).unwrap(), Edit::Write(content.into()))]);
    let time = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    let new = NewCommit {
        base: base.clone(),
        edits,
        author: who.clone(),
        committer: who,
        message: message.into(),
        time,
    };
    mirror.commit(new).await
}

#[tokio::test]
async fn an_edit_keeps_everything_else_and_lands_on_the_branch() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    fixture.write("dev/run", "1");
    fixture.write("dev/other", "1");
    std::fs::set_permissions(fixture.work.join("dev/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let base = fixture.push("main", "one");
    let (mirror, main) = (fixture.mirror(), RefName::branch("main").unwrap());
    mirror.ensure(&base, Some(&main)).await.unwrap();
    let message = "update(x): 1\n\nSluice-Run: a_b#1\nSluice-Image: r/x:1@sha256:00\n";
    let commit = edit(&mirror, &base, "dev/run", "2", message).await.unwrap();
    assert_eq!(commit, edit(&mirror, &base, "dev/run", "2", message).await.unwrap(), "the same commit twice");
    mirror.push(&commit, &base, &main).await.unwrap();
    assert_eq!(git(&fixture.bare, &["diff", "--name-status", base.as_str(), "main"]), "M\tdev/run");
    assert!(git(&fixture.bare, &["ls-tree", "main", "dev/run"]).starts_with("100755"));
    assert!(matches!(edit(&mirror, &commit, "dev/run", "2", "again").await, Err(CommitError::Empty)));
    assert!(matches!(
        edit(&mirror, &commit, ".git/config", "2", "x").await,
        Err(CommitError::Forbidden { .. })
    ));
    let found = mirror
        .find_commit(&commit, 100, |info| info.has_trailer("Sluice-Run", "a_b#1"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&found.sha, found.subject()), (&commit, "update(x): 1"));
    let none =
        mirror.find_commit(&commit, 100, |info| info.has_trailer("Sluice-Run", "a_b#2")).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_lost_race_is_rejected_and_landing_after_a_fetch_keeps_both() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.write("b", "1");
    let base = fixture.push("main", "one");
    let (mirror, main) = (fixture.mirror(), RefName::branch("main").unwrap());
    mirror.ensure(&base, Some(&main)).await.unwrap();
    fixture.write("b", "by a person");
    fixture.push("main", "person");
    let ours = edit(&mirror, &base, "a", "2", "ours").await.unwrap();
    let error = mirror.push(&ours, &base, &main).await.unwrap_err();
    assert!(matches!(error, PushError::Rejected { .. }), "{error}");
    mirror.fetch(Want::Ref(main.clone())).await.unwrap();
    let tip = mirror.resolve("main").await.unwrap();
    let again = edit(&mirror, &tip, "a", "2", "ours").await.unwrap();
    mirror.push(&again, &tip, &main).await.unwrap();
    assert_eq!(git(&fixture.bare, &["show", "main:a"]), "2");
    assert_eq!(git(&fixture.bare, &["show", "main:b"]), "by a person");
}

#[tokio::test]
async fn a_rule_of_the_server_is_not_taken_for_a_race() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let base = fixture.push("main", "one");
    let hook = fixture.bare.join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'You are not allowed to push here' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (mirror, main) = (fixture.mirror(), RefName::branch("main").unwrap());
    mirror.ensure(&base, Some(&main)).await.unwrap();
    let ours = edit(&mirror, &base, "a", "2", "ours").await.unwrap();
    let error = mirror.push(&ours, &base, &main).await.unwrap_err();
    assert!(matches!(error, PushError::Declined { .. }), "{error:?}");
    assert!(error.to_string().contains("not allowed to push here"), "{error}");
}

#[tokio::test]
async fn a_commit_that_a_person_took_back_does_not_come_again_with_ours() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let one = fixture.push("main", "one");
    fixture.write("secret", "oops");
    let two = fixture.push("main", "two");
    let (mirror, main) = (fixture.mirror(), RefName::branch("main").unwrap());
    mirror.ensure(&two, Some(&main)).await.unwrap();
    git(&fixture.bare, &["update-ref", "refs/heads/main", one.as_str()]);
    let ours = edit(&mirror, &two, "a", "2", "ours").await.unwrap();
    let error = mirror.push(&ours, &two, &main).await.unwrap_err();
    assert!(matches!(error, PushError::Rejected { .. }), "{error}");
    assert_eq!(git(&fixture.bare, &["rev-parse", "main"]), one.as_str());
}
