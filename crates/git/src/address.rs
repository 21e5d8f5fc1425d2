//! Where a repository is and who we are there.
//!
//! Invariants: a URL never carries a user or password (they would end up in
//! process lists and messages) and never starts a transport that runs programs
//! (`ext::`, `fd::`). Credentials reach `git` through its environment only.

use std::fmt;

use base64::Engine as _;
use sluice_chassis::Secret;

#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum AddressError {
    #[error("the repository URL is empty")]
    Empty,
    #[error(
        "the repository URL {url:?} uses a transport that is not supported; use https://, http:// or file://"
    )]
    Transport { url: String },
    #[error(
        "the repository URL for {host} carries a user or password; take them out of the URL and store them in a repository Secret"
    )]
    CarriesCredentials { host: String },
    #[error("the repository URL holds a blank or a control character")]
    Characters,
}

/// A clone URL that is safe to hand to `git` and to print.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteUrl(String);

impl RemoteUrl {
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let url = url.trim();
        if url.is_empty() {
            return Err(AddressError::Empty);
        }
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(AddressError::Characters);
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(AddressError::Transport { url: url.to_owned() });
        };
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Some((_, host)) = authority.rsplit_once('@') {
            return Err(AddressError::CarriesCredentials { host: host.to_owned() });
        }
        match scheme.as_str() {
            "http" | "https" if !authority.is_empty() => {
                let path = &rest[authority.len()..];
                Ok(Self(format!("{scheme}://{}{path}", authority.to_ascii_lowercase())))
            }
            "file" if rest.starts_with('/') => Ok(Self(format!("file://{rest}"))),
            _ => Err(AddressError::Transport { url: url.to_owned() }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which two spellings of one repository are the same:
    /// without a trailing slash and `.git`.
    pub fn identity(&self) -> &str {
        let url = self.0.trim_end_matches('/');
        url.strip_suffix(".git").unwrap_or(url)
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RemoteUrl {
    type Err = AddressError;
    fn from_str(url: &str) -> Result<Self, AddressError> {
        Self::parse(url)
    }
}

/// User and password (or token) for HTTP. No `Debug`: nothing here is printable.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Secret,
}

impl Credentials {
    /// The value of `http.extraHeader`. Only `command` may ask for it.
    pub(crate) fn header(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password.expose());
        format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}

/// A repository and, where it wants them, our credentials for it.
#[derive(Clone)]
pub struct Remote {
    pub url: RemoteUrl,
    pub credentials: Option<Credentials>,
}

impl Remote {
    pub fn public(url: RemoteUrl) -> Self {
        Self { url, credentials: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_that_run_programs_and_options_are_refused() {
        for url in [
            "ext::sh -c id",
            "ext::id",
            "--upload-pack=id",
            "fd::7",
            "ssh://-oProxyCommand=id/x",
            "git@host:a/b",
            "file://rel",
        ] {
            assert!(RemoteUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_without_being_repeated() {
        let error = RemoteUrl::parse("https://me:canary@example.org/a/b.git").unwrap_err().to_string();
        assert!(error.contains("example.org") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn spellings_of_one_repository_are_the_same() {
        let a = RemoteUrl::parse("https://Example.org/A/b.git").unwrap();
        let b = RemoteUrl::parse("https://example.org/A/b/").unwrap();
        assert_eq!(a.identity(), b.identity());
    }
}
