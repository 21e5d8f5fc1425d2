//! Typed ids. Each is one subject token, so its alphabet is `[a-z0-9_-]` and it is never empty.
//!
//! Invariant: a value of an id type is valid; parsing is the only way in. Called by everything.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest id: subjects stay readable and below every limit of the bus.
pub const MAX_LENGTH: usize = 120;

/// Why a string is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{value}` is not valid: use 1 to {MAX_LENGTH} characters of a-z, 0-9, `_` and `-`")]
pub struct InvalidId {
    /// Name of the id type.
    pub kind: &'static str,
    /// What was given, shortened.
    pub value: String,
}

macro_rules! token_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool { true }
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": "^[a-z0-9_-]{1,120}$"})
            }
        }

        impl $name {
            /// The token as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
            /// Builds the id from any text by [`tokenise`].
            #[must_use]
            pub fn from_text(text: &str) -> Self { Self(tokenise(text)) }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                if is_token(&value) { Ok(Self(value)) } else {
                    Err(InvalidId { kind: stringify!($name), value: value.chars().take(MAX_LENGTH).collect() })
                }
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(value: &str) -> Result<Self, InvalidId> { Self::try_from(value.to_owned()) }
        }
        impl From<$name> for String { fn from(id: $name) -> Self { id.0 } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
    )*};
}

token_ids! {
    /// A repository: made from `owner/name` by [`RepoSlug::from_full_name`].
    RepoSlug;
    /// One accepted push of one ref.
    PushId;
    /// A job of a run: `<run number>-<job key>[-<matrix row>]`; unique within a repository.
    JobId;
    /// An image that a job built: `<job>-<ordinal>`; unique within a repository.
    ImageId;
    /// One attempt to write images into a deploy repository.
    BumpId;
    /// One rendering of one application at one revision.
    RenderId;
    /// One sync operation.
    SyncId;
    /// One grant; also its nonce.
    GrantId;
    /// An application: the name of its Kubernetes object, with `.` written as `_`.
    AppId;
    /// A project (Argo CD's AppProject), with `.` written as `_`.
    ProjectId;
    /// A chain from commit to pod.
    Correlation;
    /// A message: the CloudEvents id, and JetStream's message id.
    MessageId;
    /// An account of Sluice.
    Person;
    /// A verified webhook delivery: a hash of the event name and body.
    DeliveryId;
    /// A chat bot, and below it a message that the notifier keeps up to date.
    ChatId;
    /// A command id where no better name exists.
    CommandId;
}

impl RepoSlug {
    /// `Owner/Name` → `owner_name`. Names that differ only in what a token cannot hold get different slugs, because a
    /// lossy conversion appends a hash of the original.
    #[must_use]
    pub fn from_full_name(full_name: &str) -> Self {
        Self(tokenise(full_name))
    }
}

impl AppId {
    /// From the Kubernetes name of an Application.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(tokenise(&name.replace('.', "/")))
    }
    /// The Kubernetes name.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.replace('_', ".")
    }
}

impl ProjectId {
    /// From the Kubernetes name of an AppProject; an empty name means `default`, as in Argo CD.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self(tokenise(&if name.is_empty() { "default" } else { name }.replace('.', "/")))
    }
    /// The Kubernetes name.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.replace('_', ".")
    }
}

/// The number of a run within its repository, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunNumber {
    type Err = InvalidId;
    fn from_str(value: &str) -> Result<Self, InvalidId> {
        // `007` would format to another subject than it was parsed from.
        match value.parse::<u64>() {
            Ok(number) if number.to_string() == value => Ok(Self(number)),
            _ => Err(InvalidId { kind: "RunNumber", value: value.chars().take(MAX_LENGTH).collect() }),
        }
    }
}

/// Whether `text` may stand as one token of a subject.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_LENGTH
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Any text as a token: `/` becomes `_`, letters turn to lower case, the rest `-`. What is lost that way (all but the
/// slash, provided the text had no `_`) is made up for by a hash of the original at the end.
#[must_use]
pub fn tokenise(text: &str) -> String {
    let lossless = !text.is_empty()
        && text.len() <= MAX_LENGTH
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'/');
    if lossless {
        return text.replace('/', "_");
    }
    let mut token: String = text
        .chars()
        .map(|c| match c {
            '/' => '_',
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '-',
        })
        .take(MAX_LENGTH - 10)
        .collect();
    token.push('-');
    token.push_str(&hash_token(&[text])[..8]);
    token
}

/// A deterministic 32-character token of the given parts. Used for every id that must come out the same when a
/// handler runs twice.
#[must_use]
pub fn hash_token(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(&hasher.finalize().as_bytes()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_keep_plain_names_readable() {
        assert_eq!(RepoSlug::from_full_name("dev/shop-web").as_str(), "dev_shop-web");
    }

    #[test]
    fn slugs_of_names_that_collide_differ() {
        let names = ["dev/shop.web", "dev/shop_web", "Dev/shop-web", "dev/shop-web", "dev_shop-web"];
        let slugs: std::collections::BTreeSet<_> =
            names.iter().map(|n| RepoSlug::from_full_name(n)).collect();
        assert_eq!(slugs.len(), names.len());
    }

    #[test]
    fn app_names_with_dots_survive() {
        assert_eq!(AppId::from_name("shop.prod").name(), "shop.prod");
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_a_token(text in ".*") {
            proptest::prop_assert!(is_token(&tokenise(&text)));
        }
    }
}
