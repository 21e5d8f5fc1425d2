//! The pages of one application: tree, diff, history, events, manifest; and the header that they share.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_schemas::Sha;
use sluice_schemas::events::SyncStatus;
use sluice_schemas::ids::SyncId;
use sluice_schemas::state::{AppState, ObjectAction};

use super::errors::PageError;
use super::forms::{Done, toast};
use super::layout::{Frame, Place, crumbs, page as layout};
use super::parts::{
    ago, at_clock, button, empty, health_status, icon, status, surface, sync_status, tint, who,
};
use super::{View, Viewer, diff, object_of, tree};
use crate::Api;
use crate::access::{Action, Resource};
use crate::model::{SyncPhase, actor, place};
use crate::text::words::{count, moment};

/// A tab of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Tree,
    Diff,
    History,
    Events,
    Manifest,
}

type Shown = Result<Markup, PageError>;

pub(super) async fn tree_page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(done): Query<Done>,
) -> Shown {
    let state = api.app(&caller, &name, Action::Get).await?;
    let view = View::new(&api, &caller);
    let content = html! {
        (sync_panel(&view, &state, done.sync.as_deref()))
        (tree::panel(&view, &state).await)
        (conditions(&view, &state))
    };
    Ok(whole(&view, &headers, &state, Tab::Tree, &content, &done))
}

pub(super) async fn diff_page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Shown {
    let state = api.app(&caller, &name, Action::Get).await?;
    let view = View::new(&api, &caller);
    let content = diff::content(&view, &state).await?;
    Ok(whole(&view, &headers, &state, Tab::Diff, &content, &Done::default()))
}

pub(super) async fn history_page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Shown {
    let state = api.app(&caller, &name, Action::Get).await?;
    let view = View::new(&api, &caller);
    let content = history(&view, &state);
    Ok(whole(&view, &headers, &state, Tab::History, &content, &Done::default()))
}

pub(super) async fn events_page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Shown {
    let state = api.app(&caller, &name, Action::Get).await?;
    let view = View::new(&api, &caller);
    let content = {
        let model = api.model.read();
        let rows: Vec<_> = model.audit.iter().rev().filter(|it| it.object == name).take(100).collect();
        html! {
            section class="panel" {
                @if rows.is_empty() { (empty("audit", "Nothing happened yet", "Grants, syncs and refused attempts appear here.", None)) }
                @else {
                    table class="t stack" { tbody { @for it in rows { tr {
                        td { (at_clock(it.time)) }
                        td { @if let Some(person) = &it.person { (who(person)) } @else { span class="mute" { "sluice" } } }
                        td class="wide" { (it.action) } td class="wide mute" { (it.detail) }
                    } } } }
                }
            }
        }
    };
    Ok(whole(&view, &headers, &state, Tab::Events, &content, &Done::default()))
}

pub(super) async fn manifest_page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Shown {
    let state = api.app(&caller, &name, Action::Get).await?;
    let view = View::new(&api, &caller);
    let text = match &state.comparison {
        Some(digest) => {
            let comparison = api.comparisons.get(digest).await?;
            let wanted = comparison.objects.iter().filter(|it| it.desired.is_some());
            wanted.map(|it| crate::text::diff::yaml(it.desired.as_ref())).collect::<Vec<_>>().join("---\n")
        }
        None => String::new(),
    };
    let content = html! { section class="panel" { pre class="code scroll" { (text) } } };
    Ok(whole(&view, &headers, &state, Tab::Manifest, &content, &Done::default()))
}

/// What may change while somebody looks at the tree.
pub(super) async fn fragments(view: &View<'_>, name: &str, sync: Option<&str>) -> Vec<(String, Markup)> {
    let Ok(state) = view.api.app(view.caller, name, Action::Get).await else { return Vec::new() };
    vec![
        ("app-head".to_owned(), head(view, &state)),
        ("sync-progress".to_owned(), sync_panel(view, &state, sync)),
        ("tree".to_owned(), tree::tree(view, &state).await),
        ("conditions".to_owned(), conditions(view, &state)),
    ]
}

