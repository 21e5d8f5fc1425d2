//! A directory of plain manifests, read from Git objects.
//!
//! Argo CD's directory source: files ending in `.yaml`, `.yml` or `.json` (below
//! sub-directories only with `recurse`) that pass `include` and `exclude`; files
//! that hold the skip marker are left out; symlinks are followed inside the
//! repository only; a file that does not look like a manifest is no error.
//!
//! Invariants: nothing outside the commit's tree is read; what was read outside the
//! application's own directory (through links) is recorded, so that a memo can be
//! checked; every error names its file, and its place where there is one.

use sluice_git::{Entry, EntryKind, Linked, ObjectId, ReadError, RepoPath, Snapshot};
use sluice_gitops::manifest::{self, Problem};
use sluice_schemas::commands::{RenderSource, SourceKind};
use sluice_schemas::events::{Annotation, AnnotationLevel};

use crate::glob::Glob;

/// Annotations in one failure: a person mends the first ones first.
const MAX_ANNOTATIONS: usize = 50;

/// A link that led out of the directory, and what it led to.
pub type Outside = (RepoPath, Option<ObjectId>);

/// Bounds of one rendering.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All files together, in bytes.
    pub combined: u64,
}

/// What a source renders to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Canonical JSON.
    Manifests {
        content: Vec<u8>,
        objects: u32,
    },
    Failed {
        reason: String,
        annotations: Vec<Annotation>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    pub outcome: Outcome,
    pub outside: Vec<Outside>,
}

/// The directory's tree id: with the settings, all that the outcome depends on
/// (links aside). `None` when there is no such directory.
pub fn tree_of(snapshot: &Snapshot, path: &RepoPath) -> Result<Option<ObjectId>, ReadError> {
    Ok(match snapshot.follow(path)? {
        Linked::Found(entry) if entry.kind == EntryKind::Directory => Some(entry.id),
        _ => None,
    })
}

