//! `/ui/stream?page=…`: what changed on a page, as server-sent events.
//!
//! At the beginning and at every change of the model the page's fragments are made by the functions that made the page,
//! and those that differ from what was sent last are sent; the script leaves alone what it has already. Log lines come on the same stream. `id` is `<sequence>.<last log line>`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use maud::Markup;
use serde::Deserialize;
use serde_json::json;
use sluice_schemas::ids::{JobId, RepoSlug};
use tokio::sync::mpsc::Sender;

use super::{View, app, apps, audit, deliveries, home, layout, ledger, log, run, runs, sheet};
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::ApiError;
use crate::rest::logs::{self, Said};
use crate::rest::{closed, produced};

/// Bursts are joined.
const FRAME: Duration = Duration::from_millis(120);
const ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    page: String,
    /// As `Last-Event-ID`, for a stream that the page closed itself.
    from: String,
}

/// A page that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Page {
    Home,
    Apps,
    App { name: String, sync: Option<String> },
    Sync { name: String, revision: String },
    Runs { repo: String },
    Run { repo: RepoSlug, number: u64, job: Option<JobId>, step: u32, line: u64 },
    Deliveries,
    Delivery { correlation: String },
    Audit,
    Still,
}

impl Page {
    fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["home"] => Self::Home,
            ["apps"] => Self::Apps,
            ["app", name] => Self::App { name: (*name).to_owned(), sync: None },
            ["app", name, sync] => Self::App { name: (*name).to_owned(), sync: Some((*sync).to_owned()) },
            ["sync", name, revision] => {
                Self::Sync { name: (*name).to_owned(), revision: (*revision).to_owned() }
            }
            ["runs", repo] => Self::Runs { repo: (*repo).to_owned() },
            ["run", repo, number, rest @ ..] => match (repo.parse(), number.parse()) {
                (Ok(repo), Ok(number)) => Self::Run {
                    repo,
                    number,
                    job: rest.first().and_then(|job| job.parse().ok()),
                    step: rest.get(1).and_then(|step| step.parse().ok()).unwrap_or_default(),
                    line: rest.last().and_then(|line| line.parse().ok()).unwrap_or_default(),
                },
                _ => Self::Still,
            },
            ["deliveries"] => Self::Deliveries,
            ["delivery", correlation] => Self::Delivery { correlation: (*correlation).to_owned() },
            ["audit"] => Self::Audit,
            _ => Self::Still,
        }
    }
}

pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let page = Page::parse(&wanted.page);
    let resumed = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let resumed = resumed.or(Some(wanted.from).filter(|from| !from.is_empty()));
    let open = api.metrics.stream("ui");
    let end = closed(api.clone(), caller.clone());
    let events = produced(move |sender| async move {
        let _open = open;
        produce(&api, &caller, page, resumed.as_deref(), &sender).await;
    });
    let events = Box::pin(events).take_until(Box::pin(end)).map(Ok);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

async fn produce(api: &Api, caller: &Caller, page: Page, resumed: Option<&str>, sender: &Sender<Event>) {
    let mut last_line = match (&page, resumed) {
        (_, Some(id)) => id.split_once('.').and_then(|(_, line)| line.parse().ok()).unwrap_or_default(),
        (Page::Run { line, .. }, None) => *line,
        _ => 0,
    };
    let mut log_lines = match &page {
        Page::Run { repo, number, job: Some(job), step, .. }
            if api.may(caller, Resource::Logs, Action::Get, repo.as_str()) =>
        {
            let said = logs::follow(api.clone(), repo.clone(), *number, vec![job.clone()], Some(*step));
            said.boxed()
        }
        _ => futures::stream::pending().boxed(),
    };
    let mut changes = api.model.changes();
    let mut sent: BTreeMap<String, u64> = BTreeMap::new();
    // Facts may have come between the page and its stream, so the first look is sent whole.
    if changed(api, caller, &page, &mut sent, sender, last_line).await.is_none() {
        return;
    }
    let mut began = None;
    loop {
        tokio::select! {
            told = changes.changed() => {
                if told.is_err() { return; }
                tokio::time::sleep(FRAME).await;
                changes.mark_unchanged();
                if changed(api, caller, &page, &mut sent, sender, last_line).await.is_none() { return; }
            }
            said = log_lines.next() => match said {
                Some(Said::Line(line)) => {
                    began = began.or(line.at);
                    if line.n <= last_line { continue; }
                    last_line = line.n;
                    let html = log::row(&line, began, false).into_string();
                    let data = json!({ "op": "append", "id": "log", "html": html });
                    if say(api, sender, "patch", &data, last_line).await.is_none() { return; }
                }
                Some(Said::Again { .. }) => {
                    last_line = 0;
                    began = None;
                    let data = json!({ "op": "clear", "id": "log", "html": "" });
                    if say(api, sender, "patch", &data, 0).await.is_none() { return; }
                }
                Some(Said::End(_)) => {}
                None => log_lines = futures::stream::pending().boxed(),
            },
        }
    }
}

