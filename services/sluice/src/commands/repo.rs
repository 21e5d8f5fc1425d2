//! `repo`: the repositories that Sluice listens to, as labelled Secrets in the cluster. An operator's command: it needs
//! the cluster, not the API.
//!
//! Invariant: a webhook secret is printed once, to the person who made it; a rotation never leaves a moment in which the
//! secret that the Git host uses is refused.

use serde_json::json;
use sluice_chassis::Secret;
use sluice_kubernetes::Cluster;
use sluice_kubernetes::secrets::RepositorySecret;
use sluice_schemas::ids::RepoSlug;

use crate::arguments::{RepoAddArgs, RepoCommand};
use crate::context::{Context, load_config, section};
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::terminal;

pub(crate) async fn repo(context: &Context, command: RepoCommand) -> Outcome {
    match command {
        RepoCommand::Add(arguments) => add(context, arguments).await,
        RepoCommand::Ls { config } => ls(context, config.config.as_deref()).await,
        RepoCommand::Rm { full_name, config } => {
            let (cluster, _) = connect(config.config.as_deref()).await?;
            let slug = RepoSlug::from_full_name(&full_name);
            let known = cluster.delete_repository(&slug).await.map_err(cluster_failure)?;
            if !known {
                return Err(Failure::failed(
                    format_args!("{full_name} is not known as a Secret of Sluice's"),
                    "`sluice repo ls` lists them; those of Argo CD are changed there",
                ));
            }
            context
                .output
                .line(format!("{full_name} is forgotten; its webhooks are refused within half a minute."))
        }
    }
}

async fn add(context: &Context, arguments: RepoAddArgs) -> Outcome {
    let RepoAddArgs { full_name, url, username, password_file, rotate, finish, config } = arguments;
    let (cluster, webhook_url) = connect(config.config.as_deref()).await?;
    let slug = RepoSlug::from_full_name(&full_name);
    let known =
        cluster.repositories().await.map_err(cluster_failure)?.into_iter().find(|known| known.slug == slug);
    let url = match (url, &known) {
        (Some(url), _) => url,
        (None, Some(known)) => known.url.clone(),
        (None, None) => {
            return Err(Failure::failed(
                format_args!("{full_name} is not known, so there is nothing to rotate"),
                format!("`sluice repo add {full_name} --url URL`"),
            ));
        }
    };
    let url = sluice_git::RemoteUrl::parse(&url)
        .map_err(|error| Failure::usage(error, "give an https:// clone URL"))?;
    let password = match &username {
        Some(name) => {
            let question = format!("Password or token of {name} at {url}: ");
            Some(terminal::secret(question, password_file.as_deref(), context.may_ask).await?)
        }
        None => None,
    };
    let present = known.as_ref().and_then(|known| known.webhook_secret.clone());
    let pending = known.as_ref().and_then(|known| known.webhook_secret_next.clone());
    let fresh = Secret::new(hex::encode(rand::random::<[u8; 32]>()));
    let (webhook_secret, webhook_secret_next, shown) = match (finish, rotate, pending) {
        (true, _, Some(pending)) => (Some(pending), Some(Secret::new("")), None),
        (true, _, None) => {
            return Err(Failure::failed(
                "no rotation is under way",
                format!("`sluice repo add {full_name} --rotate`"),
            ));
        }
        (false, true, _) if present.is_some() => (None, Some(fresh.clone()), Some(fresh)),
        (false, _, _) if present.is_some() => (None, None, None),
        _ => (Some(fresh.clone()), None, Some(fresh)),
    };
    let repository = RepositorySecret {
        slug,
        full_name: full_name.clone(),
        url: url.to_string(),
        username: username.map(Secret::new),
        password,
        webhook_secret,
        webhook_secret_next,
    };
    cluster.ensure_namespace(cluster.namespace()).await.map_err(|error| away(&error))?;
    cluster.put_repository(&repository).await.map_err(cluster_failure)?;
    let secret = shown.as_ref().map(|secret| secret.expose().to_owned());
    if context
        .output
        .data(&json!({"repository": full_name, "webhookUrl": webhook_url, "webhookSecret": secret}))?
    {
        return Ok(());
    }
    let output = context.output;
    output.line(format!("{full_name} is known as {}.", repository.slug))?;
    let Some(secret) = secret else { return Ok(()) };
    output.line("Give the Git host this webhook (events: push; it is shown only now):\n")?;
    output.line(format!(
        "  URL           {webhook_url}\n  Content type  application/json\n  Secret        {secret}\n"
    ))?;
    if rotate {
        output.line(format!("The old secret stays good until `sluice repo add {full_name} --finish`."))?;
    }
    Ok(())
}

async fn ls(context: &Context, config: Option<&std::path::Path>) -> Outcome {
    let (cluster, _) = connect(config).await?;
    let known = cluster.repositories().await.map_err(cluster_failure)?;
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let items: Vec<_> = known
        .iter()
        .map(|known| {
            let rotating = known.webhook_secret_next.as_ref().is_some_and(|secret| !secret.is_empty());
            json!({"repository": known.full_name, "slug": known.slug, "url": known.url, "credentials": known.password.is_some(),
                "webhook": known.webhook_secret.is_some(), "rotating": rotating})
        })
        .collect();
    if context.output.data(&json!({"items": items}))? {
        return Ok(());
    }
    let mut table = Table::new(&["REPOSITORY", "URL", "WEBHOOK", "CREDENTIALS", "+SLUG"]);
    for known in &known {
        table.row([
            known.full_name.clone(),
            known.url.clone(),
            word(known.webhook_secret.is_some()),
            word(known.password.is_some()),
            known.slug.to_string(),
        ]);
    }
    table.print(context.output)
}

/// The cluster, and the webhook's URL as people reach it.
async fn connect(config: Option<&std::path::Path>) -> Outcome<(Cluster, String)> {
    let (file, _) = load_config(config)?;
    let kubernetes: sluice_kubernetes::Config = section(&file, "kubernetes")?;
    let ingress: sluice_ingress::Config = section(&file, "ingress")?;
    sluice_chassis::process::install_crypto();
    let cluster = sluice_kubernetes::client::connect(&kubernetes).await.map_err(|error| away(&error))?;
    Ok((cluster, ingress.webhook_url()))
}

fn away(error: &dyn std::error::Error) -> Failure {
    Failure::failed(
        format_args!("the cluster cannot be used: {}", chain(error)),
        "set KUBECONFIG, or kubernetes.kubeconfig in the configuration; `sluice doctor` looks for causes",
    )
}

fn cluster_failure(error: sluice_kubernetes::secrets::SecretError) -> Failure {
    away(&error)
}

/// An error with everything under it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
