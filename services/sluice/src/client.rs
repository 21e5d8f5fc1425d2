//! The API's client: bearer token, deadlines, and every error turned into an exit code with a next step.
//!
//! Invariants: a token goes only to the server that it was given by, and redirects are not followed; the API's own words
//! about what to do next are kept. Called by every command that asks the API.

use std::time::Duration;

use futures::{Stream, StreamExt};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sluice_chassis::Secret;

use crate::failure::{Failure, Outcome};
use crate::login::{DEFAULT_SERVER, Logins, server_name};
use crate::value::Fields;

/// Marks this surface to the API.
const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));
/// The API's number for "not in this state", which is no mistake in the command line.
const PRECONDITION: u64 = 9;
/// An answer takes no longer; streams are another matter.
const PATIENCE: Duration = Duration::from_secs(30);
/// A server that does not take the connection within this is away.
const CONNECTING: Duration = Duration::from_secs(5);

/// A client of one server.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    token: Option<Secret>,
}

/// An event of a server-sent stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Client {
    /// A client of `server`, or of the one that the person logged in to last.
    pub(crate) fn new(server: Option<&str>) -> Outcome<Self> {
        let logins = Logins::load()?;
        let server = match server {
            Some(given) => server_name(given)?,
            None => logins.current.clone().unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
        };
        let token = logins.token(&server);
        Self::with_token(server, token)
    }

    pub(crate) fn with_token(server: String, token: Option<Secret>) -> Outcome<Self> {
        sluice_chassis::process::install_crypto();
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECTING)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::failed(format_args!("no HTTP client: {error}"), "report this"))?;
        Ok(Self { http, server, token })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) async fn get(&self, path: &str) -> Outcome<Value> {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// A request that a lost answer may make come twice: the same key has the same effect and answer.
    pub(crate) async fn post_once(&self, path: &str, body: &Value) -> Outcome<Value> {
        let key = uuid::Uuid::new_v4().to_string();
        let request = || self.request(Method::POST, path).header("Idempotency-Key", &key).json(body);
        match self.send(request()).await {
            Err(failure) if failure.kind == crate::failure::Kind::Timeout => self.send(request()).await,
            answer => answer,
        }
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Outcome<Value> {
        self.send(self.request(Method::DELETE, path).json(&serde_json::json!({}))).await
    }

    /// Text as it is.
    pub(crate) async fn get_text(&self, path: &str) -> Outcome<String> {
        let request = self.request(Method::GET, path).header(ACCEPT, "text/plain").timeout(PATIENCE);
        let response = self.checked(request.send().await).await?;
        response.text().await.map_err(|error| self.unreachable(&error))
    }

    /// A stream of events. It ends when the server ends it.
    pub(crate) async fn events(
        &self,
        path: &str,
    ) -> Outcome<impl Stream<Item = Outcome<Sent>> + Unpin + use<>> {
        let request = self.request(Method::GET, path).header(ACCEPT, "text/event-stream");
        let response = self.checked(request.send().await).await?;
        let server = self.server.clone();
        let mut parser = Parser::default();
        let chunks = response.bytes_stream().map(move |chunk| match chunk {
            Ok(bytes) => parser.feed(&bytes).into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(broken_off(&server, &error))],
        });
        Ok(Box::pin(chunks.flat_map(futures::stream::iter)))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.server));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Value> {
        let response = self.checked(request.timeout(PATIENCE).send().await).await?;
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(
                format_args!("{} does not answer as Sluice's API does: {error}", self.server),
                "check the address: `sluice login URL`",
            )
        })
    }

    async fn checked(&self, sent: reqwest::Result<Response>) -> Outcome<Response> {
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let said = if body.text("message").is_empty() { body.text("error") } else { body.text("message") };
        Err(self.refusal(status, body.number("code"), &said))
    }

    fn refusal(&self, status: StatusCode, code: u64, said: &str) -> Failure {
        let message =
            if said.is_empty() { format!("{} answers {status}", self.server) } else { said.to_owned() };
        match status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => Failure::auth(
                format_args!("nobody is logged in at {}", self.server),
                format!("`sluice login {}`", self.server),
            ),
            StatusCode::UNAUTHORIZED => {
                Failure::auth(message, format!("log in again: `sluice login {}`", self.server))
            }
            StatusCode::FORBIDDEN => {
                Failure::denied(message, "ask an administrator for the right, or log in as another person")
            }
            StatusCode::BAD_REQUEST if code == PRECONDITION => {
                Failure::failed(message, "see where it stands, then decide")
            }
            StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Failure::usage(message, "see `--help`")
            }
            StatusCode::NOT_FOUND => Failure::failed(message, "check the name; `ls` lists what there is"),
            StatusCode::CONFLICT => Failure::failed(message, "look again, then decide again"),
            StatusCode::TOO_MANY_REQUESTS => Failure::failed(message, "wait a moment, then try again"),
            StatusCode::SERVICE_UNAVAILABLE => {
                Failure::failed(message, "try again in a moment; `sluice doctor` looks for causes")
            }
            _ => Failure::failed(message, "`sluice doctor` looks for causes; the API's log has the details"),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            return Failure::timeout(
                format_args!("{} did not answer within {} s", self.server, PATIENCE.as_secs()),
                "try again; `sluice doctor` looks for causes",
            );
        }
        Failure::failed(
            format_args!("{} cannot be reached: {}", self.server, root(error)),
            "is Sluice running there? Start it with `sluice up`, or name another server with --server or `sluice login URL`",
        )
    }
}