fn whole(
    view: &View<'_>,
    headers: &HeaderMap,
    state: &AppState,
    tab: Tab,
    content: &Markup,
    done: &Done,
) -> Markup {
    let name = state.app.app.name();
    let stream = match (tab, &done.sync) {
        (Tab::Tree, Some(sync)) => format!("app/{name}/{sync}"),
        (Tab::Tree, None) => format!("app/{name}"),
        _ => String::new(),
    };
    let body = html! {
        (head(view, state))
        (tabs(state, tab))
        div class="gap" { (content) }
    };
    let frame = Frame { done: toast(done), ..Frame::new(&name, Place::Apps, stream) };
    layout(view, headers, &frame, &body)
}

/// Name, status, and what can be done.
pub(super) fn head(view: &View<'_>, state: &AppState) -> Markup {
    let name = state.app.app.name();
    let project = state.app.project.name();
    let may_sync = view.may(Resource::Applications, Action::Sync, &object_of(state));
    let since = view.api.model.read().marks.get(&state.app.app).and_then(|marks| marks.differs_since);
    let waits = state.sync == SyncStatus::OutOfSync;
    html! {
        header class="head" id="app-head" {
            (crumbs(&[("/apps", "Applications"), ("/apps", &project)], &name))
            div class="row" {
                h1 { (name) }
                @if state.gated { span class="tag prod" title=(state.gate_reason) { "gated" } }
                span id="app-sync" { (tint(sync_status(state.sync, state.gated))) }
                span id="app-health" { (tint(health_status(state.health))) }
                span class="mute" {
                    @if let Some(revision) = &state.synced_revision { "runs " code { (revision.short()) } @if waits { ", " } }
                    @if waits && let Some(revision) = &state.revision {
                        code { (revision.short()) } @if state.gated { " waits" } @else { " is next" }
                        @if let Some(since) = since { " for " (ago(view, since)) }
                    }
                }
                span class="push row" {
                    (button(view, &format!("/ui/apps/{name}/refresh"), "quiet", "sync", "Refresh", Some("r")))
                    @if may_sync {
                        a class={ "btn " @if state.gated { "gate" } } href={ "/apps/" (name) "/sync" } data-key="s" title="s" {
                            (icon("gate")) "SYNC"
                        }
                    } @else {
                        a class="btn gate" aria-disabled="true" aria-describedby="why-off" { (icon("lock")) "SYNC" }
                        span class="small mute" id="why-off" { "Off: needs applications, sync on " (object_of(state)) }
                    }
                }
            }
            @if !state.health_message.is_empty() { p class="mute" { (state.health_message) } }
        }
    }
}

fn tabs(state: &AppState, here: Tab) -> Markup {
    let name = state.app.app.name();
    let tab = |tab: Tab, path: &str, word: &str, key: Option<&str>| {
        html! { a href={ "/apps/" (name) (path) } aria-current=[(here == tab).then_some("page")] data-key=[key] { (word) } }
    };
    html! {
        nav class="tabs" aria-label="Application" {
            (tab(Tab::Tree, "", "Tree", None)) (tab(Tab::Diff, "/diff", "Diff", Some("d")))
            (tab(Tab::History, "/history", "History", None)) (tab(Tab::Events, "/events", "Events", None))
            (tab(Tab::Manifest, "/manifest", "Manifest", None))
        }
    }
}

