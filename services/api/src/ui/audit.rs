//! The audit log.

use axum::extract::State;
use axum::http::HeaderMap;
use maud::{Markup, html};

use super::errors::PageError;
use super::layout::{Frame, Place, page as layout};
use super::parts::{at_clock, empty, status, surface, who};
use super::{View, Viewer};
use crate::Api;
use crate::access::{Action, Resource};
use crate::model::{AuditEntry, AuditResult};

const MOST: usize = 300;

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
) -> Result<Markup, PageError> {
    api.authorize(&caller, Resource::Audit, Action::Get, "*")?;
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Audit log" } span class="mute" { "Every change, by whom, from where, with what result. The log itself is EVENTS." } } }
        form class="filters" role="search" {
            input class="input" type="search" placeholder="Person, object, chain id" aria-label="Find in audit log" aria-keyshortcuts="/" data-filter="#audit tbody tr";
        }
        (table(&view))
    };
    Ok(layout(&view, &headers, &Frame::new("Audit log", Place::Audit, "audit"), &body))
}

/// What may change while somebody looks.
pub(super) fn fragments(view: &View<'_>) -> Vec<(String, Markup)> {
    match view.may(Resource::Audit, Action::Get, "*") {
        true => vec![("audit".to_owned(), table(view))],
        false => Vec::new(),
    }
}

fn table(view: &View<'_>) -> Markup {
    let model = view.api.model.read();
    html! {
        section class="panel" id="audit" {
            @if model.audit.is_empty() { (empty("audit", "Nothing yet", "Logins, grants, syncs and refusals appear here.", None)) }
            @else {
                table class="t stack" {
                    thead { tr { th { "UTC" } th { "Who" } th { "From" } th { "What" } th { "Result" } th { "Detail" } } }
                    tbody { @for it in model.audit.iter().rev().take(MOST) { (row(it)) } }
                }
            }
        }
    }
}

fn row(it: &AuditEntry) -> Markup {
    let (kind, icon_name, word) = match it.result {
        AuditResult::Allowed => ("ok", "ok", "Allowed"),
        AuditResult::Done => ("ok", "ok", "Done"),
        AuditResult::Refused => ("bad", "bad", "Refused"),
        AuditResult::Failed => ("bad", "bad", "Failed"),
    };
    html! {
        tr id={ "audit-" (it.sequence) } {
            td { (at_clock(it.time)) }
            td { @if let Some(person) = &it.person { (who(person)) } @else { span class="mute" { "sluice" } } }
            td class="off" { @if let Some(from) = it.surface { (surface(from)) } }
            td class="wide" { (it.action) " " b { (it.object) } }
            td { (status(kind, icon_name, word)) }
            td class="wide mute" { (it.detail) small class="dim" { "nats stream get EVENTS " (it.sequence) } }
        }
    }
}
