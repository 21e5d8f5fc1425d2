//! `org/name` or `host/org/name` to a registry and a path in it. Pure.

use std::collections::BTreeMap;

/// Where an image belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePath {
    pub(crate) host: String,
    pub(crate) repository: String,
}

impl ImagePath {
    /// `host/path`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

/// Reads an image path. A first part with a dot or a port is a host; `rewrites` puts other hosts in place of it.
pub(crate) fn resolve(
    written: &str,
    default_host: &str,
    rewrites: &BTreeMap<String, String>,
) -> Result<ImagePath, String> {
    let (host, path) = match written.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (default_host, written),
    };
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        part.chars().all(inner)
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if path.is_empty() || path.len() > 255 || !path.split('/').all(part) {
        return Err(format!(
            "'{written}' is not an image path; write registry-name/image-name in lower case, without a tag"
        ));
    }
    let valid =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-'));
    if !valid {
        return Err(format!("'{host}' is not the host of a registry"));
    }
    let rewritten = rewrites.get(host).map_or(host, String::as_str).trim_end_matches('/');
    Ok(match rewritten.split_once('/') {
        Some((host, prefix)) => ImagePath { host: host.to_owned(), repository: format!("{prefix}/{path}") },
        None => ImagePath { host: rewritten.to_owned(), repository: path.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_paths_and_rewritten() {
        let rewrites = BTreeMap::from([
            ("registry.digitalocean.com".to_owned(), "127.0.0.1:5000".to_owned()),
            ("mirror.example.com".to_owned(), "127.0.0.1:5000/mirror".to_owned()),
        ]);
        for (written, wanted) in [
            ("org/name", "127.0.0.1:5000/org/name"),
            ("registry.digitalocean.com/org/name", "127.0.0.1:5000/org/name"),
            ("ghcr.io/org/name", "ghcr.io/org/name"),
            ("localhost/name", "localhost/name"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c"),
            ("mirror.example.com/a", "127.0.0.1:5000/mirror/a"),
        ] {
            let found = resolve(written, "registry.digitalocean.com", &rewrites).expect(written);
            assert_eq!(found.name(), wanted);
        }
        for broken in ["", "Org/Name", "a/b:tag", "a//b", "a/-b", "host.com/", "a b/c"] {
            assert!(resolve(broken, "registry.digitalocean.com", &rewrites).is_err(), "{broken}");
        }
    }
}
