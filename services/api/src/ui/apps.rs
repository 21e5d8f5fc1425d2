//! The list of applications.

use axum::extract::State;
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_schemas::Sha;

use super::layout::{Frame, Place, page as layout};
use super::parts::{ago, empty, health_status, icon, status, sync_status};
use super::{View, Viewer};
use crate::Api;

pub(super) async fn page(State(api): State<Api>, Viewer(caller): Viewer, headers: HeaderMap) -> Markup {
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Applications" } } }
        div class="filters" {
            input class="input" type="search" placeholder="Name, project, image, status" aria-label="Find application"
                aria-keyshortcuts="/" data-filter="#apps tbody tr";
        }
        (table(&view))
    };
    layout(&view, &headers, &Frame::new("Applications", Place::Apps, "apps"), &body)
}

/// What may change while somebody looks.
pub(super) fn fragments(view: &View<'_>) -> Vec<(String, Markup)> {
    vec![("apps".to_owned(), table(view))]
}

fn table(view: &View<'_>) -> Markup {
    let model = view.api.model.read();
    let mut states: Vec<_> = model.apps.values().filter(|state| view.sees(state)).collect();
    states.sort_by_key(|state| (state.app.project.name(), state.app.app.name()));
    html! {
        section class="panel" id="apps" {
            @if states.is_empty() {
                (empty("k-app", "No applications yet", "An Application names a directory of a deploy repository and the namespace that it goes to.",
                    Some("sluice app create -f app.yaml")))
            } @else {
                table class="t stack" {
                    thead { tr { th { "Application" } th { "Sync" } th { "Health" } th { "Revision" } th { "Images" } th class="num" { "Compared" } } }
                    tbody {
                        @for state in states {
                            @let name = state.app.app.name();
                            @let (kind, icon_name, word) = sync_status(state.sync, state.gated);
                            @let (health_kind, health_icon, health_word) = health_status(state.health);
                            tr id={ "app-" (state.app.app) } {
                                td class="wide" {
                                    a href={ "/apps/" (name) } data-nav="" { (name) }
                                    small class="dim" {
                                        (state.app.project.name()) ", " (state.path)
                                        @if state.gated { " " span title=(state.gate_reason) { (icon("gate")) "gated" } }
                                    }
                                }
                                td { (status(kind, icon_name, word)) }
                                td { (status(health_kind, health_icon, health_word)) }
                                td class="off" { code { (state.revision.as_ref().map_or("", Sha::short)) } }
                                td class="off mute" { @for image in &state.live_images { div class="cut" { code { (short_image(image)) } } } }
                                td class="num off" { @if let Some(at) = state.compared_at { (ago(view, at)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The last part of an image's path, with its tag.
pub(super) fn short_image(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}
