//! A delivery: totals, the time ledger, who opened the gate, evidence, replay.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_schemas::Sha;

use super::deliveries::delivery_status;
use super::errors::PageError;
use super::layout::{Frame, Place, crumbs, page as layout};
use super::parts::{icon, status, surface, tint, who};
use super::{View, Viewer};
use crate::Api;
use crate::model::{Chain, Ledger, Segment, SegmentKind};
use crate::rest::deliveries::{find, replay};
use crate::text::words::{count, duration, moment};

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(correlation): Path<String>,
    headers: HeaderMap,
) -> Result<Markup, PageError> {
    let chain = find(&api, &caller, &correlation)?;
    let view = View::new(&api, &caller);
    let title =
        if chain.summary.title.is_empty() { "Delivery".to_owned() } else { chain.summary.title.clone() };
    let body = html! { (hatches()) (content(&chain)) };
    let frame = Frame::new(&title, Place::Deliveries, format!("delivery/{}", chain.correlation));
    Ok(layout(&view, &headers, &frame, &body))
}

/// What may change while somebody looks.
pub(super) fn fragments(view: &View<'_>, correlation: &str) -> Vec<(String, Markup)> {
    match find(view.api, view.caller, correlation) {
        Ok(chain) => vec![("delivery".to_owned(), content(&chain))],
        Err(_) => Vec::new(),
    }
}

fn content(chain: &Chain) -> Markup {
    let ledger = Ledger::of(chain);
    let it = &chain.summary;
    let repository = it.repository.as_ref().map_or("", |it| it.full_name.as_str());
    html! {
        div id="delivery" {
            header class="head" {
                (crumbs(&[("/deliveries", "Deliveries"), ("/deliveries", repository)], it.sha.as_ref().map_or("", Sha::short)))
                div class="row" {
                    h1 { @if it.title.is_empty() { "Delivery" } @else { (it.title) } }
                    (tint(delivery_status(chain)))
                    span class="mute" {
                        code { (it.sha.as_ref().map_or("", Sha::short)) } @if !it.author.is_empty() { " by " (it.author) } ", " (moment(it.started_at))
                    }
                    span class="push row" { button class="btn quiet" type="button" data-copy=(chain.correlation) { (icon("copy")) "Chain id" } }
                }
                @if let Some(failure) = &it.failure { div class="banner bad" { (icon("bad")) span { (failure) } } }
            }
            div class="gap" {
                (totals(&ledger))
                (table(chain, &ledger))
                div class="cols even" { (grants(&ledger)) (evidence(chain)) }
            }
        }
    }
}

fn totals(ledger: &Ledger) -> Markup {
    let before: Vec<&Segment> =
        ledger.segments.iter().filter(|it| !it.after_gate && it.kind != SegmentKind::Gate).collect();
    let after: Vec<&Segment> = ledger.segments.iter().filter(|it| it.after_gate).collect();
    let granted = ledger.grants.last();
    html! {
        section class="panel triple" aria-label="Summary" {
            div class="in" {
                h3 { "Push to dev" }
                div class="sum" { strong { @if let Some(ms) = ledger.push_to_dev_ms { (duration(ms)) } @else { "not yet" } } }
                (strip(&before)) (sums(&before))
            }
            div class="in gatecol" {
                h3 { "At the gate" }
                div class="sum" { strong { @if let Some(ms) = ledger.gate_ms { (duration(ms)) } @else { "–" } } }
                p class="small mute" { @match granted {
                    Some(it) => { "Granted by " (it.person) " from " (format!("{:?}", it.surface)) }
                    None => { "Nobody granted yet" }
                } }
            }
            div class="in" {
                h3 { "Grant to prod" }
                div class="sum" { strong { @if let Some(ms) = ledger.grant_to_prod_ms { (duration(ms)) } @else { "not yet" } } }
                (strip(&after)) (sums(&after))
            }
        }
    }
}

