//! The job graph as SVG: columns by depth, laid out here, so that nothing needs a style attribute.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sluice_schemas::events::Conclusion;
use sluice_schemas::ids::JobId;

use super::parts::job_status;
use crate::model::{JobPhase, JobView, RunView};
use crate::text::words::duration;

const WIDTH: usize = 186;
const HEIGHT: usize = 46;
const COLUMN: usize = 220;
const ROW: usize = 60;

struct Box_<'a> {
    job: &'a JobView,
    x: usize,
    y: usize,
}

/// The graph; `current` is marked.
pub(super) fn svg(run: &RunView, current: Option<&JobId>) -> Markup {
    let columns = depths(&run.jobs);
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let boxes: Vec<Box_<'_>> = run
        .jobs
        .iter()
        .map(|job| {
            let column = columns.get(job.planned.key.as_str()).copied().unwrap_or_default();
            let row = rows.entry(column).or_default();
            let place = Box_ { job, x: 1 + COLUMN * (column + 1), y: 1 + ROW * *row };
            *row += 1;
            place
        })
        .collect();
    let most = rows.values().copied().max().unwrap_or(1);
    let wide = 2 + COLUMN * (rows.len() + 1) - (COLUMN - WIDTH);
    let high = 2 + ROW * most - (ROW - HEIGHT);
    let middle = high / 2 - HEIGHT / 2;
    let branch = run.run.git_ref.trim_start_matches("refs/heads/");
    let base = format!("/runs/{}/{}?job=", run.run.repository.slug, run.run.number);
    html! {
        svg width=(wide) height=(high) role="group" aria-label={ "Jobs of run " (run.run.number) } {
            @for it in &boxes {
                @let dashed = it.job.phase == JobPhase::Waiting || it.job.conclusion == Some(Conclusion::Skipped);
                @let class = if dashed { "e off" } else { "e" };
                @if it.job.planned.needs.is_empty() {
                    path class=(class) d=(edge(1, middle, it.x, it.y)) {}
                }
                @for from in boxes.iter().filter(|from| it.job.planned.needs.contains(&from.job.planned.key)) {
                    path class=(class) d=(edge(from.x, from.y, it.x, it.y)) {}
                }
            }
            g transform={ "translate(1 " (middle) ")" } {
                rect width=(WIDTH) height=(HEIGHT) rx="6" {}
                svg class="c-ok" x="11" y="15" width="16" height="16" { use href="/assets/icons.svg#i-commit" {} }
                text x="37" y="20" { "push, " (cut(branch)) }
                text class="d" x="37" y="36" { (run.run.sha.short()) ", " (cut(&run.author)) }
            }
            @for it in &boxes {
                @let (kind, icon_name, word) = job_status(it.job.phase, it.job.conclusion);
                @let class = match kind { "ok" => "c-ok", "bad" => "c-bad", _ => "" };
                @let skipped = match it.job.conclusion { Some(Conclusion::Skipped) => "skipped", Some(Conclusion::Failure) => "bad", _ => "" };
                a href={ (base) (it.job.planned.key) } class=(skipped) transform={ "translate(" (it.x) " " (it.y) ")" }
                    aria-current=[(current == Some(&it.job.planned.id)).then_some("true")] aria-label={ (it.job.planned.name) ": " (word) } {
                    rect width=(WIDTH) height=(HEIGHT) rx="6" {}
                    svg class=(class) x="11" y="15" width="16" height="16" { use href={ "/assets/icons.svg#i-" (icon_name) } {} }
                    text x="37" y="20" { (cut(&it.job.planned.name)) }
                    text class="d" x="37" y="36" { (below(it.job, word)) }
                }
            }
        }
    }
}

fn below(job: &JobView, word: &str) -> String {
    match (job.started_at, job.finished_at) {
        (Some(started), Some(finished)) => duration(finished.millis_since(started)),
        _ => word.to_lowercase(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= 20 { text.to_owned() } else { text.chars().take(19).chain(['…']).collect() }
}

/// From the right of one box to the left of another, with rounded corners.
fn edge(x1: usize, y1: usize, x2: usize, y2: usize) -> String {
    let (from, to) = (x1 + WIDTH, x2);
    let (a, b) = (y1 + HEIGHT / 2, y2 + HEIGHT / 2);
    if a == b {
        return format!("M{from} {a}H{to}");
    }
    let turn = to - 17;
    let bend = 6.min(a.abs_diff(b) / 2);
    let (first, second) = if b > a { (a + bend, b - bend) } else { (a - bend, b + bend) };
    format!(
        "M{from} {a}H{}Q{turn} {a} {turn} {first}V{second}Q{turn} {b} {} {b}H{to}",
        turn - bend,
        turn + bend
    )
}

/// How many jobs come before, at most; cycles cannot occur in a planned run, and are cut off anyway.
fn depths(jobs: &[JobView]) -> BTreeMap<&str, usize> {
    let mut depths: BTreeMap<&str, usize> = jobs.iter().map(|job| (job.planned.key.as_str(), 0)).collect();
    for _ in 0..jobs.len().min(64) {
        for job in jobs {
            let before = job.planned.needs.iter().filter_map(|need| depths.get(need.as_str())).max().copied();
            if let Some(before) = before {
                depths.insert(&job.planned.key, before + 1);
            }
        }
        if depths.values().max().is_some_and(|most| *most > 64) {
            break;
        }
    }
    depths
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Message as _;
    use sluice_schemas::events::RunQueued;
    use sluice_schemas::ids::Correlation;

    use super::*;

    #[test]
    fn what_is_needed_stands_further_left() {
        let fact = RunQueued::example();
        let run = RunView::queued(&fact, sluice_schemas::Timestamp::now(), Correlation::from_text("c"), None);
        let depths = depths(&run.jobs);
        assert!(depths["test"] < depths["build"]);
        let markup = svg(&run, None).into_string();
        assert!(markup.contains("job=test") && !markup.contains("style="));
    }

    #[test]
    fn names_are_escaped() {
        let mut fact = RunQueued::example();
        fact.jobs[0].name = "<svg onload=alert(1)>".to_owned();
        let run = RunView::queued(&fact, sluice_schemas::Timestamp::now(), Correlation::from_text("c"), None);
        assert!(!svg(&run, None).into_string().contains("<svg onload"));
    }
}
