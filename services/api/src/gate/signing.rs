//! The key that signs grants: Ed25519, made at the first start, its halves in two labelled Secrets.
//!
//! Invariant: the private half is read by the API server only; reconcilers get the public one.

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use rand::RngCore as _;
use sluice_chassis::Secret;
use sluice_kubernetes::Cluster;
use sluice_kubernetes::secrets::SecretError;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    /// Kubernetes.
    #[error("the grant key is not readable: {0}")]
    Secrets(#[from] SecretError),
    /// Not a key.
    #[error(
        "the Secret of type `signing` holds no PKCS#8 key under `private`: {0}; delete it to have a new one made (grants under way become void)"
    )]
    Private(String),
    /// Not written.
    #[error("the grant key could not be encoded: {0}")]
    Encode(String),
}

/// The key; made and stored if there is none. The caller holds the bootstrap lease.
///
/// # Errors
/// When the Secrets cannot be read or written, or hold no key.
pub(crate) async fn load_or_create(cluster: &Cluster) -> Result<SigningKey, SigningError> {
    let stored = cluster.signing().await?;
    let key = match stored.get("private") {
        Some(pem) => SigningKey::from_pkcs8_pem(pem.expose())
            .map_err(|error| SigningError::Private(error.to_string()))?,
        None => {
            let mut seed = [0_u8; 32];
            rand::rng().fill_bytes(&mut seed);
            let key = SigningKey::from_bytes(&seed);
            let pem =
                key.to_pkcs8_pem(LineEnding::LF).map_err(|error| SigningError::Encode(error.to_string()))?;
            cluster.put_signing_private(Secret::new(pem.as_str())).await?;
            tracing::info!("made a new key for grants");
            key
        }
    };
    let public = key
        .verifying_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(|error| SigningError::Encode(error.to_string()))?;
    if stored.get("public").map(Secret::expose) != Some(public.as_str()) {
        cluster.put_signing_public(Secret::new(public)).await?;
    }
    Ok(key)
}
