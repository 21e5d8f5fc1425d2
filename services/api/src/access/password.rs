//! Passwords: argon2id, off the runtime's threads.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngCore as _;
use sluice_chassis::{Secret, blocking};

use crate::error::ApiError;

/// Memory in KiB, passes, lanes: OWASP's second recommendation, about 30 ms on a small machine.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Hash of no password: checked for accounts that do not exist, so that they take as long to refuse.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLW5vYm9keS0w$ZHVtbXlkdW1teWR1bW15ZHVtbXlkdW1teWR1bW15ZHU";

/// Hashes a new password.
///
/// # Errors
/// When the process is ending.
pub(crate) async fn hash_password(password: Secret) -> Result<Secret, ApiError> {
    let hashed = blocking("hashing a password", move || {
        let mut salt = [0_u8; 16];
        rand::rng().fill_bytes(&mut salt);
        let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
        let hash = hasher().hash_password(password.expose().as_bytes(), &salt).map_err(|e| e.to_string())?;
        Ok::<_, String>(Secret::new(hash.to_string()))
    });
    hashed
        .await
        .map_err(|error| ApiError::internal("hashing a password", &error))?
        .map_err(|error| ApiError::internal("hashing a password", &error))
}

/// Whether `password` is the one behind `hash`; no hash is never right, and takes as long.
///
/// # Errors
/// When the process is ending.
pub(crate) async fn verify_password(password: Secret, hash: Option<Secret>) -> Result<bool, ApiError> {
    let known = hash.is_some();
    let verified = blocking("checking a password", move || {
        let text = hash.as_ref().map_or(NOBODY, Secret::expose);
        match PasswordHash::new(text) {
            Ok(parsed) => hasher().verify_password(password.expose().as_bytes(), &parsed).is_ok(),
            Err(error) => {
                tracing::error!(%error, "an account's password hash cannot be read");
                false
            }
        }
    });
    let right = verified.await.map_err(|error| ApiError::internal("checking a password", &error))?;
    Ok(right && known)
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY, PASSES, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let hash = hash_password(Secret::new("correct horse")).await.expect("hashed");
        assert!(hash.expose().starts_with("$argon2id$"));
        assert!(verify_password(Secret::new("correct horse"), Some(hash.clone())).await.expect("checked"));
        assert!(!verify_password(Secret::new("wrong"), Some(hash)).await.expect("checked"));
        assert!(!verify_password(Secret::new("anything"), None).await.expect("checked"));
    }

    #[test]
    fn nobodys_hash_is_a_real_one() {
        assert!(PasswordHash::new(NOBODY).is_ok());
    }
}
