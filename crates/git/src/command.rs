//! The `git` program as a child process: the only way to the network.
//!
//! Invariants: the environment is cleared and rebuilt, no prompt is possible, only
//! listed transports are allowed, nothing from outside stands before `--`, the
//! credentials are in the environment of that one child, output is bounded, and
//! at the deadline (or when the caller goes away) the whole process group is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use crate::address::Credentials;

/// Enough for the refs of a repository with a hundred thousand branches.
const MAX_OUTPUT: usize = 32 << 20;
/// What a person can read of an error; the rest of the stream is drained and dropped.
const MAX_ERROR: usize = 16 << 10;
/// Settings of our surroundings that a child may see: how to reach and to trust the outside.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
];

#[derive(Debug, thiserror::Error, Clone)]
pub enum CommandError {
    #[error(
        "the program `git` could not be started ({reason}); install Git 2.31 or newer and see that it is in PATH"
    )]
    Start { reason: String },
    #[error("`git {what}` was stopped after {} s without an end; the Git server is slow or the repository is large: raise the Git time-out", after.as_secs())]
    TimedOut { what: &'static str, after: Duration },
    #[error("`git {what}` failed: {stderr}")]
    Failed { what: &'static str, stdout: String, stderr: String },
    #[error("`git {what}` answered more than {MAX_OUTPUT} bytes; the repository has too many refs")]
    TooMuchOutput { what: &'static str },
}

/// One call of `git`.
pub(crate) struct Git<'a> {
    what: &'static str,
    git_dir: Option<&'a Path>,
    arguments: Vec<String>,
    credentials: Option<&'a Credentials>,
    home: PathBuf,
    timeout: Duration,
}

impl<'a> Git<'a> {
    /// `what` is the subcommand.
    pub(crate) fn new(what: &'static str, home: &Path, timeout: Duration) -> Self {
        Self { what, git_dir: None, arguments: Vec::new(), credentials: None, home: home.to_owned(), timeout }
    }

    pub(crate) fn git_dir(mut self, path: &'a Path) -> Self {
        self.git_dir = Some(path);
        self
    }

    /// An option of ours, never anything from outside.
    pub(crate) fn option(mut self, option: &'static str) -> Self {
        self.arguments.push(option.to_owned());
        self
    }

    /// An option of ours with a value of a checked type.
    pub(crate) fn option_with(mut self, option: &'static str, value: &str) -> Self {
        self.arguments.push(format!("{option}={value}"));
        self
    }

    /// `--` and then what may come from outside.
    pub(crate) fn operands<I: IntoIterator<Item = String>>(mut self, operands: I) -> Self {
        self.arguments.push("--".to_owned());
        self.arguments.extend(operands);
        self
    }

    pub(crate) fn credentials(mut self, credentials: Option<&'a Credentials>) -> Self {
        self.credentials = credentials;
        self
    }

    /// Runs to the end and gives back what it printed.
    pub(crate) async fn run(self) -> Result<String, CommandError> {
        let what = self.what;
        let mut child =
            self.command().spawn().map_err(|error| CommandError::Start { reason: error.to_string() })?;
        let guard = KillGroup { leader: child.id() };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let finished = tokio::time::timeout(self.timeout, async {
            let (stdout, stderr) = tokio::join!(drain(stdout, MAX_OUTPUT), drain(stderr, MAX_ERROR));
            let status = wait(&mut child).await;
            (stdout, stderr, status)
        })
        .await;
        let Ok((stdout, stderr, status)) = finished else {
            drop(guard);
            return Err(CommandError::TimedOut { what, after: self.timeout });
        };
        guard.disarm();
        let (stdout, cut) = stdout;
        let stderr = String::from_utf8_lossy(&stderr.0).trim().to_owned();
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        match status {
            Ok(true) if cut => Err(CommandError::TooMuchOutput { what }),
            Ok(true) => Ok(stdout),
            Ok(false) => Err(CommandError::Failed { what, stdout, stderr }),
            Err(reason) => Err(CommandError::Failed { what, stdout, stderr: reason }),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_OPTIONAL_LOCKS", "0");
        let settings = self.settings();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (n, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        if let Some(path) = self.git_dir {
            command.env("GIT_DIR", path);
        }
        command
            .current_dir(&self.home)
            .arg(self.what)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("protocol.allow", "never".to_owned()),
            ("protocol.https.allow", "always".to_owned()),
            ("protocol.http.allow", "always".to_owned()),
            ("protocol.file.allow", "always".to_owned()),
            ("core.hooksPath", "/dev/null".to_owned()),
            ("core.askPass", String::new()),
            ("credential.helper", String::new()),
            ("safe.directory", "*".to_owned()),
            ("fetch.recurseSubmodules", "false".to_owned()),
            ("fetch.fsckObjects", "false".to_owned()),
            ("gc.autoDetach", "false".to_owned()),
            // A transfer that stands still ends by itself, even if we are gone.
            ("http.lowSpeedLimit", "1".to_owned()),
            ("http.lowSpeedTime", self.timeout.as_secs().clamp(5, 60).to_string()),
        ];
        if let Some(credentials) = self.credentials {
            // A redirect would carry the header to whatever host it names.
            settings.push(("http.followRedirects", "false".to_owned()));
            settings.push(("http.extraHeader", credentials.header()));
        }
        settings
    }
}

/// Kills the child's process group unless it has ended: `git` leaves its transport
/// helper (`git-remote-https`) behind when only itself is killed.
struct KillGroup {
    leader: Option<u32>,
}

impl KillGroup {
    fn disarm(mut self) {
        self.leader = None;
    }
}

impl Drop for KillGroup {
    fn drop(&mut self) {
        let Some(leader) = self.leader else { return };
        // The shell's own `kill` reaches a group without unsafe code here.
        let killed = std::process::Command::new("sh")
            .args(["-c", "kill -s KILL -- -\"$0\"", &leader.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = killed {
            tracing::warn!(%error, "a git transfer could not be killed");
        }
    }
}

async fn wait(child: &mut Child) -> Result<bool, String> {
    child.wait().await.map(|status| status.success()).map_err(|error| error.to_string())
}

/// Reads to the end, keeps the first `keep` bytes, and says whether there was more.
async fn drain<R: AsyncRead + Unpin>(stream: Option<R>, keep: usize) -> (Vec<u8>, bool) {
    let Some(mut stream) = stream else { return (Vec::new(), false) };
    let mut kept = Vec::new();
    let mut cut = false;
    let mut buffer = vec![0u8; 16 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return (kept, cut),
            Ok(n) => {
                let room = keep.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(&buffer[..room]);
                cut |= room < n;
            }
        }
    }
}