/// Sends what differs from what was sent. `None`: the reader is gone.
async fn changed(
    api: &Api,
    caller: &Caller,
    page: &Page,
    sent: &mut BTreeMap<String, u64>,
    sender: &Sender<Event>,
    line: u64,
) -> Option<()> {
    for (id, markup) in fragments(api, caller, page).await {
        let mark = fingerprint(&markup);
        if sent.insert(id.clone(), mark) != Some(mark) {
            let data = json!({ "op": "replace", "id": id, "html": markup.into_string() });
            say(api, sender, "patch", &data, line).await?;
        }
    }
    Some(())
}

async fn say(
    api: &Api,
    sender: &Sender<Event>,
    name: &str,
    data: &serde_json::Value,
    line: u64,
) -> Option<()> {
    let id = format!("{}.{line}", api.model.read().sequence);
    sender.send(Event::default().id(id).event(name).data(data.to_string())).await.ok()
}

async fn fragments(api: &Api, caller: &Caller, page: &Page) -> Vec<(String, Markup)> {
    let view = View::new(api, caller);
    let mut found = match page {
        Page::Home => home::fragments(&view),
        Page::Apps => apps::fragments(&view),
        Page::App { name, sync } => app::fragments(&view, name, sync.as_deref()).await,
        Page::Sync { name, revision } => sheet::fragments(&view, name, revision).await,
        Page::Runs { repo } => runs::fragments(&view, repo),
        Page::Run { repo, number, job, step, .. } => {
            run::fragments(&view, repo.as_str(), *number, job.as_ref().map_or("", JobId::as_str), *step)
        }
        Page::Deliveries => deliveries::fragments(&view),
        Page::Delivery { correlation } => ledger::fragments(&view, correlation),
        Page::Audit => audit::fragments(&view),
        Page::Still => Vec::new(),
    };
    found.push(("nav-home".to_owned(), layout::nav_home(&view, matches!(page, Page::Home))));
    found.push(("bus".to_owned(), layout::bus(&view)));
    if view.may(Resource::DeadLetters, Action::Get, "*") {
        found.push(("nav-dlq".to_owned(), layout::nav_dlq(&view, false)));
    }
    found
}

/// What a fragment says, apart from ages and the random keys of its forms.
fn fingerprint(markup: &Markup) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = markup.0.as_str();
    while !rest.is_empty() {
        let age = rest.find(" data-age=\"\">");
        let key = rest.find("name=\"key\" value=\"");
        let (at, end) = match (age, key) {
            (Some(age), Some(key)) if key < age => (key, rest[key..].find('>').map(|it| key + it)),
            (Some(age), _) => (age, rest[age..].find("</time>").map(|it| age + it)),
            (None, Some(key)) => (key, rest[key..].find('>').map(|it| key + it)),
            (None, None) => break,
        };
        rest[..at].hash(&mut hasher);
        match end {
            Some(end) => rest = &rest[end..],
            None => break,
        }
    }
    rest.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use maud::PreEscaped;

    use super::*;

    #[test]
    fn pages_are_recognised() {
        assert_eq!(Page::parse("home"), Page::Home);
        let run = Page::parse("run/dev_shop-web/7/7-test/2/41");
        assert!(matches!(run, Page::Run { number: 7, step: 2, line: 41, job: Some(_), .. }), "{run:?}");
        assert_eq!(Page::parse("run/BAD/7"), Page::Still);
        assert_eq!(Page::parse("../x"), Page::Still);
    }

    #[test]
    fn ages_and_keys_are_no_change() {
        let make = |age: &str, key: &str, word: &str| {
            PreEscaped(format!(
                "<p><time datetime=\"x\" data-age=\"\">{age}</time><input name=\"key\" value=\"{key}\">{word}</p>"
            ))
        };
        assert_eq!(fingerprint(&make("3 s", "a", "x")), fingerprint(&make("9 s", "b", "x")));
        assert_ne!(fingerprint(&make("3 s", "a", "x")), fingerprint(&make("3 s", "a", "y")));
    }
}
