//! Fetching: once, shared, healed.

use sluice_git::{FetchError, Mirrors, RefName, Remote, RemoteUrl, ResolveError, Want};

use crate::support::{Fixture, git};

#[tokio::test]
async fn a_commit_that_is_here_is_not_fetched_again() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let sha = fixture.push("main", "one");
    let mirror = fixture.mirror();
    let main = RefName::branch("main").unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mirror, sha, main) = (mirror.clone(), sha.clone(), main.clone());
        callers.spawn(async move { mirror.ensure(&sha, Some(&main)).await });
    }
    while let Some(result) = callers.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(mirror.fetches(), 1);
    // Two services that open the same directory share the mirror.
    let other: Mirrors = fixture.mirrors();
    other.mirror(Remote::public(fixture.url())).ensure(&sha, None).await.unwrap();
    assert_eq!(mirror.fetches(), 1);
}

#[tokio::test]
async fn branches_tags_head_and_abbreviations_resolve_to_what_the_remote_has_now() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let one = fixture.push("main", "one");
    git(&fixture.work, &["tag", "-a", "v1", "-m", "first"]);
    git(&fixture.work, &["push", "-q", "origin", "v1"]);
    let mirror = fixture.mirror();
    assert_eq!(mirror.resolve("HEAD").await.unwrap(), one);
    assert_eq!(mirror.resolve("v1").await.unwrap(), one);
    fixture.write("a", "2");
    let two = fixture.push("main", "two");
    assert_eq!(mirror.resolve("main").await.unwrap(), two);
    assert_eq!(mirror.resolve("").await.unwrap(), two);
    assert_eq!(mirror.resolve("refs/heads/main").await.unwrap(), two);
    assert_eq!(mirror.resolve(&one.as_str()[..8]).await.unwrap(), one);
    assert_eq!(mirror.resolve(two.as_str()).await.unwrap(), two);
    for bad in ["nope", "--upload-pack=touch /tmp/x", "main:../x", "*"] {
        assert!(matches!(mirror.resolve(bad).await, Err(ResolveError::Unknown { .. })), "{bad}");
    }
    let heads = mirror.ls_remote(&[]).await.unwrap();
    assert_eq!(heads.head, Some(RefName::branch("main").unwrap()));
    assert_eq!(heads.branches().count(), 1);
}

#[tokio::test]
async fn an_empty_repository_and_a_missing_one_say_so() {
    let fixture = Fixture::new();
    let error = fixture.mirror().resolve("HEAD").await.unwrap_err();
    assert!(matches!(error, ResolveError::Empty { .. }), "{error}");
    let url = RemoteUrl::parse(&format!("file://{}/none.git", fixture.dir.path().display())).unwrap();
    let error = fixture.mirrors().mirror(Remote::public(url)).fetch(Want::Heads).await.unwrap_err();
    assert!(matches!(error, FetchError::NoRepository { .. }), "{error}");
}

#[tokio::test]
async fn one_missing_ref_does_not_fail_the_others_of_its_batch() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.push("main", "one");
    let mirror = fixture.mirror();
    let fetch = |name: &str| mirror.fetch(Want::Ref(RefName::branch(name).unwrap()));
    let (first, good, bad) = tokio::join!(fetch("main"), fetch("main"), fetch("gone"));
    first.unwrap();
    good.unwrap();
    assert!(matches!(bad, Err(FetchError::NoRef { .. })), "{bad:?}");
}

#[tokio::test]
async fn a_branch_that_became_a_directory_of_branches_is_followed() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    fixture.push("topic", "one");
    let mirror = fixture.mirror();
    mirror.fetch(Want::Heads).await.unwrap();
    git(&fixture.work, &["push", "-q", "origin", ":refs/heads/topic"]);
    fixture.write("a", "2");
    let two = fixture.push("topic/x", "two");
    let name = RefName::branch("topic/x").unwrap();
    mirror.ensure(&two, Some(&name)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let sha = fixture.push("main", "one");
    let mirror = fixture.mirror();
    mirror.ensure(&sha, None).await.unwrap();
    for damage in ["truncate objects", "remove objects", "garbage HEAD"] {
        for entry in walk(mirror.directory().join("objects")) {
            match damage {
                "truncate objects" => {
                    let _best_effort = std::fs::remove_file(&entry);
                    std::fs::write(&entry, b"x").unwrap();
                }
                "remove objects" => std::fs::remove_file(&entry).unwrap(),
                _ => {}
            }
        }
        if damage == "garbage HEAD" {
            std::fs::write(mirror.directory().join("HEAD"), b"\0\0garbage").unwrap();
            std::fs::remove_dir_all(mirror.directory().join("refs")).unwrap();
        }
        let content = mirror
            .read(&sha, None, Default::default(), |tree| {
                tree.read(&sluice_git::RepoPath::parse("a").unwrap())
            })
            .await
            .unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert_eq!(content, b"1", "{damage}");
    }
}

#[tokio::test]
async fn a_blob_that_is_damaged_is_found_when_it_is_read() {
    let fixture = Fixture::new();
    fixture.write("a", "the content");
    let sha = fixture.push("main", "one");
    let blob = git(&fixture.work, &["rev-parse", "HEAD:a"]);
    let mirror = fixture.mirror();
    mirror.ensure(&sha, None).await.unwrap();
    let object = mirror.directory().join("objects").join(&blob[..2]).join(&blob[2..]);
    std::fs::remove_file(&object).unwrap();
    let path = sluice_git::RepoPath::parse("a").unwrap();
    let content = mirror.read(&sha, None, Default::default(), move |tree| tree.read(&path)).await.unwrap();
    assert_eq!(content, b"the content");
}

#[tokio::test]
async fn a_lock_that_a_killed_git_left_does_not_stop_anybody() {
    let fixture = Fixture::new();
    fixture.write("a", "1");
    let one = fixture.push("main", "one");
    let (mirror, main) = (fixture.mirror(), RefName::branch("main").unwrap());
    mirror.ensure(&one, Some(&main)).await.unwrap();
    std::fs::write(mirror.directory().join("refs/heads/main.lock"), "").unwrap();
    fixture.write("a", "2");
    let two = fixture.push("main", "two");
    mirror.ensure(&two, Some(&main)).await.unwrap();
    assert_eq!(mirror.tip(&main).await, Some(two));
}

fn walk(dir: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}
