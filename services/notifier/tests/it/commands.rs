//! What people type, and what strangers are told.

use sluice_schemas::events::ChatCommand;
use sluice_schemas::ids::Person;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Event, Filter};

use crate::world::{DANA, GROUP, OLEG, World};

#[tokio::test]
async fn a_linked_person_is_served_with_their_own_rights() {
    let world = World::new().await;
    for (line, answer) in [
        ("/apps", "shop-prod OutOfSync, Healthy, needs a grant"),
        ("/status", "1 of 1 applications are not in order"),
        ("/status shop-prod", "To sync it: /sync shop-prod"),
        ("/runs", "✅ dev/shop-web #42 success Show the basket's total"),
        ("/whoami", "Sluice as dana"),
        ("/snyc shop-prod", "Did you mean /sync?"),
        ("/sync", "Which application?"),
        ("/sync nothing", "there is no application of that name"),
        ("/sync ../session", "There is no application ../session"),
        ("/help", "/link — /link CODE"),
    ] {
        world.say(DANA, DANA, line);
        world.shows(DANA, answer).await;
    }
    assert!(world.api.calls("GET", "").iter().all(|call| call.act_as == format!("telegram:{DANA}")));
    let commands = world.wait("the list of commands", |state| {
        let _ = state;
        Some(())
    });
    commands.await;
    assert_eq!(world.count("setMyCommands").await, 1);
}

#[tokio::test]
async fn a_stranger_is_told_how_to_get_linked_and_then_is() {
    let world = World::new().await;
    world.say(OLEG, OLEG, "/apps");
    world.shows(OLEG, "I do not know you yet").await;
    world.say(OLEG, OLEG, "/link WRONG");
    world.shows(OLEG, "this code is not valid").await;
    world.say(OLEG, OLEG, "/start RIGHTCODE1");
    world.shows(OLEG, "Hello Oleg: you are oleg now").await;
    world.say(OLEG, OLEG, "/apps");
    world.shows(OLEG, "shop-prod OutOfSync").await;
}

#[tokio::test]
async fn what_is_not_for_us_is_not_answered() {
    let world = World::new().await;
    world.say(GROUP, DANA, "/sync@otherbot shop-prod");
    world.say(GROUP, DANA, "good morning");
    world.say(GROUP, DANA, "/whoami@sluice_demo_bot");
    world.shows(GROUP, "Sluice as dana").await;
    assert_eq!(world.messages(GROUP).len(), 1);
}

#[tokio::test]
async fn an_update_that_comes_again_is_answered_once() {
    let mut world = World::new().await;
    world.say(DANA, DANA, "/whoami");
    world.shows(DANA, "Sluice as dana").await;
    // Telegram was told of the confirmation by the next poll only; a crash before it makes the update come again.
    world.cut_off();
    world.start().await;
    world.say(DANA, DANA, "/help");
    world.shows(DANA, "What I understand").await;
    assert_eq!(world.messages(DANA).len(), 2);
}

#[tokio::test]
async fn commands_are_on_record() {
    let world = World::new().await;
    world.say(DANA, DANA, "/whoami");
    world.shows(DANA, "Sluice as dana").await;
    let filter = Filter::facts(Entity::Chat, Some("sluice"), None, Some("command"));
    let mut found = Vec::new();
    for _ in 0..200 {
        found = world.bus.aggregate(&filter).await.expect("read");
        if !found.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let Event::ChatCommand(fact) = &found[0].event else { panic!("{:?}", found[0].event) };
    let ChatCommand { user, person, command, .. } = &**fact;
    assert_eq!((*user, person, command.as_str()), (DANA, &Some(Person::from_text("dana")), "whoami"));
}
