//! The end of a failed step's log, from the stream of live chunks. Masked by the builder before it left the job.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use sluice_bus::{Bus, From};
use sluice_schemas::events::StepFinished;

use crate::story::TAIL_LINES;

/// The failure is told without its log rather than late.
const PATIENCE: Duration = Duration::from_secs(3);

/// The last lines of the step's log; nothing when they cannot be had in time.
pub(super) async fn of_step(bus: &Bus, fact: &StepFinished) -> Vec<String> {
    if fact.log_lines == 0 && fact.log.is_none() {
        return Vec::new();
    }
    let mut lines = VecDeque::with_capacity(TAIL_LINES);
    match tokio::time::timeout(PATIENCE, collect(bus, fact, &mut lines)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(job = %fact.job, step = fact.step, %error, "the log cannot be read"),
        Err(_) => tracing::debug!(job = %fact.job, step = fact.step, "the log's end did not come in time"),
    }
    lines.into()
}

async fn collect(
    bus: &Bus,
    fact: &StepFinished,
    lines: &mut VecDeque<String>,
) -> Result<(), sluice_bus::ReadError> {
    let repo = &fact.run.repository.slug;
    let mut chunks = bus.log_chunks(repo, &fact.job, Some(fact.step), From::Start).await?;
    while let Some(record) = chunks.next().await {
        let record = record?;
        if record.chunk.epoch != fact.epoch {
            continue;
        }
        for line in record.chunk.lines.into_iter().filter(|line| !line.text.trim().is_empty()) {
            if lines.len() == TAIL_LINES {
                lines.pop_front();
            }
            lines.push_back(line.text);
        }
        if record.chunk.last || record.pending == 0 {
            break;
        }
    }
    Ok(())
}
