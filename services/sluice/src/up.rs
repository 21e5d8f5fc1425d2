//! `up`: every service in one process, and a nats-server beside it when none is named.
//!
//! Invariants: the services are the very ones that run apart, each with its own section of the one configuration; the
//! bus that was started here outlives the services by their orderly end, and ends with this process.

pub(crate) mod nats;
pub(crate) mod services;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sluice_chassis::config::ConfigFile;
use sluice_chassis::telemetry::{self, LogConfig};
use sluice_chassis::{Process, process};

use crate::arguments::{ServiceName, UpArgs};
use crate::commands::chain_of;
use crate::context::{Context, config_failure, load_config, section};
use crate::failure::{Failure, Outcome};

/// Component name in `/readyz` until all services have started.
const STARTING: &str = "start";

pub(crate) async fn up(context: &Context, arguments: UpArgs) -> Outcome {
    let UpArgs { services: mut wanted, config, data, dump_config } = arguments;
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() {
        wanted = services::ALL.to_vec();
    }
    let (file, path) = load_config(config.config.as_deref())?;
    if dump_config {
        return context.output.line(file.dump());
    }
    services::check(&file)?;
    let log: LogConfig = section(&file, "log")?;
    telemetry::init(&log);
    process::install_crypto();
    let data = data_directory(data)?;
    let mut variables = defaults(&file, &data)?;
    let bus: sluice_bus::BusConfig = section(&file, "bus")?;
    // The topology is made once, before the services; each would make it again.
    variables.push(("SLUICE_BUS__PROVISION".to_owned(), "false".to_owned()));
    let mut server = None;
    if bus.url.is_empty() {
        let started = nats::Server::start(&data.join("nats")).await?;
        variables.push(("SLUICE_BUS__URL".to_owned(), started.url().to_owned()));
        server = Some(started);
    }
    let file = overlaid(path.as_deref(), variables)?;
    let process = Process::new(file);
    if let Some(server) = &server {
        server.watch(&process);
    }
    // The health listener answers before the services are there.
    process.health().not_ready(STARTING, "services are being started");
    let running = process.run(async {
        services::start(&process, &wanted, bus.provision).await?;
        process.health().ready(STARTING);
        tell(context, &process, &wanted, server.as_ref())?;
        std::future::pending().await
    });
    let result = Box::pin(running).await;
    if let Some(server) = server {
        server.stop().await;
    }
    result.map_err(|error| {
        Failure::failed(chain_of(&error), "`sluice doctor` looks for what is missing and says what to do")
    })
}

/// The server that an `up` on this machine has started in its data directory (`SLUICE_DATA`, or the usual one).
pub(crate) async fn running_bus() -> Option<String> {
    let data = data_directory(std::env::var_os("SLUICE_DATA").map(PathBuf::from)).ok()?;
    nats::left_behind(&data.join("nats")).await.map(|(url, _)| url)
}

/// Where processes keep what they keep: given, else as XDG has it.
fn data_directory(given: Option<PathBuf>) -> Outcome<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = given
        .or_else(|| variable("XDG_DATA_HOME").map(|base| base.join("sluice")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/share/sluice")))
        .ok_or_else(|| {
            Failure::usage("there is no directory for data: HOME is not set", "name one with --data DIR")
        })?;
    std::fs::create_dir_all(&data).and_then(|()| data.canonicalize()).map_err(|error| {
        Failure::failed(
            format_args!("{} cannot be used: {error}", data.display()),
            "name another directory with --data DIR",
        )
    })
}

/// Directories of the services below `data`, where the configuration names none.
fn defaults(file: &ConfigFile, data: &Path) -> Outcome<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (name, key, below) in [
        ("ingress", "data_dir", "git"),
        ("renderer", "data_dir", "git"),
        ("publisher", "data_dir", "git"),
        ("builder", "data", "builder"),
    ] {
        let section: Map<String, Value> = section(file, name)?;
        if !section.contains_key(key) {
            let variable = format!("SLUICE_{}__{}", name.to_uppercase(), key.to_uppercase());
            variables.push((variable, data.join(below).display().to_string()));
        }
    }
    Ok(variables)
}

/// The configuration once more, with what was found out laid over it.
fn overlaid(path: Option<&Path>, variables: Vec<(String, String)>) -> Outcome<ConfigFile> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::failed(format_args!("{}: {error}", path.display()), "check the file")
            })?;
            (path.to_owned(), text)
        }
        None => (PathBuf::from("(no file)"), String::new()),
    };
    ConfigFile::parse(name, text, std::env::vars().chain(variables)).map_err(config_failure)
}

fn tell(
    context: &Context,
    process: &Process,
    wanted: &[ServiceName],
    server: Option<&nats::Server>,
) -> anyhow::Result<()> {
    let config = process.config();
    let mut lines =
        vec![format!("Sluice is up: {} of {} services in this process.", wanted.len(), services::ALL.len())];
    if wanted.contains(&ServiceName::Api) {
        let api: sluice_api::Config = config.section("api")?;
        let url = api.public_url.unwrap_or_else(|| format!("http://{}", api.listen));
        lines.push(format!("  Web UI and API  {url}"));
    }
    if wanted.contains(&ServiceName::Ingress) {
        let ingress: sluice_ingress::Config = config.section("ingress")?;
        lines.push(format!("  Webhooks        {}", ingress.webhook_url()));
    }
    let operations: sluice_chassis::config::ServerConfig = config.section("server")?;
    lines.push(format!("  Health          http://{}/readyz", operations.listen));
    lines.push(format!("  Metrics         http://{}/metrics", operations.listen));
    let bus: sluice_bus::BusConfig = config.section("bus")?;
    lines.push(format!("  NATS            {}", bus.url));
    if let Some(server) = server {
        lines.push(format!("  Its data        {}", server.store().display()));
    }
    lines.push(format!("Everything, live: nats --server {} sub 'evt.>'", bus.url));
    lines.push("Ctrl-C ends it.".to_owned());
    context.output.line(lines.join("\n")).map_err(|failure| anyhow::anyhow!(failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_given_where_none_is_named() {
        let text = "ingress:\n  data_dir: /mine\n".to_owned();
        let file = ConfigFile::parse("x".into(), text, []).expect("parses");
        let variables = defaults(&file, Path::new("/data")).expect("known sections");
        let names: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            names,
            [
                "SLUICE_RENDERER__DATA_DIR=/data/git",
                "SLUICE_PUBLISHER__DATA_DIR=/data/git",
                "SLUICE_BUILDER__DATA=/data/builder"
            ]
        );
    }
}
