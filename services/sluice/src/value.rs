//! Reading the API's answers without a type for each: fields by path, absent ones as nothing.
//!
//! The CLI shows a few fields of large answers and passes the whole on with `-o json`; a field that a newer or older API
//! lacks must cost a dash in a table, not the command. Called by every command that talks to the API.

use serde_json::Value;
use sluice_schemas::Timestamp;

/// Fields of an answer.
pub(crate) trait Fields {
    /// The value at a dotted path.
    fn at(&self, path: &str) -> &Value;

    /// A text, or a number or truth as text; empty when absent.
    fn text(&self, path: &str) -> String {
        match self.at(path) {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Array(items) => items.iter().map(|item| item.text("")).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        }
    }

    fn number(&self, path: &str) -> u64 {
        self.at(path).as_u64().unwrap_or(0)
    }

    fn is(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or(false)
    }

    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }

    /// The first 8 characters: of a commit, as people write it.
    fn short(&self, path: &str) -> String {
        let text = self.text(path);
        text.strip_prefix("sha256:").unwrap_or(&text).chars().take(8).collect()
    }

    fn time(&self, path: &str) -> Option<Timestamp> {
        Timestamp::parse(self.at(path).as_str()?).ok()
    }

    /// How long ago, in one unit: `5m`.
    fn age(&self, path: &str) -> String {
        self.time(path).map_or_else(String::new, |time| short_duration(Timestamp::now().millis_since(time)))
    }
}

impl Fields for Value {
    fn at(&self, path: &str) -> &Value {
        const NOTHING: &Value = &Value::Null;
        path.split('.').filter(|part| !part.is_empty()).fold(self, |value, part| {
            match part.parse::<usize>() {
                Ok(index) if value.is_array() => value.get(index).unwrap_or(NOTHING),
                _ => value.get(part).unwrap_or(NOTHING),
            }
        })
    }
}

/// In one unit, for tables.
pub(crate) fn short_duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// With the precision that the length deserves, for ledgers.
pub(crate) fn duration(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis} ms"),
        1000..=59_999 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..=3_599_999 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1000),
        _ => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

/// One segment of a URL's path.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    // A segment of dots alone would be taken for a step in the path.
    if encoded.chars().all(|c| c == '.') { encoded.replace('.', "%2E") } else { encoded }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_by_path_and_may_be_absent() {
        let value = json!({"a": {"b": [1, {"c": "x"}]}, "t": true, "l": ["p", "q"]});
        assert_eq!(value.text("a.b.1.c"), "x");
        assert_eq!(
            (value.text("a.b.0"), value.text("l"), value.text("no.such")),
            ("1".into(), "p,q".into(), String::new())
        );
        assert!(value.is("t") && value.list("nothing").is_empty());
        assert_eq!(json!({"d": "sha256:0123456789"}).short("d"), "01234567");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([0, 90_000, 7_000_000, 90_000_000].map(short_duration), ["0s", "90s", "116m", "25h"]);
        assert_eq!([31, 1250, 61_000, 3_660_000].map(duration), ["31 ms", "1.2 s", "1 min 1 s", "1 h 1 min"]);
    }

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("dev/shop web?"), "dev%2Fshop%20web%3F");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
