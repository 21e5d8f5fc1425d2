//! A nats-server of a test's own: a free port, a store in a temporary directory, gone when the test ends.
//!
//! Called by the integration tests of every crate that speaks on the bus. It panics instead of returning errors: a
//! test without its server has failed.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to listen, on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct NatsServer {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl NatsServer {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no nats-server or it does not listen.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let child = spawn(port, &directory);
        Self { child, port, directory }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a crash would.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// Starts it again after [`NatsServer::kill`], with its data.
    ///
    /// # Panics
    /// As [`NatsServer::start`].
    pub fn revive(&mut self) {
        self.child = spawn(self.port, &self.directory);
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // A child that is gone already is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(port: u16, directory: &TempDir) -> Child {
    let config = directory.path().join("nats.conf");
    let store = directory.path().join("store");
    let text =
        format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n");
    std::fs::write(&config, text).expect("the configuration is written");
    let mut child = Command::new(program())
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nats-server starts; `make setup` builds it");
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            let mut text = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut text).expect("its last words");
            }
            panic!("nats-server ended with {status}: {text}");
        }
        assert!(Instant::now() < until, "nats-server does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(5));
    }
    // What it logs is not wanted; a full pipe would stop it.
    let mut stderr = child.stderr.take().expect("a pipe");
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    child
}

/// The server that the platform built, or the one on the path.
fn program() -> PathBuf {
    let platform = std::env::var_os("SLUICE_PLATFORM_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/sluice-platform"));
    let built = platform.or(home).map(|directory| directory.join("bin/nats-server"));
    built.filter(|path| path.exists()).unwrap_or_else(|| "nats-server".into())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
