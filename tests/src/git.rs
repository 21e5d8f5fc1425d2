//! Working copies: what a developer does with `git`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::process::Command;

use crate::platform::Platform;
use crate::shell;

/// A clone of a repository on the platform's Git server.
#[derive(Debug, Clone)]
pub struct Copy {
    pub path: PathBuf,
    pub url: String,
    credentials: PathBuf,
}

impl Copy {
    /// An empty working copy of `url` on branch main; the credentials lie in a file beside it.
    pub async fn init(platform: &Platform, path: &Path, url: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)?;
        let copy = Self::at(path, url);
        let (scheme, host) = platform.git_url.split_once("://").context("the Git server's URL")?;
        std::fs::write(
            &copy.credentials,
            format!("{scheme}://{}:{}@{host}\n", platform.git_user, platform.git_password),
        )?;
        copy.git(&["init", "-q", "-b", "main"]).await?;
        copy.git(&["remote", "add", "origin", url]).await?;
        Ok(copy)
    }

    /// A working copy that is there already.
    pub fn at(path: &Path, url: &str) -> Self {
        Self { path: path.to_owned(), url: url.to_owned(), credentials: path.with_extension("credentials") }
    }

    pub async fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command.current_dir(&self.path).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0");
        for (name, value) in [("NAME", "Dana Dev"), ("EMAIL", "dana@example.invalid")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        command.arg("-c").arg(format!("credential.helper=store --file={}", self.credentials.display()));
        command.args(arguments);
        let text = shell::run(command, "").await?.ok(&format!("git {}", arguments.join(" ")))?;
        Ok(text.trim_end().to_owned())
    }

    pub fn read(&self, file: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.path.join(file)).with_context(|| format!("{file} of {}", self.url))
    }

    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(&path, text).with_context(|| format!("{}", path.display()))
    }

    /// Replaces text that must be there.
    pub fn replace(&self, file: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let text = self.read(file)?;
        anyhow::ensure!(text.contains(from), "{file} of {} does not hold {from:?}:\n{text}", self.url);
        self.write(file, &text.replace(from, to))
    }

    /// Commits everything and answers the commit's id.
    pub async fn commit(&self, message: &str) -> anyhow::Result<String> {
        self.git(&["add", "-A"]).await?;
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }

    pub async fn push(&self) -> anyhow::Result<()> {
        self.git(&["push", "-q", "origin", "HEAD"]).await?;
        Ok(())
    }

    /// Commits everything and pushes it.
    pub async fn ship(&self, message: &str) -> anyhow::Result<String> {
        let commit = self.commit(message).await?;
        self.push().await?;
        Ok(commit)
    }

    /// Takes over what others pushed to this branch.
    pub async fn pull(&self) -> anyhow::Result<String> {
        self.git(&["fetch", "-q", "origin"]).await?;
        let branch = self.git(&["rev-parse", "--abbrev-ref", "HEAD"]).await?;
        self.git(&["reset", "-q", "--hard", &format!("origin/{branch}")]).await?;
        self.git(&["rev-parse", "HEAD"]).await
    }

    /// Subjects of all commits, newest first.
    pub async fn log(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.git(&["log", "--format=%s"]).await?.lines().map(str::to_owned).collect())
    }
}
