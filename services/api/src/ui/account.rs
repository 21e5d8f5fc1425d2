//! The person's own page: roles, Telegram, password, theme, keys.

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};

use super::errors::PageError;
use super::forms::{Done, toast};
use super::layout::{Frame, Place, page as layout};
use super::parts::{button, form_fields, icon, who};
use super::{View, Viewer};
use crate::Api;
use crate::rest::session::SHORTEST_PASSWORD;
use crate::text::words::moment;

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    headers: HeaderMap,
    Query(done): Query<Done>,
) -> Result<Markup, PageError> {
    let view = View::new(&api, &caller);
    Ok(show(&view, &headers, None, &done).await?)
}

/// The page; with a code right after it was made, which is shown once and stands in no address.
pub(super) async fn show(
    view: &View<'_>,
    headers: &HeaderMap,
    code: Option<&str>,
    done: &Done,
) -> Result<Markup, PageError> {
    let links = view.api.links.of(&view.caller.person).await?;
    let roles = view.api.policy.roles_of(&view.caller.person, &view.caller.roles);
    let body = html! {
        header class="head" { div class="row" { h1 { (who(view.caller.person.as_str())) }
            span class="push" { (button(view, "/logout", "quiet", "out", "Sign out", None)) } } }
        div class="cols even" {
            section class="panel" { header { h2 { "Telegram" } } div class="in gap" {
                @if links.is_empty() { p class="mute" { "No Telegram user is linked. Linked, you can look, sync and re-run from the chat with exactly your rights." } }
                @for (user, link) in &links { p { (icon("chat")) " " b { (link.name) } " " span class="dim" { "user " (user) ", since " (moment(link.since)) } } }
                @if let Some(code) = code {
                    div class="banner gate" { (icon("chat")) span { "Send this to the bot within 10 minutes: " code id="link-code" { "/link " (code) } }
                        button class="btn push" type="button" data-copy={ "/link " (code) } { (icon("copy")) "Copy" } }
                }
                div class="row" {
                    (button(view, "/ui/account/link", "main", "chat", "Get a link code", None))
                    @if !links.is_empty() { (button(view, "/ui/account/unlink", "", "close", "Unlink", None)) }
                }
            } }
            section class="panel" { header { h2 { "Password" } } form class="in gap" method="post" action="/ui/account/password" {
                (form_fields(view))
                div class="field" { label for="current" { "Current" } input id="current" name="current" type="password" autocomplete="current-password" required; }
                div class="field" { label for="new" { "New" } input id="new" name="new" type="password" autocomplete="new-password" required minlength=(SHORTEST_PASSWORD);
                    small { (SHORTEST_PASSWORD) " characters or more" } }
                button class="btn armed" { "Change password" }
            } }
            section class="panel" { header { h2 { "Rights" } } div class="in gap" {
                @if roles.is_empty() { p class="mute" { "No role. An admin gives one with a line in api.policy or on the account." } }
                p { @for role in &roles { span class="tag" { (role) } " " } }
            } }
            section class="panel" { header { h2 { "Look" } } form class="in row" method="post" action="/ui/theme" {
                (form_fields(view))
                @for (value, word) in [("", "As the system"), ("light", "Light"), ("dark", "Dark")] {
                    button class="btn" name="theme" value=(value) { (word) }
                }
                a class="btn quiet" href="/help" { "All keys" }
            } }
        }
    };
    let frame = Frame { done: toast(done), ..Frame::new("Account", Place::Account, "") };
    Ok(layout(view, headers, &frame, &body))
}
