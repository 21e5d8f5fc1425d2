//! Signatures of webhooks: `X-Hub-Signature-256: sha256=<64 lower-case hexadecimal digits>` over the raw body.
//!
//! Invariants: exactly one header in exactly that form; compared in constant time; every secret is tried whatever the
//! earlier ones gave, so the time tells nothing. Called by the receiver before anything is believed.

use axum::http::HeaderMap;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use sluice_chassis::Secret;

/// GitHub's header.
pub(crate) const HEADER: &str = "x-hub-signature-256";

/// A signature that has the right form.
#[derive(Clone, Copy)]
pub(crate) struct Signature([u8; 32]);

/// Why there is no signature to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the request carries no X-Hub-Signature-256; set a secret in the webhook's settings")]
    Missing,
    #[error("the request carries X-Hub-Signature-256 more than once")]
    Repeated,
    #[error("X-Hub-Signature-256 is not `sha256=` and 64 lower-case hexadecimal digits")]
    Form,
}

impl Signature {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(Malformed::Missing)?;
        if values.next().is_some() {
            return Err(Malformed::Repeated);
        }
        let digits =
            value.to_str().ok().and_then(|text| text.strip_prefix("sha256=")).ok_or(Malformed::Form)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Malformed::Form);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| Malformed::Form)?;
        Ok(Self(bytes))
    }

    /// Which of the secrets made this signature of `body`. An empty secret never does.
    pub(crate) fn made_by(&self, body: &[u8], secrets: &[Secret]) -> Option<usize> {
        let mut found = None;
        for (index, secret) in secrets.iter().enumerate() {
            let right = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
                .is_ok_and(|mac| mac.chain_update(body).verify_slice(&self.0).is_ok());
            if right && !secret.is_empty() && found.is_none() {
                found = Some(index);
            }
        }
        found
    }
}

/// Spends the time of one check, for repositories that we do not know: the answer's time must not tell which we do.
pub(crate) fn pretend(signature: &Signature, body: &[u8]) {
    let _nothing = signature.made_by(body, &[Secret::new("no such repository")]);
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    // GitHub's published example: "Validating webhook deliveries".
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const DIGITS: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_str(value).expect("a header value"));
        }
        headers
    }

    #[test]
    fn githubs_own_example_is_right() {
        let signature = Signature::of(&headers(&[&format!("sha256={DIGITS}")])).expect("the right form");
        assert_eq!(signature.made_by(BODY, &[Secret::new(SECRET)]), Some(0));
        let rotating = [Secret::new("the next one"), Secret::new(SECRET)];
        assert_eq!(signature.made_by(BODY, &rotating), Some(1));
        assert_eq!(signature.made_by(BODY, &[Secret::new("another")]), None);
        assert_eq!(signature.made_by(b"Hello, World?", &[Secret::new(SECRET)]), None);
        assert_eq!(signature.made_by(BODY, &[]), None);
    }

    #[test]
    fn an_empty_secret_accepts_nothing() {
        let mac = Hmac::<Sha256>::new_from_slice(b"").expect("any length").chain_update(BODY).finalize();
        let value = format!("sha256={}", hex::encode(mac.into_bytes()));
        let signature = Signature::of(&headers(&[&value])).expect("the right form");
        assert_eq!(signature.made_by(BODY, &[Secret::new("")]), None);
    }

    #[test]
    fn every_other_form_is_refused() {
        let good = format!("sha256={DIGITS}");
        assert_eq!(Signature::of(&headers(&[])).err(), Some(Malformed::Missing));
        assert_eq!(Signature::of(&headers(&[&good, &good])).err(), Some(Malformed::Repeated));
        let wrong = [
            String::new(),
            DIGITS.to_owned(),
            format!("sha1={DIGITS}"),
            format!("SHA256={DIGITS}"),
            format!("sha256={}", DIGITS.to_uppercase()),
            format!("sha256={}", &DIGITS[..62]),
            format!("sha256={DIGITS}00"),
            format!("sha256= {DIGITS}"),
            format!("sha256={}zz", &DIGITS[..62]),
        ];
        for value in wrong {
            assert_eq!(Signature::of(&headers(&[&value])).err(), Some(Malformed::Form), "{value}");
        }
    }
}
