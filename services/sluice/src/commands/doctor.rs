//! `doctor`: everything that Sluice needs, looked at one by one, and what to do about what is missing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_bus::{BusConfig, MINIMUM_VERSION, StreamName};
use sluice_chassis::config::ConfigFile;
use sluice_kubernetes::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::repo::chain;
use crate::arguments::ConfigArgs;
use crate::context::{Context, load_config, section};
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::up::nats;
use crate::value::Fields;

/// Each check answers within this time.
const PATIENCE: Duration = Duration::from_secs(8);
/// The oldest Git whose protocol and options are used.
const GIT: (u64, u64) = (2, 31);
/// Where the Docker engine listens when nobody says otherwise.
const DOCKER: &str = "unix:///var/run/docker.sock";

/// What a check found.
struct Finding {
    what: &'static str,
    /// `ok`, `warn` or `fail`.
    verdict: &'static str,
    found: String,
    next: String,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, verdict: "ok", found: found.into(), next: String::new() }
    }

    fn warn(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what, verdict: "warn", found: found.into(), next: next.into() }
    }

    fn fail(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what, verdict: "fail", found: found.into(), next: next.into() }
    }
}

pub(crate) async fn doctor(context: &Context, arguments: &ConfigArgs) -> Outcome {
    sluice_chassis::process::install_crypto();
    let (file, path) = load_config(arguments.config.as_deref())?;
    let mut findings = vec![configuration(&file, path.as_deref()), git()];
    findings.extend(bus(&file).await?);
    findings.push(docker(&file).await?);
    findings.extend(cluster(&file).await?);
    findings.push(api(context).await?);
    report(context, &findings)
}

fn report(context: &Context, findings: &[Finding]) -> Outcome {
    let items: Vec<Value> = findings
        .iter()
        .map(|it| json!({"check": it.what, "verdict": it.verdict, "found": it.found, "next": it.next}))
        .collect();
    if !context.output.data(&json!({"items": items}))? {
        let mut table = Table::new(&["CHECK", "", "FOUND"]);
        for it in findings {
            table.row([it.what.to_owned(), it.verdict.to_owned(), it.found.clone()]);
        }
        table.print(context.output)?;
        for it in findings.iter().filter(|it| !it.next.is_empty()) {
            context.output.line(format!(
                "\n{} {}: {}",
                context.output.status(it.verdict),
                it.what,
                it.next
            ))?;
        }
    }
    let failed = findings.iter().filter(|it| it.verdict == "fail").count();
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::failed(
        format_args!("{failed} of {} checks failed", findings.len()),
        "do what stands above, then run `sluice doctor` again",
    ))
}

/// Every section is read as the service reads it.
fn configuration(file: &ConfigFile, path: Option<&Path>) -> Finding {
    const WHAT: &str = "configuration";
    if let Err(failure) = crate::up::services::check(file) {
        return Finding::fail(WHAT, failure.message, failure.next);
    }
    Finding::ok(
        WHAT,
        path.map_or_else(|| "defaults and environment".to_owned(), |path| path.display().to_string()),
    )
}

fn git() -> Finding {
    const WHAT: &str = "git";
    let next = format!("install Git {}.{} or newer: `apt-get install git`", GIT.0, GIT.1);
    let output = Command::new("git").arg("--version").output();
    let Ok(output) = output else { return Finding::fail(WHAT, "no git on PATH", next) };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if version(&text) >= Some(GIT) { Finding::ok(WHAT, text) } else { Finding::fail(WHAT, text, next) }
}

async fn bus(file: &ConfigFile) -> Outcome<Vec<Finding>> {
    const WHAT: &str = "nats";
    let config: BusConfig = section(file, "bus")?;
    if config.url.is_empty() {
        let next = "put nats-server 2.12 or newer on PATH, or set bus.url to a running one";
        return Ok(vec![match nats::installed() {
            Some(text) if version(&text) >= Some(MINIMUM_VERSION) => {
                Finding::ok(WHAT, format!("{text} on PATH; `sluice up` starts it"))
            }
            Some(text) => Finding::fail(WHAT, text, next),
            None => Finding::fail(WHAT, "bus.url is not set, and no nats-server is on PATH", next),
        }]);
    }
    let service = sluice_chassis::Process::new(file.clone()).service("sluice");
    let connected = tokio::time::timeout(PATIENCE, sluice_bus::Bus::connect(&service, &config)).await;
    let bus = match connected {
        Ok(Ok(bus)) => bus,
        Ok(Err(error)) => {
            return Ok(vec![Finding::fail(WHAT, chain(&error), "check bus.url and its credentials")]);
        }
        Err(_) => {
            let found = format!("{} does not answer", config.url);
            return Ok(vec![Finding::fail(WHAT, found, "start it, or correct bus.url")]);
        }
    };
    let mut findings = vec![Finding::ok(WHAT, format!("{} at {}", bus.server_version(), config.url))];
    let mut missing = Vec::new();
    for name in StreamName::ALL {
        if bus.last_sequence(*name).await.is_err() {
            missing.push(name.as_str());
        }
    }
    findings.push(if missing.is_empty() {
        Finding::ok("streams", format!("all {}", StreamName::ALL.len()))
    } else {
        let next = "`sluice bus provision` makes them; `sluice up` does so by itself";
        Finding::warn("streams", format!("missing: {}", missing.join(", ")), next)
    });
    Ok(findings)
}

