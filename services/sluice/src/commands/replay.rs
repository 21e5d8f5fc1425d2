//! `replay`: the facts of a chain again, in order, from the log itself. Nothing is published: handlers see nothing of it.

use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use sluice_schemas::Timestamp;

use super::trace::{find, heading, nothing, span};
use crate::arguments::ReplayArgs;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Kind, Outcome};
use crate::output::{Output, Tone};
use crate::value::{Fields, duration, segment};

/// Reading a log that is not growing: silence this long means its end.
const SILENCE: Duration = Duration::from_secs(3);

pub(crate) async fn replay(context: &Context, arguments: &ReplayArgs) -> Outcome {
    if !arguments.speed.is_finite() || arguments.speed < 0.0 {
        return Err(Failure::usage("--speed must be 0 or more", "1 is the original speed, 0 does not wait"));
    }
    let client = context.client()?;
    let (correlation, from, to) = chain(context, &client, &arguments.what).await?;
    let start = from.map_or_else(|| "start".to_owned(), |sequence| sequence.to_string());
    let mut events = client.events(&format!("/api/v1/events?filter=evt.%3E&from={start}")).await?;
    let (mut first, mut last, mut shown): (Option<Timestamp>, Option<Timestamp>, u64) = (None, None, 0);
    while let Ok(Some(sent)) = tokio::time::timeout(SILENCE, events.next()).await {
        let fact: Value = serde_json::from_str(&sent?.data).unwrap_or_default();
        let sequence = fact.number("sequence");
        if to.is_some_and(|to| sequence > to) {
            break;
        }
        if fact.text("correlation") == correlation {
            let time = fact.time("time");
            pause(last, time, arguments.speed).await;
            first = first.or(time);
            last = time;
            shown += 1;
            show(context.output, &fact, first)?;
        }
        if to == Some(sequence) {
            break;
        }
    }
    if shown == 0 { Err(nothing(&arguments.what)) } else { Ok(()) }
}

/// Correlation, first and last sequence, as far as the API knows the chain; a chain that it has forgotten is looked for
/// in the whole log.
async fn chain(
    context: &Context,
    client: &Client,
    what: &str,
) -> Outcome<(String, Option<u64>, Option<u64>)> {
    let Some(newest) = find(client, what).await?.first().cloned() else {
        let is_id = what.len() >= 16 && sluice_schemas::ids::is_token(what);
        return if is_id { Ok((what.to_owned(), None, None)) } else { Err(nothing(what)) };
    };
    let correlation = newest.text("correlation");
    match client.get(&format!("/api/v1/deliveries/{}", segment(&correlation))).await {
        Ok(delivery) => {
            if context.output.for_people() {
                let heading = heading(&delivery);
                let text = format!("{}  {}  {}", heading.short("sha"), heading.text("title"), correlation);
                context.output.note(context.output.paint(Tone::Faint, &text));
            }
            let (from, to) = span(&delivery);
            Ok((correlation, Some(from).filter(|n| *n > 0), Some(to).filter(|n| *n > 0)))
        }
        Err(failure) if failure.kind == Kind::Failed => Ok((correlation, None, None)),
        Err(failure) => Err(failure),
    }
}

async fn pause(last: Option<Timestamp>, now: Option<Timestamp>, speed: f64) {
    if let (Some(last), Some(now)) = (last, now)
        && speed > 0.0
    {
        let millis = Duration::from_millis(now.millis_since(last));
        tokio::time::sleep(millis.div_f64(speed)).await;
    }
}

fn show(output: Output, fact: &Value, first: Option<Timestamp>) -> Outcome {
    if output.record(fact)? {
        return Ok(());
    }
    let since = match (first, fact.time("time")) {
        (Some(first), Some(time)) => duration(time.millis_since(first)),
        _ => String::new(),
    };
    let sequence = output.paint(Tone::Faint, &format!("{:>7}", fact.number("sequence")));
    output.line(format!("{sequence}  +{since:<14} {}", fact.text("subject")))
}
