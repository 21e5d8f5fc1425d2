//! Facts: what happened. One file an entity. Called by writers (to make them) and by readers through [`Event`].

mod app;
mod bump;
mod chat;
mod grant;
mod image;
mod job;
mod push;
mod render;
mod run;
mod session;
mod sync;

pub use app::*;
pub use bump::*;
pub use chat::*;
pub use grant::*;
pub use image::*;
pub use job::*;
pub use push::*;
pub use render::*;
pub use run::*;
pub use session::*;
pub use sync::*;

use crate::Message;

/// Why a fact could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the payload is not a {kind}")]
pub struct UndecodableEvent {
    kind: String,
    #[source]
    source: serde_json::Error,
}

macro_rules! events {
    ($($name:ident,)*) => {
        /// Any fact, told apart by the `ce-type` header.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name(Box<$name>),)*
            /// A type that this build does not know: from a newer service. Counted and skipped.
            Unknown(String),
        }

        impl Event {
            /// Reads a payload of the given `ce-type`.
            ///
            /// # Errors
            /// When the type is known and the payload is not of it.
            pub fn decode(kind: &str, payload: &[u8]) -> Result<Self, UndecodableEvent> {
                match kind {
                    $($name::TYPE => serde_json::from_slice(payload)
                        .map(|event| Self::$name(Box::new(event)))
                        .map_err(|source| UndecodableEvent { kind: kind.to_owned(), source }),)*
                    other => Ok(Self::Unknown(other.to_owned())),
                }
            }

            /// The `ce-type`.
            #[must_use]
            pub fn kind(&self) -> &str {
                match self { $(Self::$name(_) => $name::TYPE,)* Self::Unknown(kind) => kind }
            }

            /// The payload as JSON, for surfaces that show it.
            #[must_use]
            pub fn payload(&self) -> serde_json::Value {
                match self {
                    $(Self::$name(event) => serde_json::to_value(event).unwrap_or_default(),)*
                    Self::Unknown(_) => serde_json::Value::Null,
                }
            }
        }

        pub(crate) fn catalogue() -> Vec<crate::catalogue::Entry> {
            vec![$(crate::catalogue::Entry::of::<$name>(crate::catalogue::Class::Fact),)*]
        }
    };
}

events! {
    PushReceived,
    RunQueued, RunStarted, RunFinished, RunRefused,
    JobStarted, StepFinished, JobFinished,
    ImageBuilt, ImagePublished, ImageFailed,
    BumpCommitted, BumpUnchanged, BumpFailed,
    RenderSucceeded, RenderFailed,
    AppCompared, AppHealthChanged, AppDeleted, AppGateChanged,
    SyncStarted, SyncPhaseFinished, SyncFinished,
    GrantIssued, GrantConsumed, GrantRefused,
    ChatSent, ChatFailed, ChatCommand,
    SessionOpened, SessionRefused,
}

/// Declares a fact: type name, subject, example.
macro_rules! fact {
    ($name:ident, $type:literal, |$this:ident| $subject:expr, $example:expr) => {
        impl $crate::Message for $name {
            const TYPE: &'static str = concat!("dev.sluice.", $type, ".v1");
            fn subject(&self) -> $crate::Subject {
                let $this = self;
                $subject
            }
            fn example() -> Self {
                $example
            }
        }
        impl $crate::Fact for $name {}
    };
}
pub(crate) use fact;
