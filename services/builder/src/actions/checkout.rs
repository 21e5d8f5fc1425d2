//! `actions/checkout`: a real clone of the commit in the workspace, made from our mirror.
//!
//! The clone is prepared in a place that the job cannot see, with a configuration that is ours, and then moved in: no
//! program of ours ever runs in a directory that the job could have prepared. Once scripts of the repository have run,
//! the container is frozen for the moment of the move. The Git host's credentials do not enter the job.

mod clone;

use std::path::{Path, PathBuf};

use sluice_git::{Mirror, RefName, ResolveError, Want};
use sluice_schemas::Sha;
use sluice_schemas::events::Repository;

use super::{ActionError, Outputs};
use crate::executor::{Inputs, Job};
use crate::log::writer::LogWriter;
use crate::sandbox::workspace::inside;
use clone::Clone;

pub(super) const INPUTS: &[&str] = &[
    "repository",
    "ref",
    "token",
    "ssh-key",
    "ssh-known-hosts",
    "ssh-strict",
    "ssh-user",
    "persist-credentials",
    "path",
    "clean",
    "filter",
    "sparse-checkout",
    "sparse-checkout-cone-mode",
    "fetch-depth",
    "fetch-tags",
    "show-progress",
    "lfs",
    "submodules",
    "set-safe-directory",
    "github-server-url",
    "allow-unsafe-pr-checkout",
];

/// What is checked out, and how the clone names it.
struct Target {
    sha: Sha,
    kind: Kind,
}

enum Kind {
    Branch(String),
    Tag(String),
    Detached,
}

pub(super) async fn run(
    job: &mut Job,
    inputs: &Inputs,
    step: u32,
    log: &mut LogWriter,
) -> Result<Outputs, ActionError> {
    for (input, what) in [("ssh-key", "SSH keys"), ("lfs", "Git LFS"), ("submodules", "submodules")] {
        if !matches!(inputs.get(input).to_ascii_lowercase().as_str(), "" | "false") {
            return Err(ActionError::Failed(format!(
                "{}: {what} are not supported by this version of Sluice's checkout; fetch them in a `run` step",
                inputs.place(input)
            )));
        }
    }
    for input in ["filter", "sparse-checkout"] {
        if !inputs.get(input).is_empty() {
            log.line(&format!("##[warning]`{input}` is ignored: everything is checked out")).await;
        }
    }
    let own = job.run.repository.clone();
    let wanted = inputs.or("repository", &own.full_name);
    let same = wanted.eq_ignore_ascii_case(&own.full_name);
    let repository = if same { own } else { other(&own, wanted)? };
    log.line(&format!("Syncing repository: {}", repository.full_name)).await;
    let mirror = job.executor.source.mirror(&repository).await;
    let mirror = mirror.map_err(|error| ActionError::Failed(error.to_string()))?;
    let target = if inputs.get("ref").is_empty() && same {
        let sha = job.run.sha.clone();
        let hint = RefName::parse(&job.run.git_ref).ok();
        mirror.ensure(&sha, hint.as_ref()).await.map_err(|error| ActionError::Failed(error.to_string()))?;
        Target { sha, kind: kind(&job.run.git_ref) }
    } else {
        resolve(&mirror, inputs.get("ref")).await?
    };
    let depth = depth(inputs.or("fetch-depth", "1"));
    if depth.is_none() || inputs.is_true("fetch-tags", false) {
        mirror.fetch(Want::Heads).await.map_err(|error| ActionError::Failed(error.to_string()))?;
    }
    let stage = job.slot().workspace().stage().join(format!("checkout-{step}"));
    let clone = Clone {
        mirror: &mirror,
        stage: &stage,
        url: &repository.clone_url,
        depth,
        tags: inputs.is_true("fetch-tags", false),
    };
    clone.make(&target).await?;
    place(job, &stage, inputs.get("path")).await?;
    let name = match &target.kind {
        Kind::Branch(branch) => format!("refs/heads/{branch}"),
        Kind::Tag(tag) => format!("refs/tags/{tag}"),
        Kind::Detached => String::new(),
    };
    log.line(&format!("Checked out {} {}", if name.is_empty() { "commit" } else { &name }, target.sha)).await;
    Ok(Outputs::from([("ref".to_owned(), name), ("commit".to_owned(), target.sha.to_string())]))
}

/// Another repository of the same Git host.
fn other(own: &Repository, wanted: &str) -> Result<Repository, ActionError> {
    let valid = wanted.split('/').count() == 2 && wanted.split('/').all(|part| !part.is_empty());
    let base = own.clone_url.trim_end_matches('/').trim_end_matches(".git");
    let base = base.strip_suffix(&own.full_name).filter(|_| valid);
    let Some(base) = base else {
        return Err(ActionError::Failed(format!(
            "the repository '{wanted}' must be given as owner/name on the same Git host"
        )));
    };
    Ok(Repository {
        slug: sluice_schemas::ids::RepoSlug::from_full_name(wanted),
        full_name: wanted.to_owned(),
        clone_url: format!("{base}{wanted}.git"),
        html_url: String::new(),
        default_branch: String::new(),
    })
}

