//! The fake over plain HTTP, as any bot library would meet it.

use std::sync::Once;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_telegram_fake::{Fake, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DANA: i64 = 1001;

struct World {
    fake: Fake,
    http: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::ring::default_provider().install_default().unwrap());
        Self { fake: Fake::start(Options::default()).await.unwrap(), http: reqwest::Client::new() }
    }

    async fn call(&self, method: &str, params: Value) -> (u16, Value) {
        let url = format!("{}/bot{}/{method}", self.fake.url(), self.fake.token());
        let answer = self.http.post(url).json(&params).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn ok(&self, method: &str, params: Value) -> Value {
        let (status, body) = self.call(method, params).await;
        assert_eq!((status, &body["ok"]), (200, &json!(true)), "{method}: {body}");
        body["result"].clone()
    }

    async fn refused(&self, method: &str, params: Value) -> (u64, String) {
        let (status, body) = self.call(method, params).await;
        assert_eq!(
            (body["ok"].as_bool(), u64::from(status)),
            (Some(false), body["error_code"].as_u64().unwrap())
        );
        (body["error_code"].as_u64().unwrap(), body["description"].as_str().unwrap().to_owned())
    }

    async fn control(&self, path: &str, body: Value) -> Value {
        let answer =
            self.http.post(format!("{}/control/{path}", self.fake.url())).json(&body).send().await.unwrap();
        answer.json().await.unwrap_or(Value::Null)
    }
}

#[tokio::test]
async fn tokens_and_methods_are_checked() {
    let world = World::new().await;
    for (path, code, text) in [
        ("bot1:wrong/getMe", 401, "Unauthorized"),
        ("botnonsense/getMe", 404, "Not Found"),
        (&format!("bot{}/getFoo", world.fake.token()), 404, "Not Found"),
    ] {
        let body: Value = world
            .http
            .get(format!("{}/{path}", world.fake.url()))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(body, json!({"ok": false, "error_code": code, "description": text}));
    }
    let me = world.ok("GETME", json!({})).await;
    assert_eq!((&me["is_bot"], &me["username"]), (&json!(true), &json!("sluice_demo_bot")));
}

#[tokio::test]
async fn a_message_is_sent_edited_and_deleted() {
    let world = World::new().await;
    let keys = json!({"inline_keyboard": [[{"text": "SYNC", "callback_data": "s1"}]]});
    let sent = world
        .ok("sendMessage", json!({"chat_id": DANA, "text": "<b>run</b> 🙂", "parse_mode": "HTML", "reply_markup": keys.to_string()}))
        .await;
    assert_eq!((&sent["text"], &sent["entities"][0]["type"]), (&json!("run 🙂"), &json!("bold")));
    assert_eq!((&sent["chat"]["type"], &sent["reply_markup"]), (&json!("private"), &keys));
    assert!(sent.get("edit_date").is_none());

    let id = sent["message_id"].clone();
    let again = json!({"chat_id": DANA, "message_id": id, "text": "<b>run</b> 🙂", "parse_mode": "HTML", "reply_markup": keys});
    let (code, reason) = world.refused("editMessageText", again).await;
    assert_eq!(code, 400);
    assert!(
        reason.starts_with("Bad Request: message is not modified: specified new message content"),
        "{reason}"
    );

    let edited =
        world.ok("editMessageText", json!({"chat_id": DANA, "message_id": id, "text": "done"})).await;
    assert_eq!((&edited["text"], edited.get("reply_markup")), (&json!("done"), None));
    assert!(edited["edit_date"].is_i64());
    world
        .ok("editMessageReplyMarkup", json!({"chat_id": DANA, "message_id": id, "reply_markup": keys}))
        .await;

    assert_eq!(world.ok("deleteMessage", json!({"chat_id": DANA, "message_id": id})).await, json!(true));
    let (_, reason) = world.refused("deleteMessage", json!({"chat_id": DANA, "message_id": id})).await;
    assert_eq!(reason, "Bad Request: message to delete not found");
}

