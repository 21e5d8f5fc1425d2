//! The public half of the grant key, from its labelled Secret, remembered for a while.

use std::time::{Duration, Instant};

use base64::Engine as _;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::DecodePublicKey;
use sluice_kubernetes::Cluster;
use tokio::sync::Mutex;

/// A rotated key is taken up after this long.
const REMEMBERED: Duration = Duration::from_secs(15);

pub(crate) struct PublicKey {
    cluster: Cluster,
    known: Mutex<Option<(Instant, VerifyingKey)>>,
}

impl PublicKey {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster, known: Mutex::default() }
    }

    /// The key; `None` when nobody has made one.
    pub(crate) async fn get(&self) -> Result<Option<VerifyingKey>, String> {
        let mut known = self.known.lock().await;
        if let Some((since, key)) = *known
            && since.elapsed() < REMEMBERED
        {
            return Ok(Some(key));
        }
        let secret = self.cluster.signing_public().await.map_err(|error| error.to_string())?;
        let Some(secret) = secret else { return Ok(None) };
        let key = parse(secret.expose()).ok_or("the Secret of the grant key holds no Ed25519 public key")?;
        *known = Some((Instant::now(), key));
        Ok(Some(key))
    }
}

/// SPKI PEM; or the 32 bytes in hexadecimal or base64.
fn parse(text: &str) -> Option<VerifyingKey> {
    let text = text.trim();
    if let Ok(key) = VerifyingKey::from_public_key_pem(text) {
        return Some(key);
    }
    let raw = hex::decode(text).or_else(|_| base64::engine::general_purpose::STANDARD.decode(text)).ok()?;
    VerifyingKey::from_bytes(&raw.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn all_forms_are_read() {
        use ed25519_dalek::pkcs8::EncodePublicKey;
        let key = SigningKey::from_bytes(&[3; 32]).verifying_key();
        let pem = key.to_public_key_pem(Default::default()).expect("PEM");
        assert_eq!(parse(&pem), Some(key));
        assert_eq!(parse(&hex::encode(key.as_bytes())), Some(key));
        assert_eq!(parse("nonsense"), None);
    }
}
