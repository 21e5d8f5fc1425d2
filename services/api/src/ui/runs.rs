//! The list of runs, newest first.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{Frame, Place, page as layout};
use super::parts::{ago, empty, run_status, status, who};
use super::{View, Viewer};
use crate::Api;
use crate::access::{Action, Resource};
use crate::text::words::duration;

/// Rows of a page; the command has the rest.
const MOST: usize = 100;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    repo: String,
}

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Markup {
    let view = View::new(&api, &caller);
    let body = html! {
        header class="head" { div class="row" { h1 { "Runs" } @if !wanted.repo.is_empty() {
            a class="pick on" href="/runs" { "repository " b { (wanted.repo) } }
        } } }
        div class="filters" {
            input class="input" type="search" placeholder="Repository, commit, title, person, status" aria-label="Find run"
                aria-keyshortcuts="/" data-filter="#runs tbody tr";
        }
        (table(&view, &wanted.repo))
    };
    layout(&view, &headers, &Frame::new("Runs", Place::Runs, format!("runs/{}", wanted.repo)), &body)
}

/// What may change while somebody looks.
pub(super) fn fragments(view: &View<'_>, repo: &str) -> Vec<(String, Markup)> {
    vec![("runs".to_owned(), table(view, repo))]
}

fn table(view: &View<'_>, repo: &str) -> Markup {
    let model = view.api.model.read();
    let runs: Vec<_> = model
        .runs()
        .into_iter()
        .filter(|run| repo.is_empty() || run.run.repository.slug.as_str() == repo)
        .filter(|run| view.may(Resource::Runs, Action::Get, run.run.repository.slug.as_str()))
        .take(MOST)
        .collect();
    html! {
        section class="panel" id="runs" {
            @if runs.is_empty() {
                (empty("flow", "No run yet", "A push to a repository with a workflow for it starts one.", Some("git push")))
            } @else {
                table class="t stack" {
                    thead { tr { th { "Run" } th { "Status" } th { "Repository" } th { "Commit" } th { "By" } th class="num" { "Took" } th class="num" { "When" } } }
                    tbody { @for run in runs {
                        @let slug = &run.run.repository.slug;
                        @let (kind, icon_name, word) = run_status(run);
                        tr id={ "run-" (slug) "-" (run.run.number) } {
                            td class="wide" {
                                a href={ "/runs/" (slug) "/" (run.run.number) } data-nav="" { (run.title) }
                                small class="dim" { "#" (run.run.number) " " (run.run.workflow_name) @if run.attempt > 1 { ", attempt " (run.attempt) } }
                                @if let Some(reason) = &run.reason { small class="bad-c" { (reason) } }
                            }
                            td { (status(kind, icon_name, word)) }
                            td class="off" { a href={ "/runs?repo=" (slug) } { (run.run.repository.full_name) } }
                            td class="off" { code { (run.run.sha.short()) } }
                            td class="off" { (who(&run.author)) }
                            td class="num off" { (duration(run.duration_ms(view.now))) }
                            td class="num" { (ago(view, run.queued_at)) }
                        }
                    } }
                }
            }
        }
    }
}
