//! Subjects: the one module that formats and parses them.
//!
//! Grammar: `evt.<entity>.<owner>.<id>.<fact>`, `cmd.<service>.<kind>.<id>`, `log.<repo>.<job>.<step>`,
//! `inbox.<provider>.<repo>.<delivery>`, `dlq.<consumer>.<id>`, `rpc.<service>.<call>`. Every token is `[a-z0-9_-]+`.
//! Invariant: `parse(format(s)) == s` (property test). Called by the bus, and by messages to say where they go.

use std::fmt;
use std::str::FromStr;

use crate::ids::{DeliveryId, InvalidId, JobId, RepoSlug, is_token};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }
        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// The token.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text,)* } }
            fn parse(text: &str) -> Option<Self> { match text { $($text => Some(Self::$variant),)* _ => None } }
        }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) } }
    };
}

names! {
    /// What a fact is about.
    Entity {
        /// A push of one ref; owner: repository.
        Push = "push",
        /// A workflow run; owner: repository.
        Run = "run",
        /// A job of a run; owner: repository.
        Job = "job",
        /// An image built by a job; owner: repository.
        Image = "image",
        /// A commit into a deploy repository; owner: the source repository.
        Bump = "bump",
        /// An application; owner: project.
        App = "app",
        /// A rendering; owner: project.
        Render = "render",
        /// A sync operation; owner: project.
        Sync = "sync",
        /// A grant; owner: project.
        Grant = "grant",
        /// A chat message; owner: bot.
        Chat = "chat",
        /// A session of an account; owner: account.
        Session = "session",
    }
}

names! {
    /// The services: owners of commands, calls and consumers.
    Service {
        /// The front door.
        Ingress = "ingress",
        /// Runs workflows.
        Builder = "builder",
        /// Writes registry and deploy repository.
        Publisher = "publisher",
        /// Makes manifests.
        Renderer = "renderer",
        /// Compares and syncs.
        Reconciler = "reconciler",
        /// Speaks in chats.
        Notifier = "notifier",
        /// Serves people and programs.
        Api = "api",
        /// The command-line tool.
        Sluice = "sluice",
    }
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `evt.<entity>.<owner>.<id>.<fact>`.
    Fact { entity: Entity, owner: String, id: String, fact: String },
    /// `cmd.<service>.<kind>.<id>`.
    Command { service: Service, kind: String, id: String },
    /// `log.<repo>.<job>.<step>`.
    Log { repo: RepoSlug, job: JobId, step: u32 },
    /// `inbox.<provider>.<repo>.<delivery>`.
    Inbox { provider: String, repo: RepoSlug, delivery: DeliveryId },
    /// `dlq.<consumer>.<id>`.
    DeadLetter { consumer: String, id: String },
    /// `rpc.<service>.<call>`.
    Call { service: Service, call: String },
}

/// Why a text is no subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubject {
    /// Another number of tokens or another first token.
    #[error("`{0}` has not the shape of any subject of Sluice")]
    Shape(String),
    /// A token outside the alphabet.
    #[error("`{subject}`: `{token}` is not a token of a-z, 0-9, `_` and `-`")]
    Token { subject: String, token: String },
    /// A name that must be one of a closed set.
    #[error("`{subject}`: `{name}` is not a known {what}")]
    Name { subject: String, name: String, what: &'static str },
}

impl Subject {
    /// A fact. The parts come from id types, which are tokens; `fact` is a constant.
    #[must_use]
    pub fn fact(entity: Entity, owner: impl AsRef<str>, id: impl fmt::Display, fact: &str) -> Self {
        Self::Fact { entity, owner: owner.as_ref().to_owned(), id: id.to_string(), fact: fact.to_owned() }
    }

    /// A command.
    #[must_use]
    pub fn command(service: Service, kind: &str, id: impl fmt::Display) -> Self {
        Self::Command { service, kind: kind.to_owned(), id: id.to_string() }
    }

    /// A call (request and reply).
    #[must_use]
    pub fn call(service: Service, call: &str) -> Self {
        Self::Call { service, call: call.to_owned() }
    }

