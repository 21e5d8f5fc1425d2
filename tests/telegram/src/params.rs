//! Parameters of a call. Telegram takes them from the query, as a form, as JSON and as
//! multipart, all meaning the same; here they all become one map.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;

#[derive(Debug, Default, Clone)]
pub(crate) struct Params(pub(crate) Map<String, Value>);

impl Params {
    pub(crate) fn parse(query: Option<&str>, headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        let mut map = Map::new();
        url_pairs(query.unwrap_or_default(), &mut map);
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if body.is_empty() {
            return Ok(Self(map));
        }
        if kind.starts_with("application/json") {
            match serde_json::from_slice(body) {
                Ok(Value::Object(object)) => map.extend(object),
                _ => return Err(ApiError::bad("can't parse JSON object")),
            }
        } else if let Some(boundary) = kind.strip_prefix("multipart/form-data").and_then(boundary) {
            multipart(body, boundary, &mut map);
        } else {
            url_pairs(&String::from_utf8_lossy(body), &mut map);
        }
        Ok(Self(map))
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes"),
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            _ => false,
        }
    }

    /// A structured parameter: an object in a JSON body, JSON text anywhere else.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some),
            Some(value) => serde_json::from_value(value.clone()).map(Some),
        }
    }
}

fn url_pairs(text: &str, map: &mut Map<String, Value>) {
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        map.insert(decode(name), Value::String(decode(value)));
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], code.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn boundary(rest: &str) -> Option<&str> {
    let value = rest.split(';').find_map(|p| p.trim().strip_prefix("boundary="))?;
    Some(value.trim_matches('"'))
}

/// The parts that have a name; a file's content counts as its text.
fn multipart(body: &[u8], boundary: &str, map: &mut Map<String, Value>) {
    let delimiter = format!("--{boundary}");
    let text = String::from_utf8_lossy(body);
    for part in text.split(delimiter.as_str()).skip(1) {
        let Some((head, value)) = part.trim_start_matches("\r\n").split_once("\r\n\r\n") else { continue };
        let name = head.split("name=\"").nth(1).and_then(|n| n.split('"').next());
        if let Some(name) = name {
            let value = value.strip_suffix("\r\n").unwrap_or(value);
            map.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &'static str, body: &'static str) -> Params {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Params::parse(Some("a=1%202"), &headers, &Bytes::from(body)).unwrap()
    }

    #[test]
    fn every_encoding_means_the_same() {
        let form = parse("application/x-www-form-urlencoded", "chat_id=-5&text=a%26b+c&x=%7B%22k%22%3A1%7D");
        let json = parse("application/json", r#"{"chat_id": -5, "text": "a&b c", "x": {"k": 1}}"#);
        let multi = parse(
            "multipart/form-data; boundary=XX",
            "--XX\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n-5\r\n--XX\r\nContent-Disposition: form-data; \
             name=\"text\"\r\n\r\na&b c\r\n--XX\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n{\"k\":1}\r\n--XX--\r\n",
        );
        for params in [form, json, multi] {
            assert_eq!(params.text("a").as_deref(), Some("1 2"));
            assert_eq!(params.int("chat_id"), Some(-5));
            assert_eq!(params.text("text").as_deref(), Some("a&b c"));
            assert_eq!(params.json::<Value>("x").unwrap().unwrap()["k"], 1);
        }
    }

    #[test]
    fn a_broken_escape_is_text() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
    }
}
