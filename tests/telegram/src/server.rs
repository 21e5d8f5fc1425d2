//! The HTTP side: routing, the token, the long poll, faults, and the lock around the state.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State as Shared};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::ApiError;
use crate::params::Params;
use crate::state::{Fault, State};
use crate::types::{Chat, User};
use crate::{control, delivery, methods, page, webhook};

const LONGEST_POLL: u64 = 50;

/// Where to listen, and who the bot is.
pub struct Options {
    pub listen: SocketAddr,
    /// As the real ones: `<bot id>:<secret>`.
    pub token: String,
    pub bot_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: "7000000001:AAFakeFakeFakeFakeFakeFakeFakeFake0".to_owned(),
            bot_name: "sluice_demo_bot".to_owned(),
        }
    }
}

/// What every handler shares.
#[derive(Clone)]
pub(crate) struct App {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
    token: Arc<str>,
}

impl App {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes all who wait for a change.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.lock());
        self.version.send_modify(|v| *v += 1);
        result
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

/// A running fake. It ends when this is dropped.
pub struct Fake {
    app: App,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Fake {
    /// Listens and serves. Two people are there from the start: Dana (1001) and Oleg (1002, a
    /// stranger to the team), and a group of theirs, -100200.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let id = options.token.split(':').next().and_then(|i| i.parse().ok()).unwrap_or(7_000_000_001);
        let mut state = State::new(id, &options.bot_name);
        for (id, name, username) in [(1001, "Dana", "dana"), (1002, "Oleg", "oleg")] {
            let user = json!({"id": id, "first_name": name, "username": username, "language_code": "en"});
            if let Ok(user) = serde_json::from_value::<User>(user) {
                state.add_user(user);
            }
        }
        let title = Some("shop team".to_owned());
        state.add_chat(Chat {
            id: -100_200,
            kind: "supergroup".into(),
            title,
            username: None,
            first_name: None,
        });

        let app = App {
            state: Arc::new(Mutex::new(state)),
            version: watch::Sender::new(1),
            token: options.token.into(),
        };
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let router = axum::Router::new()
            .route("/{bot}/{method}", any(bot_call))
            .nest("/control", control::routes())
            .route("/", get(page::page))
            .route("/chat.css", get(page::style))
            .route("/chat.js", get(page::script))
            .layer(DefaultBodyLimit::max(10 << 20))
            .with_state(app.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(delivery::deliver(app.clone()));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the telegram fake stopped serving");
            }
        });
        Ok(Self { app, address, _tasks: tasks })
    }

    /// The base URL, for the bot's `api_url` and for the page.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn token(&self) -> &str {
        &self.app.token
    }

    /// Reads the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.app.lock())
    }

    /// Changes the state; waiting polls wake.
    pub fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.app.change(act)
    }

    pub fn fault(&self, fault: Fault) {
        self.app.change(|s| s.faults.push(fault));
    }

    /// Waits until `look` finds something, looking again after each change.
    pub async fn wait<T>(&self, within: Duration, mut look: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        let mut changes = self.app.watch();
        loop {
            if let Some(found) = self.read(&mut look) {
                return Some(found);
            }
            timeout_at(deadline, changes.changed()).await.ok()?.ok()?;
        }
    }
}

async fn bot_call(
    Shared(app): Shared<App>,
    Path((bot, method)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(token) = bot.strip_prefix("bot") else { return ApiError::not_found().into_response() };
    if token.split_once(':').is_none_or(|(id, key)| id.parse::<i64>().is_err() || key.is_empty()) {
        return ApiError::not_found().into_response();
    }
    if token != &*app.token {
        return ApiError::unauthorized().into_response();
    }
    let params = match Params::parse(query.as_deref(), &headers, &body) {
        Ok(params) => params,
        Err(error) => return error.into_response(),
    };
    let answer = perform(&app, &method, &params).await;
    let status = answer.as_ref().map_or_else(|e| e.code, |_| 200);
    app.change(|s| s.record(&method, Value::Object(params.0.clone()), status));
    match answer {
        Ok((result, None)) => Json(json!({"ok": true, "result": result})).into_response(),
        Ok((result, Some(remark))) => {
            Json(json!({"ok": true, "result": result, "description": remark})).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// One call, with the fault that was ordered for it.
async fn perform(app: &App, method: &str, params: &Params) -> methods::Answer {
    let fault = app.lock().fault(method);
    if let Some(fault) = &fault {
        sleep(Duration::from_millis(fault.delay_ms)).await;
        if !fault.after && !fault.slow_only {
            return Err(broken(fault));
        }
    }
    let answer = match method.to_ascii_lowercase().as_str() {
        "getupdates" => get_updates(app, params).await.map(|updates| (updates, None)),
        _ => app.change(|s| methods::call(s, method, params)),
    };
    match fault {
        Some(fault) if fault.after => Err(broken(&fault)),
        _ => answer,
    }
}

fn broken(fault: &Fault) -> ApiError {
    let default = match fault.error_code {
        429 => format!("Too Many Requests: retry after {}", fault.retry_after.unwrap_or(1)),
        403 => "Forbidden: bot was blocked by the user".to_owned(),
        502 => "Bad Gateway".to_owned(),
        _ => "Internal Server Error".to_owned(),
    };
    let retry_after = fault.retry_after.or((fault.error_code == 429).then_some(1));
    ApiError {
        code: fault.error_code,
        description: fault.description.clone().unwrap_or(default),
        retry_after,
    }
}

/// The long poll: answers at the first update, or with none after `timeout` seconds. A newer
/// poll takes the place of an older one, which ends with 409.
async fn get_updates(app: &App, params: &Params) -> Result<Value, ApiError> {
    let limit = usize::try_from(params.int("limit").unwrap_or(100).clamp(1, 100)).unwrap_or(100);
    let seconds = u64::try_from(params.int("timeout").unwrap_or(0)).unwrap_or(0).min(LONGEST_POLL);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut changes = app.watch();
    let mine = app.change(|state| {
        if state.webhook.is_some() {
            let why = "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first";
            return Err(ApiError::new(409, why));
        }
        webhook::remember_allowed(state, params)?;
        state.poller += 1;
        Ok(state.poller)
    })?;
    loop {
        {
            let mut state = app.lock();
            if state.poller != mine {
                let why = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
                return Err(ApiError::new(409, why));
            }
            let updates = state.take(params.int("offset"), limit);
            if !updates.is_empty() {
                return Ok(Value::Array(updates));
            }
        }
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            return Ok(json!([]));
        }
    }
}