    /// For a fact: the filter that selects all facts of its aggregate.
    #[must_use]
    pub fn aggregate(&self) -> Option<Filter> {
        match self {
            Self::Fact { entity, owner, id, .. } => Some(Filter(format!("evt.{entity}.{owner}.{id}.*"))),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fact { entity, owner, id, fact } => write!(f, "evt.{entity}.{owner}.{id}.{fact}"),
            Self::Command { service, kind, id } => write!(f, "cmd.{service}.{kind}.{id}"),
            Self::Log { repo, job, step } => write!(f, "log.{repo}.{job}.{step}"),
            Self::Inbox { provider, repo, delivery } => write!(f, "inbox.{provider}.{repo}.{delivery}"),
            Self::DeadLetter { consumer, id } => write!(f, "dlq.{consumer}.{id}"),
            Self::Call { service, call } => write!(f, "rpc.{service}.{call}"),
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let tokens: Vec<&str> = text.split('.').collect();
        if let Some(token) = tokens.iter().find(|t| !is_token(t)) {
            return Err(InvalidSubject::Token { subject: text.to_owned(), token: (*token).to_owned() });
        }
        let name =
            |name: &str, what| InvalidSubject::Name { subject: text.to_owned(), name: name.to_owned(), what };
        let id = |e: InvalidId| InvalidSubject::Token { subject: text.to_owned(), token: e.value };
        match tokens.as_slice() {
            ["evt", entity, owner, id, fact] => {
                Ok(Self::fact(Entity::parse(entity).ok_or_else(|| name(entity, "entity"))?, owner, id, fact))
            }
            ["cmd", service, kind, id] => {
                Ok(Self::command(Service::parse(service).ok_or_else(|| name(service, "service"))?, kind, id))
            }
            ["log", repo, job, step] => Ok(Self::Log {
                repo: repo.parse().map_err(id)?,
                job: job.parse().map_err(id)?,
                step: step
                    .parse::<u32>()
                    .ok()
                    .filter(|n| n.to_string() == *step)
                    .ok_or_else(|| name(step, "step number"))?,
            }),
            ["inbox", provider, repo, delivery] => Ok(Self::Inbox {
                provider: (*provider).to_owned(),
                repo: repo.parse().map_err(id)?,
                delivery: delivery.parse().map_err(id)?,
            }),
            ["dlq", consumer, id] => {
                Ok(Self::DeadLetter { consumer: (*consumer).to_owned(), id: (*id).to_owned() })
            }
            ["rpc", service, call] => {
                Ok(Self::call(Service::parse(service).ok_or_else(|| name(service, "service"))?, call))
            }
            _ => Err(InvalidSubject::Shape(text.to_owned())),
        }
    }
}

/// A subject with wildcards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(String);

impl Filter {
    /// Facts of an entity; `None` stands for any.
    #[must_use]
    pub fn facts(entity: Entity, owner: Option<&str>, id: Option<&str>, fact: Option<&str>) -> Self {
        let any = |part: Option<&str>| part.filter(|p| is_token(p)).unwrap_or("*").to_owned();
        Self(format!("evt.{entity}.{}.{}.{}", any(owner), any(id), any(fact)))
    }

    /// Every fact.
    #[must_use]
    pub fn all_facts() -> Self {
        Self("evt.>".to_owned())
    }

    /// Commands of one kind to one service.
    #[must_use]
    pub fn commands(service: Service, kind: &str) -> Self {
        Self(format!("cmd.{service}.{kind}.*"))
    }

    /// Logs of one job, or of one of its steps.
    #[must_use]
    pub fn logs(repo: &RepoSlug, job: &JobId, step: Option<u32>) -> Self {
        Self(format!("log.{repo}.{job}.{}", step.map_or_else(|| "*".to_owned(), |s| s.to_string())))
    }

    /// Everything that verified webhooks left.
    #[must_use]
    pub fn inbox() -> Self {
        Self("inbox.>".to_owned())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject is selected (NATS semantics of `*` and `>`).
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for part in self.0.split('.') {
            match (part, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (part, Some(token)) if part == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Subject> for Filter {
    fn from(subject: &Subject) -> Self {
        Self(subject.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> impl Strategy<Value = String> {
        "[a-z0-9_-]{1,20}"
    }

    fn subject() -> impl Strategy<Value = Subject> {
        prop_oneof![
            (prop::sample::select(Entity::ALL), token(), token(), token())
                .prop_map(|(entity, owner, id, fact)| Subject::Fact { entity, owner, id, fact }),
            (prop::sample::select(Service::ALL), token(), token())
                .prop_map(|(service, kind, id)| Subject::Command { service, kind, id }),
            (token(), token(), any::<u32>()).prop_map(|(repo, job, step)| Subject::Log {
                repo: repo.parse().expect("a token"),
                job: job.parse().expect("a token"),
                step
            }),
            (token(), token(), token()).prop_map(|(provider, repo, delivery)| Subject::Inbox {
                provider,
                repo: repo.parse().expect("a token"),
                delivery: delivery.parse().expect("a token"),
            }),
            (token(), token()).prop_map(|(consumer, id)| Subject::DeadLetter { consumer, id }),
            (prop::sample::select(Service::ALL), token())
                .prop_map(|(service, call)| Subject::Call { service, call }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_formatted_parses_back(subject in subject()) {
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }

        #[test]
        fn what_parses_formats_back(text in "(evt|cmd|log|inbox|dlq|rpc)(\\.[a-z0-9_*>-]{0,6}){0,5}") {
            if let Ok(subject) = text.parse::<Subject>() {
                prop_assert_eq!(subject.to_string(), text);
            }
        }

        #[test]
        fn a_fact_lies_in_its_aggregate(subject in subject()) {
            if let Some(filter) = subject.aggregate() {
                prop_assert!(filter.matches(&subject.to_string()));
            }
        }
    }

    #[test]
    fn a_filter_takes_no_wildcards_from_ids() {
        assert_eq!(Filter::facts(Entity::Run, Some(">"), None, None).as_str(), "evt.run.*.*.*");
    }
}
