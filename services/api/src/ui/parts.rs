//! Small parts that every page uses: icons, statuses, times, people.

use maud::{Markup, html};
use sluice_schemas::Timestamp;
use sluice_schemas::events::{Conclusion, HealthStatus, Surface, SyncStatus};

use super::View;
use crate::model::{JobPhase, RunPhase, RunView, StationState};
use crate::text::words::{age, clock, moment};

/// An icon of the sprite; decoration, so the word stands beside it.
pub(super) fn icon(name: &str) -> Markup {
    icon_with(name, "")
}

/// As [`icon`], with further classes.
pub(super) fn icon_with(name: &str, classes: &str) -> Markup {
    html! { svg class={ "ic " (classes) } aria-hidden="true" { use href={ "/assets/icons.svg#i-" (name) } {} } }
}

/// Shape and word; `kind` is `ok`, `run`, `gate`, `bad` or empty.
pub(super) fn status(kind: &str, icon: &str, word: &str) -> Markup {
    let class = if kind.is_empty() { "s".to_owned() } else { format!("s s-{kind}") };
    let spin = if icon == "run" { "spin" } else { "" };
    html! { span class=(class) { (icon_with(icon, spin)) (word) } }
}

/// As [`status`], on a tint: only beside a title.
pub(super) fn tint((kind, icon, word): (&str, &str, &str)) -> Markup {
    let spin = if icon == "run" { "spin" } else { "" };
    html! { span class={ "s tint " @if !kind.is_empty() { "s-" (kind) } } { (icon_with(icon, spin)) (word) } }
}

pub(super) fn sync_status(sync: SyncStatus, gated: bool) -> (&'static str, &'static str, &'static str) {
    match sync {
        SyncStatus::Synced => ("ok", "ok", "Synced"),
        SyncStatus::OutOfSync if gated => ("gate", "differs", "OutOfSync"),
        SyncStatus::OutOfSync => ("run", "differs", "OutOfSync"),
        SyncStatus::Unknown => ("", "unknown", "Unknown"),
    }
}

pub(super) fn health_status(health: HealthStatus) -> (&'static str, &'static str, &'static str) {
    match health {
        HealthStatus::Healthy => ("ok", "ok", "Healthy"),
        HealthStatus::Progressing => ("run", "run", "Progressing"),
        HealthStatus::Degraded => ("bad", "bad", "Degraded"),
        HealthStatus::Suspended => ("", "hold", "Suspended"),
        HealthStatus::Missing => ("", "miss", "Missing"),
        HealthStatus::Unknown => ("", "unknown", "Unknown"),
    }
}

pub(super) fn run_status(run: &RunView) -> (&'static str, &'static str, &'static str) {
    match (run.phase, run.conclusion) {
        (RunPhase::Queued, _) => ("", "queue", "Queued"),
        (RunPhase::Running, _) => ("run", "run", "Running"),
        (RunPhase::Refused, _) => ("bad", "bad", "Refused"),
        (RunPhase::Finished, Some(conclusion)) => conclusion_status(conclusion),
        (RunPhase::Finished, None) => ("", "unknown", "Finished"),
    }
}

pub(super) fn conclusion_status(conclusion: Conclusion) -> (&'static str, &'static str, &'static str) {
    match conclusion {
        Conclusion::Success => ("ok", "ok", "Passed"),
        Conclusion::Failure => ("bad", "bad", "Failed"),
        Conclusion::Cancelled => ("", "stop", "Cancelled"),
        Conclusion::Skipped => ("", "skip", "Skipped"),
    }
}

pub(super) fn job_status(
    phase: JobPhase,
    conclusion: Option<Conclusion>,
) -> (&'static str, &'static str, &'static str) {
    match (phase, conclusion) {
        (JobPhase::Waiting, _) => ("", "queue", "Waiting"),
        (JobPhase::Running, _) => ("run", "run", "Running"),
        (JobPhase::Finished, Some(conclusion)) => conclusion_status(conclusion),
        (JobPhase::Finished, None) => ("", "unknown", "Finished"),
    }
}

