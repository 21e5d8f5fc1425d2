//! Calls: questions that need an answer now and leave no trace. On core NATS, request and reply.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::subject::Service;
use crate::{Digest, Subject};

/// A question with its answer's type.
pub trait Call: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The answer.
    type Answer: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Where it is asked.
    fn subject() -> Subject;
}

/// `rpc.publisher.missing_blobs`: which of these blobs does the registry lack?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingBlobs {
    /// Registry host.
    pub registry: String,
    /// Path in the registry.
    pub repository: String,
    /// The blobs.
    pub digests: Vec<Digest>,
}

/// The answer: a subset of the question's digests, or why it cannot be told (then all must travel).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingBlobsAnswer {
    /// Blobs to be stored as claim checks.
    pub missing: Vec<Digest>,
    /// Why the registry could not be asked.
    pub problem: Option<String>,
}

impl Call for MissingBlobs {
    type Answer = MissingBlobsAnswer;
    fn subject() -> Subject {
        Subject::call(Service::Publisher, "missing_blobs")
    }
}
