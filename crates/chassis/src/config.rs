//! Configuration: one `sluice.yaml`, a section a service, `SLUICE_<SECTION>__<KEY>` variables over it.
//!
//! Invariants: an unknown key is an error with its line and the nearest known name; secrets stand in the file only as
//! references (a file, a variable, a labelled Secret), so the file can be shown whole by `--dump-config`. Called by
//! [`crate::main`] and `sluice up`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The sections there are.
pub const SECTIONS: &[&str] = &[
    "bus",
    "log",
    "server",
    "kubernetes",
    "ingress",
    "builder",
    "publisher",
    "renderer",
    "reconciler",
    "notifier",
    "api",
];

/// Prefix of variables that are laid over the file.
const PREFIX: &str = "SLUICE_";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such file, or not readable.
    #[error("{path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Not YAML.
    #[error("{path} is not valid YAML: {message}")]
    Syntax { path: PathBuf, message: String },
    /// A key or value is wrong.
    #[error("{place}: {key}: {message}")]
    Key { place: String, key: String, message: String },
}

/// Section `server`: the operations listener of a process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub listen: String,
    /// How long running work may take to end.
    pub grace_seconds: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9464".to_owned(), grace_seconds: 20 }
    }
}

/// A configuration file with the environment laid over it.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
    root: Map<String, Value>,
}

impl ConfigFile {
    /// Reads `path` (no path: an empty file) and the process's environment.
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML, or has a section that does not exist.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (path, text) = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                (path.to_owned(), text)
            }
            None => (PathBuf::from("(no file)"), String::new()),
        };
        Self::parse(path, text, std::env::vars())
    }

    /// As [`ConfigFile::load`], from given text and variables.
    ///
    /// # Errors
    /// As [`ConfigFile::load`].
    pub fn parse(
        path: PathBuf,
        text: String,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let value = if text.trim().is_empty() {
            Value::Object(Map::new())
        } else {
            serde_saphyr::from_str::<Value>(&text)
                .map_err(|error| ConfigError::Syntax { path: path.clone(), message: error.to_string() })?
        };
        let root = match value {
            Value::Object(root) => root,
            Value::Null => Map::new(),
            _ => {
                let message = "the file must be a mapping of sections".to_owned();
                return Err(ConfigError::Syntax { path, message });
            }
        };
        let mut file = Self { path, text, root };
        for (name, value) in variables {
            file.overlay(&name, &value);
        }
        if let Some(unknown) = file.root.keys().find(|key| !SECTIONS.contains(&key.as_str())) {
            let message = format!("there is no such section{}", did_you_mean(unknown, SECTIONS));
            return Err(file.key_error(&[unknown.clone()], message));
        }
        Ok(file)
    }

    /// One section as its type; an absent section is an empty one.
    ///
    /// # Errors
    /// When a key is unknown or a value has the wrong type.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        let value = self.root.get(name).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let value = if value.is_null() { Value::Object(Map::new()) } else { value };
        serde_path_to_error::deserialize(value).map_err(|error| {
            let mut path: Vec<String> = vec![name.to_owned()];
            path.extend(error.path().iter().filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                _ => None,
            }));
            let text = error.inner().to_string();
            self.key_error(&path, explain(&text))
        })
    }

    /// The whole as YAML, as it is in force.
    #[must_use]
    pub fn dump(&self) -> String {
        serde_saphyr::to_string(&Value::Object(self.root.clone())).unwrap_or_default()
    }

    /// `SLUICE_BUS__URL=…` → `bus.url`. Values are read as YAML, so numbers, lists and booleans work.
    fn overlay(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(PREFIX) else { return };
        let keys: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        // One word (SLUICE_CONFIG and the like) is no path.
        let [parents @ .., last] = keys.as_slice() else { return };
        if parents.is_empty() || !SECTIONS.contains(&keys[0].as_str()) {
            return;
        }
        let mut map = &mut self.root;
        for key in parents {
            let entry = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            let Value::Object(next) = entry else { return };
            map = next;
        }
        let value =
            serde_saphyr::from_str::<Value>(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        map.insert(last.clone(), value);
    }

    fn key_error(&self, path: &[String], message: String) -> ConfigError {
        let place = match line_of(&self.text, path) {
            Some(line) => format!("{}, line {line}", self.path.display()),
            None => format!("{} or the environment", self.path.display()),
        };
        ConfigError::Key { place, key: path.join("."), message }
    }
}

/// serde's "unknown field `x`, expected one of `a`, `b`" with the nearest name put first.
fn explain(text: &str) -> String {
    let mut quoted = text.split('`').skip(1).step_by(2);
    if !text.starts_with("unknown field") {
        return text.to_owned();
    }
    let Some(unknown) = quoted.next() else { return text.to_owned() };
    let known: Vec<&str> = quoted.collect();
    format!("there is no key `{unknown}`{}; known: {}", did_you_mean(unknown, &known), known.join(", "))
}

fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

/// The line of a key: each part of the path is looked for below the part before it. Good for the block style that
/// configuration files are written in; otherwise there is no line rather than a wrong one.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    let mut found = None;
    for part in path {
        if part.parse::<usize>().is_ok() {
            continue;
        }
        let offset = lines.get(at..)?.iter().position(|line| {
            let key = line.trim_start().trim_start_matches("- ");
            key.strip_prefix(part.as_str()).is_some_and(|rest| rest.starts_with(':'))
        });
        let Some(offset) = offset else { break };
        at += offset;
        found = Some(at + 1);
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        url: String,
        limits: Limits,
    }

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        memory: u64,
    }

    fn file(text: &str, variables: &[(&str, &str)]) -> Result<ConfigFile, ConfigError> {
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ConfigFile::parse("sluice.yaml".into(), text.to_owned(), variables)
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_suggestion() {
        let file = file("bus:\n  url: x\n  limits:\n    memmory: 4\n", &[]).expect("parses");
        let error = file.section::<Example>("bus").expect_err("unknown key").to_string();
        assert!(error.starts_with("sluice.yaml, line 4: bus.limits.memmory:"), "{error}");
        assert!(error.contains("did you mean `memory`?"), "{error}");
    }

    #[test]
    fn an_unknown_section_is_named() {
        let error = file("buss: {}\n", &[]).expect_err("unknown section").to_string();
        assert!(error.contains("line 1") && error.contains("did you mean `bus`?"), "{error}");
    }

    #[test]
    fn variables_win_and_keep_their_types() {
        let file = file(
            "bus:\n  url: file\n",
            &[("SLUICE_BUS__URL", "env"), ("SLUICE_BUS__LIMITS__MEMORY", "7"), ("SLUICE_CONFIG", "x")],
        );
        let section = file.expect("parses").section::<Example>("bus").expect("valid");
        assert_eq!((section.url.as_str(), section.limits.memory), ("env", 7));
    }

    #[test]
    fn a_wrong_variable_is_an_error_too() {
        let file = file("", &[("SLUICE_BUS__ULR", "x")]).expect("parses");
        let error = file.section::<Example>("bus").expect_err("unknown key").to_string();
        assert!(error.contains("environment") && error.contains("did you mean `url`?"), "{error}");
    }
}
