//! The tree of an application's objects: nested lists, connectors are borders.

use maud::{Markup, html};
use sluice_schemas::events::{HealthStatus, SyncStatus};
use sluice_schemas::state::{AppState, Comparison, ObjectAction, ObjectComparison};

use super::View;
use super::app::differing;
use super::parts::{health_status, icon, icon_with, kind_icon};
use crate::rest::argo_find;

/// More siblings of a kind than this become one node.
const MOST_SIBLINGS: usize = 8;

pub(super) async fn panel(view: &View<'_>, state: &AppState) -> Markup {
    html! {
        section class="panel clip" aria-label="Resource tree" {
            div class="logbar" {
                input class="input" type="search" placeholder="Find in tree" aria-label="Find in tree" aria-keyshortcuts="/"
                    data-filter="#tree li[data-leaf]";
                a class="pick" href={ "/apps/" (state.app.app.name()) "/diff" } { "Differences" }
            }
            (tree(view, state).await)
        }
    }
}

/// Element `tree`.
pub(super) async fn tree(view: &View<'_>, state: &AppState) -> Markup {
    let comparison = match &state.comparison {
        Some(digest) => view.api.comparisons.get(digest).await.ok(),
        None => None,
    };
    let name = state.app.app.name();
    html! {
        div class="tree" id="tree" role="tree" aria-label={ "Resources of " (name) } {
            @if let Some(comparison) = &comparison {
                ul class="roots" role="none" { li role="none" {
                    span class="node root" role="treeitem" tabindex="0" {
                        (icon("k-app")) span class="cut" { b class="cut" { (name) } small class="cut" { (differing(&comparison.objects)) } }
                        span class="st2" { (marks(Some(state.sync), Some(state.health))) }
                    }
                    ul role="group" { (children(comparison, None)) }
                } }
            } @else {
                p class="mute" { "Not compared yet. The reconciler does it as soon as the source is rendered." }
            }
        }
    }
}

fn children(comparison: &Comparison, parent: Option<&ObjectComparison>) -> Markup {
    let mut of: Vec<&ObjectComparison> = comparison
        .objects
        .iter()
        .filter(|it| match (parent, it.parent.as_deref()) {
            (None, None) => true,
            // A parent that is not in the comparison: shown at the root rather than not at all.
            (None, Some(name)) => argo_find(comparison, it, name).is_none(),
            (Some(parent), Some(name)) => {
                argo_find(comparison, it, name).is_some_and(|found| same(found, parent))
            }
            (Some(_), None) => false,
        })
        .collect();
    of.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    let mut shown = Vec::new();
    let mut hidden: Vec<(&str, usize)> = Vec::new();
    for it in of {
        let siblings = shown.iter().filter(|other: &&&ObjectComparison| other.kind == it.kind).count();
        if siblings < MOST_SIBLINGS || it.action != ObjectAction::None {
            shown.push(it);
        } else {
            match hidden.iter_mut().find(|(kind, _)| *kind == it.kind) {
                Some((_, number)) => *number += 1,
                None => hidden.push((&it.kind, 1)),
            }
        }
    }
    html! {
        @for it in shown { (node(comparison, it)) }
        @for (kind, number) in hidden {
            li role="none" { span class="node ghost" role="treeitem" {
                (icon(kind_icon(kind))) span class="cut" { b class="cut" { (number) " more" } small class="cut" { (kind) } } span class="st2" {}
            } }
        }
    }
}

fn node(comparison: &Comparison, it: &ObjectComparison) -> Markup {
    let managed = it.parent.is_none();
    let sync = managed.then_some(it.sync);
    let title = match (sync, it.health) {
        (Some(sync), Some(health)) => format!("{sync:?}, {health:?}"),
        (Some(sync), None) => format!("{sync:?}"),
        (None, Some(health)) => format!("{health:?}"),
        (None, None) => String::new(),
    };
    let why = match (it.action, &it.error) {
        (_, Some(_)) => "cannot be compared".to_owned(),
        (ObjectAction::Create, _) => "will be made".to_owned(),
        (ObjectAction::Prune, _) => "will be pruned".to_owned(),
        (ObjectAction::Keep, _) => "not in Git, stays".to_owned(),
        (ObjectAction::Update, _) => crate::text::diff::of(it.live.as_ref(), it.desired.as_ref())
            .fields
            .first()
            .map_or("differs".to_owned(), |it| format!("{it} differs")),
        (ObjectAction::None, _) => it.health_message.chars().take(40).collect(),
    };
    let icon_name = if it.action == ObjectAction::Prune { "trash" } else { kind_icon(&it.kind) };
    let pod = if it.kind == "Pod" { "pod" } else { "" };
    let below = children(comparison, Some(it));
    html! {
        li role="none" data-leaf="" {
            @if managed {
                a class={ "node " (pod) } role="treeitem" title=(title) href={ "/apps/" (comparison.app.app.name()) "/diff#obj-" (it.kind) "-" (it.name) } data-nav="" {
                    (inside(it, icon_name, &why, sync))
                }
            } @else {
                span class={ "node " (pod) } role="treeitem" tabindex="0" title=(title) { (inside(it, icon_name, &why, sync)) }
            }
            @if !below.0.is_empty() { ul role="group" { (below) } }
        }
    }
}

fn inside(it: &ObjectComparison, icon_name: &str, why: &str, sync: Option<SyncStatus>) -> Markup {
    // Pods drop the name that they share with their parent.
    let shared =
        it.parent.as_deref().and_then(|parent| parent.rsplit('/').next()).filter(|_| it.kind == "Pod");
    let name = shared
        .and_then(|shared| it.name.strip_prefix(shared))
        .map_or(it.name.as_str(), |rest| rest.trim_start_matches('-'));
    html! {
        (icon(icon_name))
        span class="cut" { b class="cut" { (name) } small class="cut" { (it.kind) @if !why.is_empty() { ", " (why) } } }
        span class="st2" { (marks(sync, it.health)) }
    }
}

fn marks(sync: Option<SyncStatus>, health: Option<HealthStatus>) -> Markup {
    html! {
        @match sync {
            Some(SyncStatus::OutOfSync) => { (icon_with("differs", "gate-c")) }
            Some(SyncStatus::Synced) => { (icon_with("ok", "ok-c")) }
            Some(SyncStatus::Unknown) => { (icon("unknown")) }
            None => {}
        }
        @if let Some(health) = health {
            @let (kind, name, _) = health_status(health);
            @let class = match kind { "ok" => "ok-c", "bad" => "bad-c", "run" => "spin", _ => "" };
            (icon_with(name, class))
        }
        span class="sr" { @if let Some(sync) = sync { (format!("{sync:?} ")) } @if let Some(health) = health { (format!("{health:?}")) } }
    }
}

fn same(a: &ObjectComparison, b: &ObjectComparison) -> bool {
    (&a.group, &a.kind, &a.namespace, &a.name) == (&b.group, &b.kind, &b.namespace, &b.name)
}
