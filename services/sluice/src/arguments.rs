//! The command line: every command, its arguments, and examples. Called by `main`; completions are made from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::output::Format;

mod app;
mod operate;
mod run;

pub(crate) use app::*;
pub(crate) use operate::*;
pub(crate) use run::*;

/// A push becomes a running workload, and production opens only when a person opens it.
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  sluice up                                   everything in one process\n  sluice login http://127.0.0.1:8080          once\n  sluice run watch                            follow the run of what you just pushed\n\nExit codes: 0 done, 1 failed or different, 2 wrong usage, 3 took too long, 4 not logged in, 5 not allowed, 130 Ctrl-C."
)]
pub(crate) struct Cli {
    /// How results are printed.
    #[arg(short = 'o', long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,
    /// The API server; without it the one that was logged in to last.
    #[arg(long, global = true, env = "SLUICE_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Never ask; a question becomes an error that says how to answer it beforehand.
    #[arg(long, global = true)]
    pub(crate) no_input: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every service, or those named, in this process.
    #[command(
        after_help = "Examples:\n  sluice up\n  sluice up --config sluice.yaml\n  sluice up ingress api              only these; the others run elsewhere on the same bus\n\nWithout bus.url it starts a nats-server of its own, which must be on PATH."
    )]
    Up(UpArgs),
    /// Check everything that Sluice needs, and say what to do about what is missing.
    #[command(after_help = "Examples:\n  sluice doctor\n  sluice doctor --config sluice.yaml -o json")]
    Doctor(ConfigArgs),
    /// Log in to an API server.
    #[command(
        after_help = "Examples:\n  sluice login http://127.0.0.1:8080\n  sluice login https://sluice.example.com --username ada\n  pass sluice | sluice login https://sluice.example.com"
    )]
    Login(LoginArgs),
    /// Log out: the token ends, and is forgotten here.
    #[command(after_help = "Examples:\n  sluice logout\n  sluice logout --server https://sluice.example.com")]
    Logout,
    /// Connect your Telegram account: prints a one-time command for the bot.
    #[command(after_help = "Examples:\n  sluice link\n  sluice link --remove")]
    Link {
        /// Disconnect instead.
        #[arg(long)]
        remove: bool,
    },
    /// Workflow runs.
    #[command(subcommand)]
    Run(RunCommand),
    /// Applications: what runs where, and the gate.
    #[command(subcommand)]
    App(AppCommand),
    /// Write the image that dev proved into prod's directory. Prod itself waits for a sync.
    #[command(
        after_help = "Examples:\n  sluice promote shop-web\n  sluice promote dev/shop-web\n  sluice promote registry.example.com/shop-web:cc846571"
    )]
    Promote(PromoteArgs),
    /// Secrets of a repository's workflows: they can be set, not read.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Container registries: the credentials that images are pushed with can be set, not read.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Repositories that Sluice listens to.
    #[command(subcommand)]
    Repo(RepoCommand),
    /// From commit to pod: what happened, how long it took, who granted it.
    #[command(
        after_help = "Examples:\n  sluice trace cc846571                       a commit or image tag\n  sluice trace sha256:0123…                   an image digest\n  sluice trace web-7d9c5b6f4-x2x8p            a pod"
    )]
    Trace {
        /// A commit (7 digits or more), image, tag, digest, pod or correlation id.
        what: String,
    },
    /// Print the facts of a chain again, in order.
    #[command(
        after_help = "Examples:\n  sluice replay cc846571\n  sluice replay cc846571 --speed 1            in the time that it took\n  sluice replay cc846571 -o json              with payloads, a line each"
    )]
    Replay(ReplayArgs),
    /// Messages that could not be handled.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// The message bus.
    #[command(subcommand)]
    Bus(BusCommand),
    /// Workflow files, without running them.
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Print completions for a shell.
    #[command(
        after_help = "Examples:\n  sluice completions bash >/etc/bash_completion.d/sluice\n  source <(sluice completions zsh)"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the versions of this command and of the server.
    #[command(after_help = "Examples:\n  sluice version\n  sluice version -o json")]
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file; without it `sluice.yaml` in this directory, if there is one.
    #[arg(long, env = "SLUICE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The services; none means all.
    #[arg(value_enum)]
    pub(crate) services: Vec<ServiceName>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Directory for what the processes keep; without it `~/.local/share/sluice`.
    #[arg(long, env = "SLUICE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print the configuration in force and end.
    #[arg(long)]
    pub(crate) dump_config: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ServiceName {
    Ingress,
    Builder,
    Publisher,
    Renderer,
    Reconciler,
    Notifier,
    Api,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Address of the API server.
    pub(crate) url: Option<String>,
    /// The account.
    #[arg(long, default_value = "admin", value_name = "NAME")]
    pub(crate) username: String,
}
