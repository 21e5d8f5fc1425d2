//! A bare repository with a work tree beside it, driven by the `git` program.

use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_git::{Mirror, MirrorSettings, Mirrors, Remote, RemoteUrl};
use sluice_schemas::Sha;
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) bare: PathBuf,
    pub(crate) work: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (bare, work) = (dir.path().join("origin.git"), dir.path().join("work"));
        git(dir.path(), &["init", "-q", "--bare", "--initial-branch=main", "origin.git"]);
        git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        git(dir.path(), &["init", "-q", "--initial-branch=main", "work"]);
        git(&work, &["remote", "add", "origin", bare.to_str().unwrap()]);
        Self { dir, bare, work }
    }

    pub(crate) fn url(&self) -> RemoteUrl {
        RemoteUrl::parse(&format!("file://{}", self.bare.display())).unwrap()
    }

    pub(crate) fn mirrors(&self) -> Mirrors {
        Mirrors::open(self.dir.path().join("mirrors"), MirrorSettings::default()).unwrap()
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirrors().mirror(Remote::public(self.url()))
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything in the work tree and pushes `HEAD` to `branch`.
    pub(crate) fn push(&self, branch: &str, message: &str) -> Sha {
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.work, &["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]);
        self.head()
    }

    pub(crate) fn head(&self) -> Sha {
        git(&self.work, &["rev-parse", "HEAD"]).parse().unwrap()
    }
}

pub(crate) fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
