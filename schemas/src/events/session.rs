//! Logins. Written by api.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Surface, fact};
use crate::Subject;
use crate::ids::{CommandId, Person};
use crate::subject::Entity;

/// `evt.session.<account>.<id>.opened`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionOpened {
    /// Who.
    pub person: Person,
    /// A hash of the session, never the session itself.
    pub session: CommandId,
    /// Where.
    pub surface: Surface,
}

/// `evt.session.<account>.<id>.refused`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRefused {
    /// The account named.
    pub person: Person,
    /// The attempt.
    pub session: CommandId,
    /// Where.
    pub surface: Surface,
    /// In words.
    pub reason: String,
}

fact!(
    SessionOpened,
    "session.opened",
    |this| Subject::fact(Entity::Session, &this.person, &this.session, "opened"),
    {
        Self {
            person: Person::from_text("ada"),
            session: CommandId::from_text("9b1c"),
            surface: Surface::Web,
        }
    }
);
fact!(
    SessionRefused,
    "session.refused",
    |this| Subject::fact(Entity::Session, &this.person, &this.session, "refused"),
    {
        Self {
            person: Person::from_text("ada"),
            session: CommandId::from_text("9b1d"),
            surface: Surface::Cli,
            reason: "wrong password".to_owned(),
        }
    }
);
