//! Home: what needs you, lanes from commit to pod, the stream.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};

use super::forms::{Done, toast};
use super::layout::{Frame, Place, page as layout};
use super::parts::{ago, at_clock, empty, icon, icon_with, station_look};
use super::{View, Viewer, needs_of};
use crate::Api;
use crate::access::{Action, Resource};
use crate::model::{Lane, Need, NeedKind, Station, StationState};
use crate::text::words::count;

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
    Query(done): Query<Done>,
) -> Markup {
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Home" } (summary(&view)) } }
        div class="gap" {
            (needs(&view))
            (lanes(&view))
            section class="panel" aria-labelledby="stream-h" {
                header { h2 id="stream-h" { "Stream" } code class="dim" { "nats sub 'evt.>'" } }
                (stream(&view))
            }
        }
    };
    let frame = Frame { done: toast(&done), ..Frame::new("Home", Place::Home, "home") };
    layout(&view, &headers, &frame, &body)
}

/// What may change while somebody looks: element id and content.
pub(super) fn fragments(view: &View<'_>) -> Vec<(String, Markup)> {
    vec![
        ("needs-sum".to_owned(), summary(view)),
        ("needs".to_owned(), needs(view)),
        ("lanes".to_owned(), lanes(view)),
        ("stream".to_owned(), stream(view)),
    ]
}

fn summary(view: &View<'_>) -> Markup {
    let needs = needs_of(view.api, view.caller);
    let decisions = needs.iter().filter(|need| need.kind <= NeedKind::Promote).count();
    let looks = needs.len() - decisions;
    html! {
        span class="mute" id="needs-sum" {
            @match (decisions, looks) {
                (0, 0) => { "Nothing needs you" }
                (decisions, 0) => { (count(decisions, "thing needs a person", "things need a person")) }
                (0, looks) => { (count(looks, "thing needs a look", "things need a look")) }
                (decisions, looks) => {
                    (count(decisions, "thing needs a person", "things need a person")) ", "
                    (count(looks, "needs a look", "need a look"))
                }
            }
        }
    }
}

fn needs(view: &View<'_>) -> Markup {
    let needs = needs_of(view.api, view.caller);
    html! {
        section class="panel" id="needs" aria-labelledby="needs-h" aria-live="polite" hidden[needs.is_empty()] {
            header { h2 id="needs-h" { "Needs you" } span class="dim small" { "oldest decision first" } }
            @for need in &needs { (need_row(view, need)) }
        }
    }
}

fn need_row(view: &View<'_>, need: &Need) -> Markup {
    let (class, name, button, button_icon, word) = match need.kind {
        NeedKind::Sync => ("gate", "gate", "btn gate", "gate", "SYNC"),
        NeedKind::Promote => ("gate", "promote", "btn", "promote", "Promote"),
        NeedKind::Run => ("bad", "bad", "btn", "logs", "Open log"),
        NeedKind::App => ("bad", "bad", "btn", "tree", "Open"),
    };
    let subject = need.href.trim_end_matches("/sync");
    html! {
        div class={ "need " (class) } id=(need.id) {
            (icon(name))
            div { b { a href=(subject) { (need.name) } " " (need.title) } p { (need.text) } }
            @if let Some(since) = need.since { (ago(view, since)) } @else { span {} }
            a class=(button) href=(need.href) data-nav="" { (icon(button_icon)) (word) }
        }
    }
}

fn lanes(view: &View<'_>) -> Markup {
    let lanes = view.api.model.read().lanes();
    let lanes: Vec<Lane> = lanes
        .into_iter()
        .filter(|lane| view.may(Resource::Runs, Action::Get, lane.repository.as_str()))
        .collect();
    html! {
        section class="panel" id="lanes" aria-labelledby="lanes-h" {
            header {
                h2 id="lanes-h" { "Lanes" } span class="dim small" { "commit to pod, one line a service" }
                a class="btn quiet push" href="/deliveries" { "All deliveries" }
            }
            @if lanes.is_empty() {
                (empty("flow", "No run yet", "A push to a repository that Sluice knows starts one, and its lane appears here.",
                    Some("sluice doctor")))
            } @else {
                div class="lane caps" aria-hidden="true" {
                    span { "Service" } span { "Commit" } span { "Run" } span { "Image" } span { "dev" } span {} span { "prod" } span {}
                }
                @for lane in &lanes { (lane_row(view, lane)) }
            }
        }
    }
}

