//! Logging in: throttle, account, password, session, and a fact either way.

use sluice_chassis::Secret;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::events::{SessionOpened, SessionRefused, Surface};
use sluice_schemas::ids::{CommandId, Person};
use sluice_schemas::{Cause, Timestamp};

use super::sessions::fact_id;
use super::{token, verify_password};
use crate::Api;
use crate::error::{Answer, ApiError};

/// Why nobody was logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginRefused {
    /// The same words whether the name or the password is wrong.
    #[error("Name and password do not match. {}", left(*tries))]
    Wrong {
        /// Tries before the pause.
        tries: usize,
    },
    /// Too many failures.
    #[error("Too many wrong passwords for this name. Try again in {seconds} s.")]
    Throttled {
        /// How long.
        seconds: u64,
    },
    /// Nothing was typed.
    #[error("Name and password are needed.")]
    Empty,
}

impl From<LoginRefused> for ApiError {
    fn from(refused: LoginRefused) -> Self {
        match refused {
            LoginRefused::Throttled { .. } => Self::too_many(refused.to_string()),
            _ => Self::unauthenticated(refused.to_string()),
        }
    }
}

/// Opens a session for the right name and password.
///
/// # Errors
/// The inner error says why the person was refused, the outer one that a part of the system is away.
pub(crate) async fn login(
    api: &Api,
    username: &str,
    password: Secret,
    surface: Surface,
) -> Answer<Result<(Person, Secret), LoginRefused>> {
    if username.is_empty() || password.is_empty() {
        return Ok(Err(LoginRefused::Empty));
    }
    let now = Timestamp::now();
    // Names that cannot be accounts are throttled too, under a form of bounded length.
    let name = username.parse::<Person>().unwrap_or_else(|_| Person::from_text(username));
    if let Err(seconds) = api.throttle.check(name.as_str(), now) {
        api.metrics.login("throttled");
        return Ok(Err(LoginRefused::Throttled { seconds }));
    }
    let account = match username.parse::<Person>() {
        Ok(person) => api.accounts.get(&person).await?,
        Err(_) => None,
    };
    let hash = account.as_ref().and_then(super::Account::password_hash);
    let right = verify_password(password, hash).await?;
    let Some(account) = account.filter(|_| right) else {
        let tries = api.throttle.failed(name.as_str(), now);
        api.metrics.login("refused");
        refused_fact(api, &name, surface).await;
        return Ok(Err(LoginRefused::Wrong { tries }));
    };
    api.throttle.succeeded(name.as_str());
    let id = api.sessions.open(&account.person, surface, api.config.session_hours).await?;
    let session = fact_id(&id);
    let fact = SessionOpened { person: account.person.clone(), session: session.clone(), surface };
    let cause = Cause::root(correlation_of(session.as_str()), format!("session:{session}"));
    if let Err(error) = api.bus.publish(&fact, &cause).await {
        tracing::warn!(%error, "a login could not be recorded");
    }
    api.metrics.login("opened");
    Ok(Ok((account.person, id)))
}

async fn refused_fact(api: &Api, name: &Person, surface: Surface) {
    let attempt = CommandId::from_text(&token::id());
    let fact = SessionRefused {
        person: name.clone(),
        session: attempt.clone(),
        surface,
        reason: "name and password do not match".to_owned(),
    };
    let cause = Cause::root(correlation_of(attempt.as_str()), format!("session:{attempt}"));
    if let Err(error) = api.bus.publish(&fact, &cause).await {
        tracing::warn!(%error, "a refused login could not be recorded");
    }
}

fn left(tries: usize) -> String {
    match tries {
        0 => "The next try must wait 30 s.".to_owned(),
        1 => "1 try is left, then a pause of 30 s.".to_owned(),
        tries => format!("{tries} tries are left, then a pause of 30 s."),
    }
}