/// The sync that was just ordered, or the last one, live.
fn sync_panel(view: &View<'_>, state: &AppState, wanted: Option<&str>) -> Markup {
    let id = wanted.and_then(|id| id.parse::<SyncId>().ok());
    let last = state.operation.as_ref().map(|operation| operation.sync.clone());
    let running = state.operation.as_ref().is_some_and(|operation| operation.finished_at.is_none());
    let id = match id {
        Some(id) => id,
        None if running => match last {
            Some(id) => id,
            None => return html! { div id="sync-progress" hidden {} },
        },
        None => return html! { div id="sync-progress" hidden {} },
    };
    let model = view.api.model.read();
    let (phase, message, results) = match (model.sync(&id), model.refused_sync(&id)) {
        (Some(it), _) => (it.phase, it.message.clone(), it.results.clone()),
        (None, Some((reason, _))) => (SyncPhase::Refused, reason, Vec::new()),
        (None, None) => {
            (SyncPhase::Pending, "The grant is on its way to the reconciler.".to_owned(), Vec::new())
        }
    };
    let (kind, icon_name, word) = match phase {
        SyncPhase::Pending => ("", "queue", "Granted"),
        SyncPhase::Running => ("run", "run", "Applying"),
        SyncPhase::Succeeded => ("ok", "gate-open", "Applied"),
        SyncPhase::Refused => ("bad", "bad", "Refused"),
        SyncPhase::Failed | SyncPhase::Error => ("bad", "bad", "Failed"),
    };
    html! {
        section class="panel" id="sync-progress" aria-label="Sync" data-phase=(format!("{phase:?}")) {
            header { h2 { "Sync" } (status(kind, icon_name, word)) span class="mute" { (message) } code class="dim push" { (id) } }
            @if !results.is_empty() {
                ul class="objs in" { @for it in &results { li {
                    (icon(super::parts::kind_icon(&it.kind))) span { (it.kind) " " (it.name) }
                    span class="dim" { (it.message) } span { (format!("{:?}", it.status)) }
                } } }
            }
        }
    }
}

fn conditions(view: &View<'_>, state: &AppState) -> Markup {
    let failed =
        view.api.model.read().marks.get(&state.app.app).and_then(|marks| marks.render_failed.clone());
    // A rendering's failure is told above them, with its places.
    let told = state.render_error.as_ref().filter(|_| failed.is_some());
    let conditions: Vec<_> = state.conditions.iter().filter(|it| Some(*it) != told).collect();
    let number = conditions.len() + usize::from(failed.is_some()) + usize::from(state.gated);
    html! {
        section class="panel" id="conditions" aria-labelledby="cond-h" hidden[number == 0] {
            header { h2 id="cond-h" { "Conditions" } span class="dim small" { (number) ", with what to do" } }
            ul class="notes in" {
                @if let Some((failed, at)) = &failed {
                    li class="bad" {
                        (icon("bad"))
                        span { b { "Not rendered" } ": " (failed.reason) " " (ago(view, *at)) " ago" }
                        small {
                            @for annotation in &failed.annotations { (place(annotation)) br; }
                            "Live objects are untouched and still watched. Last good: "
                            code { (state.revision.as_ref().map_or("none", Sha::short)) } ". Fix the file and push; it is rendered again by itself."
                        }
                    }
                }
                @for it in conditions {
                    li class={ @if it.kind.ends_with("Error") { "bad" } @else { "gate" } } {
                        (icon("warn")) span { b { (it.kind) } ", " (ago(view, it.since)) } small { (it.message) }
                    }
                }
                @if state.gated {
                    li {
                        (icon("hold")) span { b { "Gated" } ": " (state.gate_reason) }
                        small { "A named person grants each revision. " a class="link" href={ "/apps/" (state.app.app.name()) "/events" } { "Who granted before" } }
                    }
                }
            }
        }
    }
}

fn history(view: &View<'_>, state: &AppState) -> Markup {
    html! {
        section class="panel" id="history" {
            @if state.history.is_empty() {
                (empty("rollback", "Never synced", "Each sync that succeeds is kept here, with who granted it.", None))
            } @else {
                table class="t stack" {
                    thead { tr { th { "Revision" } th { "By" } th { "From" } th { "Manifests" } th class="num" { "When" } } }
                    tbody { @for it in &state.history {
                        @let (person, from) = actor(&it.trigger);
                        tr {
                            td { code { (it.revision.short()) } small class="dim" { "#" (it.id) } }
                            td { @if let Some(person) = &person { (who(person)) } @else { span class="mute" { "automated" } } }
                            td class="off" { @if let Some(from) = from { (surface(from)) } }
                            td class="off" { code { (it.manifests.short()) } }
                            td class="num" title=(moment(it.deployed_at)) { (ago(view, it.deployed_at)) }
                        }
                    } }
                }
            }
        }
        p class="small mute" { "To go back, revert the commits in the deploy repository; a gated application then waits for SYNC like any other change." }
    }
}

/// `3 objects differ`.
pub(super) fn differing(objects: &[sluice_schemas::state::ObjectComparison]) -> String {
    let number = objects.iter().filter(|it| it.action != ObjectAction::None).count();
    count(number, "object differs", "objects differ")
}
