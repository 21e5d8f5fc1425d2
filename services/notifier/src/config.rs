//! Section `notifier` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// What the notifier needs beside `bus` and `kubernetes`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the Bot API.
    pub api_url: String,
    /// File with the bot's token. Absent: key `token` of the Secret labelled `sluice.dev/secret-type: telegram`.
    pub token_file: Option<PathBuf>,
    /// Name of the bot on subjects.
    pub bot: String,
    /// Who is told what. The Secret's key `chats` (numbers, separated by commas) adds chats that are told everything.
    pub chats: Vec<ChatConfig>,
    /// Address of Sluice's API server.
    pub server_url: String,
    /// File with the service token for it. Absent: key `api-token` of the Secret, which the API server makes.
    pub service_token_file: Option<PathBuf>,
    /// Address of the web UI as people reach it, for links.
    pub public_url: String,
    /// Shortest time between two edits of one message.
    pub edit_interval_ms: u64,
    /// Messages and edits a chat takes a minute; Telegram's limit for groups.
    pub messages_per_minute: u32,
    /// How long a confirmation can be given.
    pub confirm_seconds: u32,
    /// Facts older than this begin no message: a new installation on an old log tells no old stories.
    pub announce_within_hours: u32,
}

/// A chat that is told of runs and deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatConfig {
    /// Telegram's number of the chat.
    pub chat: i64,
    /// Repositories, as `owner/name`; a `*` at the end stands for any rest. Empty: all.
    pub repositories: Vec<String>,
    /// Applications, with `*` alike. Empty: all.
    pub applications: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: "https://api.telegram.org".to_owned(),
            token_file: None,
            bot: "sluice".to_owned(),
            chats: Vec::new(),
            server_url: "http://127.0.0.1:8080".to_owned(),
            service_token_file: None,
            public_url: String::new(),
            edit_interval_ms: 1_000,
            messages_per_minute: 20,
            confirm_seconds: 120,
            announce_within_hours: 24,
        }
    }
}

impl ChatConfig {
    /// Whether this chat hears of a repository.
    #[must_use]
    pub fn wants_repository(&self, full_name: &str) -> bool {
        wanted(&self.repositories, full_name)
    }

    /// Whether this chat hears of an application.
    #[must_use]
    pub fn wants_application(&self, name: &str) -> bool {
        wanted(&self.applications, name)
    }
}

fn wanted(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_hear_what_they_want() {
        let chat = ChatConfig { repositories: vec!["dev/shop-*".to_owned()], ..ChatConfig::default() };
        assert!(chat.wants_repository("dev/shop-web") && !chat.wants_repository("dev/till"));
        assert!(chat.wants_application("anything"));
    }
}
