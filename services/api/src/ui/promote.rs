//! Promotion: what would be written into prod's manifests, and the button.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use maud::{Markup, html};

use super::errors::PageError;
use super::layout::{Frame, Place, crumbs, page as layout};
use super::parts::{form_fields, icon};
use super::{View, Viewer};
use crate::Api;
use crate::access::{Action, Resource};
use crate::model::image_tag;
use crate::rest::runs::repository;

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path(repo): Path<String>,
    headers: HeaderMap,
) -> Result<Markup, PageError> {
    let repo = repository(&api, &caller, &repo, Resource::Promotions, Action::Get)?;
    let view = View::new(&api, &caller);
    let found = api.model.read().promotable(&repo);
    let slug = &repo.repository.slug;
    let may = view.may(Resource::Promotions, Action::Create, slug.as_str());
    let name = &repo.repository.full_name;
    let body = html! {
        header class="head" { (crumbs(&[("/", "Home"), ("/", name)], "Promote")) div class="row" { h1 { "Promote " (name) } } }
        @match &found {
            None => {
                (super::parts::empty("promote", "Nothing to promote", "No image of this repository was written into a deploy repository yet.", None))
            }
            Some(it) => {
                section class="panel" {
                    dl class="kv in" {
                        dt { "Image" } dd { code { (it.image) } }
                        dt { "prod now" } dd class="m" { (it.from.as_deref().map_or("nothing", image_tag)) }
                        dt { "After" } dd class="m" { b { (it.tag) } @if let Some(digest) = &it.digest { " " span class="dim" { "sha256:" (digest.short()) } } }
                        dt { "Proof" } dd { @match &it.dev { Some(dev) => { a class="link" href={ "/apps/" (dev) } { (dev) } ": " } None => {} } (it.reason) }
                        dt { "Into" } dd { code { (it.deploy_url) } }
                    }
                    ul class="notes in" { li { (icon("hold")) span { "Promotion writes the prod commit. It deploys nothing." }
                        small { "prod turns OutOfSync and waits for SYNC by a person." } } }
                    form class="in row" method="post" action={ "/ui/promote/" (slug) } {
                        (form_fields(&view))
                        input type="hidden" name="tag" value=(it.tag);
                        button class="btn main" disabled[!may || !it.ready] { (icon("promote")) "Promote " (it.tag) }
                        @if !may { span class="small mute" { "Off: needs promotions, create on " (slug) } }
                        @else if !it.ready { span class="small mute" { "Off: " (it.reason) } }
                    }
                }
            }
        }
    };
    Ok(layout(&view, &headers, &Frame::new("Promote", Place::Home, ""), &body))
}
