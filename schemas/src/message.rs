//! What a message is: a typed payload with a name and a subject. Called by the bus and by every service.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Subject;

/// A payload that travels.
pub trait Message: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// Type and version: `dev.sluice.<entity>.<fact>.v<n>`.
    const TYPE: &'static str;
    /// Where it is published: a function of the payload's own ids.
    fn subject(&self) -> Subject;
    /// A complete example, checked in beside the schema.
    fn example() -> Self;
}

/// A fact: immutable, kept, replayable. Published on `evt.>`.
pub trait Fact: Message {}

/// A command: directed, retried, gone when acknowledged. Published on `cmd.>`.
pub trait Command: Message {}
