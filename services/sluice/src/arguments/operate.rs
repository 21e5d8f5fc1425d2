//! `replay`, `dlq`, `bus`, `workflow`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArgs;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A commit, image, tag, digest, pod or correlation id.
    pub(crate) what: String,
    /// 1 keeps the time between the facts, 10 is ten times as fast, 0 does not wait.
    #[arg(long, default_value_t = 0.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List them.
    #[command(
        after_help = "Examples:\n  sluice dlq ls\n  sluice dlq ls --direct --config sluice.yaml    past an API that is away"
    )]
    Ls {
        #[command(flatten)]
        direct: DirectArgs,
    },
    /// Show one with its payload.
    #[command(after_help = "Examples:\n  sluice dlq show 5d41402abc4b2a76")]
    Show {
        /// Its id, or the beginning of it.
        id: String,
        #[command(flatten)]
        direct: DirectArgs,
    },
    /// Hand one to its consumer again.
    #[command(after_help = "Examples:\n  sluice dlq retry 5d41402abc4b2a76\n  sluice dlq retry --all")]
    Retry {
        /// Its id, or the beginning of it.
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
        #[command(flatten)]
        direct: DirectArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DirectArgs {
    /// Ask the bus itself, not the API.
    #[arg(long)]
    pub(crate) direct: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BusCommand {
    /// Make every stream, consumer and bucket, and check that the server keeps them as asked.
    #[command(
        after_help = "Examples:\n  sluice bus provision --config sluice.yaml\n  SLUICE_BUS__URL=nats://127.0.0.1:4222 sluice bus provision"
    )]
    Provision(ConfigArgs),
    /// Show server and streams.
    #[command(after_help = "Examples:\n  sluice bus status --config sluice.yaml")]
    Status(ConfigArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Check workflow files: every mistake with line and column.
    #[command(
        after_help = "Examples:\n  sluice workflow lint\n  sluice workflow lint .github/workflows/build.yml"
    )]
    Lint {
        /// The files; none means those in `.github/workflows`.
        files: Vec<PathBuf>,
    },
    /// Show how a file is understood: triggers, jobs, steps.
    #[command(
        after_help = "Examples:\n  sluice workflow parse .github/workflows/build.yml\n  sluice workflow parse build.yml -o json"
    )]
    Parse {
        /// The file.
        file: PathBuf,
    },
    /// Evaluate an expression.
    #[command(
        after_help = "Examples:\n  sluice workflow eval \"format('{0}-{1}', 'a', 1)\"\n  sluice workflow eval \"github.ref == 'refs/heads/main'\" --context context.json"
    )]
    Eval {
        /// The expression, with or without `${{ }}`.
        expression: String,
        /// JSON or YAML file with the contexts: `{"github": {…}, "env": {…}}`.
        #[arg(long, value_name = "FILE")]
        context: Option<PathBuf>,
    },
}