fn broken_off(server: &str, error: &reqwest::Error) -> Failure {
    Failure::failed(
        format_args!("the stream from {server} broke off: {}", root(error)),
        "run the command again to go on",
    )
}

/// The innermost cause: "Connection refused" says more than "error sending request".
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Cuts server-sent events out of chunks.
#[derive(Default)]
struct Parser {
    pending: Vec<u8>,
    event: String,
    data: Vec<String>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) -> Vec<Sent> {
        let mut complete = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.pending.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
            complete.extend(self.line(line.trim_end_matches('\r')));
        }
        complete
    }

    fn line(&mut self, line: &str) -> Option<Sent> {
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            return (!data.is_empty()).then(|| Sent { event, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => self.data.push(value.to_owned()),
            // Ids and comments.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;

    #[test]
    fn events_are_cut_out_of_any_chunks() {
        let text = ": hello\nid: 1\nevent: line\ndata: {\"a\":\ndata: 1}\n\n\nevent: end\r\ndata: ä\r\n\r\n";
        for size in [1, 2, 7, 1000] {
            let mut parser = Parser::default();
            let found: Vec<Sent> =
                text.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk)).collect();
            let events: Vec<_> = found.iter().map(|sent| (sent.event.as_str(), sent.data.as_str())).collect();
            assert_eq!(events, [("line", "{\"a\":\n1}"), ("end", "ä")]);
        }
    }

    #[test]
    fn refusals_have_the_promised_exit_codes() {
        let known = Client::with_token("http://h".into(), Some(Secret::new("t"))).expect("a client");
        let kinds = [401, 403, 400, 404, 409, 500].map(|status| {
            let failure = known.refusal(StatusCode::from_u16(status).expect("a status"), 3, "words");
            assert!(!failure.next.is_empty() && failure.message == "words");
            failure.kind
        });
        assert_eq!(kinds, [Kind::Auth, Kind::Denied, Kind::Usage, Kind::Failed, Kind::Failed, Kind::Failed]);
        assert_eq!(known.refusal(StatusCode::BAD_REQUEST, PRECONDITION, "words").kind, Kind::Failed);
        let unknown = Client::with_token("http://h".into(), None).expect("a client");
        let failure = unknown.refusal(StatusCode::UNAUTHORIZED, 16, "");
        assert_eq!((failure.kind, failure.next.as_str()), (Kind::Auth, "`sluice login http://h`"));
    }
}
