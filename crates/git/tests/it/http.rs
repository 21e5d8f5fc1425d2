//! Over smart HTTP with credentials, on the platform's Git server.

use sluice_chassis::Secret;
use sluice_git::{
    Credentials, Edit, FetchError, MirrorSettings, Mirrors, NewCommit, PushError, RefName, Remote, RemoteUrl,
    RepoPath, Signature,
};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::support::git;

/// Makes a repository on the platform, which must be up: URL, user, password.
fn repository(name: &str) -> (String, String, String) {
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let platform = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/platform/platform");
    let made = std::process::Command::new(platform).args(["repo", name]).output().unwrap();
    assert!(made.status.success(), "platform repo: {}", String::from_utf8_lossy(&made.stderr));
    let url = setting("SLUICE_GIT_URL", "http://127.0.0.1:3080");
    (format!("{url}/{name}.git"), setting("SLUICE_GIT_USER", "dev"), setting("SLUICE_GIT_PASSWORD", "dev"))
}

#[tokio::test]
async fn credentials_open_the_push_and_wrong_ones_are_refused_without_being_named() {
    let unique = format!("git-crate/t{}", std::process::id());
    let (url, user, password) = repository(&unique);
    let dir = TempDir::new().unwrap();
    let host = url.strip_prefix("http://").unwrap();
    git(dir.path(), &["clone", "-q", &url, "work"]);
    let work = dir.path().join("work");
    std::fs::write(work.join("a"), "1").unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "one"]);
    git(&work, &["push", "-q", &format!("http://{user}:{password}@{host}"), "HEAD:refs/heads/main"]);

    let mirrors = Mirrors::open(dir.path().join("mirrors"), MirrorSettings::default()).unwrap();
    let remote = |password: &str| Remote {
        url: RemoteUrl::parse(&url).unwrap(),
        credentials: Some(Credentials { username: user.clone(), password: Secret::new(password) }),
    };
    let main = RefName::branch("main").unwrap();
    let mirror = mirrors.mirror(remote(&password));
    let base = mirror.resolve("main").await.unwrap();
    let who = Signature { name: "Sluice".into(), email: "sluice@example.invalid".into() };
    let new = NewCommit {
        base: base.clone(),
        edits: [(RepoPath::parse("a").unwrap(), Edit::Write(b"2".to_vec()))].into(),
        author: who.clone(),
        committer: who,
        message: "two".into(),
        time: OffsetDateTime::now_utc(),
    };
    let commit = mirror.commit(new).await.unwrap();
    let wrong = mirrors.mirror(remote("canary-password")).push(&commit, &base, &main).await.unwrap_err();
    assert!(matches!(wrong, PushError::Transfer(FetchError::Denied { .. })), "{wrong:?}");
    assert!(!format!("{wrong:?} {wrong}").contains("canary"));
    mirror.push(&commit, &base, &main).await.unwrap();
    assert_eq!(mirror.resolve("main").await.unwrap(), commit);
    assert_eq!(mirror.fetches(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_passing_error() {
    let dir = TempDir::new().unwrap();
    let mirrors = Mirrors::open(dir.path(), MirrorSettings::default()).unwrap();
    let remote = Remote::public(RemoteUrl::parse("http://127.0.0.1:1/a/b.git").unwrap());
    let error = mirrors.mirror(remote).resolve("main").await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a/b.git", listener.local_addr().unwrap());
    let dir = TempDir::new().unwrap();
    let timeout = std::time::Duration::from_millis(400);
    let mirrors =
        Mirrors::open(dir.path(), MirrorSettings { fetch_timeout: timeout, push_timeout: timeout }).unwrap();
    let mirror = mirrors.mirror(Remote::public(RemoteUrl::parse(&url).unwrap()));
    let started = std::time::Instant::now();
    let (_, (mut stream, _)) = tokio::join!(
        async {
            let error = mirror.fetch(sluice_git::Want::Heads).await.unwrap_err();
            assert!(matches!(error, FetchError::Unavailable { .. }), "{error:?}");
        },
        async { listener.accept().await.unwrap() }
    );
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    // The transport helper is gone as well: its end of the connection is closed.
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
    tokio::time::timeout(std::time::Duration::from_secs(2), read).await.expect("the helper lives on").ok();
}
