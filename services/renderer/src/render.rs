//! One rendering: revision → tree → memo or manifests → object store.
//!
//! Invariants: the network is touched only when the commit is not here; the object
//! is stored before anybody is told its digest; a failure is either passing (tried
//! again) or a fact with its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use sluice_bus::{Bus, ObjectError, Objects, Store};
use sluice_git::{
    FetchError, Mirror, Mirrors, ReadError, ReadLimits, RefName, Remote, RemoteUrl, RepoPath, ResolveError,
};
use sluice_schemas::Sha;
use sluice_schemas::commands::Render;
use sluice_schemas::events::{Annotation, RenderFailed, RenderRef, RenderSucceeded};

use crate::credentials::Remembering;
use crate::memo::{Memo, Remembered, key};
use crate::metrics::RendererMetrics;
use crate::source::{self, Limits, Outcome, Outside, Rendering};

/// What a command ended in.
pub enum Finished {
    /// And what to remember once the fact is out, if it is new.
    Succeeded(RenderSucceeded, Option<(String, Remembered)>),
    Failed(RenderFailed),
}

/// Nothing is wrong with the source; later it may work.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Passing {
    pub reason: String,
    /// What to say when it does not pass.
    pub failed: Box<RenderFailed>,
}

#[derive(Clone)]
pub struct Renderer {
    inner: Arc<Inner>,
}

struct Inner {
    mirrors: Mirrors,
    credentials: Remembering,
    memo: Memo,
    objects: Objects,
    limits: Limits,
    metrics: RendererMetrics,
    counted_fetches: AtomicU64,
}

impl Renderer {
    pub fn new(
        bus: &Bus,
        mirrors: Mirrors,
        credentials: Remembering,
        limits: Limits,
        metrics: RendererMetrics,
    ) -> Self {
        let (memo, objects) = (Memo::new(bus), bus.objects(Store::Manifests));
        Self {
            inner: Arc::new(Inner {
                mirrors,
                credentials,
                memo,
                objects,
                limits,
                metrics,
                counted_fetches: AtomicU64::new(0),
            }),
        }
    }

    /// Stores what a finished rendering found, for the next one.
    pub async fn remember(&self, entry: Option<(String, Remembered)>) {
        if let Some((key, value)) = entry {
            self.inner.memo.put(&key, value).await;
        }
    }

    pub async fn render(&self, command: &Render) -> Result<Finished, Passing> {
        let mut which = reference(command);
        let started = Instant::now();
        let located = self.locate(command).await;
        let (mirror, sha, path) = match located {
            Ok(found) => found,
            Err(problem) => return self.fail(which, problem),
        };
        which.revision = Some(sha.clone());
        let fetched = started.elapsed();
        let rendering = self.manifests(&mirror, &sha, &path, command).await;
        let rendered = started.elapsed() - fetched;
        self.inner.metrics.seconds.with_label_values(&["fetch"]).observe(fetched.as_secs_f64());
        self.inner.metrics.seconds.with_label_values(&["render"]).observe(rendered.as_secs_f64());
        match rendering {
            Ok((value, cached, memo)) => {
                let result = if cached { "cached" } else { "rendered" };
                self.inner.metrics.renders.with_label_values(&[result]).inc();
                let succeeded = RenderSucceeded {
                    render: which,
                    manifests: value.manifests,
                    objects: value.objects,
                    cached,
                    fetch_ms: milliseconds(fetched),
                    render_ms: milliseconds(rendered),
                };
                Ok(Finished::Succeeded(succeeded, memo))
            }
            Err(problem) => self.fail(which, problem),
        }
    }

    /// The mirror, with the commit in it.
    async fn locate(&self, command: &Render) -> Result<(Mirror, Sha, RepoPath), Problem> {
        let url = RemoteUrl::parse(&command.repository).map_err(Problem::lasting)?;
        let path = RepoPath::parse(&command.source.path).map_err(Problem::lasting)?;
        let credentials = self.inner.credentials.find(&url).await.map_err(Problem::passing)?;
        let mirror = self.inner.mirrors.mirror(Remote { url: url.clone(), credentials });
        let found = match &command.revision {
            Some(sha) => {
                let hint = branch_of(&command.target_revision);
                mirror.ensure(sha, hint.as_ref()).await.map(|()| sha.clone()).map_err(ResolveError::Fetch)
            }
            None => mirror.resolve(&command.target_revision).await,
        };
        self.count_fetches();
        match found {
            Ok(sha) => Ok((mirror, sha, path)),
            Err(error) => {
                if matches!(
                    error,
                    ResolveError::Fetch(FetchError::Denied { .. } | FetchError::NoRepository { .. })
                ) {
                    self.inner.credentials.forget(&url);
                }
                let passing = matches!(&error, ResolveError::Fetch(error) if error.is_passing());
                Err(if passing { Problem::passing(error) } else { Problem::lasting(error) })
            }
        }
    }

