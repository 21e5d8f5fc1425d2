//! Who is logged in where: `~/.config/sluice/logins.json`, readable by its owner alone.
//!
//! Invariants: tokens lie in this file and nowhere else; it is made with mode 0600 and replaced as a whole. `SLUICE_TOKEN`
//! wins, for programs that keep the token themselves. Called by the client and by `login`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_chassis::Secret;

use crate::failure::{Failure, Outcome};

/// Where `sluice up` serves the API.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The file's content. No `Debug`: it holds tokens.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Logins {
    /// The server that commands talk to.
    #[serde(default)]
    pub(crate) current: Option<String>,
    /// By server.
    #[serde(default)]
    servers: BTreeMap<String, Login>,
}

#[derive(Serialize, Deserialize)]
struct Login {
    person: String,
    token: String,
}

impl Logins {
    /// Reads the file; an absent one is empty.
    pub(crate) fn load() -> Outcome<Self> {
        let path = path()?;
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Failure::failed(
                    format_args!("{} is damaged: {error}", path.display()),
                    "delete it and log in again: `sluice login URL`",
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// The token for a server.
    pub(crate) fn token(&self, server: &str) -> Option<Secret> {
        let given = std::env::var("SLUICE_TOKEN").ok().filter(|token| !token.is_empty());
        given.or_else(|| self.servers.get(server).map(|login| login.token.clone())).map(Secret::new)
    }

    /// Notes a login and makes its server the current one.
    pub(crate) fn log_in(&mut self, server: &str, person: &str, token: &Secret) {
        let login = Login { person: person.to_owned(), token: token.expose().to_owned() };
        self.servers.insert(server.to_owned(), login);
        self.current = Some(server.to_owned());
    }

    /// Forgets a login. Says whether there was one.
    pub(crate) fn log_out(&mut self, server: &str) -> bool {
        if self.current.as_deref() == Some(server) {
            self.current = None;
        }
        self.servers.remove(server).is_some()
    }

    /// Writes the file.
    pub(crate) fn save(&self) -> Outcome<PathBuf> {
        let path = path()?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let written = (|| {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let new = path.with_extension(format!("{}.new", std::process::id()));
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        })();
        written.map_err(|error| unusable(&path, &error))?;
        Ok(path)
    }
}

/// `http://Host:8080/` → `http://host:8080`.
pub(crate) fn server_name(url: &str) -> Outcome<String> {
    let url = url.trim();
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    let parsed = reqwest::Url::parse(&with_scheme).map_err(|error| {
        Failure::usage(
            format_args!("`{url}` is not a URL: {error}"),
            format!("give one like {DEFAULT_SERVER}"),
        )
    })?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(Failure::usage(
            format_args!("`{url}` is not the address of an API server"),
            format!("give one like {DEFAULT_SERVER}"),
        ));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Failure::usage(
            "the URL carries a user or password, which other users of this machine can read",
            "leave them out; `sluice login` asks for the password",
        ));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn path() -> Outcome<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let base = base.ok_or_else(|| Failure::failed("neither HOME nor XDG_CONFIG_HOME is set", "set HOME"))?;
    Ok(base.join("sluice").join("logins.json"))
}

fn unusable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::failed(
        format_args!("{} cannot be used: {error}", path.display()),
        "check its owner and permissions",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_have_one_form() {
        assert_eq!(server_name("http://127.0.0.1:8080/").as_deref(), Ok("http://127.0.0.1:8080"));
        assert_eq!(server_name("Sluice.Example.com").as_deref(), Ok("https://sluice.example.com"));
        assert_eq!(server_name("https://h/base/").as_deref(), Ok("https://h/base"));
        for bad in ["", "ftp://h", "http://me:canary@h", "http://"] {
            let failure = server_name(bad).expect_err(bad);
            assert!(failure.kind.exit_code() == 2 && !failure.message.contains("canary"), "{failure:?}");
        }
    }
}
