//! `app`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Create Applications from a file as Argo CD has them.
    #[command(
        after_help = "Examples:\n  sluice app create -f dev/app.yaml\n  sluice app create -f prod/app.yaml --upsert\n  kubectl get app -n argocd shop-dev -o yaml | sluice app create -f -"
    )]
    Create {
        /// The file, `-` for standard input.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Change those that exist.
        #[arg(long)]
        upsert: bool,
    },
    /// List applications.
    #[command(after_help = "Examples:\n  sluice app ls\n  sluice app ls -o wide")]
    Ls,
    /// Show an application: where it stands, what waits, what runs.
    #[command(
        after_help = "Examples:\n  sluice app get shop-prod\n  sluice app get shop-prod --refresh\n  sluice app get shop-prod -o json"
    )]
    Get {
        /// The application.
        name: String,
        /// Compare with Git and cluster first.
        #[arg(long)]
        refresh: bool,
    },
    /// Show what a sync would change; exit code 1 when there is something.
    #[command(
        after_help = "Examples:\n  sluice app diff shop-prod\n  sluice app diff shop-prod && echo same"
    )]
    Diff {
        /// The application.
        name: String,
    },
    /// Bring the cluster to what Git says. A gated application shows what will change and asks.
    #[command(
        after_help = "Examples:\n  sluice app sync shop-dev\n  sluice app sync shop-prod                    shows commits, images, objects; asks for the name\n  sluice app sync shop-prod --yes --revision SHA --manifests DIGEST\n\nThe last form is for scripts: it grants exactly what `sluice app sync shop-prod --preview -o json` showed."
    )]
    Sync(SyncArgs),
    /// Wait until an application is synced and healthy.
    #[command(
        after_help = "Examples:\n  sluice app wait shop-dev\n  sluice app wait shop-dev --health --timeout 60"
    )]
    Wait {
        /// The application.
        name: String,
        /// Only for the sync status.
        #[arg(long)]
        sync: bool,
        /// Only for the health.
        #[arg(long)]
        health: bool,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 300, value_name = "SECONDS")]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// The application.
    pub(crate) name: String,
    /// Confirm beforehand; a gated application needs --revision and --manifests with it.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The commit that was previewed, 40 digits.
    #[arg(long, value_name = "SHA")]
    pub(crate) revision: Option<String>,
    /// The digest of the manifests that were previewed.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) manifests: Option<String>,
    /// Delete what Git no longer has.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Only show what would change.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) preview: bool,
    /// Do not wait for the end.
    #[arg(long = "async")]
    pub(crate) no_wait: bool,
    /// Give up waiting after this many seconds; the sync goes on.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}
