//! The palette's answers, and the list of keys.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;
use sluice_schemas::Sha;
use sluice_schemas::events::SyncStatus;

use super::layout::{Frame, Place, page as layout};
use super::parts::{icon, icon_with};
use super::{View, Viewer, object_of};
use crate::Api;
use crate::access::{Action, Resource};
use crate::rest::deliveries::readable;

const MOST: usize = 6;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
}

struct Found {
    icon: &'static str,
    gate: bool,
    text: String,
    side: String,
    href: String,
}

pub(super) async fn find(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Query(asked): Query<Asked>,
) -> Markup {
    let view = View::new(&api, &caller);
    let q = asked.q.trim().to_lowercase();
    let (doing, going) = search(&view, &q);
    html! {
        @if doing.is_empty() && going.is_empty() { h3 role="presentation" { "Nothing is called " (asked.q) } }
        (group("Do", &doing)) (group("Go to", &going))
    }
}

fn group(name: &str, found: &[Found]) -> Markup {
    html! {
        @if !found.is_empty() {
            h3 role="presentation" { (name) }
            ul role="group" aria-label=(name) { @for it in found {
                li role="option" data-href=(it.href) {
                    (icon_with(it.icon, if it.gate { "gate-c" } else { "" })) a href=(it.href) tabindex="-1" { (it.text) } span class="push" { (it.side) }
                }
            } }
        }
    }
}

fn search(view: &View<'_>, q: &str) -> (Vec<Found>, Vec<Found>) {
    let model = view.api.model.read();
    let fits = |text: &str| q.is_empty() || text.to_lowercase().contains(q);
    let (mut doing, mut going) = (Vec::new(), Vec::new());
    for state in model.apps.values().filter(|state| view.sees(state)) {
        let name = state.app.app.name();
        if !fits(&name) && !(q.len() > 1 && "sync".starts_with(q)) {
            continue;
        }
        if state.sync == SyncStatus::OutOfSync
            && view.may(Resource::Applications, Action::Sync, &object_of(state))
        {
            let text = format!("SYNC {name} to {}", state.revision.as_ref().map_or("", Sha::short));
            doing.push(Found {
                icon: "gate",
                gate: true,
                text,
                side: "opens the preview".to_owned(),
                href: format!("/apps/{name}/sync"),
            });
        }
        let side = format!("{:?}, {:?}", state.sync, state.health);
        going.push(Found {
            icon: "k-app",
            gate: false,
            text: name.clone(),
            side,
            href: format!("/apps/{name}"),
        });
    }
    for repo in model.repositories.values() {
        let slug = &repo.repository.slug;
        if !view.may(Resource::Runs, Action::Get, slug.as_str()) || !fits(&repo.repository.full_name) {
            continue;
        }
        if let Some(it) = model.promotable(repo).filter(|it| it.ready) {
            let text = format!("Promote {} {}", repo.repository.full_name, it.tag);
            doing.push(Found {
                icon: "promote",
                gate: false,
                text,
                side: "writes the prod commit".to_owned(),
                href: format!("/promote/{slug}"),
            });
        }
        let text = repo.repository.full_name.clone();
        going.push(Found {
            icon: "flow",
            gate: false,
            text,
            side: "runs".to_owned(),
            href: format!("/runs?repo={slug}"),
        });
    }
    if q.len() >= 3 {
        for chain in model.chains().filter(|chain| readable(view.api, view.caller, chain)) {
            let it = &chain.summary;
            if chain.is_about(q) || fits(&it.title) || fits(&it.author) {
                let text = format!("{} {}", it.sha.as_ref().map_or("", Sha::short), it.title);
                going.push(Found {
                    icon: "commit",
                    gate: false,
                    text,
                    side: "delivery".to_owned(),
                    href: format!("/deliveries/{}", chain.correlation),
                });
            }
            if going.len() > MOST * 3 {
                break;
            }
        }
    }
    for (name, href) in [
        ("Home", "/"),
        ("Applications", "/apps"),
        ("Runs", "/runs"),
        ("Deliveries", "/deliveries"),
        ("Audit log", "/audit"),
        ("Dead letters", "/dlq"),
        ("Account", "/account"),
        ("Keys", "/help"),
    ] {
        if !q.is_empty() && fits(name) {
            going.push(Found {
                icon: "out",
                gate: false,
                text: name.to_owned(),
                side: String::new(),
                href: href.to_owned(),
            });
        }
    }
    doing.truncate(MOST);
    going.truncate(MOST * 2);
    (doing, going)
}

pub(super) async fn help(State(api): State<Api>, Viewer(caller): Viewer, headers: HeaderMap) -> Markup {
    let view = View::new(&api, &caller);
    let keys: &[(&str, &str)] = &[
        ("Ctrl K", "Find or do"),
        ("/", "Find on this page"),
        ("?", "This list"),
        (
            "g h, g a, g u, g d, g l, g q",
            "Go to home, applications, runs, deliveries, audit log, dead letters",
        ),
        ("j k", "Next and previous in lists and trees"),
        ("Enter", "Open"),
        ("s", "On an application: open SYNC (never confirms)"),
        ("d", "On an application: differences"),
        ("r", "On an application: refresh"),
        ("n N", "In a log: next and previous match"),
        ("e", "In a log: first error"),
        ("f", "In a log: follow"),
        ("v", "In a difference: side by side or unified"),
        ("Esc", "Close"),
    ];
    let body = html! {
        header class="head" { div class="row" { h1 { "Keys" } span class="mute" { "They never fire in a field." } } }
        section class="panel" { dl class="kv in" { @for (key, text) in keys { dt { kbd { (key) } } dd { (text) } } } }
        p class="small mute" { (icon("cli")) " The same from a shell: " code { "sluice --help" } }
    };
    layout(&view, &headers, &Frame::new("Keys", Place::None, ""), &body)
}