async fn resolve(mirror: &Mirror, wanted: &str) -> Result<Target, ActionError> {
    let failed = |error: ResolveError| ActionError::Failed(error.to_string());
    if wanted.parse::<Sha>().is_ok() {
        let sha = mirror.resolve(wanted).await.map_err(failed)?;
        return Ok(Target { sha, kind: Kind::Detached });
    }
    let names: Vec<RefName> = match wanted {
        "" => Vec::new(),
        full if full.starts_with("refs/") => RefName::parse(full).into_iter().collect(),
        name => [RefName::branch(name), RefName::tag(name)].into_iter().flatten().collect(),
    };
    let heads = mirror.ls_remote(&names).await.map_err(|error| ActionError::Failed(error.to_string()))?;
    let found = if wanted.is_empty() {
        heads.head.clone().zip(heads.head_sha.clone())
    } else {
        names.iter().find_map(|name| heads.get(name).map(|sha| (name.clone(), sha.clone())))
    };
    match found {
        Some((name, sha)) => {
            mirror.ensure(&sha, Some(&name)).await.map_err(|error| ActionError::Failed(error.to_string()))?;
            Ok(Target { sha, kind: kind(name.as_str()) })
        }
        None => {
            let sha = mirror.resolve(wanted).await.map_err(failed)?;
            Ok(Target { sha, kind: Kind::Detached })
        }
    }
}

fn kind(git_ref: &str) -> Kind {
    if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
        Kind::Branch(branch.to_owned())
    } else if let Some(tag) = git_ref.strip_prefix("refs/tags/") {
        Kind::Tag(tag.to_owned())
    } else {
        Kind::Detached
    }
}

/// Commits of history; `None` is all. What is no number, or negative, is all, as with the original.
fn depth(text: &str) -> Option<u32> {
    let number = text.parse::<f64>().unwrap_or(0.0).floor();
    if number >= 1.0 { Some(number.min(f64::from(i32::MAX)) as u32) } else { None }
}

/// Moves the clone into the workspace, in place of what is there.
async fn place(job: &Job, stage: &Path, path: &str) -> Result<(), ActionError> {
    let sandbox = if job.strangers_ran { job.slot().running() } else { None };
    if let Some(sandbox) = &sandbox {
        sandbox.freeze().await.map_err(|error| ActionError::Failed(error.to_string()))?;
    }
    let (sources, stage, path) = (job.slot().workspace().sources(), stage.to_owned(), path.to_owned());
    let moved = sluice_chassis::blocking("move a checkout", move || move_in(&sources, &stage, &path)).await;
    if let Some(sandbox) = &sandbox {
        sandbox.thaw().await.map_err(|error| ActionError::Failed(error.to_string()))?;
    }
    moved.map_err(|error| ActionError::Passing(error.to_string()))?.map_err(ActionError::Failed)
}

fn move_in(sources: &Path, stage: &Path, path: &str) -> Result<(), String> {
    let target: PathBuf = inside(sources, path).map_err(|error| error.to_string())?;
    let fail = |error: std::io::Error| format!("the checkout cannot be put in its place: {error}");
    if target.is_file() {
        std::fs::remove_file(&target).map_err(fail)?;
    }
    std::fs::create_dir_all(&target).map_err(fail)?;
    for entry in std::fs::read_dir(&target).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_directory = entry.file_type().map_err(fail)?.is_dir();
        let removed = if is_directory {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        removed.map_err(fail)?;
    }
    for entry in std::fs::read_dir(stage).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        std::fs::rename(entry.path(), target.join(entry.file_name())).map_err(fail)?;
    }
    std::fs::remove_dir_all(stage).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_read_as_the_original_reads_them() {
        assert_eq!(depth("1"), Some(1));
        assert_eq!(depth("2.9"), Some(2));
        for text in ["0", "-3", "all", "NaN", ""] {
            assert_eq!(depth(text), None, "{text}");
        }
    }

    #[test]
    fn a_clone_takes_the_place_of_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sources, stage) = (directory.path().join("s"), directory.path().join("stage"));
        std::fs::create_dir_all(sources.join("old")).expect("made");
        std::os::unix::fs::symlink("/etc", sources.join("link")).expect("linked");
        std::fs::create_dir_all(stage.join(".git")).expect("made");
        std::fs::write(stage.join("file"), "x").expect("written");
        move_in(&sources, &stage, "").expect("moved");
        assert!(sources.join("file").is_file() && sources.join(".git").is_dir());
        assert!(!sources.join("old").exists() && !sources.join("link").is_symlink());
        assert!(Path::new("/etc").is_dir());
        std::fs::create_dir_all(&stage).expect("made");
        std::os::unix::fs::symlink("/tmp", sources.join("out")).expect("linked");
        assert!(move_in(&sources, &stage, "out/x").is_err());
    }
}