fn lane_row(view: &View<'_>, lane: &Lane) -> Markup {
    let ready = lane.promotable.as_ref().is_some_and(|it| it.ready);
    let gate_icon = if lane.shut || ready { "gate" } else { "gate-open" };
    // The line behind a station is solid when the next one has arrived, moves while it is on its way.
    let line = |next: &Station| match next.state {
        StationState::Run => "flow",
        StationState::Queue | StationState::Skip | StationState::Bad => "to",
        _ => "",
    };
    html! {
        div class="lane" id={ "lane-" (lane.repository) } {
            div { a href={ "/deliveries/" (lane.correlation) } { b { (lane.name) } } small { (lane.place) } }
            (station(view, &lane.commit, "commit", line(&lane.run)))
            (station(view, &lane.run, "", line(&lane.image)))
            (station(view, &lane.image, "image", if lane.image.state == StationState::Ok { line(&lane.dev) } else { "to" }))
            (station(view, &lane.dev, "", "to"))
            span class={ "sluice " @if lane.shut { "shut" } } title=(lane.gate) {
                (icon(gate_icon)) span class="sr" { (lane.gate) }
            }
            (station(view, &lane.prod, "", "end"))
            @if lane.shut && let Some(app) = &lane.prod_app {
                a class="btn gate" href={ "/apps/" (app) "/sync" } data-nav="" { (icon("gate")) "SYNC" }
            } @else if ready {
                a class="btn" href={ "/promote/" (lane.repository) } data-nav="" { (icon("promote")) "Promote" }
            } @else { span class="none" {} }
        }
    }
}

fn station(view: &View<'_>, it: &Station, rests: &str, line: &str) -> Markup {
    let (class, name) = station_look(it.state);
    let name = if it.state == StationState::Ok && !rests.is_empty() { rests } else { name };
    let spin = if name == "run" { "spin" } else { "" };
    let label = format!("{} {}", it.word, it.detail);
    html! {
        a class={ "st " (class) " " (line) } href=(it.href) aria-label=(label) {
            (icon_with(name, spin)) b class="cut" { (it.word) }
            small class="cut" {
                span { (it.detail) @if !it.detail.is_empty() && it.at.is_some() { ", " } }
                @if let Some(at) = it.at { (ago(view, at)) }
            }
        }
    }
}

fn stream(view: &View<'_>) -> Markup {
    let model = view.api.model.read();
    let audit = view.may(Resource::Audit, Action::Get, "*");
    html! {
        ol class="events" id="stream" aria-live="off" {
            @for row in model.rows.iter().rev() {
                @let owner = row.subject.split('.').nth(2).unwrap_or_default();
                @let ours = row.subject.starts_with("evt.app.") || row.subject.starts_with("evt.render.")
                    || row.subject.starts_with("evt.sync.") || row.subject.starts_with("evt.grant.");
                @let visible = if ours { view.may(Resource::Applications, Action::Get, &format!("{owner}/*")) }
                    else if row.subject.starts_with("evt.session.") || row.subject.starts_with("evt.chat.") { audit }
                    else { view.may(Resource::Runs, Action::Get, owner) };
                @if visible {
                    li id={ "row-" (row.sequence) } {
                        a href={ "/deliveries/" (row.correlation) } {
                            (at_clock(row.time)) code class="cut" { (row.subject) } span class="cut" { (row.text) }
                        }
                    }
                }
            }
        }
    }
}
