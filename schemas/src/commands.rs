//! Commands: directed, retried, gone when acknowledged. Called by the service that asks and the one that obeys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::events::{BumpKind, RunRef, Surface};
use crate::grant::SyncGrant;
use crate::ids::{AppId, BumpId, CommandId, JobId, Person, ProjectId, RenderId, RepoSlug, RunNumber, SyncId};
use crate::subject::Service;
use crate::{Command, Digest, Message, Sha, Subject};

/// Declares a command: type name, subject, example.
macro_rules! command {
    ($name:ident, $type:literal, |$this:ident| $subject:expr, $example:expr) => {
        impl Message for $name {
            const TYPE: &'static str = concat!("dev.sluice.command.", $type, ".v1");
            fn subject(&self) -> Subject {
                let $this = self;
                $subject
            }
            fn example() -> Self {
                $example
            }
        }
        impl Command for $name {}
    };
}

/// `cmd.builder.job.<repo>--<job>`: execute a job. Everything else is read from the commit and the run's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteJob {
    /// The run.
    pub run: RunRef,
    /// The job.
    pub job: JobId,
    /// Its key in the workflow.
    pub key: String,
    /// From 1.
    pub attempt: u32,
}

/// `cmd.builder.cancel.<repo>--<n>`: stop a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelRun {
    /// Where.
    pub repository: RepoSlug,
    /// Which.
    pub number: RunNumber,
    /// Who.
    pub person: Person,
}

/// `cmd.builder.rerun.<repo>--<n>`: run it again as the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RerunRun {
    /// Where.
    pub repository: RepoSlug,
    /// Which.
    pub number: RunNumber,
    /// Who.
    pub person: Person,
    /// Only jobs that did not succeed.
    pub failed_only: bool,
}

/// `cmd.publisher.promote.<bump>`: write image references proven on dev into prod's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promote {
    /// The bump that this becomes.
    pub bump: BumpId,
    /// The source repository.
    pub source: RepoSlug,
    /// Clone URL of the deploy repository.
    pub deploy_url: String,
    /// `host/path` of the image.
    pub image: String,
    /// The tag proven on dev.
    pub tag: String,
    /// Its digest, when known.
    pub digest: Option<Digest>,
    /// Who.
    pub person: Person,
    /// Where.
    pub surface: Surface,
    /// Always `promotion` here; kept so that the command is readable by itself.
    pub kind: BumpKind,
}

/// `cmd.renderer.render.<render>`: render an application's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Render {
    /// The rendering that this becomes.
    pub render: RenderId,
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// Clone URL, as the Application has it.
    pub repository: String,
    /// Branch, tag, commit or `HEAD`.
    pub target_revision: String,
    /// The commit that a push told of: no resolving needed.
    pub revision: Option<Sha>,
    /// The source.
    pub source: RenderSource,
    /// Ignore what is cached.
    pub hard: bool,
}

/// What is rendered: the typed settings of an Application's source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderSource {
    /// Directory in the repository.
    pub path: String,
    /// Which tool.
    pub kind: SourceKind,
    /// Directory: go below sub-directories.
    pub recurse: bool,
    /// Directory: glob of files to take; empty takes all.
    pub include: String,
    /// Directory: glob of files to leave.
    pub exclude: String,
}

/// The tool that an Application's source names or implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Decided by what lies in the directory, as Argo CD does.
    Detect,
    /// Plain manifests.
    Directory,
    /// `Chart.yaml`.
    Helm,
    /// `kustomization.yaml`.
    Kustomize,
    /// `.jsonnet`.
    Jsonnet,
    /// A config management plugin.
    Plugin,
}

/// `cmd.reconciler.sync.<sync>`: sync an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sync {
    /// The operation that this becomes.
    pub sync: SyncId,
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// The commit.
    pub revision: Sha,
    /// Delete what is no longer desired.
    pub prune: bool,
    /// Who.
    pub person: Person,
    /// Where.
    pub surface: Surface,
    /// Needed by gated applications.
    pub grant: Option<SyncGrant>,
}

/// `cmd.reconciler.refresh.<project>--<app>`: compare again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refresh {
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// Render again as well.
    pub hard: bool,
}

