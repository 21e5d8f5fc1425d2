//! Logs. Trace context travels in message headers; spans carry it, so an exporter can be added as one more layer.

use std::ffi::OsStr;
use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// Section `log` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `pretty` for people, `json` for machines.
    pub format: LogFormat,
    /// `info`, or directives such as `info,sluice_builder=debug`.
    pub level: String,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line a record, for a terminal.
    Pretty,
    /// One JSON object a record.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Pretty, level: "info".to_owned() }
    }
}

/// Starts logging to standard error. A second call in one process does nothing.
pub fn init(config: &LogConfig) {
    let (filter, problem) = match EnvFilter::try_new(&config.level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let colours = may_colour(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Pretty => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    if let Some(error) = problem {
        tracing::warn!(level = config.level, %error, "log.level is not valid; using info");
    }
}

/// A file or a pipe gets no colour codes, nor does somebody who wants none (<https://no-color.org>).
fn may_colour(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_wants_colours_gets_them() {
        assert!(may_colour(true, None));
        assert!(may_colour(true, Some(OsStr::new(""))));
        assert!(!may_colour(true, Some(OsStr::new("1"))));
        assert!(!may_colour(false, None));
    }
}
