//! The methods that answer at once: all but `getUpdates`, which waits (see [`crate::server`]).
//!
//! Each takes the state and the parameters and returns the `result`, or the real service's
//! complaint in its words: clients match on them.

use serde_json::{Value, json};

use crate::entities;
use crate::error::ApiError;
use crate::params::Params;
use crate::state::{State, now};
use crate::types::{Chat, Message};
use crate::webhook;

const TEXT_UNITS: usize = 4096;
const DELETABLE_FOR: i64 = 48 * 3600;

/// A result, and the remark that a few methods add to it.
pub(crate) type Answer = Result<(Value, Option<&'static str>), ApiError>;

pub(crate) fn call(state: &mut State, method: &str, params: &Params) -> Answer {
    let plain = |result: Result<Value, ApiError>| result.map(|value| (value, None));
    match method.to_ascii_lowercase().as_str() {
        "getme" => plain(Ok(get_me(state))),
        "sendmessage" => plain(send_message(state, params)),
        "editmessagetext" => plain(edit_text(state, params)),
        "editmessagereplymarkup" => plain(edit_markup(state, params)),
        "deletemessage" => plain(delete_message(state, params)),
        "answercallbackquery" => plain(answer_press(state, params)),
        "setmycommands" => plain(set_commands(state, params)),
        "getmycommands" => {
            plain(Ok(state.commands.get(&scope(params)).cloned().unwrap_or_else(|| json!([]))))
        }
        "deletemycommands" => {
            state.commands.remove(&scope(params));
            plain(Ok(json!(true)))
        }
        "getchat" => plain(get_chat(state, params)),
        "sendchataction" => plain(chat_of(state, params).map(|_| json!(true))),
        "setwebhook" => webhook::set(state, params),
        "deletewebhook" => {
            let had = state.webhook.take().is_some();
            webhook::drop_pending(state, params);
            Ok((json!(true), Some(if had { "Webhook was deleted" } else { "Webhook is already deleted" })))
        }
        "getwebhookinfo" => plain(Ok(webhook::info(state))),
        _ => Err(ApiError::not_found()),
    }
}

fn get_me(state: &State) -> Value {
    let mut me = json!(state.bot);
    me["can_join_groups"] = json!(true);
    me["can_read_all_group_messages"] = json!(false);
    me["supports_inline_queries"] = json!(false);
    me["can_connect_to_business"] = json!(false);
    me["has_main_web_app"] = json!(false);
    me
}

fn send_message(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let chat = chat_of(state, params)?;
    if state.blocked.contains(&chat.id) {
        return Err(ApiError::new(403, "Forbidden: bot was blocked by the user"));
    }
    let (text, entities) = text_of(params)?;
    let markup = markup_of(params)?;
    let reply = reply_of(state, params, chat.id)?;
    let id = state.append(chat.id, state.bot.clone(), text, entities).message_id;
    if let Some(message) = state.find_mut(chat.id, id) {
        message.reply_markup = markup;
        message.reply_to = reply.as_ref().map(|r| r.message_id);
        message.silent = params.flag("disable_notification");
    }
    let sent = state.find(chat.id, id).ok_or_else(|| ApiError::new(500, "Internal Server Error"))?;
    Ok(sent.wire(&chat, reply.as_ref()))
}

fn edit_text(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let (chat, id) = own_message(state, params, "edit")?;
    let (text, entities) = text_of(params)?;
    let markup = inline_only(markup_of(params)?);
    apply_edit(state, &chat, id, Some((text, entities)), markup)
}

fn edit_markup(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let (chat, id) = own_message(state, params, "edit")?;
    let markup = inline_only(markup_of(params)?);
    apply_edit(state, &chat, id, None, markup)
}

/// An edit without a keyboard takes the keyboard away, and one that changes nothing is an error.
fn apply_edit(
    state: &mut State,
    chat: &Chat,
    id: i64,
    text: Option<(String, Vec<crate::types::Entity>)>,
    markup: Option<Value>,
) -> Result<Value, ApiError> {
    let message = state.find_mut(chat.id, id).ok_or_else(|| ApiError::bad("message to edit not found"))?;
    let same_text = text.as_ref().is_none_or(|(t, e)| *t == message.text && *e == message.entities);
    if same_text && markup == message.reply_markup {
        return Err(ApiError::bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a \
             current content and reply markup of the message",
        ));
    }
    if let Some((text, entities)) = text {
        let old = std::mem::replace(&mut message.text, text);
        message.history.push(old);
        message.entities = entities;
    }
    message.reply_markup = markup;
    message.edit_date = Some(now());
    let message = message.clone();
    let reply = message.reply_to.and_then(|r| state.find(chat.id, r));
    Ok(message.wire(chat, reply))
}

