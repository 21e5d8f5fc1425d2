//! Dead letters: what could not be handled, why, and Retry.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use sluice_bus::DeadLetter;

use super::errors::PageError;
use super::forms::{Done, toast};
use super::layout::{Frame, Place, page as layout};
use super::parts::{at_clock, button, empty};
use super::{View, Viewer};
use crate::Api;
use crate::access::{Action, Resource};
use crate::rest::audit::letters;

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
    Query(done): Query<Done>,
) -> Result<Markup, PageError> {
    let letters = letters(&api, &caller).await?;
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Dead letters" } span class="mute" { "Messages that could not be handled. Nothing else is held up by them." } } }
        section class="panel" id="dlq" {
            @if letters.is_empty() { (empty("ok", "No dead letters", "Every message was handled.", Some("sluice dlq ls"))) }
            @else {
                table class="t stack" {
                    thead { tr { th { "Message" } th { "Reason" } th class="num" { "Tries" } th class="num" { "Since" } th { span class="sr" { "Actions" } } } }
                    tbody { @for it in letters.iter().rev() { (row(&view, it)) } }
                }
            }
        }
    };
    let frame = Frame { done: toast(&done), ..Frame::new("Dead letters", Place::Dlq, "") };
    Ok(layout(&view, &headers, &frame, &body))
}

fn row(view: &View<'_>, it: &DeadLetter) -> Markup {
    let payload: String = it.payload.chars().take(2000).collect();
    html! {
        tr id={ "dlq-" (it.id) } {
            td class="wide" { code { (it.subject) } small { (it.consumer) ", " (it.stream) " " (it.sequence) } }
            td class="wide" {
                (it.reason)
                details { summary class="small mute" { "Show" } pre class="code scroll" { (payload) }
                    p class="small mute" { "Same from a shell: " code { "sluice dlq retry " (it.id) } } }
            }
            td class="num off" { (it.deliveries) }
            td class="num off" { @if let Some(at) = it.buried_at { (at_clock(at)) } }
            td class="wide" {
                @if view.may(Resource::DeadLetters, Action::Retry, "*") {
                    (button(view, &format!("/ui/dlq/{}/retry", it.id), "", "rerun", "Retry", None))
                }
            }
        }
    }
}
