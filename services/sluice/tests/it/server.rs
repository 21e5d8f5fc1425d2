//! An API server that answers from a table and remembers what it was asked, and a person with a home of their own.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "the-token-of-ada";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) body: Value,
    pub(crate) agent: String,
}

#[derive(Clone, Default)]
struct Shared {
    answers: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub(crate) struct Server {
    address: SocketAddr,
    shared: Shared,
    pub(crate) home: TempDir,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()
            .expect("a runtime");
        let shared = Shared::default();
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move { axum::serve(listener, router).await });
        let server = Self { address, shared, home: TempDir::new().expect("a home"), _runtime: runtime };
        server.on("POST /api/v1/session", 200, json!({"token": TOKEN}));
        server
    }

    /// With somebody logged in.
    pub(crate) fn with_login() -> Self {
        let server = Self::start();
        let ended = server.run(&["login", &server.url()], "secret word\n");
        assert_eq!(ended.code, 0, "{}", ended.err);
        server.shared.asked.lock().expect("a lock").clear();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The answer to `METHOD /path?query`.
    pub(crate) fn on(&self, what: &str, status: u16, body: Value) {
        self.shared.answers.lock().expect("a lock").insert(what.to_owned(), (status, body));
    }

    /// What was asked that begins so.
    pub(crate) fn asked(&self, start: &str) -> Vec<Asked> {
        self.shared
            .asked
            .lock()
            .expect("a lock")
            .iter()
            .filter(|asked| asked.what.starts_with(start))
            .cloned()
            .collect()
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Ended {
        run(self.command(arguments), input)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.home.path(), arguments)
    }
}

/// The program, in surroundings that hold nothing but a home.
pub(crate) fn command(home: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home).args(arguments);
    command
}

pub(crate) fn run(mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // A program that does not read its input is none the worse for it.
    drop(child.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    Ended {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let what = format!("{method} {uri}");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    shared.asked.lock().expect("a lock").push(Asked {
        what: what.clone(),
        body,
        agent: text(header::USER_AGENT),
    });
    let may = text(header::AUTHORIZATION) == format!("Bearer {TOKEN}")
        || what.contains("/session")
        || what.contains("/version");
    let (status, body) = if may {
        let known = shared.answers.lock().expect("a lock").get(&what).cloned();
        known.unwrap_or_else(|| (404, json!({"message": format!("nothing at {what}")})))
    } else {
        (401, json!({"message": "no session"}))
    };
    (
        StatusCode::from_u16(status).expect("a status"),
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
}
