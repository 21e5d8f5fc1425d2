//! Secrets as they may be seen: every value replaced by a short keyed hash, so that "changed" and "same" stay visible.
//!
//! Invariant: an object that went through [`secret`] holds no value of `data` or `stringData`, nor the
//! `last-applied-configuration` annotation that repeats them. The key is random per process: hashes of weak values cannot
//! be looked up elsewhere. Called where objects enter the live cache and where comparisons are made.

use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::resource::Gvk;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const PREFIX: &str = "hidden:";

/// The per-process key.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Hides the values of a core `Secret` in place; other kinds are left alone.
pub fn secret(object: &mut Value, key: &Key) {
    if !Gvk::of(object).is_some_and(|gvk| gvk.is("", "Secret")) {
        return;
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    for field in ["data", "stringData"] {
        let Some(entries) = object.get_mut(field).and_then(Value::as_object_mut) else { continue };
        for (name, value) in entries {
            if value.as_str().is_some_and(|text| is_hidden(text)) {
                continue;
            }
            *value = Value::String(hidden(key, name, value));
        }
    }
}

fn is_hidden(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn hidden(key: &Key, name: &str, value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    // HMAC takes keys of every length, so this cannot fail; a constant would still hide the value.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.0) else { return format!("{PREFIX}000000000000") };
    mac.update(name.as_bytes());
    mac.update(&[0]);
    mac.update(text.as_bytes());
    format!("{PREFIX}{}", &hex::encode(mac.finalize().into_bytes())[..12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hide(data: Value) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "data": data,
            "metadata": { "name": "s", "annotations": { LAST_APPLIED: "planted" } },
        });
        secret(&mut object, &Key::new([1; 32]));
        object
    }

    #[test]
    fn no_value_survives_and_changes_stay_visible() {
        let object = hide(json!({ "a": "planted", "b": "planted" }));
        assert!(!object.to_string().contains("planted"));
        assert_ne!(
            object["data"]["a"], object["data"]["b"],
            "equal values under different names look different"
        );
        assert_eq!(object, hide(json!({ "a": "planted", "b": "planted" })));
        assert_ne!(object["data"]["a"], hide(json!({ "a": "other" }))["data"]["a"]);
    }

    #[test]
    fn hiding_twice_is_hiding_once() {
        let once = hide(json!({ "a": "planted" }));
        let mut twice = once.clone();
        secret(&mut twice, &Key::new([1; 32]));
        assert_eq!(once, twice);
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "b" } });
        secret(&mut object, &Key::new([1; 32]));
        assert_eq!(object["data"]["a"], "b");
    }
}