#[tokio::test]
async fn refusals_are_in_the_real_words() {
    let world = World::new().await;
    let long = "x".repeat(4097);
    let button = json!({"inline_keyboard": [[{"text": "x", "callback_data": "y".repeat(65)}]]});
    for (params, reason) in [
        (json!({"chat_id": 5, "text": "x"}), "chat not found"),
        (json!({"text": "x"}), "chat_id is empty"),
        (json!({"chat_id": DANA, "text": "  "}), "message text is empty"),
        (json!({"chat_id": DANA, "text": long}), "message is too long"),
        (json!({"chat_id": DANA, "text": "x", "reply_markup": button}), "BUTTON_DATA_INVALID"),
        (json!({"chat_id": DANA, "text": "x", "reply_to_message_id": 99}), "message to be replied not found"),
        (
            json!({"chat_id": DANA, "text": "a_b", "parse_mode": "Markdown"}),
            "can't parse entities: Can't find end of the entity starting at byte offset 1",
        ),
    ] {
        assert_eq!(world.refused("sendMessage", params).await, (400, format!("Bad Request: {reason}")));
    }
    world.control("block", json!({"user": DANA, "blocked": true})).await;
    let refused = world.refused("sendMessage", json!({"chat_id": DANA, "text": "x"})).await;
    assert_eq!(refused, (403, "Forbidden: bot was blocked by the user".to_owned()));
    let bad = json!({"commands": [{"command": "Sync", "description": "x"}]});
    assert_eq!(world.refused("setMyCommands", bad).await.1, "Bad Request: BOT_COMMAND_INVALID");
}

#[tokio::test]
async fn a_long_poll_wakes_at_once_and_confirms_by_offset() {
    let world = World::new().await;
    let begin = Instant::now();
    let (updates, _) = tokio::join!(world.ok("getUpdates", json!({"timeout": 20})), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.control("text", json!({"chat": DANA, "user": DANA, "text": "/sync shop-prod"})).await
    });
    assert!(begin.elapsed() < Duration::from_secs(5));
    let message = &updates[0]["message"];
    assert_eq!(message["entities"], json!([{"type": "bot_command", "offset": 0, "length": 5}]));
    assert_eq!((&message["from"]["id"], &message["chat"]["id"]), (&json!(DANA), &json!(DANA)));

    // Not confirmed: it comes again.
    assert_eq!(world.ok("getUpdates", json!({})).await, updates);
    let next = updates[0]["update_id"].as_i64().unwrap() + 1;
    assert_eq!(world.ok("getUpdates", json!({"offset": next})).await, json!([]));
    assert_eq!(world.ok("getUpdates", json!({})).await, json!([]));
}

#[tokio::test]
async fn a_second_poller_ends_the_first_with_conflict() {
    let world = World::new().await;
    let first = world.refused("getUpdates", json!({"timeout": 20}));
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.ok("getUpdates", json!({"timeout": 1})).await
    };
    let ((code, reason), _) = tokio::join!(first, second);
    assert_eq!(code, 409);
    assert!(reason.starts_with("Conflict: terminated by other getUpdates request"), "{reason}");
}

