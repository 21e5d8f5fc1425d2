//! Secrets out of text.
//!
//! A secret is masked as it is, line by line when it has several, and in the forms that programs give it: base64
//! at each of its three alignments, URL- and JSON-escaped, shell-quoted. Overlapping finds are one mask. Called for
//! every line, step summary, annotation, output and error text that leaves the process.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

const MASK: &str = "***";
/// Encoded forms shorter than this would mask half of what anybody prints.
const MIN_ENCODED: usize = 4;

/// The secrets of one job. Cheap to clone; `::add-mask::` adds to all clones.
#[derive(Clone, Default)]
pub(crate) struct Masker(Arc<RwLock<Needles>>);

#[derive(Default)]
struct Needles {
    /// Longest first is not needed: finds are merged. Ordered, so that nothing depends on insertion.
    forms: BTreeSet<String>,
    longest: usize,
}

impl Masker {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let masker = Self::default();
        for secret in secrets {
            masker.add(secret);
        }
        masker
    }

    /// Masks `secret` in everything that comes after.
    pub(crate) fn add(&self, secret: &str) {
        let mut needles = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret) {
            needles.longest = needles.longest.max(form.len());
            needles.forms.insert(form);
        }
    }

    /// Length of the longest thing that is masked.
    pub(crate) fn longest(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).longest
    }

    pub(crate) fn mask(&self, text: &str) -> String {
        let needles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for form in &needles.forms {
            let mut from = 0;
            // Finds may overlap each other ("aa" in "aaa"), so each next search starts one character on.
            while let Some(at) = text.get(from..).and_then(|rest| rest.find(form.as_str())) {
                let start = from + at;
                ranges.push((start, start + form.len()));
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if ranges.is_empty() {
            return text.to_owned();
        }
        ranges.sort_unstable();
        let mut out = String::with_capacity(text.len());
        let mut shown = 0;
        let mut open: Option<(usize, usize)> = None;
        for range in ranges.into_iter().map(Some).chain([None]) {
            match (open, range) {
                (Some((start, end)), Some((next, next_end))) if next <= end => {
                    open = Some((start, end.max(next_end)));
                }
                (Some((start, end)), next) => {
                    out.push_str(&text[shown..start]);
                    out.push_str(MASK);
                    shown = end;
                    open = next;
                }
                (None, next) => open = next,
            }
        }
        out.push_str(&text[shown..]);
        out
    }

    /// Whether `text` holds anything that would be masked.
    pub(crate) fn touches(&self, text: &str) -> bool {
        let needles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        needles.forms.iter().any(|form| text.contains(form.as_str()))
    }
}

fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let mut values: Vec<&str> = vec![secret];
    values.extend(secret.lines());
    values.extend(values.clone().into_iter().map(str::trim));
    values.extend(values.clone().into_iter().map(|value| value.trim_matches(['"', '\''])));
    for value in values {
        if value.trim().is_empty() {
            continue;
        }
        forms.insert(value.to_owned());
        if value.len() < MIN_ENCODED {
            continue;
        }
        forms.extend(base64_forms(value.as_bytes()));
        forms.insert(url_escaped(value));
        if let Ok(json) = serde_json::to_string(value) {
            forms.insert(json.trim_matches('"').to_owned());
        }
        forms.insert(value.replace('\'', "'\\''"));
        forms.insert(value.replace('\'', "''"));
        forms.insert(value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
    }
    forms.retain(|form| !form.trim().is_empty());
    forms
}

/// The part of the base64 text that depends on the secret alone, at each offset of the secret in what is encoded.
fn base64_forms(value: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3_usize {
        let mut padded = vec![0_u8; offset];
        padded.extend_from_slice(value);
        // Characters that share bits with neighbours say nothing for sure: cut them off at both ends.
        let head = (offset * 8).div_ceil(6);
        let tail = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            if let Some(core) = text.get(head..tail)
                && core.len() >= MIN_ENCODED
            {
                forms.push(core.to_owned());
            }
        }
    }
    forms
}

fn url_escaped(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_their_encodings_vanish() {
        let masker = Masker::new(["hunter2 & more", "line one\nline two"]);
        for text in [
            "the password is hunter2 & more.",
            "x=hunter2%20%26%20more",
            "only line two here",
            "hunter2 &amp; more",
        ] {
            let masked = masker.mask(text);
            assert!(
                masked.contains(MASK) && !masked.contains("hunter2") && !masked.contains("line two"),
                "{masked}"
            );
        }
        for prefix in ["", "a", "ab", "user:"] {
            let encoded = STANDARD.encode(format!("{prefix}hunter2 & more"));
            let masked = masker.mask(&encoded);
            assert!(masked.contains(MASK), "{prefix}: {encoded} {masked}");
        }
    }

    #[test]
    fn overlapping_secrets_are_one_mask() {
        let masker = Masker::new(["abcdef", "defghi"]);
        assert_eq!(masker.mask("x abcdefghi y"), "x *** y");
        assert_eq!(Masker::new(["aa"]).mask("aaa b"), "*** b");
    }

    #[test]
    fn nothing_is_masked_for_an_empty_secret() {
        let masker = Masker::new(["", "  ", "\n"]);
        assert_eq!(masker.mask("a b\n"), "a b\n");
        assert!(!masker.touches("a b"));
    }

    #[test]
    fn later_masks_hold_for_clones() {
        let masker = Masker::default();
        let clone = masker.clone();
        masker.add("found-later");
        assert_eq!(clone.mask("it is found-later!"), "it is ***!");
    }

    proptest! {
        #[test]
        fn no_secret_survives(before in ".{0,10}", secret in "[a-zA-Z0-9+/=é]{4,20}", after in ".{0,10}") {
            let masked = Masker::new([secret.as_str()]).mask(&format!("{before}{secret}{after}"));
            prop_assert!(!masked.contains(&secret), "{}", masked);
        }

        #[test]
        fn no_encoded_secret_survives(before in "[a-z]{0,5}", secret in "[a-zA-Z0-9]{8,20}", after in "[a-z]{0,5}") {
            let masker = Masker::new([secret.as_str()]);
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            prop_assert!(masker.mask(&encoded).contains(MASK));
        }
    }
}
