//! The list of deliveries: chains from commit to pod.

use axum::extract::State;
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_schemas::Sha;

use super::layout::{Frame, Place, page as layout};
use super::parts::{ago, empty, status, who};
use super::{View, Viewer};
use crate::Api;
use crate::model::{Chain, DeliveryStatus};
use crate::rest::deliveries::readable;
use crate::text::words::duration;

const MOST: usize = 100;

pub(super) async fn page(State(api): State<Api>, Viewer(caller): Viewer, headers: HeaderMap) -> Markup {
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Deliveries" } span class="mute" { "One row a chain, from commit to pod" } } }
        div class="filters" {
            input class="input" type="search" placeholder="Repository, commit, image, person" aria-label="Find delivery"
                aria-keyshortcuts="/" data-filter="#deliveries tbody tr";
        }
        (table(&view))
    };
    layout(&view, &headers, &Frame::new("Deliveries", Place::Deliveries, "deliveries"), &body)
}

/// What may change while somebody looks.
pub(super) fn fragments(view: &View<'_>) -> Vec<(String, Markup)> {
    vec![("deliveries".to_owned(), table(view))]
}

/// How a delivery looks: kind, icon, word.
pub(super) fn delivery_status(chain: &Chain) -> (&'static str, &'static str, &'static str) {
    match chain.status() {
        DeliveryStatus::Running => ("run", "run", "On its way"),
        DeliveryStatus::Failed => ("bad", "bad", "Failed"),
        DeliveryStatus::Built => ("", "ok", "Passed, no image"),
        DeliveryStatus::OnDev => ("ok", "ok", "On dev"),
        DeliveryStatus::AtGate => ("gate", "gate", "At the gate"),
        DeliveryStatus::Live => ("ok", "gate-open", "Live on prod"),
    }
}

fn table(view: &View<'_>) -> Markup {
    let model = view.api.model.read();
    let chains: Vec<_> =
        model.chains().filter(|chain| readable(view.api, view.caller, chain)).take(MOST).collect();
    html! {
        section class="panel" id="deliveries" {
            @if chains.is_empty() {
                (empty("ledger", "No delivery yet", "A push begins one.", Some("git push")))
            } @else {
                table class="t stack" {
                    thead { tr { th { "Delivery" } th { "Status" } th { "Commit" } th { "By" } th { "Image" } th class="num" { "So far" } th class="num" { "Begun" } } }
                    tbody { @for chain in chains {
                        @let it = &chain.summary;
                        @let (kind, icon_name, word) = delivery_status(chain);
                        tr id={ "delivery-" (chain.correlation) } {
                            td class="wide" {
                                a href={ "/deliveries/" (chain.correlation) } data-nav="" { @if it.title.is_empty() { (chain.correlation) } @else { (it.title) } }
                                small class="dim" { (it.repository.as_ref().map_or("", |it| it.full_name.as_str())) }
                                @if let Some(failure) = &it.failure { small class="bad-c" { (failure) } }
                            }
                            td { (status(kind, icon_name, word)) }
                            td class="off" { code { (it.sha.as_ref().map_or("", Sha::short)) } }
                            td class="off" { @if !it.author.is_empty() { (who(&it.author)) } }
                            td class="off" { code { (it.tag.as_deref().unwrap_or_default()) } }
                            td class="num off" { (duration(it.last_at.millis_since(it.started_at))) }
                            td class="num" { (ago(view, it.started_at)) }
                        }
                    } }
                }
            }
        }
    }
}
