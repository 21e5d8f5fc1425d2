//! Looking for secrets in whatever is found: as they are and in the forms that programs give them.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What must be found nowhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Search {
    /// Name of the secret, one of its forms.
    needles: Vec<(String, String)>,
    found: BTreeSet<String>,
    /// Bytes looked at, so that an empty haystack does not pass for a clean one.
    pub(super) looked_at: usize,
}

impl Search {
    pub(super) fn add(&mut self, name: &str, secret: &str) {
        assert!(secret.len() >= 12, "{name} is too short to be told from chance");
        let forms = forms(secret);
        self.needles.extend(forms.into_iter().map(|form| (name.to_owned(), form)));
    }

    /// Looks through `bytes`, which were found at `place`.
    pub(super) fn look(&mut self, place: &str, bytes: &[u8]) {
        self.looked_at += bytes.len();
        let text = String::from_utf8_lossy(bytes);
        for (name, needle) in &self.needles {
            if let Some(at) = text.find(needle.as_str()) {
                let around: String = text[..at].chars().rev().take(80).collect();
                let around: String = around.chars().rev().collect();
                self.found.insert(format!("{name} in {place}, after {around:?}"));
            }
        }
    }

    /// Whether anything is in `text`; for a quick look that must not miss its moment.
    pub(super) fn is_in(&self, text: &str) -> Option<&str> {
        self.needles.iter().find(|(_, needle)| text.contains(needle.as_str())).map(|(name, _)| name.as_str())
    }

    pub(super) fn note(&mut self, finding: String) {
        self.found.insert(finding);
    }

    pub(super) fn assert_clean(&self) {
        let all: Vec<_> = self.found.iter().cloned().collect();
        assert!(all.is_empty(), "{} findings:\n{}", all.len(), all.join("\n"));
    }
}

/// The secret, its lines, and how they look encoded.
fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for value in secret.lines().chain([secret]).filter(|value| value.len() >= 12) {
        forms.insert(value.to_owned());
        forms.insert(hex::encode(value));
        forms.insert(escaped(value));
        let json = serde_json::Value::from(value).to_string();
        forms.insert(json.trim_matches('"').to_owned());
        for offset in 0..3 {
            // The characters that depend on the secret alone, wherever it begins in what is encoded.
            let padded = [vec![0; offset], value.as_bytes().to_vec()].concat();
            let (head, tail) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                forms.insert(engine.encode(&padded)[head..tail].to_owned());
            }
        }
    }
    forms
}

fn escaped(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

#[test]
fn what_is_there_is_found() {
    let mut search = Search::default();
    search.add("it", "first line of it & more\nsecond line of it");
    for form in [
        "x first line of it & more".to_owned(),
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("user:second line of it")),
        "?q=first%20line%20of%20it%20%26%20more".to_owned(),
    ] {
        assert!(search.is_in(&form).is_some(), "{form}");
    }
    assert!(search.is_in("first line").is_none());
}
