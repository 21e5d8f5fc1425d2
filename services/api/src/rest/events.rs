//! The log of facts as server-sent events, resumable by `Last-Event-ID` (the EVENTS sequence).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use sluice_bus::{From, Recorded};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Event as Fact, Filter};

use super::closed;
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::{Answer, ApiError};

const ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Wanted {
    filter: String,
    from: String,
}

pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let filter = filter(&wanted.filter)?;
    let from = start(&headers, &wanted.from)?;
    let records =
        api.bus.facts(&filter, from).await.map_err(|error| ApiError::away("the log of facts", &error))?;
    let open = api.metrics.stream("events");
    let (api_, caller_) = (api.clone(), caller.clone());
    let events = records.take_while(|record| std::future::ready(record.is_ok())).filter_map(move |record| {
        let _ = &open;
        let record = record.ok().filter(|record| readable(&api_, &caller_, record));
        std::future::ready(record.map(|record| Ok(event(&record))))
    });
    let events = events.take_until(Box::pin(closed(api, caller)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// Whether `caller` may read a fact: the same rights as for the page that shows it.
pub(crate) fn readable(api: &Api, caller: &Caller, record: &Recorded) -> bool {
    let tokens: Vec<&str> = record.subject.split('.').collect();
    let owner = tokens.get(2).copied().unwrap_or_default();
    let app = |project: &str, name: &str| {
        api.may(caller, Resource::Applications, Action::Get, &format!("{project}/{name}"))
    };
    match &record.event {
        Fact::AppCompared(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::AppHealthChanged(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::AppDeleted(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::AppGateChanged(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::RenderSucceeded(it) => app(&it.render.project.name(), &it.render.app.name()),
        Fact::RenderFailed(it) => app(&it.render.project.name(), &it.render.app.name()),
        Fact::SyncStarted(it) => app(&it.sync.app.project.name(), &it.sync.app.app.name()),
        Fact::SyncPhaseFinished(it) => app(&it.sync.app.project.name(), &it.sync.app.app.name()),
        Fact::SyncFinished(it) => app(&it.sync.app.project.name(), &it.sync.app.app.name()),
        Fact::GrantIssued(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::GrantConsumed(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::GrantRefused(it) => app(&it.app.project.name(), &it.app.app.name()),
        Fact::SessionOpened(_)
        | Fact::SessionRefused(_)
        | Fact::ChatSent(_)
        | Fact::ChatFailed(_)
        | Fact::ChatCommand(_)
        | Fact::Unknown(_) => api.may(caller, Resource::Audit, Action::Get, "*"),
        _ => api.may(caller, Resource::Runs, Action::Get, owner),
    }
}

fn event(record: &Recorded) -> Event {
    let data = json!({
        "sequence": record.sequence, "subject": record.subject, "time": record.envelope.time,
        "type": record.event.kind(), "id": record.envelope.id, "source": record.envelope.source,
        "correlation": record.envelope.correlation, "causation": record.envelope.causation,
        "payload": record.event.payload(),
    });
    Event::default().id(record.sequence.to_string()).event(record.event.kind()).data(data.to_string())
}

/// `evt.>`, `evt.run.>`, `evt.run.<repo>.<n>.*`: `*` for any token, `>` for any rest.
fn filter(text: &str) -> Answer<Filter> {
    if text.is_empty() || text == ">" || text == "evt.>" {
        return Ok(Filter::all_facts());
    }
    let wrong = || {
        let names: Vec<&str> = Entity::ALL.iter().map(|entity| entity.as_str()).collect();
        ApiError::invalid(format!(
            "`{text}` selects no facts; write evt.>, evt.ENTITY.> or evt.ENTITY.OWNER.ID.FACT with * for any; entities: {}",
            names.join(", ")
        ))
    };
    let mut tokens: Vec<&str> = text.split('.').collect();
    if tokens.first() != Some(&"evt") || tokens.len() < 3 || tokens.len() > 5 {
        return Err(wrong());
    }
    let open = tokens.last() == Some(&">");
    if open {
        tokens.pop();
    } else if tokens.len() != 5 {
        return Err(wrong());
    }
    let entity = Entity::ALL.iter().copied().find(|entity| entity.as_str() == tokens[1]).ok_or_else(wrong)?;
    let token = |at: usize| match tokens.get(at).copied() {
        None | Some("*") => Ok(None),
        Some(token) if sluice_schemas::ids::is_token(token) => Ok(Some(token)),
        Some(_) => Err(wrong()),
    };
    Ok(Filter::facts(entity, token(2)?, token(3)?, token(4)?))
}

fn start(headers: &HeaderMap, from: &str) -> Answer<From> {
    if let Some(last) = headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        return last
            .parse::<u64>()
            .map(|sequence| From::Sequence(sequence + 1))
            .map_err(|_| ApiError::invalid(format!("Last-Event-ID `{last}` is no sequence of EVENTS")));
    }
    match from {
        "" | "new" => Ok(From::New),
        "start" => Ok(From::Start),
        number => number
            .parse::<u64>()
            .map(From::Sequence)
            .map_err(|_| ApiError::invalid(format!("from=`{number}` is neither start, new nor a sequence"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_select_what_they_say() {
        for (text, subject, fits) in [
            ("", "evt.run.r.1.queued", true),
            ("evt.run.>", "evt.run.r.1.queued", true),
            ("evt.run.>", "evt.app.p.a.compared", false),
            ("evt.run.r.>", "evt.run.q.1.queued", false),
            ("evt.run.r.1.>", "evt.run.r.1.queued", true),
            ("evt.run.*.*.finished", "evt.run.r.1.queued", false),
            ("evt.app.*.shop-prod.*", "evt.app.default.shop-prod.compared", true),
        ] {
            assert_eq!(filter(text).expect("valid").matches(subject), fits, "{text} {subject}");
        }
        for text in ["cmd.>", "evt.nothing.>", "evt.run", "evt.run.A.>", "evt.run.a.b", "x"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_reader_goes_on_after_the_last_it_has() {
        let headers =
            HeaderMap::from_iter([("last-event-id".parse().expect("name"), "41".parse().expect("value"))]);
        assert_eq!(start(&headers, "start").expect("valid"), From::Sequence(42));
        assert_eq!(start(&HeaderMap::new(), "7").expect("valid"), From::Sequence(7));
        assert!(start(&HeaderMap::new(), "x").is_err());
    }
}
