//! Workflow files at a commit, from a bare mirror.
//!
//! Coordinator and executor share it: one fetch a push, and a workflow is parsed once. A workflow at a commit never
//! changes, so what is parsed may be kept.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use sluice_git::{
    EntryKind, Mirror, MirrorSettings, Mirrors, ReadError, ReadLimits, RefName, Remote, RemoteUrl, RepoPath,
};
use sluice_schemas::Sha;
use sluice_schemas::events::{Repository, RunRef};
use sluice_workflow::{Mistakes, Workflow, read_workflow};

use crate::config::Config;
use crate::vault::{Vault, VaultError};

const DIRECTORY: &str = ".github/workflows";
/// GitHub reads no larger one.
const MAX_FILE: u64 = 512 * 1024;
/// Parsed workflows kept.
const KEPT: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the clone URL of {repository} cannot be used: {reason}")]
    Url { repository: String, reason: String },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("there is no {file} at {sha}")]
    Gone { file: String, sha: Sha },
    #[error("{file} cannot be read any more:\n{mistakes}")]
    Broken { file: String, mistakes: Mistakes },
}

impl SourceError {
    /// Whether trying again may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Vault(_) => true,
            Self::Read(ReadError::Fetch(error)) => error.is_passing(),
            Self::Read(ReadError::Damaged { .. }) => true,
            _ => false,
        }
    }
}

/// A workflow file as it lies in the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkflowFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

pub(crate) struct Source {
    mirrors: Mirrors,
    vault: Arc<dyn Vault>,
    parsed: Mutex<VecDeque<(Key, Arc<Workflow>)>>,
}

type Key = (String, Sha, String);

impl Source {
    pub(crate) fn open(config: &Config, vault: Arc<dyn Vault>) -> Result<Self, sluice_git::OpenError> {
        let directory: PathBuf = config.data.join("mirrors");
        let mirrors = Mirrors::open(directory, MirrorSettings::default())?;
        Ok(Self { mirrors, vault, parsed: Mutex::default() })
    }

    /// The mirror of a repository, with the credentials that it is fetched with.
    pub(crate) async fn mirror(&self, repository: &Repository) -> Result<Mirror, SourceError> {
        let url = RemoteUrl::parse(&repository.clone_url).map_err(|error| SourceError::Url {
            repository: repository.full_name.clone(),
            reason: error.to_string(),
        })?;
        let credentials = self.vault.credentials(&repository.clone_url).await?;
        Ok(self.mirrors.mirror(Remote { url, credentials }))
    }

    /// All workflow files of a commit, by path.
    pub(crate) async fn files(
        &self,
        repository: &Repository,
        sha: &Sha,
        git_ref: &str,
    ) -> Result<Vec<WorkflowFile>, SourceError> {
        let mirror = self.mirror(repository).await?;
        let hint = RefName::parse(git_ref).ok();
        let limits = ReadLimits { blob: MAX_FILE, entries: 1000 };
        let directory = RepoPath::parse(DIRECTORY).map_err(|error| SourceError::Url {
            repository: repository.full_name.clone(),
            reason: error.to_string(),
        })?;
        let files = mirror.read(sha, hint.as_ref(), limits, move |snapshot| {
            let entries = match snapshot.list(&directory, false) {
                Ok(entries) => entries,
                Err(ReadError::NotFound { .. } | ReadError::NotADirectory { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut files = Vec::new();
            for entry in entries {
                let is_workflow = entry.path.name().ends_with(".yml") || entry.path.name().ends_with(".yaml");
                if is_workflow && matches!(entry.kind, EntryKind::File { .. }) {
                    let bytes = snapshot.read_entry(&entry)?;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    files.push(WorkflowFile { path: entry.path.as_str().to_owned(), text });
                }
            }
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        });
        Ok(files.await?)
    }

    /// The workflow of a run, parsed. It was read before, so mistakes in it are news.
    pub(crate) async fn workflow(&self, run: &RunRef) -> Result<Arc<Workflow>, SourceError> {
        let key = (run.repository.clone_url.clone(), run.sha.clone(), run.workflow_file.clone());
        let known = {
            let parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
            parsed.iter().find(|(found, _)| *found == key).map(|(_, workflow)| Arc::clone(workflow))
        };
        if let Some(workflow) = known {
            return Ok(workflow);
        }
        let files = self.files(&run.repository, &run.sha, &run.git_ref).await?;
        let file = files
            .into_iter()
            .find(|file| file.path == run.workflow_file)
            .ok_or_else(|| SourceError::Gone { file: run.workflow_file.clone(), sha: run.sha.clone() })?;
        let workflow = read_workflow(&file.path, &file.text)
            .map_err(|mistakes| SourceError::Broken { file: file.path.clone(), mistakes })?;
        let workflow = Arc::new(workflow);
        self.keep(&run.repository, &run.sha, Arc::clone(&workflow));
        Ok(workflow)
    }

    /// Remembers a workflow that was just parsed.
    pub(crate) fn keep(&self, repository: &Repository, sha: &Sha, workflow: Arc<Workflow>) {
        let key = (repository.clone_url.clone(), sha.clone(), workflow.file.clone());
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if parsed.len() >= KEPT {
            parsed.pop_front();
        }
        parsed.push_back((key, workflow));
    }
}
