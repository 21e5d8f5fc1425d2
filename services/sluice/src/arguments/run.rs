//! `run`, `promote`, `secret`, `registry`, `repo`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first.
    #[command(after_help = "Examples:\n  sluice run ls\n  sluice run ls --repo shop-web --limit 50 -o wide")]
    Ls {
        /// Only of this repository.
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Follow a run to its end; the exit code tells whether it succeeded.
    #[command(
        after_help = "Examples:\n  sluice run watch                     the run of the commit that this directory has checked out\n  sluice run watch shop-web            the newest of a repository\n  sluice run watch shop-web#42"
    )]
    Watch {
        /// `REPO#NUMBER`, or `REPO` for its newest.
        run: Option<String>,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Print the log of a run.
    #[command(
        after_help = "Examples:\n  sluice run logs shop-web#42\n  sluice run logs shop-web#42 --job test --follow\n  sluice run logs shop-web --failed"
    )]
    Logs {
        /// `REPO#NUMBER`, or `REPO` for its newest.
        run: Option<String>,
        /// Only this job.
        #[arg(long)]
        job: Option<String>,
        /// Only this step, counted from 0.
        #[arg(long, requires = "job")]
        step: Option<u32>,
        /// Go on with what is still to come.
        #[arg(short, long)]
        follow: bool,
        /// With the time of each line.
        #[arg(long)]
        timestamps: bool,
        /// Only steps that failed.
        #[arg(long, conflicts_with_all = ["follow", "job"])]
        failed: bool,
    },
    /// Run a run again.
    #[command(
        after_help = "Examples:\n  sluice run rerun shop-web#42\n  sluice run rerun shop-web#42 --failed"
    )]
    Rerun {
        /// `REPO#NUMBER`.
        run: String,
        /// Only jobs that did not succeed.
        #[arg(long)]
        failed: bool,
    },
    /// Stop a run.
    #[command(after_help = "Examples:\n  sluice run cancel shop-web#42")]
    Cancel {
        /// `REPO#NUMBER`.
        run: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// A service's repository, or its image with the tag to promote.
    pub(crate) what: String,
    /// The tag that dev must prove; without it whatever dev runs.
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Do not wait for the commit.
    #[arg(long = "async")]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret. The value comes from a prompt, standard input or a file, never from an argument.
    #[command(
        after_help = "Examples:\n  sluice secret set shop-web IMAGE_PATH\n  printf %s \"$value\" | sluice secret set shop-web IMAGE_PATH\n  sluice secret set shop-web DEPLOY_KEY --from-file key.pem"
    )]
    Set {
        /// The repository.
        repo: String,
        /// Its name in workflows: `secrets.NAME`.
        name: String,
        /// Take the value from this file, byte by byte.
        #[arg(long, value_name = "FILE")]
        from_file: Option<PathBuf>,
    },
    /// List the names of a repository's secrets.
    #[command(after_help = "Examples:\n  sluice secret ls shop-web")]
    Ls {
        /// The repository.
        repo: String,
    },
    /// Remove a secret.
    #[command(after_help = "Examples:\n  sluice secret rm shop-web OLD_TOKEN")]
    Rm {
        /// The repository.
        repo: String,
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Set the credentials that images are pushed with. The password comes from a prompt, standard input or a file, never from an argument.
    #[command(
        after_help = "Examples:\n  sluice registry set registry.example.com --username bot\n  printf %s \"$token\" | sluice registry set registry.digitalocean.com --username you@example.com\n  sluice registry set 127.0.0.1:5000 --username bot --password-file token"
    )]
    Set {
        /// The registry as image names begin: host, and port if it has one.
        host: String,
        /// Who pushes.
        #[arg(long, value_name = "NAME")]
        username: String,
        /// Take the password or token from this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List the registries that have credentials.
    #[command(after_help = "Examples:\n  sluice registry ls")]
    Ls,
    /// Remove the credentials of a registry.
    #[command(after_help = "Examples:\n  sluice registry rm registry.example.com")]
    Rm {
        /// The registry.
        host: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// Add a repository, or give it a new webhook secret. Writes the labelled Secret into the cluster.
    #[command(
        after_help = "Examples:\n  sluice repo add dev/shop-web --url https://git.example.com/dev/shop-web.git\n  sluice repo add dev/deploy --url https://git.example.com/dev/deploy.git --username bot\n  sluice repo add dev/shop-web --rotate\n\nWith --username the password or token is asked for, or read from standard input."
    )]
    Add(RepoAddArgs),
    /// List the repositories.
    #[command(after_help = "Examples:\n  sluice repo ls")]
    Ls {
        #[command(flatten)]
        config: super::ConfigArgs,
    },
    /// Forget a repository: its webhooks are refused from now on.
    #[command(after_help = "Examples:\n  sluice repo rm dev/shop-web")]
    Rm {
        /// `owner/name`.
        full_name: String,
        #[command(flatten)]
        config: super::ConfigArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RepoAddArgs {
    /// `owner/name`, as the Git host has it.
    pub(crate) full_name: String,
    /// Where to clone from, without credentials.
    #[arg(long, required_unless_present_any = ["rotate", "finish"])]
    pub(crate) url: Option<String>,
    /// The user for cloning and pushing.
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Take the password or token from this file.
    #[arg(long, requires = "username", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Give it a second webhook secret beside the present one; run it again with `--finish` when the Git host has it.
    #[arg(long)]
    pub(crate) rotate: bool,
    /// End a rotation: the second secret becomes the only one.
    #[arg(long, conflicts_with = "rotate")]
    pub(crate) finish: bool,
    #[command(flatten)]
    pub(crate) config: super::ConfigArgs,
}
