//! Differences object by object, the same data side by side and unified.

use maud::{Markup, html};
use sluice_schemas::Sha;
use sluice_schemas::state::{AppState, ObjectAction, ObjectComparison};

use super::View;
use super::app::differing;
use super::parts::{empty, icon, kind_icon};
use crate::error::ApiError;
use crate::text::diff::{self, Row};

/// The content of the diff tab.
pub(super) async fn content(view: &View<'_>, state: &AppState) -> Result<Markup, ApiError> {
    let Some(digest) = &state.comparison else {
        return Ok(empty(
            "diff",
            "Not compared yet",
            "The reconciler compares as soon as the source is rendered.",
            None,
        ));
    };
    let comparison = view.api.comparisons.get(digest).await?;
    let changed: Vec<&ObjectComparison> = comparison
        .objects
        .iter()
        .filter(|it| it.action != ObjectAction::None || it.error.is_some())
        .collect();
    let revision = state.revision.as_ref().map_or("", Sha::short);
    if changed.is_empty() {
        return Ok(empty("ok", "Nothing differs", &format!("Live is what Git has at {revision}."), None));
    }
    Ok(html! {
        div class="filters" {
            span class="mute" { b { (differing(&comparison.objects)) } ": live against " code { (revision) } }
            span class="push row" {
                a class="btn quiet" href={ "/api/v1/apps/" (state.app.app.name()) "/diff" } { (icon("save")) "Raw" }
                span class="seg" role="radiogroup" aria-label="Diff view" {
                    label { input type="radio" name="v" id="v-split" checked; "Side by side" }
                    label { input type="radio" name="v" id="v-uni"; "Unified" }
                }
            }
        }
        div class="cols flip" {
            nav class="panel" aria-label="Objects that differ" { ol class="steps" {
                @for it in &changed {
                    @let change = diff::of(it.live.as_ref(), it.desired.as_ref());
                    li { a class="step" href={ "#obj-" (it.kind) "-" (it.name) } data-nav="" {
                        (icon(if it.action == ObjectAction::Prune { "trash" } else { kind_icon(&it.kind) }))
                        span class="cut" { (it.name) } time { (amount(it, change.added, change.removed)) }
                    } }
                }
            } }
            div class="gap" { @for it in &changed { (object(it, revision)) } }
        }
    })
}

fn amount(it: &ObjectComparison, added: usize, removed: usize) -> String {
    match it.action {
        ObjectAction::Prune => "prune".to_owned(),
        ObjectAction::Create => "new".to_owned(),
        _ => format!("+{added} −{removed}"),
    }
}

fn object(it: &ObjectComparison, revision: &str) -> Markup {
    let change = diff::of(it.live.as_ref(), it.desired.as_ref());
    let rows = diff::rows(it.live.as_ref(), it.desired.as_ref());
    html! {
        details class="panel clip obj" id={ "obj-" (it.kind) "-" (it.name) } open {
            summary {
                (icon("down")) (icon(kind_icon(&it.kind))) b { (it.name) } span class="dim" { (it.kind) ", " (it.namespace) }
                span class="push mute" { (change.fields.join(", ")) }
                span class="m" { span class="ok-c" { "+" (change.added) } " " span class="bad-c" { "−" (change.removed) } }
            }
            @if let Some(error) = &it.error {
                ul class="notes in" { li class="bad" { (icon("bad")) span { b { "Cannot be compared" } } small { (error) } } }
            }
            (side_by_side(&rows, revision))
            (unified(&rows))
        }
    }
}

fn side_by_side(rows: &[Row], revision: &str) -> Markup {
    html! {
        table class="diff side" aria-label="Side by side" {
            colgroup { col class="n"; col; col class="n"; col; }
            thead { tr { th { span class="sr" { "Line" } } th { "Live" } th { span class="sr" { "Line" } } th { "Git, " (revision) } } }
            tbody { @for pair in paired(rows) { @match pair {
                Pair::Alike(number) => { tr class="hunk" { td colspan="4" { (number) " lines alike" } } }
                Pair::Same(old, new, text) => { tr { td class="n" { (old) } td { (text) } td class="n" { (new) } td { (text) } } }
                Pair::Changed(old, new) => { tr {
                    @if let Some((number, pieces)) = old { td class="n del" { (number) } td class="del" { (marked(pieces, true)) } }
                    @else { td class="n no" {} td class="no" {} }
                    @if let Some((number, pieces)) = new { td class="n add" { (number) } td class="add" { (marked(pieces, false)) } }
                    @else { td class="n no" {} td class="no" {} }
                } }
            } } }
        }
    }
}

fn unified(rows: &[Row]) -> Markup {
    html! {
        table class="diff uni" aria-label="Unified" {
            colgroup { col class="n"; col class="n"; col; }
            tbody { @for row in rows { @match row {
                Row::Alike(number) => { tr class="hunk" { td colspan="3" { (number) " lines alike" } } }
                Row::Same { old, new, text } => { tr { td class="n" { (old) } td class="n" { (new) } td { (text) } } }
                Row::Removed { old, pieces } => { tr { td class="n del" { (old) } td class="n del" {} td class="del" { (marked(pieces, true)) } } }
                Row::Added { new, pieces } => { tr { td class="n add" {} td class="n add" { (new) } td class="add" { (marked(pieces, false)) } } }
            } } }
        }
    }
}

fn marked(pieces: &[(bool, String)], removed: bool) -> Markup {
    html! {
        @for (mark, text) in pieces {
            @if !mark { (text) } @else if removed { del { (text) } } @else { ins { (text) } }
        }
    }
}

type Side<'a> = Option<(usize, &'a [(bool, String)])>;

enum Pair<'a> {
    Alike(usize),
    Same(usize, usize, &'a str),
    Changed(Side<'a>, Side<'a>),
}

/// Removed and added lines that follow each other stand side by side.
fn paired(rows: &[Row]) -> Vec<Pair<'_>> {
    let mut pairs = Vec::new();
    let mut removed: Vec<(usize, &[(bool, String)])> = Vec::new();
    let mut added: Vec<(usize, &[(bool, String)])> = Vec::new();
    for row in rows {
        match row {
            Row::Removed { old, pieces } => removed.push((*old, pieces.as_slice())),
            Row::Added { new, pieces } => added.push((*new, pieces.as_slice())),
            Row::Alike(number) => {
                flush(&mut removed, &mut added, &mut pairs);
                pairs.push(Pair::Alike(*number));
            }
            Row::Same { old, new, text } => {
                flush(&mut removed, &mut added, &mut pairs);
                pairs.push(Pair::Same(*old, *new, text));
            }
        }
    }
    flush(&mut removed, &mut added, &mut pairs);
    pairs
}

fn flush<'a>(
    removed: &mut Vec<(usize, &'a [(bool, String)])>,
    added: &mut Vec<(usize, &'a [(bool, String)])>,
    pairs: &mut Vec<Pair<'a>>,
) {
    for at in 0..removed.len().max(added.len()) {
        pairs.push(Pair::Changed(removed.get(at).copied(), added.get(at).copied()));
    }
    removed.clear();
    added.clear();
}
