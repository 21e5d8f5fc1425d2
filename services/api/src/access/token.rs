//! Random ids and their hashes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use sluice_chassis::Secret;

/// 256 random bits as text. The prefix lets secret scanners recognise a leaked one.
#[must_use]
pub(crate) fn secret(prefix: &str) -> Secret {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A code that a person types: 10 characters without look-alikes, 49 bits.
#[must_use]
pub(crate) fn code() -> Secret {
    const ALPHABET: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
    let mut bytes = [0_u8; 40];
    rand::rng().fill_bytes(&mut bytes);
    // 248 is the largest multiple of 31 below 256: no letter is likelier than another.
    let text: String = bytes
        .iter()
        .filter(|byte| **byte < 248)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .take(10)
        .collect();
    Secret::new(text)
}

/// A short reference for logs.
#[must_use]
pub(crate) fn short() -> String {
    let mut bytes = [0_u8; 4];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// A random id for messages that nothing else identifies.
#[must_use]
pub(crate) fn id() -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// What is stored instead of a secret with enough entropy of its own.
#[must_use]
pub(crate) fn hashed(purpose: &str, secret: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(purpose.as_bytes());
    hasher.update([0]);
    hasher.update(secret.as_bytes());
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (secret("x_"), secret("x_"));
        assert_eq!(one.expose().len(), 2 + 43);
        assert_ne!(one.expose(), other.expose());
        assert_eq!(code().expose().len(), 10);
    }

    #[test]
    fn hashes_depend_on_their_purpose() {
        assert_ne!(hashed("session", "a"), hashed("csrf", "a"));
    }
}
