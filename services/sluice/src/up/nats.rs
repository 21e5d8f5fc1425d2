//! The nats-server that `sluice up` starts: on loopback, on disk, synced at every write.
//!
//! Invariants: one store has one server: one that an earlier `up` left behind (it was killed) is taken over, not doubled;
//! the server is in a process group of its own, so that Ctrl-C reaches the services first; it is asked to end, and killed
//! only when it does not.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sluice_chassis::{Process, TaskKind};
use sluice_schemas::ids::hash_token;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::failure::{Failure, Outcome};
use crate::value::Fields;

const PROGRAM: &str = "nats-server";
/// The port that NATS tools look at by themselves.
const PORT: u16 = 4222;
/// How long a server may take to open its store, or to close it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    url: String,
    store: PathBuf,
    pid: u32,
    /// Absent when it was taken over.
    child: std::sync::Arc<Mutex<Option<Child>>>,
}

/// The server on PATH, as it names itself: `nats-server: v2.14.0`.
pub(crate) fn installed() -> Option<String> {
    let output = std::process::Command::new(PROGRAM).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Server {
    /// Starts the server of a directory, or takes over the one that runs there.
    pub(crate) async fn start(directory: &Path) -> Outcome<Self> {
        let store = directory.join("store");
        std::fs::create_dir_all(&store).map_err(|error| {
            Failure::failed(
                format_args!("{} cannot be made: {error}", store.display()),
                "name another directory with --data DIR",
            )
        })?;
        let name = server_name(directory);
        if let Some((url, pid)) = left_behind(directory).await {
            tracing::info!(url, "taking over the nats-server that an earlier `sluice up` left");
            return Ok(Self { url, store, pid, child: std::sync::Arc::default() });
        }
        let Some(version) = installed() else {
            return Err(Failure::failed(
                "bus.url is not set, and there is no nats-server on PATH to start",
                "install nats-server 2.12 or newer (https://nats.io/download), or set bus.url to a running one",
            ));
        };
        let port = free_port().await?;
        let url = format!("nats://127.0.0.1:{port}");
        write_config(directory, &store, &name, port)?;
        let log = directory.join("nats.log");
        let mut child = Command::new(PROGRAM)
            .arg("-c")
            .arg(directory.join("nats.conf"))
            .arg("-l")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Failure::failed(format_args!("nats-server cannot be started: {error}"), "check PATH")
            })?;
        let until = tokio::time::Instant::now() + PATIENCE;
        while greeting(&url).await.is_none() {
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || tokio::time::Instant::now() > until {
                return Err(Failure::failed(
                    format_args!("{version} did not come up at {url}"),
                    format!(
                        "see {}; a store of a newer server cannot be opened by an older one",
                        log.display()
                    ),
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pid = child.id().unwrap_or_default();
        // For the next `up`, should this one be killed.
        let noted = std::fs::write(directory.join("server"), format!("{url} {pid}\n"));
        if let Err(error) = noted {
            tracing::warn!(%error, "the server's address was not noted");
        }
        tracing::info!(url, version, "nats-server started");
        Ok(Self { url, store, pid, child: std::sync::Arc::new(Mutex::new(Some(child))) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// Ends the process when the server ends by itself: without a bus nothing works, and a restart brings both back.
    pub(crate) fn watch(&self, process: &Process) {
        let (child, shutdown) = (self.child.clone(), process.tasks().shutdown().clone());
        process.tasks().spawn(TaskKind::Watcher, "nats-server", async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                let mut child = child.lock().await;
                if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                    tracing::error!(%status, "nats-server has ended");
                    return;
                }
            }
        });
    }

    /// Asks it to end, and waits until its store is closed.
    pub(crate) async fn stop(self) {
        signal(self.pid, "TERM").await;
        let mut child = self.child.lock().await;
        let ended = tokio::time::timeout(PATIENCE, async {
            match child.as_mut() {
                Some(child) => drop(child.wait().await),
                None => {
                    while greeting(&self.url).await.is_some() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        });
        if ended.await.is_err() {
            tracing::warn!("nats-server does not end by itself; it is killed");
            signal(self.pid, "KILL").await;
        }
        if let Some(directory) = self.store.parent()
            && let Err(error) = std::fs::remove_file(directory.join("server"))
        {
            tracing::debug!(%error, "the note of the server's address");
        }
    }
}

/// The server that an `up` noted in a directory, if it still runs and is that directory's.
pub(crate) async fn left_behind(directory: &Path) -> Option<(String, u32)> {
    let note = std::fs::read_to_string(directory.join("server")).ok()?;
    let (url, pid) = note.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    (greeting(url).await?.text("server_name") == server_name(directory)).then(|| (url.to_owned(), pid))
}

/// Tells the server of one directory from that of another on the same port.
fn server_name(directory: &Path) -> String {
    format!("sluice-{}", &hash_token(&[&directory.display().to_string()])[..12])
}

/// What a server says of itself to everyone who connects.
async fn greeting(url: &str) -> Option<Value> {
    let address = url.strip_prefix("nats://")?;
    let connected = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        serde_json::from_str(line.strip_prefix("INFO ")?).ok()
    };
    tokio::time::timeout(Duration::from_secs(2), connected).await.ok().flatten()
}

/// NATS's own port, or any other when that is taken.
async fn free_port() -> Outcome<u16> {
    for port in [PORT, 0] {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await
            && let Ok(address) = listener.local_addr()
        {
            return Ok(address.port());
        }
    }
    Err(Failure::failed("no port can be had on loopback", "check the machine's network"))
}

fn write_config(directory: &Path, store: &Path, name: &str, port: u16) -> Outcome {
    let text = format!(
        "# Written by `sluice up` at every start.\nserver_name: {name}\nlisten: 127.0.0.1:{port}\n\
         jetstream {{\n  store_dir: {store:?}\n  # A write that was confirmed is on disk.\n  sync_interval: always\n}}\n",
    );
    std::fs::write(directory.join("nats.conf"), text).map_err(|error| {
        Failure::failed(
            format_args!("{} cannot be written: {error}", directory.display()),
            "name another directory with --data DIR",
        )
    })
}

async fn signal(pid: u32, name: &str) {
    if pid == 0 {
        return;
    }
    let status =
        Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status().await;
    if let Err(error) = status {
        tracing::warn!(%error, pid, "kill");
    }
}
