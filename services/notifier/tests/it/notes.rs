//! What workflow steps want said, and the answer that the step waits for.

use sluice_schemas::commands::SendMessage;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Event, Filter, Message};

use crate::world::{DANA, World};

fn note(chat: i64) -> SendMessage {
    SendMessage {
        chat_secret: None,
        chat: Some(chat.to_string()),
        token_secret: None,
        text: "✅ *success*: dev/shop-web <build>".to_owned(),
        ..SendMessage::example()
    }
}

async fn answer(world: &World, message: &str) -> Event {
    let filter = Filter::facts(Entity::Chat, None, Some(message), None);
    for _ in 0..600 {
        if let Some(found) = world.bus.aggregate(&filter).await.expect("read").pop() {
            return found.event;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the step was not answered");
}

#[tokio::test]
async fn a_note_is_sent_once_as_it_is_and_the_step_is_answered() {
    let world = World::new().await;
    for _ in 0..2 {
        world.tell("c", &note(DANA)).await;
    }
    let shown = world.shows(DANA, "✅ *success*: dev/shop-web <build>").await;
    let Event::ChatSent(fact) = answer(&world, note(DANA).message.as_str()).await else { panic!("not sent") };
    assert_eq!((fact.chat, i64::from(fact.telegram_message)), (DANA, shown.message_id));
    assert_eq!(world.messages(DANA).len(), 1);
}

#[tokio::test]
async fn a_note_to_nobody_fails_with_advice() {
    let world = World::new().await;
    world.tell("c", &note(999)).await;
    let Event::ChatFailed(fact) = answer(&world, note(999).message.as_str()).await else {
        panic!("not failed")
    };
    assert!(
        fact.reason.contains("chat not found") && fact.reason.contains("invite the bot"),
        "{}",
        fact.reason
    );
}
