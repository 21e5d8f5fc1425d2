//! Watching what is there only for a moment: command lines, and containers while they run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sluice_e2e::Platform;

use super::search::Search;

/// Between two looks at all processes: shorter than any program lives that could be given a secret.
const PAUSE: Duration = Duration::from_millis(4);

/// Two threads that look again and again until they are asked what they saw.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    lines: JoinHandle<Seen>,
    containers: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) findings: BTreeSet<String>,
    /// Different things that were looked at.
    pub(super) different: BTreeSet<String>,
}

impl Watch {
    pub(super) fn start(platform: &Platform, owner: &str, search: &Search) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (ending, wanted) = (Arc::clone(&stop), search.clone());
        let lines = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ending.load(Ordering::Relaxed) {
                command_lines(&wanted, &mut seen);
                std::thread::sleep(PAUSE);
            }
            seen
        });
        let (ending, wanted, platform) = (Arc::clone(&stop), search.clone(), platform.clone());
        let owner = owner.to_owned();
        let containers = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ending.load(Ordering::Relaxed) {
                inspect(&platform, &owner, &wanted, &mut seen);
                std::thread::sleep(Duration::from_millis(50));
            }
            seen
        });
        Self { stop, lines, containers }
    }

    /// Command lines, then containers.
    pub(super) fn end(self) -> (Seen, Seen) {
        self.stop.store(true, Ordering::Relaxed);
        (self.lines.join().unwrap(), self.containers.join().unwrap())
    }
}

fn command_lines(search: &Search, seen: &mut Seen) {
    let Ok(all) = std::fs::read_dir("/proc") else { return };
    for entry in all.flatten() {
        if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.is_empty() || !seen.different.insert(line.clone()) {
            continue;
        }
        if let Some(name) = search.is_in(&line) {
            seen.findings.insert(format!("{name} in the command line {line:?}"));
        }
    }
}

/// The engine's description of every container: variables, command, labels, mounts.
fn inspect(platform: &Platform, owner: &str, search: &Search, seen: &mut Seen) {
    let docker = |arguments: &[&str]| {
        let output = platform.docker().into_std().args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for id in docker(&["ps", "-q", "--no-trunc"]).lines() {
        if seen.different.contains(id) {
            continue;
        }
        let description = docker(&["inspect", id]);
        if description.contains(owner) {
            seen.different.insert(id.to_owned());
        }
        if let Some(name) = search.is_in(&description) {
            seen.findings.insert(format!("{name} in the description of a container:\n{description}"));
        }
    }
}
