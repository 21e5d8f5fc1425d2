//! The SYNC sheet: what will be applied, what to know before, what is granted, and the typed name.
//!
//! Invariant: the button opens the gate for exactly what this sheet shows; the form carries its revision and digest.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_schemas::Sha;
use sluice_schemas::state::{AppState, ObjectAction};

use super::errors::PageError;
use super::layout::{Frame, Place, page as layout};
use super::parts::{ago, form_fields, icon, kind_icon};
use super::{View, Viewer, app, object_of, tree};
use crate::Api;
use crate::access::{Action, Resource};
use crate::error::ApiError;
use crate::gate::{self, Preview};
use crate::model::{image_name, image_tag};
use crate::text::words::{clock, count};

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Markup, PageError> {
    let state = api.app(&caller, &name, Action::Get).await?;
    let preview = gate::preview(&api, &caller, &state).await;
    let view = View::new(&api, &caller);
    let behind = html! { (app::head(&view, &state)) div class="gap" { (tree::panel(&view, &state).await) } };
    let sheet = match &preview {
        Ok(preview) => sheet(&view, &state, preview, automation_held(&api, &state).await),
        Err(error) => no_sheet(&state, error),
    };
    let body = html! { (behind) div class="scrim" {} (sheet) };
    let revision = state.revision.as_ref().map_or("", Sha::as_str);
    let frame = Frame::new(&name, Place::Apps, format!("sync/{name}/{revision}"));
    Ok(layout(&view, &headers, &frame, &body))
}

/// If Git moves while somebody reads, a banner voids the sheet.
pub(super) async fn fragments(view: &View<'_>, name: &str, revision: &str) -> Vec<(String, Markup)> {
    let Ok(state) = view.api.app(view.caller, name, Action::Get).await else { return Vec::new() };
    vec![("sync-void".to_owned(), void_banner(&state, revision))]
}

fn sheet(view: &View<'_>, state: &AppState, it: &Preview, automation_held: bool) -> Markup {
    let name = &it.app;
    let allowed = view.may(Resource::Applications, Action::Sync, &object_of(state));
    html! {
        dialog class="sheet" open aria-modal="true" aria-labelledby="sync-h" aria-describedby="sync-d" {
            header {
                div {
                    h1 id="sync-h" { "Sync " (name) }
                    p class="mute" id="sync-d" {
                        @if let Some(from) = &it.from_revision { "From " code { (from.short()) } " to " } @else { "To " }
                        code { (it.revision.short()) } ", namespace " (it.destination_namespace)
                    }
                }
                a class="btn quiet only push" href={ "/apps/" (name) } aria-label="Close (Esc)" data-key="Escape" { (icon("close")) }
            }
            (void_banner(state, it.revision.as_str()))
            div class="body" {
                div { (commits(view, it)) (images(it)) (objects(it)) }
                div { (before(view, state, it, allowed)) (granting(view, it)) @if automation_held && allowed { (for_good(view, it)) } }
            }
            (confirm(view, it, allowed))
        }
    }
}

fn commits(view: &View<'_>, it: &Preview) -> Markup {
    html! {
        section {
            @if it.commits.is_empty() {
                h2 { "Commits" }
                p class="small mute" { "The pushes between what runs and this are not known here." }
            } @else {
                h2 { (count(it.commits.len(), "commit", "commits")) @if !it.commits_complete { " or more" } }
            }
            ol class="commits" { @for commit in &it.commits {
                @match &commit.source {
                    Some(source) => { li {
                        code { a href={ "/deliveries/" (source.correlation) } { (source.sha.short()) } }
                        div { (source.title) small class="dim" { (source.repository) ", in deploy@" (commit.sha.short()) } }
                        span { (source.author) ", " (ago(view, commit.time)) }
                    } }
                    None => { li {
                        code { (commit.sha.short()) } div { (commit.title) } span { (commit.author) ", " (ago(view, commit.time)) }
                    } }
                }
            } }
        }
    }
}

fn images(it: &Preview) -> Markup {
    html! {
        section {
            h2 { (count(it.images.len(), "image", "images")) }
            @if it.images.is_empty() { p class="small mute" { "All images stay." } }
            @for image in &it.images {
                dl class="kv" {
                    dt { "Image" } dd { code { (image_name(&image.name)) } }
                    dt { "Now" } dd class="m" { span class="mute" { (image.from.as_deref().map_or("none", image_tag)) } }
                    dt { "After" } dd class="m" { b { (image.to.as_deref().map_or("none", image_tag)) } }
                }
            }
        }
    }
}

fn objects(it: &Preview) -> Markup {
    let changed = it.counts.create + it.counts.update;
    html! {
        section {
            h2 {
                (count(changed as usize, "object changes", "objects change"))
                @if it.counts.prune > 0 { ", " (it.counts.prune) @if it.counts.prune == 1 { " is pruned" } @else { " are pruned" } }
            }
            ul class="objs" { @for object in &it.objects {
                li class={ @if object.action == ObjectAction::Prune || object.error.is_some() { "bad-c" } } {
                    (icon(if object.action == ObjectAction::Prune { "trash" } else { kind_icon(&object.kind) }))
                    span { (object.kind) " " (object.name) }
                    span class="dim" { @if let Some(error) = &object.error { (error) } @else { (object.summary) } }
                    a class="link" href={ "/apps/" (it.app) "/diff#obj-" (object.kind) "-" (object.name) } {
                        "+" (object.added) " −" (object.removed)
                    }
                }
            } }
            p class="small mute" { (it.counts.unchanged) " stay as they are. Manifests " code { (it.manifest_digest.short()) } "." }
        }
    }
}