/// Whether everything outside the directory is as it was when `recorded`.
pub fn same_outside(snapshot: &Snapshot, recorded: &[(String, Option<String>)]) -> Result<bool, ReadError> {
    for (path, id) in recorded {
        let Ok(path) = RepoPath::parse(path) else { return Ok(false) };
        if target(snapshot, &path)?.map(|entry| entry.id.to_string()) != *id {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Renders. `Err` only for what is not the source's fault.
pub fn render(
    snapshot: &Snapshot,
    path: &RepoPath,
    source: &RenderSource,
    limits: Limits,
) -> Result<Rendering, ReadError> {
    let mut outside = Vec::new();
    let outcome = match read_directory(snapshot, path, source, limits, &mut outside) {
        Ok(outcome) => outcome,
        Err(Stop::Read(error @ (ReadError::Fetch(_) | ReadError::Damaged { .. }))) => return Err(error),
        Err(Stop::Read(error)) => refuse(path, &error),
        Err(Stop::Source(problem)) => failed(vec![problem]),
    };
    Ok(Rendering { outcome, outside })
}

/// The failure that reading the directory `path` ended in, at the file it is about.
pub fn refuse(path: &RepoPath, error: &ReadError) -> Outcome {
    let file = match error {
        ReadError::Escapes { path, .. } | ReadError::TooLarge { path, .. } | ReadError::LinkLoop { path } => {
            path
        }
        _ => path,
    };
    failed(vec![Problem { file: file.to_string(), line: 0, column: 0, message: error.to_string() }])
}

enum Stop {
    Read(ReadError),
    Source(Problem),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn stop(file: &str, message: String) -> Stop {
    Stop::Source(Problem { file: file.to_owned(), line: 0, column: 0, message })
}

fn read_directory(
    snapshot: &Snapshot,
    path: &RepoPath,
    source: &RenderSource,
    limits: Limits,
    outside: &mut Vec<Outside>,
) -> Result<Outcome, Stop> {
    let place = path.to_string();
    let glob = |text: &str| {
        let compiled = (!text.is_empty()).then(|| Glob::compile(text)).transpose();
        compiled.map_err(|error| stop(&place, error.to_string()))
    };
    let (include, exclude) = (glob(&source.include)?, glob(&source.exclude)?);
    if tree_of(snapshot, path)?.is_none() {
        return Err(stop(
            &place,
            format!("app path does not exist: there is no directory {place} at this commit"),
        ));
    }
    supported(snapshot, path, source.kind)?;
    let mut problems: Vec<Problem> = Vec::new();
    let mut objects = Vec::new();
    let mut combined = 0u64;
    for entry in snapshot.list(path, source.recurse)? {
        let Some(relative) = entry.path.relative_to(path) else { continue };
        if !is_candidate(relative)
            || exclude.as_ref().is_some_and(|glob| glob.is_match(relative))
            || include.as_ref().is_some_and(|glob| !glob.is_match(relative))
        {
            continue;
        }
        let file = entry.path.to_string();
        let Some(found) = resolve(snapshot, path, entry, outside)? else { continue };
        if file.ends_with(".jsonnet") {
            return Err(stop(&file, unsupported("Jsonnet")));
        }
        combined += snapshot.size(&found)?;
        if combined > limits.combined {
            let message = format!(
                "the manifests of this directory are more than {} bytes together; leave files out with `directory.exclude` or raise `renderer.max_combined_bytes`",
                limits.combined
            );
            return Err(stop(&file, message));
        }
        let text = match decode(&snapshot.read_entry(&found)?) {
            Some(text) => text,
            None => {
                problems.push(Problem {
                    file,
                    line: 0,
                    column: 0,
                    message: "this is not text in UTF-8 or UTF-16".to_owned(),
                });
                continue;
            }
        };
        let parsed = manifest::parse(&file, &text);
        if parsed.problems.is_empty() || looks_like_manifest(&text) || !parsed.objects.is_empty() {
            problems.extend(parsed.problems);
            objects.extend(parsed.objects.into_iter().map(|located| located.object));
        }
    }
    if !problems.is_empty() {
        return Ok(failed(problems));
    }
    let count = u32::try_from(objects.len()).unwrap_or(u32::MAX);
    Ok(Outcome::Manifests { content: manifest::canonical(objects), objects: count })
}

/// Only plain directories so far: anything else must not be mistaken for one.
fn supported(snapshot: &Snapshot, path: &RepoPath, kind: SourceKind) -> Result<(), Stop> {
    let name = match kind {
        SourceKind::Directory => return Ok(()),
        SourceKind::Helm => "Helm",
        SourceKind::Kustomize => "Kustomize",
        SourceKind::Jsonnet => "Jsonnet",
        SourceKind::Plugin => "config management plugin",
        SourceKind::Detect => {
            let names: Vec<String> =
                snapshot.list(path, false)?.iter().map(|entry| entry.path.name().to_owned()).collect();
            let has = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
            if has(&["Chart.yaml"]) {
                "Helm"
            } else if has(&["kustomization.yaml", "kustomization.yml", "Kustomization"]) {
                "Kustomize"
            } else {
                return Ok(());
            }
        }
    };
    Err(stop(&path.to_string(), unsupported(name)))
}

fn unsupported(kind: &str) -> String {
    format!(
        "{kind} sources are not supported yet; this version renders plain directories of YAML and JSON: commit the rendered manifests, or leave such files out with `directory.exclude`"
    )
}

fn is_candidate(path: &str) -> bool {
    [".yaml", ".yml", ".json", ".jsonnet"].iter().any(|end| path.ends_with(end))
}

/// The file that an entry is or links to.
fn resolve(
    snapshot: &Snapshot,
    base: &RepoPath,
    entry: Entry,
    outside: &mut Vec<Outside>,
) -> Result<Option<Entry>, Stop> {
    match entry.kind {
        EntryKind::File { .. } => Ok(Some(entry)),
        EntryKind::Symlink => {
            let found = target(snapshot, &entry.path)?;
            let inside = found.as_ref().is_some_and(|found| found.path.relative_to(base).is_some());
            if !inside {
                outside.push((entry.path, found.as_ref().map(|found| found.id)));
            }
            Ok(found)
        }
        EntryKind::Directory | EntryKind::Submodule => Ok(None),
    }
}

/// The file behind a path, links followed; `None` for a link to nothing or to a directory.
fn target(snapshot: &Snapshot, path: &RepoPath) -> Result<Option<Entry>, ReadError> {
    Ok(match snapshot.follow(path)? {
        Linked::Found(found) if matches!(found.kind, EntryKind::File { .. }) => Some(found),
        _ => None,
    })
}

/// Argo CD skips what cannot be read unless it looks like a manifest: values files
/// and pipelines may lie beside manifests.
fn looks_like_manifest(text: &str) -> bool {
    let has = |key: &str| text.contains(&format!("{key}:")) || text.contains(&format!("\"{key}\""));
    has("apiVersion") || (has("kind") && has("metadata"))
}

fn decode(content: &[u8]) -> Option<String> {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let (units, rest) = content[2..].as_chunks::<2>();
        if !rest.is_empty() {
            return None;
        }
        String::from_utf16(&units.iter().map(|unit| read(*unit)).collect::<Vec<_>>()).ok()
    };
    match content {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()).ok(),
        text => String::from_utf8(text.to_vec()).ok(),
    }
}

fn failed(problems: Vec<Problem>) -> Outcome {
    let reason = match problems.as_slice() {
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        [] => "no reason".to_owned(),
    };
    let annotations = problems
        .into_iter()
        .take(MAX_ANNOTATIONS)
        .map(|problem| Annotation {
            level: AnnotationLevel::Error,
            file: problem.file,
            line: problem.line,
            column: problem.column,
            message: problem.message,
        })
        .collect();
    Outcome::Failed { reason, annotations }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_by_its_mark() {
        let utf16: Vec<u8> =
            [0xfe, 0xff].into_iter().chain("a: ä".encode_utf16().flat_map(u16::to_be_bytes)).collect();
        assert_eq!(decode(&utf16).as_deref(), Some("a: ä"));
        assert_eq!(decode(b"\xef\xbb\xbfa").as_deref(), Some("a"));
        assert_eq!(decode(b"\xc3\x28"), None);
        assert_eq!(decode(b"\xff\xfea"), None);
    }
}
