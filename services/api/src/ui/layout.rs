//! The shell around every page: navigation, bus, palette, toasts.

use axum::http::HeaderMap;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::VERSION;
use super::parts::{icon, status};
use super::{View, needs_of};
use crate::access::{Action, Resource};

/// Which place of the navigation is lit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Apps,
    Runs,
    Deliveries,
    Audit,
    Dlq,
    Account,
    None,
}

/// A page's frame.
pub(super) struct Frame<'a> {
    /// In the tab.
    pub(super) title: &'a str,
    /// Lit in the navigation.
    pub(super) place: Place,
    /// What the live stream is asked for; empty for pages that stand still.
    pub(super) stream: String,
    /// What was done just before: the key of a toast.
    pub(super) done: Option<Toast>,
}

/// The result of a form, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Toast {
    pub(super) good: bool,
    pub(super) title: String,
    pub(super) text: String,
}

impl<'a> Frame<'a> {
    pub(super) fn new(title: &'a str, place: Place, stream: impl Into<String>) -> Self {
        Self { title, place, stream: stream.into(), done: None }
    }
}

/// A whole page.
pub(super) fn page(view: &View<'_>, headers: &HeaderMap, frame: &Frame<'_>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme(headers)] {
            (head(frame.title))
            body data-page=(frame.stream) data-sequence=(view.api.model.read().sequence) {
                a class="skip" href="#main" { "Skip to content" }
                div class="shell" {
                    (rail(view, frame.place))
                    main id="main" class="page" { (body) }
                }
                (palette())
                div class="toasts" id="toasts" aria-live="polite" {
                    @if let Some(toast) = &frame.done { (toast_markup(toast)) }
                }
                div class="banner gate" id="conn" role="status" hidden {
                    (icon("warn")) span { b { "Connection lost" } " " span data-lost="" {} }
                    button class="btn push" type="button" data-retry="" { "Try now" }
                }
            }
        }
    }
}

/// A page without navigation, for people who are not in.
pub(super) fn door(headers: &HeaderMap, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme(headers)] {
            (head(title))
            body { div class="door" { main { (body) } } }
        }
    }
}

/// Element `bus`: whether the bus answers, and how far we have read.
pub(super) fn bus(view: &View<'_>) -> Markup {
    let model = view.api.model.read();
    let connected = view.api.bus.is_connected();
    html! {
        div class="bus" id="bus" aria-live="off" {
            @if connected { (status("ok", "ok", "Live")) } @else { (status("bad", "bad", "Bus away")) }
            span { "NATS " (view.api.bus.server_version()) }
            span { "EVENTS " (model.sequence) }
        }
    }
}

/// Element `nav-home`: with the number of what needs this person.
pub(super) fn nav_home(view: &View<'_>, current: bool) -> Markup {
    let needs = needs_of(view.api, view.caller).len();
    html! {
        a id="nav-home" href="/" class="tab" aria-current=[current.then_some("page")] {
            (icon("home")) "Home"
            @if needs > 0 { b { (needs) span class="sr" { " need you" } } }
        }
    }
}

/// Element `nav-dlq`: with the number of dead letters.
pub(super) fn nav_dlq(view: &View<'_>, current: bool) -> Markup {
    let letters = view.api.model.read().dead_letters;
    html! {
        a id="nav-dlq" href="/dlq" aria-current=[current.then_some("page")] {
            (icon("dlq")) "Dead letters"
            @if letters > 0 { b class="bad" { (letters) span class="sr" { " need you" } } }
        }
    }
}

pub(super) fn crumbs(path: &[(&str, &str)], here: &str) -> Markup {
    html! {
        nav class="crumbs" aria-label="Breadcrumb" {
            @for (href, name) in path { a href=(href) { (name) } (icon("chev")) }
            span { (here) }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
            meta name="color-scheme" content="light dark";
            title { (title) " · Sluice" }
            link rel="icon" href="/assets/mark.svg" type="image/svg+xml";
            link rel="stylesheet" href={ "/assets/style.css?v=" (VERSION) };
            script src={ "/assets/app.js?v=" (VERSION) } defer {}
        }
    }
}

fn rail(view: &View<'_>, place: Place) -> Markup {
    let current = |it: Place| (it == place).then_some("page");
    let audit = view.may(Resource::Audit, Action::Get, "*");
    let letters = view.may(Resource::DeadLetters, Action::Get, "*");
    html! {
        nav class="rail" aria-label="Main" {
            div class="bar" {
                a class="brand" href="/" { (icon("mark")) "Sluice" }
                button class="find" type="button" popovertarget="palette" { (icon("search")) "Find or do " kbd { "Ctrl K" } }
            }
            div class="nav" {
                (nav_home(view, place == Place::Home))
                a href="/apps" class="tab" aria-current=[current(Place::Apps)] { (icon("k-app")) "Applications" }
                a href="/runs" class="tab" aria-current=[current(Place::Runs)] { (icon("flow")) "Runs" }
                a href="/deliveries" class="tab" aria-current=[current(Place::Deliveries)] { (icon("ledger")) "Deliveries" }
                @if audit || letters { h3 { "Evidence" } }
                @if audit { a href="/audit" aria-current=[current(Place::Audit)] { (icon("audit")) "Audit log" } }
                @if letters { (nav_dlq(view, place == Place::Dlq)) }
                @if let Some(url) = &view.api.config.chat_url {
                    a href=(url) rel="noreferrer" target="_blank" { (icon("chat")) "Demo chat" }
                }
                h3 { "You" }
                a href="/account" aria-current=[current(Place::Account)] { (icon("person")) (view.caller.person) }
                button class="tab" type="button" popovertarget="palette" { (icon("more")) "More" }
            }
            (bus(view))
        }
    }
}

fn palette() -> Markup {
    html! {
        div class="palette" id="palette" popover role="dialog" aria-label="Find or do" {
            div class="q" {
                (icon("search"))
                input id="palette-q" type="search" placeholder="An application, a commit, an image, a person, or what to do"
                    aria-label="Find or do" role="combobox" aria-expanded="true" aria-controls="palette-list" autocomplete="off";
                kbd { "Esc" }
            }
            div id="palette-list" role="listbox" aria-label="Results" {}
            footer {
                span { kbd { (PreEscaped("&uarr;")) } " " kbd { (PreEscaped("&darr;")) } " move" }
                span { kbd { "Enter" } " open" }
                span { kbd { "?" } " all keys" }
            }
        }
    }
}

fn toast_markup(toast: &Toast) -> Markup {
    let (class, name, role) = if toast.good { ("ok", "ok", "status") } else { ("bad", "bad", "alert") };
    html! {
        div class={ "toast " (class) } role=(role) data-toast=(class) {
            (icon(name)) b { (toast.title) }
            button class="btn quiet only" type="button" aria-label="Dismiss" data-dismiss="" { (icon("close")) }
            small { (toast.text) }
        }
    }
}

/// A theme chosen by the person, kept in a cookie so that there is no flash.
fn theme(headers: &HeaderMap) -> Option<&'static str> {
    match crate::access::cookie(headers, "theme").as_ref().map(sluice_chassis::Secret::expose) {
        Some("dark") => Some("dark"),
        Some("light") => Some("light"),
        _ => None,
    }
}
