//! What an operator does: the bus, dead letters past the API, and `up` itself.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_test_nats::NatsServer;

use crate::server::{command, run};

#[test]
fn the_bus_is_provisioned_and_dead_letters_are_read_past_the_api() {
    let (home, nats) = (tempfile::tempdir().expect("a home"), NatsServer::start());
    std::fs::write(
        home.path().join("sluice.yaml"),
        format!("bus:\n  url: {}\n  storage_gib: 1\n", nats.url()),
    )
    .expect("written");
    let status = run(command(home.path(), &["bus", "status"]), "");
    assert!(status.code == 1 && status.err.contains("sluice bus provision"), "{}", status.err);
    let made = run(command(home.path(), &["bus", "provision"]), "");
    assert_eq!(made.code, 0, "{}", made.err);
    let status = run(command(home.path(), &["bus", "status", "-o", "json"]), "");
    let streams: Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!((status.code, streams["streams"][0]["stream"].as_str()), (0, Some("INBOX")));
    let letters = run(command(home.path(), &["dlq", "ls", "--direct", "-o", "json"]), "");
    assert_eq!((letters.code, letters.out.trim()), (0, "{\n  \"items\": []\n}"), "{}", letters.err);
    let none = run(command(home.path(), &["dlq", "retry", "abc", "--direct"]), "");
    assert!(none.code == 1 && none.err.contains("sluice dlq ls"));
}

#[test]
fn a_bus_that_is_away_and_a_wrong_key_are_told() {
    let home = tempfile::tempdir().expect("a home");
    std::fs::write(home.path().join("sluice.yaml"), "bus:\n  ulr: x\n").expect("written");
    for arguments in [&["up"][..], &["bus", "status"], &["doctor"]] {
        let ended = run(command(home.path(), arguments), "");
        let told = format!("{}{}", ended.out, ended.err);
        assert!(told.contains("did you mean `url`?"), "{arguments:?}: {told}");
        assert_eq!(ended.code, 2, "{arguments:?}");
    }
    let dump = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["up", "--dump-config", "--config", "/dev/null"])
        .env_clear()
        .env("SLUICE_API__LISTEN", "127.0.0.1:1")
        .output()
        .expect("runs");
    assert!(String::from_utf8_lossy(&dump.stdout).contains("listen: 127.0.0.1:1"));
}

#[test]
fn up_starts_a_server_of_its_own_and_ends_it_again() {
    let home = tempfile::tempdir().expect("a home");
    let mut first = up(home.path());
    assert!(first.url.starts_with("nats://127.0.0.1:"));
    // Killed without warning: the next one takes the server over, and ends it.
    first.child.kill().expect("killed");
    first.child.wait().expect("gone");
    let mut second = up(home.path());
    assert_eq!(second.url, first.url);
    let pid = second.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let status = second.child.wait().expect("it ends");
    let mut rest = String::new();
    second.out.read_to_string(&mut rest).expect("its last words");
    assert_eq!(status.code(), Some(0), "{rest}");
    let address = second.url.trim_start_matches("nats://").to_owned();
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < until, "the server is still there");
        std::thread::yield_now();
    }
}

struct Up {
    child: std::process::Child,
    out: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        // Gone already, when the test went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ingress alone, with a cluster that is away: it serves, and says what it lacks.
fn up(home: &Path) -> Up {
    let config = "server:\n  listen: 127.0.0.1:0\ningress:\n  listen: 127.0.0.1:0\nbus:\n  storage_gib: 1\nkubernetes:\n  kubeconfig: kube.yaml\n";
    std::fs::write(home.join("sluice.yaml"), config).expect("written");
    let kube = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n";
    std::fs::write(home.join("kube.yaml"), kube).expect("written");
    let mut command = command(home, &["up", "ingress"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", nats_folder().display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut said = String::new();
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).expect("readable") == 0 {
            let mut errors = String::new();
            child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("readable");
            panic!("it ended: {said}{errors}");
        }
        said.push_str(&line);
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let url = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("NATS"))
        .expect("the URL is told")
        .trim()
        .to_owned();
    // Nobody reads the log; a full pipe would stop the program.
    let mut log = child.stderr.take().expect("a pipe");
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Up { child, out, url }
}

/// Where the platform built the server, or nowhere in particular.
fn nats_folder() -> PathBuf {
    let platform = std::env::var_os("SLUICE_PLATFORM_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/sluice-platform"));
    platform.or(home).map_or_else(PathBuf::new, |directory| directory.join("bin"))
}
