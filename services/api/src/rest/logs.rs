//! Logs: the archive of steps that ended, the live tail of those that run, without a gap.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use sluice_bus::{From, Store};
use sluice_schemas::events::Conclusion;
use sluice_schemas::ids::{JobId, RepoSlug};
use sluice_schemas::log::LogLine;
use sluice_schemas::{Digest, Timestamp};
use tokio::sync::mpsc::Sender;

use super::{closed, produced, runs};
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};
use crate::model::{JobPhase, JobView};
use crate::text::ansi;

/// Largest plain-text answer; more is read by steps.
const MOST_TEXT: usize = 64 * 1024 * 1024;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    job: Option<String>,
    step: Option<u32>,
    follow: bool,
    timestamps: bool,
    /// Escapes of terminals are kept only when asked for.
    raw: bool,
}

/// A line of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// The job's key.
    pub(crate) job: String,
    /// The step's index.
    pub(crate) step: u32,
    /// From 1, within the step.
    pub(crate) n: u64,
    /// When it was printed.
    pub(crate) at: Option<Timestamp>,
    /// Masked.
    pub(crate) text: String,
}

/// What a log stream says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// A line.
    Line(Line),
    /// The step is executed anew by another executor: what was said of it is void.
    Again { step: u32 },
    /// The job ended.
    End(Option<Conclusion>),
}