/// All parts in one bar.
fn strip(segments: &[&Segment]) -> Markup {
    let total: u64 = segments.iter().map(|it| it.ms).sum();
    let mut at = 0_u64;
    html! {
        svg class="chart" height="14" aria-hidden="true" { @for it in segments {
            @let x = percent(at, total); @let width = percent(it.ms, total);
            rect class=(bar(it)) x=(x) width=(width) height="14" rx="2" {}
            @let _ = { at += it.ms; };
        } }
    }
}

fn sums(segments: &[&Segment]) -> Markup {
    let mut sums: Vec<(SegmentKind, u64, &Segment)> = Vec::new();
    for it in segments {
        match sums.iter_mut().find(|(kind, _, _)| *kind == it.kind) {
            Some((_, ms, _)) => *ms += it.ms,
            None => sums.push((it.kind, it.ms, it)),
        }
    }
    html! {
        div class="parts" { @for (kind, ms, it) in sums {
            span { svg aria-hidden="true" { rect class=(bar(it)) width="12" height="12" rx="2" {} } (kind.as_str()) " " b { (duration(ms)) } }
        } }
    }
}

fn table(chain: &Chain, ledger: &Ledger) -> Markup {
    let scale = Scale::of(ledger);
    html! {
        section class="panel" aria-labelledby="led-h" {
            header {
                h2 id="led-h" { "Time ledger" } span class="dim small" { "hatched waits, solid works; the gate is not to scale" }
                span class="push row" { a class="btn quiet" href={ "/api/v1/deliveries/" (chain.correlation) } { (icon("save")) "JSON" } }
            }
            ol class="ledger" {
                @for it in &ledger.segments {
                    @let (x, width) = scale.place(it);
                    li {
                        span class="cut" title=(it.what) { (it.what) " " span class="dim small" { (it.service) } }
                        svg class="chart" role="img" aria-label={ (it.what) ": " (duration(it.ms)) } {
                            rect class=(bar(it)) x=(x) width=(width) y="9" height="12" rx="2" {}
                        }
                        span class="num" { (duration(it.ms)) }
                        span class="cut small mute" title={ "EVENTS " (it.sequence) } { (fact_name(&it.evidence)) }
                    }
                }
            }
            footer {
                span { (count(chain.facts.len(), "event", "events")) ", one chain id" } code { (chain.correlation) }
                span class="push" { button class="btn quiet" type="button" data-copy=(replay(chain)) { (icon("copy")) "Copy the command that replays it" } }
            }
            pre class="code scroll" { (replay(chain)) }
        }
    }
}

fn grants(ledger: &Ledger) -> Markup {
    html! {
        section class="panel" id="grant" aria-labelledby="grant-h" {
            header { h2 id="grant-h" { "Who opened the gate" } }
            @if ledger.grants.is_empty() { p class="in mute" { "Nobody yet. Prod changes only under a grant." } }
            @for it in &ledger.grants {
                dl class="kv in" {
                    dt { "Person" } dd { (who(it.person.as_str())) }
                    dt { "From" } dd { (surface(it.surface)) }
                    dt { "When" } dd { (moment(it.issued_at)) @match it.consumed_at {
                        Some(at) => { ", used " (duration(at.millis_since(it.issued_at))) " later" } None => { ", not used yet" }
                    } }
                    dt { "For" } dd { code { (it.revision.short()) } " to " (it.app) ", nothing else, once" }
                    dt { "Grant" } dd { code { (it.grant) } " " @if it.consumed_at.is_some() { (status("ok", "gate-open", "Used once")) } }
                }
            }
        }
    }
}

