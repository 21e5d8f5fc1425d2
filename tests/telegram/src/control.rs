//! The back door, `/control/…`: a test or the page plays the people and orders faults.

use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::server::App;
use crate::state::Fault;
use crate::types::{Chat, User};

const LONGEST_WAIT: u64 = 30;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/state", get(state))
        .route("/text", post(text))
        .route("/press", post(press))
        .route("/answers/{id}", get(answer))
        .route("/users", post(add_user))
        .route("/chats", post(add_chat))
        .route("/block", post(block))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/calls", get(calls))
}

/// A line that a person types.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    pub chat: i64,
    pub user: i64,
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pressed {
    chat: i64,
    message: i64,
    user: i64,
    /// `callback_data`, or the label.
    button: String,
}

#[derive(Deserialize)]
struct Blocked {
    user: i64,
    blocked: bool,
}

#[derive(Deserialize)]
struct Since {
    /// Answers when the version is another than this one, or after `wait` seconds.
    version: Option<u64>,
    wait: Option<u64>,
}

async fn state(Shared(app): Shared<App>, Query(since): Query<Since>) -> Json<Value> {
    let mut changes = app.watch();
    let deadline = Instant::now() + Duration::from_secs(since.wait.unwrap_or(0).min(LONGEST_WAIT));
    while since.version == Some(*changes.borrow_and_update()) {
        if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
            break;
        }
    }
    let version = *changes.borrow();
    let state = app.lock();
    let messages: Vec<_> = state.messages.iter().filter(|m| !m.deleted).collect();
    let commands: Vec<_> = state.commands.values().collect();
    Json(json!({
        "version": version, "bot": state.bot, "users": state.users.values().collect::<Vec<_>>(),
        "chats": state.chats.values().collect::<Vec<_>>(), "messages": messages, "commands": commands,
        "presses": state.presses, "pending": state.updates.len(),
    }))
}

async fn text(Shared(app): Shared<App>, Json(sent): Json<Sent>) -> Response {
    match app.change(|s| s.say(sent.chat, sent.user, &sent.text)) {
        Some(id) => Json(json!({"message_id": id})).into_response(),
        None => refused(format!("there is no person {} or no chat {}", sent.user, sent.chat)),
    }
}

async fn press(Shared(app): Shared<App>, Json(p): Json<Pressed>) -> Response {
    match app.change(|s| s.press(p.chat, p.message, p.user, &p.button)) {
        Ok(id) => Json(json!({"callback_query_id": id})).into_response(),
        Err(reason) => refused(reason),
    }
}

async fn answer(Shared(app): Shared<App>, Path(id): Path<String>) -> Response {
    match app.lock().presses.get(&id) {
        Some(press) => Json(press).into_response(),
        None => refused(format!("nobody pressed {id}")),
    }
}

async fn add_user(Shared(app): Shared<App>, Json(user): Json<User>) -> StatusCode {
    app.change(|s| s.add_user(user));
    StatusCode::NO_CONTENT
}

async fn add_chat(Shared(app): Shared<App>, Json(chat): Json<Chat>) -> StatusCode {
    app.change(|s| s.add_chat(chat));
    StatusCode::NO_CONTENT
}

/// A person who blocks the bot; the bot is told, as by the real service.
async fn block(Shared(app): Shared<App>, Json(b): Json<Blocked>) -> StatusCode {
    app.change(|s| {
        s.blocked.retain(|u| *u != b.user);
        if b.blocked {
            s.blocked.push(b.user);
        }
        let status = |blocked: bool| if blocked { "kicked" } else { "member" };
        if let (Some(user), Some(chat)) = (s.users.get(&b.user).cloned(), s.chats.get(&b.user).cloned()) {
            let member = |blocked| json!({"status": status(blocked), "user": s.bot, "until_date": 0});
            let update = json!({
                "chat": chat, "from": user, "date": crate::state::now(),
                "old_chat_member": member(!b.blocked), "new_chat_member": member(b.blocked),
            });
            s.push("my_chat_member", update);
        }
    });
    StatusCode::NO_CONTENT
}

async fn faults(Shared(app): Shared<App>) -> Json<Value> {
    Json(json!(app.lock().faults))
}

async fn add_fault(Shared(app): Shared<App>, Json(fault): Json<Fault>) -> StatusCode {
    app.change(|s| s.faults.push(fault));
    StatusCode::NO_CONTENT
}

async fn clear_faults(Shared(app): Shared<App>) -> StatusCode {
    app.change(|s| s.faults.clear());
    StatusCode::NO_CONTENT
}

async fn calls(Shared(app): Shared<App>) -> Json<Value> {
    Json(json!(app.lock().calls))
}

fn refused(reason: String) -> Response {
    (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"error": reason}))).into_response()
}
