//! The clone itself: `git` as a child, in a place of ours, with a configuration of ours and no way to the network.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sluice_git::Mirror;

use super::{Kind, Target};
use crate::actions::ActionError;

const LIMIT: Duration = Duration::from_secs(600);

/// A clone to be made.
pub(super) struct Clone<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) stage: &'a Path,
    pub(super) url: &'a str,
    pub(super) depth: Option<u32>,
    pub(super) tags: bool,
}

impl Clone<'_> {
    /// A clone in the stage: `origin`, a tracking ref, a shallow history, the tree of the target.
    pub(super) async fn make(&self, target: &Target) -> Result<(), ActionError> {
        let stage = self.stage.to_string_lossy().into_owned();
        git(None, &["init", "-q", "--template=", "-b", "sluice-checkout", &stage]).await?;
        let config = format!(
            "[remote \"origin\"]\n\turl = \"{}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[gc]\n\tauto = 0\n",
            self.url.replace('\\', "\\\\").replace('"', "\\\"")
        );
        let path = self.stage.join(".git/config");
        let appended = tokio::fs::OpenOptions::new().append(true).open(&path).await;
        let appended = match appended {
            Ok(mut file) => tokio::io::AsyncWriteExt::write_all(&mut file, config.as_bytes()).await,
            Err(error) => Err(error),
        };
        appended.map_err(|error| ActionError::Failed(format!("{}: {error}", path.display())))?;
        let sha = &target.sha;
        let (name, checkout): (Option<String>, Vec<String>) = match &target.kind {
            Kind::Branch(branch) => {
                let name = format!("refs/remotes/origin/{branch}");
                (Some(name.clone()), vec!["-B".to_owned(), branch.clone(), name])
            }
            Kind::Tag(tag) => (Some(format!("refs/tags/{tag}")), vec![format!("refs/tags/{tag}")]),
            Kind::Detached => (None, vec!["--detach".to_owned(), sha.to_string()]),
        };
        let everything = self.depth.is_none();
        // With all heads or tags the ref is among them, at wherever it has moved since; it is set to the commit after.
        let later = everything || (self.tags && matches!(target.kind, Kind::Tag(_)));
        let spec = match &name {
            Some(name) if !later => format!("+{sha}:{name}"),
            _ => sha.to_string(),
        };
        let source = format!("file://{}", self.mirror.directory().display());
        let depth = self.depth.map(|depth| format!("--depth={depth}"));
        let mut arguments = vec![
            "-c",
            "protocol.version=2",
            "fetch",
            "-q",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            // The mirror holds the commit even when no branch names it any more.
            "--upload-pack=git -c uploadpack.allowAnySHA1InWant=true upload-pack",
        ];
        arguments.extend(depth.as_deref());
        arguments.extend([source.as_str(), spec.as_str()]);
        if everything {
            arguments.push("+refs/heads/*:refs/remotes/origin/*");
        }
        if everything || self.tags {
            arguments.push("+refs/tags/*:refs/tags/*");
        }
        git(Some(self.stage), &arguments).await?;
        if let (Some(name), true) = (&name, later) {
            git(Some(self.stage), &["update-ref", name, sha.as_str()]).await?;
        }
        let mut arguments = vec!["checkout", "-q", "-f"];
        arguments.extend(checkout.iter().map(String::as_str));
        git(Some(self.stage), &arguments).await
    }
}

async fn git(directory: Option<&Path>, arguments: &[&str]) -> Result<(), ActionError> {
    let mut command = tokio::process::Command::new("git");
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    for (name, value) in [
        ("LC_ALL", "C"),
        ("HOME", "/nonexistent"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_ALLOW_PROTOCOL", "file"),
    ] {
        command.env(name, value);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let what =
        arguments.iter().find(|it| !it.starts_with('-') && !it.contains('=')).copied().unwrap_or("git");
    let output = tokio::time::timeout(LIMIT, command.output()).await;
    let output = output
        .map_err(|_| ActionError::Failed(format!("`git {what}` did not end within {} s", LIMIT.as_secs())))?
        .map_err(|error| ActionError::Passing(format!("the program `git` cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(ActionError::Failed(format!("`git {what}` failed: {}", said.trim())))
}