fn before(view: &View<'_>, state: &AppState, it: &Preview, allowed: bool) -> Markup {
    html! {
        section {
            h2 { "Before you open the gate" }
            ul class="notes" {
                @for warning in &it.warnings { li class="gate" { (icon("warn")) span { (warning) } } }
                @if it.nothing_to_do { li { (icon("ok")) span { "Nothing would change" } small { "Live is what Git has." } } }
                @if allowed { li class="ok" { (icon("ok")) span { "You may sync" } small { "Right applications, sync on " (object_of(state)) "." } } }
                @else {
                    li class="bad" { (icon("lock")) span { "You may look, not sync" } small {
                        @match view.api.authorize(view.caller, Resource::Applications, Action::Sync, &object_of(state)) {
                            Err(error) => { (error.message) } Ok(()) => {}
                        }
                    } }
                }
            }
        }
    }
}

fn granting(view: &View<'_>, it: &Preview) -> Markup {
    let minutes = view.api.config.grant_lifetime() / 60;
    html! {
        section {
            h2 { "What you grant" }
            p class="small mute" {
                "You, " b { (view.caller.person) } ", let Sluice apply exactly " code { (it.revision.short()) } " to " b { (it.app) }
                ", once, within " (minutes) " minutes. If Git moves, this is void and you look again. It is written to the audit log."
            }
            p class="small mute" { "This sheet can be confirmed until " (clock(it.expires_at)) " UTC." }
        }
    }
}

fn confirm(view: &View<'_>, it: &Preview, allowed: bool) -> Markup {
    let name = &it.app;
    html! {
        form method="post" action={ "/ui/apps/" (name) "/sync" } id="sync-form" {
            (form_fields(view))
            input type="hidden" name="revision" value=(it.revision);
            input type="hidden" name="manifest_digest" value=(it.manifest_digest);
            @if it.prune {
                label class="check" { input type="checkbox" name="prune" value="true" checked;
                    "Prune" small { "Deletes the " (count(it.counts.prune as usize, "object", "objects")) " that Git no longer has." } }
            }
            div class="field" {
                label for="typed" { "Type " code { (name) } " to confirm" }
                input id="typed" name="typed" class="m" required pattern=(pattern(name)) autocomplete="off" autocapitalize="off"
                    spellcheck="false" placeholder=(name) autofocus disabled[!allowed];
            }
            a class="btn quiet" href={ "/apps/" (name) } { "Cancel" }
            button class="btn gate armed" disabled[!allowed] { (icon("gate-open")) "SYNC to " (it.revision.short()) }
        }
    }
}

/// The Application asks for automation that the gate holds back: a person may let it through for good.
fn for_good(view: &View<'_>, it: &Preview) -> Markup {
    let name = &it.app;
    html! {
        details {
            summary class="mute" { "Let it sync by itself from now on" }
            p class="small mute" {
                "Its " code { "syncPolicy" } " asks for automation, and the gate holds that back. This grant opens the gate for good: every later push is applied without a person."
            }
            form method="post" action={ "/ui/apps/" (name) "/sync" } {
                (form_fields(view))
                input type="hidden" name="revision" value=(it.revision);
                input type="hidden" name="manifest_digest" value=(it.manifest_digest);
                input type="hidden" name="automation" value="true";
                div class="field" {
                    label for="typed-auto" { "Type " code { (name) } " to confirm" }
                    input id="typed-auto" name="typed" class="m" required pattern=(pattern(name)) autocomplete="off" autocapitalize="off" spellcheck="false";
                }
                button class="btn armed" { (icon("gate-open")) "Open for good" }
            }
        }
    }
}

async fn automation_held(api: &Api, state: &AppState) -> bool {
    let declared = api.cluster.application(&state.app.app.name()).await;
    state.gated
        && declared
            .is_ok_and(|application| application.automated().is_some() && !application.declared_gated())
}

fn void_banner(state: &AppState, revision: &str) -> Markup {
    let now = state.revision.as_ref().map_or("", Sha::as_str);
    let moved = now != revision;
    html! {
        div id="sync-void" class="banner bad" role="alert" hidden[!moved] data-void=[moved.then_some("")] {
            (icon("bad"))
            span { b { "Git moved." } " It is at " code { (state.revision.as_ref().map_or("", Sha::short)) } " now; this sheet is void." }
            a class="btn push" href={ "/apps/" (state.app.app.name()) "/sync" } { "Look again" }
        }
    }
}

fn no_sheet(state: &AppState, error: &ApiError) -> Markup {
    let name = state.app.app.name();
    html! {
        dialog class="sheet" open aria-modal="true" aria-labelledby="sync-h" {
            header {
                h1 id="sync-h" { "Sync " (name) }
                a class="btn quiet only push" href={ "/apps/" (name) } aria-label="Close (Esc)" data-key="Escape" { (icon("close")) }
            }
            ul class="notes in" { li class="bad" { (icon("bad")) span { b { "There is no preview" } } small { (error.message) } } }
        }
    }
}

/// Names hold dots, which a pattern takes for any character.
fn pattern(name: &str) -> String {
    name.replace('.', "\\.")
}
