//! Local accounts: labelled Secrets, one an account, with `password` (an argon2id hash), `roles` and `enabled`.
//!
//! Invariants: a password is never stored, and the first admin password is shown once; what was read is used for at most
//! [`FRESH`], so a role that is taken away is gone within seconds. Called by login and by every request.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_chassis::Secret;
use sluice_kubernetes::Cluster;
use sluice_kubernetes::secrets::SecretError;
use sluice_schemas::ids::Person;
use tokio::time::Instant;

use super::{hash_password, token};
use crate::error::{Answer, ApiError};

/// The account that is made at the first start.
pub(crate) const ADMIN: &str = "admin";
/// How long what was read counts as current.
const FRESH: Duration = Duration::from_secs(4);
/// How long it may still be used while Kubernetes does not answer.
const STALE: Duration = Duration::from_secs(300);

const PASSWORD: &str = "password";
const ROLES: &str = "roles";
const ENABLED: &str = "enabled";

/// Why accounts could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    /// Kubernetes.
    #[error("the accounts are not readable: {0}")]
    Secrets(#[from] SecretError),
    /// Where the first password goes.
    #[error(
        "the first admin password could not be written to {path}: {source}; check api.initial_password_file"
    )]
    PasswordFile {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Hashing was cut short.
    #[error("{0}")]
    Hashing(ApiError),
}

/// An account.
#[derive(Clone)]
pub(crate) struct Account {
    /// Its name.
    pub(crate) person: Person,
    /// Roles given to it, beside those that the policy gives.
    pub(crate) roles: Vec<String>,
    /// May log in.
    pub(crate) enabled: bool,
    password: Option<Secret>,
}

impl Account {
    /// The stored hash; none for accounts that have no password.
    #[must_use]
    pub(crate) fn password_hash(&self) -> Option<Secret> {
        self.password.clone()
    }
}

struct Snapshot {
    read_at: Instant,
    accounts: BTreeMap<Person, Account>,
}

/// The accounts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Accounts {
    cluster: Cluster,
    snapshot: Arc<Mutex<Option<Arc<Snapshot>>>>,
}

impl Accounts {
    /// The accounts in the namespace of `cluster`.
    #[must_use]
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster, snapshot: Arc::default() }
    }

    /// One account, if it exists and is enabled.
    ///
    /// # Errors
    /// When Kubernetes has not answered for long.
    pub(crate) async fn get(&self, person: &Person) -> Answer<Option<Account>> {
        let snapshot = self.current().await?;
        Ok(snapshot.accounts.get(person).filter(|account| account.enabled).cloned())
    }

    /// Makes the admin account with a random password if there is no account of that name. The caller holds the
    /// bootstrap lease. Shows the password on standard output, once: it is nowhere else.
    ///
    /// # Errors
    /// When the account cannot be stored or the password not be shown.
    pub(crate) async fn ensure_admin(&self, password_file: Option<&Path>) -> Result<(), AccountError> {
        if self.cluster.accounts().await?.get(ADMIN).is_some_and(|data| data.contains_key(PASSWORD)) {
            return Ok(());
        }
        let password = token::secret("");
        let password = Secret::new(&password.expose()[..24]);
        let hash = hash_password(password.clone()).await.map_err(AccountError::Hashing)?;
        let data =
            BTreeMap::from([(PASSWORD.to_owned(), hash), (ROLES.to_owned(), Secret::new(super::ROLE_ADMIN))]);
        self.cluster.put_account(ADMIN, &data).await?;
        if let Some(path) = password_file {
            write_private(path, &password)
                .map_err(|source| AccountError::PasswordFile { path: path.display().to_string(), source })?;
        }
        let mut out = std::io::stdout().lock();
        let line =
            format!("sluice: first start: sign in as `{ADMIN}` with the password {}\n", password.expose());
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            tracing::warn!("standard output is closed: the first admin password could not be shown");
        }
        Ok(())
    }

    /// Sets a password.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(crate) async fn set_password(&self, person: &Person, password: Secret) -> Answer<()> {
        let hash = hash_password(password).await?;
        let data = BTreeMap::from([(PASSWORD.to_owned(), hash)]);
        self.write(person, &data).await
    }

    /// Makes or changes an account: its roles, and a password if one is given.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(crate) async fn put(
        &self,
        person: &Person,
        roles: &[String],
        password: Option<Secret>,
    ) -> Answer<()> {
        let mut data = BTreeMap::from([(ROLES.to_owned(), Secret::new(roles.join(",")))]);
        if let Some(password) = password {
            data.insert(PASSWORD.to_owned(), hash_password(password).await?);
        }
        self.write(person, &data).await
    }

    async fn write(&self, person: &Person, data: &BTreeMap<String, Secret>) -> Answer<()> {
        let written = self.cluster.put_account(person.as_str(), data).await;
        written.map_err(|error| ApiError::away("Kubernetes, where accounts are kept,", &error))?;
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    async fn current(&self) -> Answer<Arc<Snapshot>> {
        let known = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(snapshot) = known.as_ref().filter(|it| it.read_at.elapsed() < FRESH) {
            return Ok(snapshot.clone());
        }
        match self.cluster.accounts().await {
            Ok(entries) => {
                let accounts = entries.into_iter().filter_map(|(name, data)| account(&name, data)).collect();
                let snapshot = Arc::new(Snapshot { read_at: Instant::now(), accounts });
                *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
                Ok(snapshot)
            }
            Err(error) => match known.filter(|it| it.read_at.elapsed() < STALE) {
                Some(snapshot) => {
                    tracing::warn!(%error, "accounts are not readable; going on with those known");
                    Ok(snapshot)
                }
                None => Err(ApiError::away("Kubernetes, where accounts are kept,", &error)),
            },
        }
    }
}

fn account(name: &str, mut data: BTreeMap<String, Secret>) -> Option<(Person, Account)> {
    let Ok(person) = name.parse::<Person>() else {
        tracing::warn!(name, "an account's name may hold a-z, 0-9, `_` and `-` only; it is not used");
        return None;
    };
    let text =
        |data: &BTreeMap<String, Secret>, key| data.get(key).map(|value: &Secret| value.expose().to_owned());
    let roles = text(&data, ROLES).unwrap_or_default();
    let account = Account {
        person: person.clone(),
        roles: roles.split(',').map(|role| role.trim().to_owned()).filter(|role| !role.is_empty()).collect(),
        enabled: text(&data, ENABLED).as_deref() != Some("false"),
        password: data.remove(PASSWORD),
    };
    Some((person, account))
}

fn write_private(path: &Path, password: &Secret) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(password.expose().as_bytes())?;
    file.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_its_secret() {
        let data = BTreeMap::from([
            (ROLES.to_owned(), Secret::new("role:admin, role:x")),
            (ENABLED.to_owned(), Secret::new("false")),
        ]);
        let (person, account) = account("ada", data).expect("an account");
        assert_eq!(person.as_str(), "ada");
        assert_eq!(account.roles, ["role:admin", "role:x"]);
        assert!(!account.enabled && account.password_hash().is_none());
        assert!(super::account("Ada Lovelace", BTreeMap::new()).is_none());
    }
}
