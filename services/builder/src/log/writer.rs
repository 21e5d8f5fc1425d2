//! A step's log: masked lines in batches to LOGS, and whole to the object store when the step ends.
//!
//! Invariants: chunks are numbered without a gap and never larger than the wire allows; the last one says so; the
//! archive holds the same lines, one JSON object ([`LogLine`]) a line. When LOGS is away the step goes on and the
//! archive still has everything.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_bus::{Bus, ObjectError, Store};
use sluice_schemas::ids::{JobId, RepoSlug};
use sluice_schemas::log::{LogChunk, LogLine, MAX_CHUNK};
use sluice_schemas::{Digest, Timestamp};

use super::mask::Masker;

/// Lines wait for company at most this long.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// JSON around a line's text.
const LINE_OVERHEAD: usize = 64;
/// A step may say this much; what comes after is counted and dropped.
const MAX_ARCHIVE: usize = 16 * 1024 * 1024;

/// Where a log goes.
#[derive(Clone)]
pub(crate) struct LogTarget {
    pub(crate) bus: Bus,
    pub(crate) repository: RepoSlug,
    pub(crate) job: JobId,
    pub(crate) epoch: u64,
}

pub(crate) struct LogWriter {
    target: LogTarget,
    masker: Masker,
    step: u32,
    seq: u64,
    lines: u64,
    dropped: u64,
    pending: Vec<LogLine>,
    pending_bytes: usize,
    pending_since: Instant,
    archive: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn new(target: LogTarget, masker: Masker, step: u32) -> Self {
        Self {
            target,
            masker,
            step,
            seq: 0,
            lines: 0,
            dropped: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_since: Instant::now(),
            archive: Vec::new(),
        }
    }

    /// Adds a line (or several, when the text has line ends). Sends when a batch is full or old.
    pub(crate) async fn line(&mut self, text: &str) {
        for line in self.masker.mask(text).split('\n') {
            self.add(line).await;
        }
        if self.pending_since.elapsed() >= FLUSH_EVERY {
            self.flush(false).await;
        }
    }

    /// Sends what waits.
    pub(crate) async fn tick(&mut self) {
        if !self.pending.is_empty() {
            self.flush(false).await;
        }
    }

    /// Ends the log: last chunk, archive. Gives the archive's digest and the number of lines.
    pub(crate) async fn finish(mut self) -> Result<(Option<Digest>, u64), ObjectError> {
        if self.dropped > 0 {
            let notice = format!("##[warning]{} more lines were dropped: the log is too long", self.dropped);
            self.dropped = 0;
            self.archive.truncate(self.archive.len().min(MAX_ARCHIVE));
            self.push(notice);
        }
        self.flush(true).await;
        if self.lines == 0 {
            return Ok((None, 0));
        }
        let archive = Bytes::from(self.archive);
        let digest = self.target.bus.objects(Store::Logs).put(archive).await?;
        Ok((Some(digest), self.lines))
    }

    async fn add(&mut self, text: &str) {
        if self.archive.len() >= MAX_ARCHIVE {
            self.dropped += 1;
            return;
        }
        // What JSON makes of the text may be up to six times as long.
        let mut rest = text;
        loop {
            let cut = boundary(rest, MAX_CHUNK / 8);
            let (piece, next) = rest.split_at(cut);
            let size =
                serde_json::to_string(piece).map_or(piece.len() * 6, |json| json.len()) + LINE_OVERHEAD;
            if self.pending_bytes + size > MAX_CHUNK - LINE_OVERHEAD * 4 {
                self.flush(false).await;
            }
            self.pending_bytes += size;
            self.push(piece.to_owned());
            rest = next;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn push(&mut self, text: String) {
        let line = LogLine { at: Timestamp::now(), text };
        if let Ok(json) = serde_json::to_vec(&line) {
            self.archive.extend_from_slice(&json);
            self.archive.push(b'\n');
        }
        if self.pending.is_empty() {
            self.pending_since = Instant::now();
        }
        self.pending.push(line);
        self.lines += 1;
    }

    async fn flush(&mut self, last: bool) {
        if self.pending.is_empty() && !(last && self.lines > 0) {
            return;
        }
        let lines = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let chunk = LogChunk {
            epoch: self.target.epoch,
            seq: self.seq,
            first_line: self.lines - lines.len() as u64 + 1,
            lines,
            last,
        };
        self.seq += 1;
        let LogTarget { bus, repository, job, .. } = &self.target;
        if let Err(error) = bus.log(repository, job, self.step, &chunk).await {
            tracing::warn!(%error, %job, step = self.step, "a piece of the live log is missing; the archive has it");
        }
    }
}

/// The largest cut at a character boundary, at most `limit`.
fn boundary(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    (1..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}
