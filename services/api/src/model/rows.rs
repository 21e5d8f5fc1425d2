//! Facts in a few words, for the live stream.

use sluice_bus::Recorded;
use sluice_schemas::Event;
use sluice_schemas::events::Conclusion;

use super::fold::StreamRow;
use super::runs::place;

/// A fact in a few words, for the live stream.
pub(super) fn row(record: &Recorded) -> StreamRow {
    let text = match &record.event {
        Event::PushReceived(it) => format!("{}, by {}", it.branch().unwrap_or(&it.git_ref), it.pusher),
        Event::RunQueued(it) => format!("{} jobs planned", it.jobs.len()),
        Event::RunFinished(it) => it.reason.clone().unwrap_or_else(|| words(it.conclusion, it.duration_ms)),
        Event::RunRefused(it) => it.annotations.first().map_or_else(String::new, place),
        Event::JobStarted(it) => format!("on {}", it.executor),
        Event::StepFinished(it) => format!("{}: {}", it.name, words(it.conclusion, it.duration_ms)),
        Event::JobFinished(it) => it.reason.clone().unwrap_or_else(|| words(it.conclusion, it.duration_ms)),
        Event::ImageBuilt(it) => format!("{} {}", it.image.repository, it.manifest.short()),
        Event::ImagePublished(it) => format!("{} {}", it.image.repository, it.tags.join(", ")),
        Event::ImageFailed(it) => it.reason.clone(),
        Event::BumpCommitted(it) => {
            format!("{}/ {} in {}", it.bump.directory, it.bump.tag, it.commit.short())
        }
        Event::BumpUnchanged(it) => it.reason.clone(),
        Event::BumpFailed(it) => it.reason.clone(),
        Event::RenderSucceeded(it) => format!("{} objects", it.objects),
        Event::RenderFailed(it) => it.annotations.first().map_or_else(|| it.reason.clone(), place),
        Event::AppCompared(it) => format!("{:?}, {:?}", it.sync, it.health),
        Event::AppHealthChanged(it) => format!("{:?} to {:?}", it.from, it.to),
        Event::SyncFinished(it) => it.message.clone(),
        Event::GrantIssued(it) => {
            format!("{} grants {} to {}", it.person, it.revision.short(), it.app.app.name())
        }
        Event::GrantRefused(it) => it.reason.clone(),
        Event::SessionRefused(it) => it.reason.clone(),
        _ => String::new(),
    };
    StreamRow {
        sequence: record.sequence,
        time: record.envelope.time,
        subject: record.subject.clone(),
        text: text.chars().take(160).collect(),
        correlation: record.envelope.correlation.clone(),
    }
}

fn words(conclusion: Conclusion, millis: u64) -> String {
    let word = match conclusion {
        Conclusion::Success => "succeeded",
        Conclusion::Failure => "failed",
        Conclusion::Cancelled => "cancelled",
        Conclusion::Skipped => "skipped",
    };
    format!("{word}, {}.{} s", millis / 1000, millis % 1000 / 100)
}