fn delete_message(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let chat = chat_of(state, params)?;
    let id = params.int("message_id").ok_or_else(|| ApiError::bad("message identifier is not specified"))?;
    let message = state.find_mut(chat.id, id).ok_or_else(|| ApiError::bad("message to delete not found"))?;
    if now() - message.date > DELETABLE_FOR {
        return Err(ApiError::bad("message can't be deleted for everyone"));
    }
    message.deleted = true;
    Ok(json!(true))
}

fn answer_press(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let id = params.text("callback_query_id").unwrap_or_default();
    let text = params.text("text").filter(|t| !t.is_empty());
    if text.as_ref().is_some_and(|t| t.encode_utf16().count() > 200) {
        return Err(ApiError::bad("MESSAGE_TOO_LONG"));
    }
    let press = state.presses.get_mut(&id).filter(|p| !p.answered);
    let press = press.ok_or_else(|| {
        ApiError::bad("query is too old and response timeout expired or query ID is invalid")
    })?;
    press.answered = true;
    press.text = text;
    press.show_alert = params.flag("show_alert");
    press.url = params.text("url");
    Ok(json!(true))
}

fn set_commands(state: &mut State, params: &Params) -> Result<Value, ApiError> {
    let list: Option<Vec<Value>> = params
        .json("commands")
        .map_err(|_| ApiError::bad("can't parse commands: Can't parse JSON object"))?;
    let list = list.ok_or_else(|| ApiError::bad("parameter \"commands\" is required"))?;
    if list.len() > 100 {
        return Err(ApiError::bad("BOT_COMMANDS_TOO_MUCH"));
    }
    for entry in &list {
        let name = entry["command"].as_str().unwrap_or_default().trim_start_matches('/');
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
            return Err(ApiError::bad("BOT_COMMAND_INVALID"));
        }
        let description = entry["description"].as_str().unwrap_or_default();
        if description.is_empty() || description.chars().count() > 256 {
            return Err(ApiError::bad("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
    }
    state.commands.insert(scope(params), json!(list));
    Ok(json!(true))
}

fn get_chat(state: &State, params: &Params) -> Result<Value, ApiError> {
    let chat = chat_of(state, params)?;
    let mut full = json!(chat);
    full["accent_color_id"] = json!(0);
    full["max_reaction_count"] = json!(11);
    full["accepted_gift_types"] = json!({"unlimited_gifts": true, "limited_gifts": true, "unique_gifts": true, "premium_subscription": true});
    if chat.kind == "private" {
        full["active_usernames"] = json!(chat.username.iter().collect::<Vec<_>>());
    } else {
        full["permissions"] = json!({"can_send_messages": true});
    }
    Ok(full)
}

fn scope(params: &Params) -> String {
    let scope: Option<Value> = params.json("scope").ok().flatten();
    let scope = scope.unwrap_or_else(|| json!({"type": "default"}));
    format!("{scope} {}", params.text("language_code").unwrap_or_default())
}

fn chat_of(state: &State, params: &Params) -> Result<Chat, ApiError> {
    let given =
        params.text("chat_id").filter(|c| !c.is_empty()).ok_or_else(|| ApiError::bad("chat_id is empty"))?;
    let found = match given.strip_prefix('@') {
        Some(name) => {
            state.chats.values().find(|c| c.kind != "private" && c.username.as_deref() == Some(name))
        }
        None => given.parse().ok().and_then(|id: i64| state.chats.get(&id)),
    };
    found.cloned().ok_or_else(|| ApiError::bad("chat not found"))
}

/// The chat and id of a message that the bot itself wrote.
fn own_message(state: &State, params: &Params, verb: &str) -> Result<(Chat, i64), ApiError> {
    let chat = chat_of(state, params)?;
    let id = params.int("message_id").ok_or_else(|| ApiError::bad("message identifier is not specified"))?;
    let missing = || ApiError::bad(format!("message to {verb} not found"));
    let message: &Message = state.find(chat.id, id).ok_or_else(missing)?;
    if message.from.id != state.bot.id {
        return Err(ApiError::bad(format!("message can't be {verb}ed")));
    }
    Ok((chat, id))
}

fn text_of(params: &Params) -> Result<(String, Vec<crate::types::Entity>), ApiError> {
    let source = params.text("text").unwrap_or_default();
    let (text, mut entities) = entities::parse(&source, params.text("parse_mode").as_deref())?;
    if params.text("parse_mode").is_none_or(|m| m.is_empty()) {
        let given = params
            .json("entities")
            .map_err(|_| ApiError::bad("can't parse entities: Can't parse JSON array"))?;
        entities = given.unwrap_or_default();
    }
    if text.trim().is_empty() {
        return Err(ApiError::bad("message text is empty"));
    }
    if text.encode_utf16().count() > TEXT_UNITS {
        return Err(ApiError::bad("message is too long"));
    }
    Ok((text, entities))
}

fn markup_of(params: &Params) -> Result<Option<Value>, ApiError> {
    let markup: Option<Value> = params
        .json("reply_markup")
        .map_err(|_| ApiError::bad("can't parse reply keyboard markup JSON object"))?;
    let Some(markup) = markup else { return Ok(None) };
    if !markup.is_object() {
        return Err(ApiError::bad("object expected as reply markup"));
    }
    let rows = markup["inline_keyboard"].as_array();
    for button in rows.into_iter().flatten().filter_map(Value::as_array).flatten() {
        if button["text"].as_str().is_none_or(str::is_empty) {
            return Err(ApiError::bad(
                "can't parse inline keyboard button: Field \"text\" must be of type String",
            ));
        }
        match (button["callback_data"].as_str(), button["url"].as_str()) {
            (Some(data), _) if data.is_empty() || data.len() > 64 => {
                return Err(ApiError::bad("BUTTON_DATA_INVALID"));
            }
            // Telegram does not link to hosts that only this machine knows.
            (None, Some(url))
                if !url.starts_with("https://")
                    && !url.starts_with("tg://")
                    && !url.starts_with("http://") =>
            {
                return Err(ApiError::bad("BUTTON_URL_INVALID"));
            }
            (None, None) if button.as_object().is_some_and(|o| o.len() < 2) => {
                return Err(ApiError::bad(
                    "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
                ));
            }
            _ => {}
        }
    }
    Ok(inline_only(Some(markup.clone()))
        .or_else(|| markup.get("inline_keyboard").is_none().then_some(markup)))
}

/// An inline keyboard with a button in it; an empty one is none.
fn inline_only(markup: Option<Value>) -> Option<Value> {
    markup.filter(|m| {
        m["inline_keyboard"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|r| r.as_array().is_some_and(|r| !r.is_empty())))
    })
}

fn reply_of(state: &State, params: &Params, chat: i64) -> Result<Option<Message>, ApiError> {
    let given: Option<Value> =
        params.json("reply_parameters").map_err(|_| ApiError::bad("can't parse reply parameters"))?;
    let id = given.as_ref().and_then(|g| g["message_id"].as_i64()).or(params.int("reply_to_message_id"));
    let Some(id) = id else { return Ok(None) };
    let lenient = params.flag("allow_sending_without_reply")
        || given.is_some_and(|g| g["allow_sending_without_reply"] == true);
    match state.find(chat, id) {
        Some(message) => Ok(Some(message.clone())),
        None if lenient => Ok(None),
        None => Err(ApiError::bad("message to be replied not found")),
    }
}
