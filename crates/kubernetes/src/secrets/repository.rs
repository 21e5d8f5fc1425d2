//! Repositories: where to clone from, with which credentials, and the webhook's secrets.

use std::collections::BTreeMap;

use sluice_chassis::Secret;
use sluice_schemas::ids::RepoSlug;

use super::store::{Entry, SecretError, SecretType};
use crate::annotations::{ARGO_SECRET_TYPE, FULL_NAME, URL};
use crate::client::Cluster;

/// A repository that Sluice knows.
#[derive(Clone)]
pub struct RepositorySecret {
    pub slug: RepoSlug,
    /// `Owner/Name`.
    pub full_name: String,
    /// Clone URL, without credentials.
    pub url: String,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    pub webhook_secret: Option<Secret>,
    /// The one that replaces it: both are accepted while a person rotates.
    pub webhook_secret_next: Option<Secret>,
}

impl Cluster {
    /// Every repository: our labelled Secrets, then those of Argo CD whose URL we do not have yet.
    ///
    /// # Errors
    /// When ours cannot be listed; being refused Argo CD's is only logged.
    pub async fn repositories(&self) -> Result<Vec<RepositorySecret>, SecretError> {
        let own = self.secret_entries(SecretType::Repository, &[]).await?;
        let mut found: Vec<_> = own.into_iter().filter_map(from_own).collect();
        let selector = format!("{ARGO_SECRET_TYPE}=repository");
        match self.entries_by_selector(self.applications_namespace(), &selector, SecretType::Repository).await
        {
            Ok(entries) => {
                for candidate in entries.into_iter().filter_map(from_argo) {
                    if !found.iter().any(|it| normalise_url(&it.url) == normalise_url(&candidate.url)) {
                        found.push(candidate);
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error, "Argo CD's repository Secrets are not readable"),
        }
        Ok(found)
    }

    /// The repository with this clone URL, however it is spelt.
    ///
    /// # Errors
    /// When the Secrets cannot be listed.
    pub async fn repository_by_url(&self, url: &str) -> Result<Option<RepositorySecret>, SecretError> {
        let wanted = normalise_url(url);
        Ok(self.repositories().await?.into_iter().find(|it| normalise_url(&it.url) == wanted))
    }

    /// Creates or updates a repository; a credential that is `None` stays as it is.
    ///
    /// # Errors
    /// When the Secret cannot be written.
    pub async fn put_repository(&self, repository: &RepositorySecret) -> Result<(), SecretError> {
        let annotations = BTreeMap::from([
            (URL.to_owned(), repository.url.clone()),
            (FULL_NAME.to_owned(), repository.full_name.clone()),
        ]);
        let fields = [
            ("username", &repository.username),
            ("password", &repository.password),
            ("webhook-secret", &repository.webhook_secret),
            ("webhook-secret-next", &repository.webhook_secret_next),
        ];
        let data: BTreeMap<_, _> =
            fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect();
        self.put_secret(
            SecretType::Repository,
            repository.slug.as_str(),
            &BTreeMap::new(),
            &annotations,
            &data,
        )
        .await
    }

    /// Forgets a repository. Says whether it was known.
    ///
    /// # Errors
    /// When the Secret cannot be deleted.
    pub async fn delete_repository(&self, slug: &RepoSlug) -> Result<bool, SecretError> {
        self.delete_secret(SecretType::Repository, slug.as_str()).await
    }
}

/// One form for every spelling of a clone URL: no scheme, no credentials, lower-case host, no `.git`, no trailing slash.
/// `git@host:owner/name.git`, `ssh://git@host/owner/name` and `https://host/owner/name/` are the same repository.
pub fn normalise_url(url: &str) -> String {
    let url = url.trim();
    let (rest, scp_like) = match url.split_once("://") {
        Some((_, rest)) => (rest.to_owned(), false),
        None => (url.to_owned(), true),
    };
    let (authority, path) = match rest.split_once('/') {
        // `git@host:owner/name`: the path begins at the colon.
        Some((authority, path)) if scp_like && authority.contains(':') => {
            let (host, first) = authority.split_once(':').unwrap_or((authority, ""));
            (host.to_owned(), format!("{first}/{path}"))
        }
        Some((authority, path)) => (authority.to_owned(), path.to_owned()),
        None => (rest.clone(), String::new()),
    };
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix(":443").or_else(|| host.strip_suffix(":22")).unwrap_or(&host);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
    format!("{host}/{path}")
}

fn from_own(mut entry: Entry) -> Option<RepositorySecret> {
    let url = entry.annotations.remove(URL)?;
    let full_name = entry.annotations.remove(FULL_NAME).unwrap_or_else(|| full_name_of(&url));
    Some(RepositorySecret {
        slug: RepoSlug::from_full_name(&full_name),
        full_name,
        url,
        username: entry.data.remove("username"),
        password: entry.data.remove("password"),
        webhook_secret: entry.data.remove("webhook-secret"),
        webhook_secret_next: entry.data.remove("webhook-secret-next"),
    })
}

fn from_argo(mut entry: Entry) -> Option<RepositorySecret> {
    let kind = entry.data.remove("type");
    if kind.is_some_and(|kind| kind.expose() != "git") {
        return None;
    }
    let url = entry.data.remove("url")?.expose().to_owned();
    let full_name = full_name_of(&url);
    Some(RepositorySecret {
        slug: RepoSlug::from_full_name(&full_name),
        full_name,
        url,
        username: entry.data.remove("username"),
        password: entry.data.remove("password"),
        webhook_secret: None,
        webhook_secret_next: None,
    })
}

/// The last two parts of a URL's path.
fn full_name_of(url: &str) -> String {
    let path = normalise_url(url);
    let mut parts: Vec<_> = path.split('/').skip(1).collect();
    let keep = parts.len().saturating_sub(2);
    parts.drain(..keep);
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_url_are_one_repository() {
        for url in [
            "https://github.com/MapOfZones/deploy.git",
            "https://github.com/MapOfZones/deploy/",
            "https://user:word@GitHub.com/MapOfZones/deploy",
            "ssh://git@github.com/MapOfZones/deploy.git",
            "git@github.com:MapOfZones/deploy.git",
            "https://github.com:443/MapOfZones/deploy.git",
        ] {
            assert_eq!(normalise_url(url), "github.com/MapOfZones/deploy", "{url}");
        }
        assert_eq!(normalise_url("http://127.0.0.1:3080/dev/deploy.git"), "127.0.0.1:3080/dev/deploy");
        assert_ne!(normalise_url("https://a/x/y"), normalise_url("https://b/x/y"));
    }

    #[test]
    fn the_full_name_is_the_end_of_the_path() {
        assert_eq!(full_name_of("https://host/group/sub/name.git"), "sub/name");
        assert_eq!(full_name_of("https://host/name.git"), "name");
    }
}
