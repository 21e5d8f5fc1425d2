//! The catalogue of messages: every type with its JSON Schema and example, checked in under `schemas/json` and
//! `schemas/examples` and compared by a test. Called by that test, by `docs/events.md`'s generator and by the CLI.

use schemars::schema_for;
use serde_json::Value;

use crate::events::{
    AppRef, BumpKind, BumpRef, ImageRef, ObjectResult, ObjectStatus, RenderRef, Repository, RunRef, Surface,
    SyncRef, SyncTrigger,
};
use crate::ids::{
    AppId, BumpId, GrantId, ImageId, JobId, Person, ProjectId, PushId, RenderId, RepoSlug, RunNumber, SyncId,
};
use crate::{Digest, Message, Sha};

/// Fact or command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// On `evt.>`.
    Fact,
    /// On `cmd.>`.
    Command,
    /// On `inbox.>`.
    Inbox,
}

/// A message type.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Fact or command.
    pub class: Class,
    /// `ce-type`.
    pub kind: &'static str,
    /// Subject of the example.
    pub subject: String,
    /// JSON Schema (2020-12).
    pub schema: Value,
    /// A complete example.
    pub example: Value,
}

impl Entry {
    pub(crate) fn of<M: Message>(class: Class) -> Self {
        let example = M::example();
        Self {
            class,
            kind: M::TYPE,
            subject: example.subject().to_string(),
            schema: schema_for!(M).to_value(),
            example: serde_json::to_value(&example).unwrap_or_default(),
        }
    }

    /// File name below `schemas/json` and `schemas/examples`, without the ending.
    #[must_use]
    pub fn file_stem(&self) -> &'static str {
        self.kind.trim_start_matches("dev.sluice.")
    }
}

/// Every message type.
#[must_use]
pub fn all() -> Vec<Entry> {
    let mut entries = crate::events::catalogue();
    entries.extend(crate::commands::catalogue());
    entries.push(Entry::of::<crate::inbox::InboxDelivery>(Class::Inbox));
    entries
}

// The examples tell one story: a commit of `dev/shop-web`.

pub(crate) fn sha(digit: char) -> Sha {
    Sha::try_from(digit.to_string().repeat(40))
        .unwrap_or_else(|_| unreachable!("a hexadecimal digit, 40 times"))
}

pub(crate) fn repository() -> Repository {
    Repository {
        slug: RepoSlug::from_full_name("dev/shop-web"),
        full_name: "dev/shop-web".to_owned(),
        clone_url: "https://git.example.com/dev/shop-web.git".to_owned(),
        html_url: "https://git.example.com/dev/shop-web".to_owned(),
        default_branch: "main".to_owned(),
    }
}

pub(crate) fn run() -> RunRef {
    RunRef {
        repository: repository(),
        number: RunNumber(42),
        workflow_file: ".github/workflows/build.yml".to_owned(),
        workflow_name: "build".to_owned(),
        sha: sha('c'),
        git_ref: "refs/heads/main".to_owned(),
        push: PushId::from_text("7d1c5f6e0a9b4c3d"),
    }
}

pub(crate) fn image() -> ImageRef {
    ImageRef {
        image: ImageId::from_text("42-build-0"),
        run: run(),
        job: JobId::from_text("42-build"),
        registry: "registry.example.com".to_owned(),
        repository: "shop/web".to_owned(),
    }
}

pub(crate) fn bump() -> BumpRef {
    BumpRef {
        bump: BumpId::from_text("5e1b"),
        source: RepoSlug::from_full_name("dev/shop-web"),
        kind: BumpKind::Bump,
        deploy_url: "https://git.example.com/dev/deploy.git".to_owned(),
        branch: "main".to_owned(),
        directory: "dev".to_owned(),
        image: "registry.example.com/shop/web".to_owned(),
        tag: "cccccccc".to_owned(),
        digest: Some(Digest::of(b"manifest")),
        person: None,
    }
}

pub(crate) fn render() -> RenderRef {
    RenderRef {
        render: RenderId::from_text("77aa"),
        app: AppId::from_name("shop-dev"),
        project: ProjectId::from_name("default"),
        repository: "https://git.example.com/dev/deploy.git".to_owned(),
        revision: Some(sha('d')),
        path: "dev".to_owned(),
    }
}

pub(crate) fn app() -> AppRef {
    AppRef {
        app: AppId::from_name("shop-prod"),
        project: ProjectId::from_name("default"),
        namespace: "argocd".to_owned(),
    }
}

pub(crate) fn sync() -> SyncRef {
    SyncRef {
        sync: SyncId::from_text("0193c1f2a7b5"),
        app: app(),
        revision: sha('d'),
        manifests: Digest::of(b"[]"),
        trigger: SyncTrigger::Grant {
            grant: GrantId::from_text("0193c1f2a7b4"),
            person: Person::from_text("ada"),
            surface: Surface::Web,
        },
    }
}

pub(crate) fn object_result() -> ObjectResult {
    ObjectResult {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "prod".to_owned(),
        name: "shop-web".to_owned(),
        status: ObjectStatus::Synced,
        message: "deployment.apps/shop-web serverside-applied".to_owned(),
    }
}