async fn docker(file: &ConfigFile) -> Outcome<Finding> {
    const WHAT: &str = "docker";
    let config: sluice_builder::Config = section(file, "builder")?;
    let host =
        config.docker.or_else(|| std::env::var("DOCKER_HOST").ok()).unwrap_or_else(|| DOCKER.to_owned());
    let next = "start the Docker engine, or set builder.docker or DOCKER_HOST to where it listens";
    Ok(match tokio::time::timeout(PATIENCE, docker_version(&host)).await {
        Ok(Ok(version)) => Finding::ok(WHAT, format!("{version} at {host}")),
        Ok(Err(error)) => Finding::fail(WHAT, format!("{host}: {error}"), next),
        Err(_) => Finding::fail(WHAT, format!("{host} does not answer"), next),
    })
}

/// Asks the engine in plain HTTP: one question does not need a client library.
async fn docker_version(host: &str) -> Result<String, String> {
    const QUESTION: &[u8] = b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n";
    let mut answer = Vec::new();
    let text = |error: std::io::Error| error.to_string();
    if let Some(path) = host.strip_prefix("unix://") {
        let mut stream = UnixStream::connect(path).await.map_err(text)?;
        stream.write_all(QUESTION).await.map_err(text)?;
        stream.take(1 << 20).read_to_end(&mut answer).await.map_err(text)?;
    } else if let Some(address) = host.strip_prefix("tcp://") {
        let mut stream = TcpStream::connect(address).await.map_err(text)?;
        stream.write_all(QUESTION).await.map_err(text)?;
        stream.take(1 << 20).read_to_end(&mut answer).await.map_err(text)?;
    } else {
        return Err("only unix:// and tcp:// are spoken".to_owned());
    }
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let value: Value =
        serde_json::from_str(body).map_err(|error| format!("no answer of an engine: {error}"))?;
    Ok(value.text("Version"))
}

async fn cluster(file: &ConfigFile) -> Outcome<Vec<Finding>> {
    const WHAT: &str = "kubernetes";
    let config: sluice_kubernetes::Config = section(file, "kubernetes")?;
    let next = "set kubernetes.kubeconfig or KUBECONFIG to a cluster's file";
    let cluster = match sluice_kubernetes::client::connect(&config).await {
        Ok(cluster) => cluster,
        Err(error) => return Ok(vec![Finding::fail(WHAT, chain(&error), next)]),
    };
    let version = match tokio::time::timeout(PATIENCE, cluster.version()).await {
        Ok(Ok(version)) => version,
        Ok(Err(error)) => return Ok(vec![Finding::fail(WHAT, chain(&error), next)]),
        Err(_) => return Ok(vec![Finding::fail(WHAT, "the API server does not answer", next)]),
    };
    let mut findings = vec![Finding::ok(WHAT, version)];
    findings.push(repositories(&cluster).await);
    findings.push(telegram(&cluster).await);
    Ok(findings)
}

async fn repositories(cluster: &Cluster) -> Finding {
    const WHAT: &str = "repositories";
    match cluster.repositories().await {
        Err(error) => {
            Finding::fail(WHAT, chain(&error), "let Sluice's account read Secrets in its namespace")
        }
        Ok(known) if known.iter().all(|known| known.webhook_secret.is_none()) => Finding::warn(
            WHAT,
            format!("{} known, none with a webhook secret", known.len()),
            "`sluice repo add OWNER/NAME --url URL` adds one and prints its webhook",
        ),
        Ok(known) => {
            let with = known.iter().filter(|known| known.webhook_secret.is_some()).count();
            Finding::ok(WHAT, format!("{} known, {with} with a webhook secret", known.len()))
        }
    }
}

async fn telegram(cluster: &Cluster) -> Finding {
    const WHAT: &str = "telegram";
    match cluster.telegram().await {
        Ok(keys) if keys.get("token").is_some_and(|token| !token.is_empty()) => {
            Finding::ok(WHAT, "a bot token is set")
        }
        Ok(_) => Finding::warn(
            WHAT,
            "no bot token",
            format!(
                "chat is off; to turn it on, store the token of @BotFather: `kubectl -n {0} create secret generic telegram --from-file=token=FILE && kubectl -n {0} label secret telegram sluice.dev/secret-type=telegram`",
                cluster.namespace()
            ),
        ),
        Err(error) => {
            Finding::warn(WHAT, chain(&error), "let Sluice's account read Secrets in its namespace")
        }
    }
}

async fn api(context: &Context) -> Outcome<Finding> {
    const WHAT: &str = "api";
    let client = context.client()?;
    let Ok(answer) = client.get("/api/version").await else {
        let found = format!("nothing at {}", client.server());
        return Ok(Finding::warn(WHAT, found, "`sluice up` starts it; `sluice login URL` names another one"));
    };
    let found = format!("{} at {}", answer.text("Version"), client.server());
    Ok(match client.get("/api/v1/session/userinfo").await {
        Ok(who) if who.is("loggedIn") => {
            Finding::ok(WHAT, format!("{found}, logged in as {}", who.text("username")))
        }
        _ => Finding::warn(
            WHAT,
            format!("{found}, not logged in"),
            format!("`sluice login {}`", client.server()),
        ),
    })
}

/// The first two numbers of the first word with a dot in it.
fn version(text: &str) -> Option<(u64, u64)> {
    let word = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        assert_eq!(version("git version 2.39.5"), Some((2, 39)));
        assert_eq!(version("nats-server: v2.14.0-RC.1"), Some((2, 14)));
        assert_eq!(version("no idea"), None);
    }
}
