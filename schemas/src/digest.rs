//! Content addresses: Git object names and SHA-256 digests. Parsing is the only way in. Called by everything that names content.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a string is no content address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {wanted}")]
pub struct InvalidDigest {
    value: String,
    wanted: &'static str,
}

/// A Git commit: 40 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha(String);

impl Sha {
    /// The name that Git hosts send where there is no commit (creation, deletion).
    pub const NULL: &'static str = "0000000000000000000000000000000000000000";

    /// All 40 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8 digits, as people and image tags have them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..8]
    }

    /// Whether this stands for "no commit".
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0 == Self::NULL
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(bytes).into())
    }

    /// The digest that a finished SHA-256 computation gave.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(format!("sha256:{}", hex::encode(hash)))
    }

    /// With the `sha256:` prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits alone: the name of an object in the object store.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn shortened(value: &str) -> String {
    value.chars().take(80).collect()
}

impl TryFrom<String> for Sha {
    type Error = InvalidDigest;
    fn try_from(value: String) -> Result<Self, InvalidDigest> {
        if is_hex(&value, 40) {
            Ok(Self(value))
        } else {
            Err(InvalidDigest { value: shortened(&value), wanted: "a commit id of 40 hexadecimal digits" })
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(value: String) -> Result<Self, InvalidDigest> {
        match value.strip_prefix("sha256:") {
            Some(hex) if is_hex(hex, 64) => Ok(Self(value)),
            _ => Err(InvalidDigest {
                value: shortened(&value),
                wanted: "a digest of the form sha256:<64 digits>",
            }),
        }
    }
}

macro_rules! text_forms {
    ($($name:ident = $pattern:literal),*) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool { true }
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern})
            }
        }
        impl FromStr for $name {
            type Err = InvalidDigest;
            fn from_str(value: &str) -> Result<Self, InvalidDigest> { Self::try_from(value.to_owned()) }
        }
        impl From<$name> for String { fn from(value: $name) -> Self { value.0 } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
    )*};
}
text_forms!(Sha = "^[0-9a-f]{40}$", Digest = "^sha256:[0-9a-f]{64}$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_address() {
        assert!("ABCDEF".parse::<Sha>().is_err());
        assert!(format!("sha256:{}", "g".repeat(64)).parse::<Digest>().is_err());
        assert!("f".repeat(64).parse::<Digest>().is_err());
    }

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }
}