/// `cmd.notifier.send.<id>`: what a workflow step wants said. The notifier reads chat and token from the repository's
/// secrets, so that neither travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SendMessage {
    /// This message; the answer is `evt.chat.<bot>.<id>.sent|failed`.
    pub message: CommandId,
    /// The run.
    pub run: RunRef,
    /// The job.
    pub job: JobId,
    /// Name of the repository secret that holds the chat; absent when the chat stands in `chat`.
    pub chat_secret: Option<String>,
    /// The chat in clear, when the workflow wrote it so.
    pub chat: Option<String>,
    /// Name of the repository secret that holds the bot's token; absent means the installation's bot.
    pub token_secret: Option<String>,
    /// Text, plain, at most 4096 characters.
    pub text: String,
}

command!(
    ExecuteJob,
    "execute_job",
    |this| {
        Subject::command(Service::Builder, "job", format_args!("{}--{}", this.run.repository.slug, this.job))
    },
    {
        Self {
            run: crate::catalogue::run(),
            job: JobId::from_text("42-test"),
            key: "test".to_owned(),
            attempt: 1,
        }
    }
);
command!(
    CancelRun,
    "cancel_run",
    |this| {
        Subject::command(Service::Builder, "cancel", format_args!("{}--{}", this.repository, this.number))
    },
    {
        Self {
            repository: RepoSlug::from_full_name("dev/shop-web"),
            number: RunNumber(42),
            person: Person::from_text("ada"),
        }
    }
);
command!(
    RerunRun,
    "rerun_run",
    |this| {
        Subject::command(Service::Builder, "rerun", format_args!("{}--{}", this.repository, this.number))
    },
    {
        Self {
            repository: RepoSlug::from_full_name("dev/shop-web"),
            number: RunNumber(42),
            person: Person::from_text("ada"),
            failed_only: true,
        }
    }
);
command!(Promote, "promote", |this| Subject::command(Service::Publisher, "promote", &this.bump), {
    Self {
        bump: BumpId::from_text("5e1b"),
        source: RepoSlug::from_full_name("dev/shop-web"),
        deploy_url: "https://git.example.com/dev/deploy.git".to_owned(),
        image: "registry.example.com/shop/web".to_owned(),
        tag: "cccccccc".to_owned(),
        digest: Some(Digest::of(b"manifest")),
        person: Person::from_text("ada"),
        surface: Surface::Cli,
        kind: BumpKind::Promotion,
    }
});
command!(Render, "render", |this| Subject::command(Service::Renderer, "render", &this.render), {
    Self {
        render: RenderId::from_text("77aa"),
        app: AppId::from_name("shop-dev"),
        project: ProjectId::from_name("default"),
        repository: "https://git.example.com/dev/deploy.git".to_owned(),
        target_revision: "HEAD".to_owned(),
        revision: Some(crate::catalogue::sha('d')),
        source: RenderSource {
            path: "dev".to_owned(),
            kind: SourceKind::Directory,
            recurse: true,
            include: String::new(),
            exclude: String::new(),
        },
        hard: false,
    }
});
command!(Sync, "sync", |this| Subject::command(Service::Reconciler, "sync", &this.sync), {
    Self {
        sync: SyncId::from_text("0193c1f2a7b5"),
        app: AppId::from_name("shop-prod"),
        project: ProjectId::from_name("default"),
        revision: crate::catalogue::sha('d'),
        prune: false,
        person: Person::from_text("ada"),
        surface: Surface::Web,
        grant: Some(SyncGrant::example()),
    }
});
command!(
    Refresh,
    "refresh",
    |this| {
        Subject::command(Service::Reconciler, "refresh", format_args!("{}--{}", this.project, this.app))
    },
    Self { app: AppId::from_name("shop-prod"), project: ProjectId::from_name("default"), hard: false }
);
command!(SendMessage, "send_message", |this| Subject::command(Service::Notifier, "send", &this.message), {
    Self {
        message: CommandId::from_text("42-build-3"),
        run: crate::catalogue::run(),
        job: JobId::from_text("42-build"),
        chat_secret: Some("chat".to_owned()),
        chat: None,
        token_secret: Some("token".to_owned()),
        text: "dev/shop-web: success".to_owned(),
    }
});

pub(crate) fn catalogue() -> Vec<crate::catalogue::Entry> {
    use crate::catalogue::{Class, Entry};
    vec![
        Entry::of::<ExecuteJob>(Class::Command),
        Entry::of::<CancelRun>(Class::Command),
        Entry::of::<RerunRun>(Class::Command),
        Entry::of::<Promote>(Class::Command),
        Entry::of::<Render>(Class::Command),
        Entry::of::<Sync>(Class::Command),
        Entry::of::<Refresh>(Class::Command),
        Entry::of::<SendMessage>(Class::Command),
    ]
}
