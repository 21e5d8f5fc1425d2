//! Log lines as rows: number, time, text in colours.

use maud::{Markup, html};
use sluice_schemas::Timestamp;
use sluice_schemas::ids::RepoSlug;

use crate::Api;
use crate::model::JobView;
use crate::rest::logs::{self, Line, Said};
use crate::text::ansi;
use futures::StreamExt as _;

/// Rows in a page: the newest; all of them are in the raw log.
const MOST: usize = 3000;

/// Lines of a step, as far as there are any.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    pub(super) folded: usize,
    /// The number of the last line.
    pub(super) last: u64,
}

/// What a step has said.
pub(super) async fn so_far(api: &Api, repo: &RepoSlug, number: u64, job: &JobView, step: u32) -> Lines {
    let said = logs::so_far(api.clone(), repo.clone(), number, vec![job.planned.id.clone()], Some(step));
    let mut said = Box::pin(said);
    let mut found = Lines::default();
    while let Some(said) = said.next().await {
        match said {
            Said::Line(line) => {
                found.last = line.n;
                found.lines.push(line);
            }
            Said::Again { .. } => found = Lines::default(),
            Said::End(_) => {}
        }
        if found.lines.len() > MOST * 2 {
            found.folded += found.lines.drain(..MOST).count();
        }
    }
    if found.lines.len() > MOST {
        let over = found.lines.len() - MOST;
        found.folded += found.lines.drain(..over).count();
    }
    found
}

/// Element `log`.
pub(super) fn list(job: &JobView, step: u32, lines: &Lines) -> Markup {
    let began = lines.lines.first().and_then(|line| line.at);
    let at = first_error(&lines.lines);
    html! {
        ol class="log" id="log" aria-label={ "Log of step " (step + 1) } data-began=[began.map(Timestamp::unix_millis)] {
            @if lines.folded > 0 {
                li class="fold" { a {} time {} span { (lines.folded) " older lines are in the raw log" } }
            }
            @if lines.lines.is_empty() {
                li class="fold" id="log-empty" { a {} time {} span {
                    @match job.steps.iter().find(|it| it.index == step).map(|it| it.phase) {
                        Some(crate::model::JobPhase::Finished) => { "This step printed nothing." }
                        Some(crate::model::JobPhase::Running) => { "Nothing printed yet." }
                        _ => { "Not begun." }
                    }
                } }
            }
            @for line in &lines.lines { (row(line, began, at == Some(line.n))) }
        }
    }
}

/// One row. `began` is the first line's time: rows count from it.
pub(super) fn row(line: &Line, began: Option<Timestamp>, at: bool) -> Markup {
    let id = format!("step:{}:L{}", line.step + 1, line.n);
    html! {
        li id=(id) class=[at.then_some("at")] {
            a href={ "#" (id) } { (line.n) }
            time { @if let (Some(at), Some(began)) = (line.at, began) { (since(at, began)) } }
            span { @for piece in ansi::pieces(&line.text) { @match piece.class {
                Some(class) => { span class=(class) { (piece.text) } }
                None => { (piece.text) }
            } } }
        }
    }
}

/// The first line that looks like what went wrong.
fn first_error(lines: &[Line]) -> Option<u64> {
    const SIGNS: &[&str] =
        &["##[error]", "::error", "error:", "Error:", "ERROR", "FAILED", "FAIL:", "panicked at", "fatal:"];
    lines.iter().find(|line| SIGNS.iter().any(|sign| line.text.contains(sign))).map(|line| line.n)
}

fn since(at: Timestamp, began: Timestamp) -> String {
    let millis = at.millis_since(began);
    format!("{}.{}", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64, text: &str) -> Line {
        Line { job: "test".to_owned(), step: 0, n, at: None, text: text.to_owned() }
    }

    #[test]
    fn what_a_job_prints_is_only_text() {
        for text in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "\u{1b}[31m<b>red</b>\u{1b}[0m",
            "\"><svg/onload=alert(1)>",
            "\u{1b}]8;;javascript:alert(1)\u{7}click\u{1b}]8;;\u{7}",
        ] {
            let shown = row(&line(1, text), None, false).into_string();
            let inner = shown.replace("<li", "").replace("<a ", "").replace("<time", "").replace("<span", "");
            for tag in ["<script", "<img", "<b>", "<svg", "javascript:"] {
                assert!(!inner.contains(tag), "{shown}");
            }
        }
    }

    #[test]
    fn colours_are_classes() {
        let shown = row(&line(1, "\u{1b}[31mno\u{1b}[0m"), None, false).into_string();
        assert!(shown.contains("<span class=\"r\">no</span>") && !shown.contains("style"), "{shown}");
    }

    #[test]
    fn the_first_error_is_found() {
        assert_eq!(first_error(&[line(1, "ok"), line(2, "error: no"), line(3, "FAILED")]), Some(2));
    }
}