fn evidence(chain: &Chain) -> Markup {
    let it = &chain.summary;
    html! {
        section class="panel" aria-labelledby="ev-h" {
            header { h2 id="ev-h" { "Evidence" } }
            dl class="kv in" {
                dt { "Commit" } dd { (icon("commit")) " " code { (it.sha.as_ref().map_or("", Sha::short)) } " " (it.git_ref) }
                @if let (Some(run), Some(repository)) = (it.run, &it.repository) {
                    dt { "Run" } dd { (icon("flow")) " " a class="link" href={ "/runs/" (repository.slug) "/" (run) } { "#" (run) } }
                }
                @if let Some(image) = &it.image {
                    dt { "Image" } dd { (icon("image")) " " code { (image) ":" (it.tag.as_deref().unwrap_or_default()) } @if let Some(digest) = &it.digest { " " code { "sha256:" (digest.short()) } } }
                }
                @if !it.deploy_commits.is_empty() {
                    dt { "Deploy" } dd { (icon("branch")) @for commit in &it.deploy_commits { " " code { (commit.short()) } } }
                }
                @if !it.apps.is_empty() {
                    dt { "Applications" } dd { @for app in &it.apps { a class="link" href={ "/apps/" (app.app.name()) } { (app.app.name()) } " " } }
                }
            }
        }
    }
}

/// Where segments lie on the common axis: 50 % before the gate, 10 % the gate, 40 % after.
struct Scale {
    start: i64,
    gate: Option<(i64, i64)>,
    end: i64,
}

impl Scale {
    fn of(ledger: &Ledger) -> Self {
        let from = |it: &Segment| it.started_at.unix_millis();
        let until = |it: &Segment| from(it) + i64::try_from(it.ms).unwrap_or(0);
        let start = ledger.segments.iter().map(from).min().unwrap_or(0);
        let end = ledger.segments.iter().map(until).max().unwrap_or(start + 1);
        let longest = ledger.segments.iter().filter(|it| it.kind == SegmentKind::Gate).max_by_key(|it| it.ms);
        Self { start, gate: longest.map(|it| (from(it), until(it))), end: end.max(start + 1) }
    }

    fn place(&self, it: &Segment) -> (String, String) {
        let from = self.at(it.started_at.unix_millis());
        let to = self.at(it.started_at.unix_millis() + i64::try_from(it.ms).unwrap_or(0));
        // A millisecond is still seen.
        let width = (to - from).max(40).min(10_000 - from);
        (hundredths(from), hundredths(width))
    }

    /// Hundredths of a percent.
    fn at(&self, millis: i64) -> i64 {
        let share = |from: i64, to: i64, parts: i64| {
            let span = (to - from).max(1);
            (millis - from).clamp(0, span) * parts / span
        };
        match self.gate {
            None => share(self.start, self.end, 10_000),
            Some((opens, _)) if millis <= opens => share(self.start, opens, 5_000),
            Some((opens, closes)) if millis <= closes => 5_000 + share(opens, closes, 1_000),
            Some((_, closes)) => 6_000 + share(closes, self.end, 4_000),
        }
    }
}

fn bar(it: &Segment) -> &'static str {
    match it.kind {
        SegmentKind::Gate => "gatebar",
        _ if it.waits => "waitbar",
        SegmentKind::Test | SegmentKind::Push | SegmentKind::Bump => "work",
        SegmentKind::Apply | SegmentKind::Rollout | SegmentKind::Render => "work done",
        _ => "work soft",
    }
}

fn percent(part: u64, whole: u64) -> String {
    let share = part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
    hundredths(i64::try_from(share).unwrap_or(0))
}

fn hundredths(value: i64) -> String {
    format!("{}.{:02}%", value / 100, value % 100)
}

/// `run.finished` of a subject.
fn fact_name(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    match tokens.as_slice() {
        ["evt", entity, _, _, fact] => format!("{entity}.{fact}"),
        _ => subject.to_owned(),
    }
}

fn hatches() -> Markup {
    html! {
        svg width="0" height="0" aria-hidden="true" class="defs" { defs {
            pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" { line class="hatch" x1="0" x2="0" y1="0" y2="5" {} }
            pattern id="hatch-gate" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" { line class="hatch g" x1="0" x2="0" y1="0" y2="5" {} }
        } }
    }
}