    /// Renderings share fetches, so they are counted where they happen and carried over once.
    fn count_fetches(&self) {
        let all = self.inner.mirrors.fetches();
        let counted = self.inner.counted_fetches.fetch_max(all, Ordering::Relaxed);
        self.inner.metrics.fetches.with_label_values::<&str>(&[]).inc_by(all.saturating_sub(counted));
    }

    async fn manifests(
        &self,
        mirror: &Mirror,
        sha: &Sha,
        path: &RepoPath,
        command: &Render,
    ) -> Result<(Remembered, bool, Option<(String, Remembered)>), Problem> {
        let inner = &self.inner;
        let limits = ReadLimits { blob: inner.limits.combined, ..ReadLimits::default() };
        let directory = path.clone();
        let tree =
            mirror.read(sha, None, limits, move |snapshot| source::tree_of(snapshot, &directory)).await;
        let memo_key = match tree {
            Ok(tree) => tree.map(|tree| key(tree, path, &command.source)),
            Err(error) => return Err(read_problem(&error, path)),
        };
        if let Some(memo_key) = memo_key.as_ref().filter(|_| !command.hard)
            && let Some(known) = inner.memo.get(memo_key).await
        {
            if outside_holds(mirror, sha, limits, &known.outside).await
                && inner.objects.has(&known.manifests).await.map_err(object_problem)?
            {
                return Ok((known, true, None));
            }
            inner.memo.forget(memo_key);
        }
        let (directory, settings, bounds) = (path.clone(), command.source.clone(), inner.limits);
        let rendering = mirror
            .read(sha, None, limits, move |snapshot| source::render(snapshot, &directory, &settings, bounds))
            .await
            .map_err(|error| read_problem(&error, path))?;
        let Rendering { outcome, outside } = rendering;
        match outcome {
            Outcome::Failed { reason, annotations } => Err(Problem::Lasting { reason, annotations }),
            Outcome::Manifests { content, objects } => {
                let manifests = inner.objects.put(Bytes::from(content)).await.map_err(object_problem)?;
                let value = Remembered { manifests, objects, outside: outside.iter().map(plain).collect() };
                let memo = memo_key.map(|key| (key, value.clone()));
                Ok((value, false, memo))
            }
        }
    }

    fn fail(&self, which: RenderRef, problem: Problem) -> Result<Finished, Passing> {
        match problem {
            Problem::Lasting { reason, annotations } => {
                self.inner.metrics.renders.with_label_values(&["failed"]).inc();
                Ok(Finished::Failed(RenderFailed { render: which, reason, annotations }))
            }
            Problem::Passing { reason } => {
                let failed = RenderFailed { render: which, reason: reason.clone(), annotations: Vec::new() };
                Err(Passing { reason, failed: Box::new(failed) })
            }
        }
    }
}

enum Problem {
    Lasting { reason: String, annotations: Vec<Annotation> },
    Passing { reason: String },
}

impl Problem {
    fn lasting(error: impl std::fmt::Display) -> Self {
        Self::Lasting { reason: error.to_string(), annotations: Vec::new() }
    }

    fn passing(error: impl std::fmt::Display) -> Self {
        Self::Passing { reason: error.to_string() }
    }
}

fn reference(command: &Render) -> RenderRef {
    RenderRef {
        render: command.render.clone(),
        app: command.app.clone(),
        project: command.project.clone(),
        repository: command.repository.clone(),
        revision: command.revision.clone(),
        path: command.source.path.clone(),
    }
}

/// The branch to fetch for a commit that a push told of, when the target names one.
fn branch_of(target: &str) -> Option<RefName> {
    match target {
        "" | "HEAD" => None,
        name if name.starts_with("refs/") => RefName::parse(name).ok(),
        name if name.parse::<Sha>().is_ok() => None,
        name => RefName::branch(name).ok(),
    }
}

async fn outside_holds(
    mirror: &Mirror,
    sha: &Sha,
    limits: ReadLimits,
    outside: &[(String, Option<String>)],
) -> bool {
    if outside.is_empty() {
        return true;
    }
    let wanted = outside.to_vec();
    let same = mirror.read(sha, None, limits, move |snapshot| source::same_outside(snapshot, &wanted)).await;
    same.unwrap_or(false)
}

fn plain((path, id): &Outside) -> (String, Option<String>) {
    (path.as_str().to_owned(), id.map(|id| id.to_string()))
}

fn read_problem(error: &ReadError, path: &RepoPath) -> Problem {
    match error {
        ReadError::Fetch(fetch) if !fetch.is_passing() => Problem::lasting(error),
        ReadError::Fetch(_) | ReadError::Damaged { .. } => Problem::passing(error),
        other => match source::refuse(path, other) {
            Outcome::Failed { reason, annotations } => Problem::Lasting { reason, annotations },
            Outcome::Manifests { .. } => Problem::lasting(other),
        },
    }
}

fn object_problem(error: ObjectError) -> Problem {
    Problem::passing(error)
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