/// Class and icon of a station.
pub(super) fn station_look(state: StationState) -> (&'static str, &'static str) {
    match state {
        StationState::Ok => ("ok", "ok"),
        StationState::Run => ("run", "run"),
        StationState::Bad => ("bad", "bad"),
        StationState::Gate => ("gate", "differs"),
        StationState::Queue => ("", "queue"),
        StationState::Skip => ("", "skip"),
        StationState::Unknown => ("", "unknown"),
    }
}

/// An age that the script keeps current; the absolute time is in `title`.
pub(super) fn ago(view: &View<'_>, at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(moment(at)) data-age="" { (age(at, view.now)) } }
}

/// A time of day; the date is in `title`.
pub(super) fn at_clock(at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(moment(at)) { (clock(at)) } }
}

/// A person with initials.
pub(super) fn who(name: &str) -> Markup {
    html! { span class="who" { i aria-hidden="true" { (initials(name)) } (name) } }
}

/// From where somebody acted.
pub(super) fn surface(surface: Surface) -> Markup {
    let (name, word) = match surface {
        Surface::Web => ("web", "Web"),
        Surface::Cli => ("cli", "CLI"),
        Surface::Telegram => ("chat", "Telegram"),
        Surface::Api => ("system", "API"),
        Surface::Kubernetes => ("cluster", "Kubernetes"),
    };
    html! { span class="s" { (icon(name)) (word) } }
}

/// Icon of a kind of object.
pub(super) fn kind_icon(kind: &str) -> &'static str {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => "k-deploy",
        "ReplicaSet" | "ControllerRevision" => "k-rs",
        "Pod" => "k-pod",
        "Service" | "EndpointSlice" | "Endpoints" => "k-svc",
        "Ingress" | "HTTPRoute" => "k-ing",
        "Secret" | "ExternalSecret" => "k-secret",
        "Job" | "CronJob" => "k-job",
        "HorizontalPodAutoscaler" => "k-hpa",
        "PodDisruptionBudget" => "k-pdb",
        _ => "k-cm",
    }
}

/// Nothing here, why, and what to do.
pub(super) fn empty(icon_name: &str, title: &str, text: &str, code: Option<&str>) -> Markup {
    html! {
        div class="panel empty" {
            (icon(icon_name)) h2 { (title) } p { (text) }
            @if let Some(code) = code { pre class="code" { (code) } }
        }
    }
}

/// Hidden fields of every form.
pub(super) fn form_fields(view: &View<'_>) -> Markup {
    html! {
        input type="hidden" name="csrf" value=(view.caller.form_token());
        input type="hidden" name="key" value=(crate::access::token::id());
    }
}

/// A button that is a form of its own.
pub(super) fn button(
    view: &View<'_>,
    action: &str,
    class: &str,
    icon_name: &str,
    word: &str,
    key: Option<&str>,
) -> Markup {
    html! {
        form class="inline" method="post" action=(action) {
            (form_fields(view))
            button class={ "btn " (class) } data-key=[key] title=[key] { (icon(icon_name)) (word) }
        }
    }
}

/// Only addresses that a browser may be sent to.
pub(super) fn safe_url(url: &str) -> Option<&str> {
    (url.starts_with("https://") || url.starts_with("http://")).then_some(url)
}

fn initials(name: &str) -> String {
    let mut words = name.split(['-', '_', ' ', '.']).filter_map(|word| word.chars().next());
    let first = words.next();
    let second = words.next().or_else(|| name.chars().nth(1));
    first.into_iter().chain(second).flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_of_people() {
        assert_eq!(
            (initials("dev-lead"), initials("ada"), initials("")),
            ("DL".to_owned(), "AD".to_owned(), String::new())
        );
    }

    #[test]
    fn script_addresses_are_no_links() {
        assert_eq!(safe_url("javascript:alert(1)"), None);
        assert_eq!(safe_url("data:text/html,x"), None);
        assert!(safe_url("https://git.example.com/a").is_some());
    }

    #[test]
    fn texts_are_escaped() {
        let shown = who("<script>alert(1)</script>").into_string();
        assert!(!shown.contains("<script>"), "{shown}");
        let shown = empty("search", "\"><img src=x onerror=alert(1)>", "&", None).into_string();
        assert!(!shown.contains("<img"), "{shown}");
    }
}
