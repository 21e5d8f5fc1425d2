//! Envelope ↔ NATS headers. Header names are case-sensitive on NATS, so they are lower case everywhere.

use async_nats::HeaderMap;
use sluice_schemas::envelope::header;
use sluice_schemas::{Envelope, Timestamp};

/// JetStream's message id, for its de-duplication window.
const MESSAGE_ID: &str = "Nats-Msg-Id";

pub(crate) fn write(envelope: &Envelope, subject: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = envelope.kind.as_str();
    headers.insert(header::ID, envelope.id.as_str());
    headers.insert(MESSAGE_ID, envelope.id.as_str());
    headers.insert(header::TYPE, kind);
    headers.insert(header::SOURCE, envelope.source.as_str());
    headers.insert(header::TIME, envelope.time.to_string().as_str());
    headers.insert(header::SUBJECT, subject.rsplit_once('.').map_or(subject, |(aggregate, _)| aggregate));
    headers.insert(header::SPEC_VERSION, "1.0");
    headers.insert(header::CONTENT_TYPE, "application/json");
    let schema = format!("json/{}.json", kind.trim_start_matches("dev.sluice."));
    headers.insert(header::SCHEMA, schema.as_str());
    headers.insert(header::CORRELATION, envelope.correlation.as_str());
    if let Some(causation) = &envelope.causation {
        headers.insert(header::CAUSATION, causation.as_str());
    }
    if let Some(traceparent) = &envelope.traceparent {
        headers.insert(header::TRACEPARENT, traceparent.as_str());
    }
    headers
}

/// Reads an envelope; the error says which header is wrong.
pub(crate) fn read(headers: Option<&HeaderMap>) -> Result<Envelope, String> {
    let headers = headers.ok_or("the message has no headers, so it does not come from Sluice")?;
    let get = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let need = |name: &'static str| get(name).ok_or_else(|| format!("the header {name} is missing"));
    let id = |name: &str, error: &dyn std::fmt::Display| format!("the header {name} is not valid: {error}");
    let time = need(header::TIME)?;
    Ok(Envelope {
        id: need(header::ID)?.parse().map_err(|e| id(header::ID, &e))?,
        kind: need(header::TYPE)?,
        source: need(header::SOURCE)?,
        time: Timestamp::parse(&time).map_err(|e| id(header::TIME, &e))?,
        correlation: need(header::CORRELATION)?.parse().map_err(|e| id(header::CORRELATION, &e))?,
        causation: match get(header::CAUSATION) {
            Some(causation) => Some(causation.parse().map_err(|e| id(header::CAUSATION, &e))?),
            None => None,
        },
        traceparent: get(header::TRACEPARENT),
    })
}

#[cfg(test)]
mod tests {
    use sluice_schemas::events::RunFinished;
    use sluice_schemas::{Cause, Message};

    use super::*;

    #[test]
    fn an_envelope_survives_the_headers() {
        let mut cause = Cause::root(sluice_schemas::envelope::correlation_of("x"), "seed").nth(3);
        cause.parent = Some(cause.message_id("parent"));
        cause.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        let envelope = Envelope::new::<RunFinished>(&cause, "/sluice/builder");
        let headers = write(&envelope, &RunFinished::example().subject().to_string());
        assert_eq!(read(Some(&headers)), Ok(envelope));
        assert_eq!(headers.get("ce-subject").map(|v| v.as_str()), Some("evt.run.dev_shop-web.42"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(read(None).is_err_and(|e| e.contains("no headers")));
        assert!(read(Some(&HeaderMap::new())).is_err_and(|e| e.contains("ce-time")));
    }
}
