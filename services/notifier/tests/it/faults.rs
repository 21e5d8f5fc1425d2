//! Telegram's moods: 429, "not modified", unreadable markup, blocked, moved, answers that never come, and crashes in the window
//! between sending and remembering.

use sluice_bus::Bucket;
use sluice_schemas::Message;
use sluice_schemas::events::{Conclusion, RunFinished, RunQueued};
use sluice_telegram_fake::Fault;

use crate::world::{DANA, GROUP, World};

fn fault(method: &str, code: u16, description: &str) -> Fault {
    Fault {
        method: Some(method.to_owned()),
        times: 1,
        error_code: code,
        description: Some(description.to_owned()),
        retry_after: None,
        delay_ms: 0,
        after: false,
        slow_only: false,
    }
}

fn succeeded() -> RunFinished {
    RunFinished { conclusion: Conclusion::Success, reason: None, ..RunFinished::example() }
}

#[tokio::test]
async fn a_429_is_waited_out() {
    let world = World::new().await;
    world.telegram.fault(Fault {
        retry_after: Some(1),
        ..fault("sendMessage", 429, "Too Many Requests: retry after 1")
    });
    world.tell("c", &RunQueued::example()).await;
    world.shows(GROUP, "queued").await;
    assert_eq!((world.messages(GROUP).len(), world.count("sendMessage").await), (1, 2));
}

#[tokio::test]
async fn not_modified_is_success() {
    let world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    world.shows(GROUP, "queued").await;
    let words = "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message";
    world.telegram.fault(fault("editMessageText", 400, words));
    world.tell("c", &succeeded()).await;
    let mut other = RunQueued::example();
    other.run.number = sluice_schemas::ids::RunNumber(43);
    world.wait("the edit", |state| (!state.messages().is_empty()).then_some(())).await;
    world.tell("c", &other).await;
    world.shows(GROUP, "#43").await;
    assert_eq!(world.count("sendMessage").await, 2, "no message was sent anew");
}

#[tokio::test]
async fn markup_that_telegram_cannot_read_goes_out_plainly() {
    let world = World::new().await;
    world.telegram.fault(fault(
        "sendMessage",
        400,
        "Bad Request: can't parse entities: unsupported start tag",
    ));
    world.tell("c", &RunQueued::example()).await;
    let shown = world.shows(GROUP, "queued").await;
    assert!(shown.entities.is_empty(), "{:?}", shown.entities);
}

#[tokio::test]
async fn a_message_that_a_person_deleted_is_sent_anew() {
    let world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    let shown = world.shows(GROUP, "queued").await;
    world.telegram.fault(fault("editMessageText", 400, "Bad Request: message to edit not found"));
    world.tell("c", &succeeded()).await;
    let again = world.shows(GROUP, "succeeded").await;
    assert_ne!(shown.message_id, again.message_id);
}

#[tokio::test]
async fn a_chat_that_does_not_want_the_bot_is_left_alone_until_it_does() {
    let world = World::with("  announce_within_hours: 1\n").await;
    world.telegram.fault(fault("sendMessage", 403, "Forbidden: bot was kicked from the supergroup chat"));
    world.tell("c", &RunQueued::example()).await;
    world.wait("the refusal", |state| state.messages().is_empty().then_some(())).await;
    let chats = world.bus.kv::<serde_json::Value>(Bucket::Chats);
    let mut note = None;
    for _ in 0..200 {
        note = chats.get(&format!("chat.sluice.{GROUP}")).await.expect("read");
        if note.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let note = note.expect("a note of the chat").value;
    assert!(note["disabled"].as_str().is_some_and(|why| why.contains("kicked")), "{note}");
    world.tell("c", &succeeded()).await;
    assert_eq!(world.messages(GROUP).len(), 0);
}

#[tokio::test]
async fn a_group_that_moved_is_followed() {
    let world = World::new().await;
    let to = serde_json::json!({"id": -100_777, "type": "supergroup", "title": "shop team"});
    world.telegram.change(|state| state.add_chat(serde_json::from_value(to).expect("a chat")));
    // As the update that Telegram sends: the note is what both ways lead to.
    let chats = world.bus.kv::<serde_json::Value>(Bucket::Chats);
    let note = serde_json::json!({"disabled": null, "moved_to": -100_777, "messages": []});
    chats.put(&format!("chat.sluice.{GROUP}"), &note).await.expect("written");
    world.tell("c", &RunQueued::example()).await;
    world.shows(-100_777, "queued").await;
    assert_eq!(world.messages(GROUP).len(), 0);
}

/// Puts the memory back to the moment between Telegram's answer and our record, and starts again.
async fn crash_in_the_window(world: &mut World, after: Option<i64>) {
    world.cut_off();
    let chats = world.bus.kv::<serde_json::Value>(Bucket::Chats);
    let key = format!("msg.run-dev_shop-web-42.{GROUP}");
    let mut record = chats.get(&key).await.expect("read").expect("recorded").value;
    record["message"] = serde_json::Value::Null;
    record["digest"] = serde_json::Value::Null;
    record["sending"] = serde_json::json!({"after": after});
    chats.put(&key, &record).await.expect("written");
    let known: Vec<i64> = after.into_iter().collect();
    let note = serde_json::json!({"disabled": null, "moved_to": null, "messages": known});
    chats.put(&format!("chat.sluice.{GROUP}"), &note).await.expect("written");
    world.start().await;
}

#[tokio::test]
async fn a_message_sent_but_not_remembered_is_taken_over() {
    let mut world = World::new().await;
    let mut earlier = RunQueued::example();
    earlier.run.number = sluice_schemas::ids::RunNumber(41);
    world.tell("c", &earlier).await;
    let known = world.shows(GROUP, "#41").await;
    world.say(GROUP, DANA, "something in between");
    world.tell("c", &RunQueued::example()).await;
    let sent = world.shows(GROUP, "#42").await;
    crash_in_the_window(&mut world, Some(known.message_id)).await;
    world.tell("c", &succeeded()).await;
    let shown = world.shows(GROUP, "succeeded").await;
    assert_eq!(shown.message_id, sent.message_id, "the same message");
    assert_eq!((world.messages(GROUP).len(), world.count("sendMessage").await), (2, 2), "and no other");
}

#[tokio::test]
async fn where_no_message_was_known_the_second_copy_is_deleted() {
    let mut world = World::new().await;
    world.tell("c", &RunQueued::example()).await;
    let sent = world.shows(GROUP, "#42").await;
    crash_in_the_window(&mut world, None).await;
    world.tell("c", &succeeded()).await;
    let shown = world.shows(GROUP, "succeeded").await;
    world
        .wait("one message", |state| {
            let visible =
                state.messages().iter().filter(|m| m.chat_id == GROUP && !m.deleted && m.from.is_bot);
            (visible.count() == 1).then_some(())
        })
        .await;
    assert_eq!(
        (shown.text, world.messages(GROUP)[0].message_id),
        (world.messages(GROUP)[0].text.clone(), sent.message_id)
    );
    assert_eq!(world.count("sendMessage").await, 2);
}