pub(super) async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path((repo, number)): Path<(String, u64)>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Answer<Response> {
    let run = runs::find(&api, &caller, &repo, number, Resource::Logs, Action::Get)?;
    let slug = run.run.repository.slug.clone();
    let jobs: Vec<JobId> = match wanted.job.as_deref().filter(|job| !job.is_empty()) {
        Some(job) => vec![named(&run.jobs, job)?],
        None => run.jobs.iter().map(|job| job.planned.id.clone()).collect(),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.follow || accept.contains("text/event-stream") {
        let open = api.metrics.stream("logs");
        let lines = follow(api.clone(), slug, number, jobs, wanted.step).map(move |said| {
            let _ = &open;
            Ok::<_, Infallible>(event(&said))
        });
        let lines = Box::pin(lines).take_until(Box::pin(closed(api, caller)));
        return Ok(Sse::new(lines).keep_alive(KeepAlive::default()).into_response());
    }
    let mut text = String::new();
    let mut lines = Box::pin(so_far(api, slug, number, jobs, wanted.step));
    while let Some(said) = lines.next().await {
        let Said::Line(line) = said else { continue };
        if wanted.timestamps
            && let Some(at) = line.at
        {
            text.push_str(&format!("{at} "));
        }
        text.push_str(&if wanted.raw { line.text } else { ansi::plain(&line.text) });
        text.push('\n');
        if text.len() > MOST_TEXT {
            text.push_str("… the rest is left out; ask for one step with ?job=…&step=…\n");
            break;
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Everything up to the end of the jobs.
pub(crate) fn follow(
    api: Api,
    repo: RepoSlug,
    number: u64,
    jobs: Vec<JobId>,
    step: Option<u32>,
) -> impl Stream<Item = Said> + Send {
    produced(move |sender| async move {
        for job in jobs {
            let reader = Reader { api: &api, repo: &repo, number, job: &job, only: step };
            if reader.read(&sender, true).await.is_none() {
                return;
            }
        }
        let conclusion = api.model.read().run(&repo, number).and_then(|run| run.conclusion);
        if sender.send(Said::End(conclusion)).await.is_err() {
            tracing::debug!("the reader of a log has gone");
        }
    })
}

/// What there is now.
pub(crate) fn so_far(
    api: Api,
    repo: RepoSlug,
    number: u64,
    jobs: Vec<JobId>,
    step: Option<u32>,
) -> impl Stream<Item = Said> + Send {
    produced(move |sender| async move {
        for job in jobs {
            let reader = Reader { api: &api, repo: &repo, number, job: &job, only: step };
            if reader.read(&sender, false).await.is_none() {
                return;
            }
        }
    })
}

/// Reads one job's log. Every method answers `None` when the reader is gone.
struct Reader<'a> {
    api: &'a Api,
    repo: &'a RepoSlug,
    number: u64,
    job: &'a JobId,
    only: Option<u32>,
}

impl Reader<'_> {
    async fn read(&self, sender: &Sender<Said>, wait: bool) -> Option<()> {
        let Some(job) = self.job() else { return Some(()) };
        let mut archived: BTreeMap<u32, u64> = BTreeMap::new();
        let mut incomplete = job.phase != JobPhase::Finished;
        for step in job.steps.iter().filter(|step| self.wants(step.index)) {
            match (&step.log, step.phase) {
                (Some(digest), _) => match self.archive(digest).await {
                    Ok(lines) => {
                        archived.insert(step.index, job.epoch);
                        for (at, text, n) in lines {
                            self.say(sender, &job, step.index, n, at, text).await?;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an archived log cannot be read; looking in the stream");
                        incomplete = true;
                    }
                },
                (None, JobPhase::Finished) => {}
                (None, _) => incomplete = true,
            }
        }
        if incomplete { self.stream(sender, &archived, wait).await } else { Some(()) }
    }

    /// Backlog and live tail of the steps that are not archived.
    async fn stream(&self, sender: &Sender<Said>, archived: &BTreeMap<u32, u64>, wait: bool) -> Option<()> {
        let mut changes = self.api.model.changes();
        let chunks = self.api.bus.log_chunks(self.repo, self.job, self.only, From::Start).await;
        let mut chunks = match chunks {
            Ok(chunks) => chunks,
            Err(error) => {
                tracing::warn!(%error, "logs cannot be read");
                return Some(());
            }
        };
        // Newest epoch and last line said, by step.
        let mut said: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        loop {
            let ended = self.job().is_none_or(|job| job.phase == JobPhase::Finished);
            let patience = if ended || !wait { 400 } else { 3_600_000 };
            let next = tokio::select! {
                next = chunks.next() => next,
                changed = changes.changed(), if !ended && wait => {
                    if changed.is_err() { return Some(()) }
                    continue;
                }
                () = tokio::time::sleep(std::time::Duration::from_millis(patience)) => None,
            };
            let Some(Ok(record)) = next else { return Some(()) };
            let (step, chunk) = (record.step, record.chunk);
            let known = archived.get(&step).copied();
            if self.wants(step) && known.is_none_or(|epoch| chunk.epoch > epoch) {
                let (epoch, last) = said.get(&step).copied().unwrap_or((chunk.epoch, 0));
                let last = if chunk.epoch > epoch { 0 } else { last };
                if chunk.epoch > epoch {
                    sender.send(Said::Again { step }).await.ok()?;
                }
                if chunk.epoch >= epoch
                    && let Some(job) = self.job()
                {
                    let mut n = chunk.first_line;
                    for line in chunk.lines {
                        if n > last {
                            self.say(sender, &job, step, n, Some(line.at), line.text).await?;
                        }
                        n += 1;
                    }
                    said.insert(step, (chunk.epoch, last.max(n.saturating_sub(1))));
                }
            }
            if !wait && record.pending == 0 {
                return Some(());
            }
        }
    }

    async fn say(
        &self,
        sender: &Sender<Said>,
        job: &JobView,
        step: u32,
        n: u64,
        at: Option<Timestamp>,
        text: String,
    ) -> Option<()> {
        let line = Line { job: job.planned.key.clone(), step, n, at, text };
        sender.send(Said::Line(line)).await.ok()
    }

    async fn archive(
        &self,
        digest: &Digest,
    ) -> Result<Vec<(Option<Timestamp>, String, u64)>, sluice_bus::ObjectError> {
        let bytes = self.api.bus.objects(Store::Logs).get(digest).await?;
        Ok(archived_lines(&bytes))
    }

    fn job(&self) -> Option<JobView> {
        self.api.model.read().run(self.repo, self.number)?.job(self.job).cloned()
    }

    fn wants(&self, step: u32) -> bool {
        self.only.is_none_or(|only| only == step)
    }
}

/// An archive holds one `LogLine` a line as JSON; plain text is taken as it is.
pub(crate) fn archived_lines(bytes: &[u8]) -> Vec<(Option<Timestamp>, String, u64)> {
    let text = String::from_utf8_lossy(bytes);
    let is_json = text.lines().next().is_some_and(|line| serde_json::from_str::<LogLine>(line).is_ok());
    let lines = text.lines().zip(1_u64..);
    if is_json {
        return lines
            .map(|(line, n)| match serde_json::from_str::<LogLine>(line) {
                Ok(line) => (Some(line.at), line.text, n),
                Err(_) => (None, line.to_owned(), n),
            })
            .collect();
    }
    lines
        .map(|(line, n)| {
            let timed = line.split_once(' ').and_then(|(at, rest)| Some((Timestamp::parse(at).ok()?, rest)));
            match timed {
                Some((at, rest)) => (Some(at), rest.to_owned(), n),
                None => (None, line.to_owned(), n),
            }
        })
        .collect()
}

/// The job with this key, id or name.
pub(crate) fn named(jobs: &[JobView], text: &str) -> Answer<JobId> {
    let found = jobs
        .iter()
        .find(|job| job.planned.key == text || job.planned.id.as_str() == text || job.planned.name == text);
    found.map(|job| job.planned.id.clone()).ok_or_else(|| {
        let keys: Vec<&str> = jobs.iter().map(|job| job.planned.key.as_str()).collect();
        ApiError::missing(format!("this run has no job `{text}`; it has {}", keys.join(", ")))
    })
}

fn event(said: &Said) -> Event {
    let (name, data) = match said {
        Said::Line(line) => ("line", serde_json::to_string(line)),
        Said::Again { step } => ("again", serde_json::to_string(&serde_json::json!({ "step": step }))),
        Said::End(conclusion) => {
            ("end", serde_json::to_string(&serde_json::json!({ "conclusion": conclusion })))
        }
    };
    Event::default().event(name).data(data.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_read_in_every_form() {
        let at = Timestamp::from_unix_millis(1_790_000_000_250);
        let json = serde_json::to_string(&LogLine { at, text: "hello".to_owned() }).expect("JSON");
        assert_eq!(
            archived_lines(format!("{json}\n{json}\n").as_bytes())[1],
            (Some(at), "hello".to_owned(), 2)
        );
        assert_eq!(
            archived_lines(format!("{at} hi there\n").as_bytes())[0],
            (Some(at), "hi there".to_owned(), 1)
        );
        assert_eq!(archived_lines(b"plain line")[0], (None, "plain line".to_owned(), 1));
        assert!(archived_lines(b"").is_empty());
    }
}