#[tokio::test]
async fn a_button_is_pressed_and_answered_once() {
    let world = World::new().await;
    let keys = json!({"inline_keyboard": [[{"text": "SYNC", "callback_data": "s1"}, {"text": "Log", "url": "https://x.invalid/"}]]});
    let sent = world.ok("sendMessage", json!({"chat_id": DANA, "text": "x", "reply_markup": keys})).await;
    let press = json!({"chat": DANA, "message": sent["message_id"], "user": DANA, "button": "SYNC"});
    let id = world.control("press", press).await["callback_query_id"].clone();
    let updates = world.ok("getUpdates", json!({"allowed_updates": ["callback_query"]})).await;
    let query = &updates[0]["callback_query"];
    assert_eq!(
        (&query["id"], &query["data"], &query["message"]["message_id"]),
        (&id, &json!("s1"), &sent["message_id"])
    );
    world.ok("answerCallbackQuery", json!({"callback_query_id": id, "text": "asking"})).await;
    let (_, reason) = world.refused("answerCallbackQuery", json!({"callback_query_id": id})).await;
    assert_eq!(reason, "Bad Request: query is too old and response timeout expired or query ID is invalid");
    let url = format!("{}/control/answers/{}", world.fake.url(), id.as_str().unwrap());
    let answer: Value = world.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["answered"], &answer["text"]), (&json!(true), &json!("asking")));
    let missing = world
        .control("press", json!({"chat": DANA, "message": sent["message_id"], "user": DANA, "button": "NO"}))
        .await;
    assert!(missing["error"].as_str().unwrap().contains("SYNC"));
}

#[tokio::test]
async fn ordered_faults_happen() {
    let world = World::new().await;
    world.control("faults", json!({"method": "sendMessage", "error_code": 429, "retry_after": 7})).await;
    let (status, body) = world.call("sendMessage", json!({"chat_id": DANA, "text": "x"})).await;
    assert_eq!((status, &body["parameters"]["retry_after"]), (429, &json!(7)));
    assert_eq!(body["description"], "Too Many Requests: retry after 7");
    world.control("faults", json!({"method": "sendMessage", "error_code": 502, "after": true})).await;
    assert_eq!(world.refused("sendMessage", json!({"chat_id": DANA, "text": "y"})).await.0, 502);
    assert_eq!(world.fake.read(|s| s.messages().len()), 1, "the second took effect, the first did not");
    world.ok("sendMessage", json!({"chat_id": DANA, "text": "z"})).await;
}

#[tokio::test]
async fn a_webhook_is_called_with_its_secret_until_it_takes_the_update() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let form =
        [("url", url.as_str()), ("secret_token", "s3cret-Token_1"), ("allowed_updates", "[\"message\"]")];
    let form = form
        .iter()
        .map(|(k, v)| format!("{k}={}", v.replace(':', "%3A").replace('/', "%2F")))
        .collect::<Vec<_>>();
    let target = format!("{}/bot{}/setWebhook", world.fake.url(), world.fake.token());
    let request = world
        .http
        .post(target)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.join("&"));
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body, json!({"ok": true, "result": true, "description": "Webhook was set"}));
    assert_eq!(world.refused("getUpdates", json!({})).await.0, 409);

    world.control("text", json!({"chat": DANA, "user": DANA, "text": "/apps"})).await;
    for status in ["500 Oops", "200 OK"] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !String::from_utf8_lossy(&request).contains("\"/apps\"") {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await.unwrap();
            request.extend_from_slice(&chunk[..read]);
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        assert!(text.contains("X-Telegram-Bot-Api-Secret-Token: s3cret-Token_1\r\n"), "{text}");
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
    }
    world.fake.wait(Duration::from_secs(5), |_| Some(())).await.unwrap();
    let mut pending = json!(1);
    for _ in 0..50 {
        pending = world.ok("getWebhookInfo", json!({})).await["pending_update_count"].clone();
        if pending == json!(0) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(pending, json!(0));
    let (_, body) = world.call("deleteWebhook", json!({})).await;
    assert_eq!(body["description"], "Webhook was deleted");
}

#[tokio::test]
async fn the_page_is_self_contained() {
    let world = World::new().await;
    let page = world.http.get(world.fake.url()).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'"));
    let html = page.text().await.unwrap();
    assert!(html.contains("/chat.js") && !html.contains("<script>"), "{html}");
    let state = world.http.get(format!("{}/control/state", world.fake.url())).send().await.unwrap();
    let state: Value = state.json().await.unwrap();
    assert_eq!(state["users"].as_array().unwrap().len(), 2);
}
