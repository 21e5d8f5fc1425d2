//! The card before the gate: diff, question, confirmation; bound to a person, to a moment and to what was shown.

use sluice_schemas::Message;
use sluice_schemas::events::{AppCompared, BumpCommitted, SyncFinished, SyncStarted, SyncStatus};
use sluice_telegram_fake::Message as Shown;

use crate::world::{DANA, GROUP, OLEG, World};

async fn card(world: &World) -> Shown {
    world.tell("c", &BumpCommitted::example()).await;
    world.tell("c", &AppCompared::example()).await;
    with_button(world, "Sync shop-prod").await
}

async fn with_button(world: &World, label: &str) -> Shown {
    world
        .wait(label, |state| {
            let shown = state.messages().iter().filter(|m| m.chat_id == GROUP && !m.deleted);
            shown.rev().find(|m| m.buttons().iter().any(|(text, _)| text == label)).cloned()
        })
        .await
}

const CONFIRM: &str = "Confirm sync shop-prod @dddddddd";

#[tokio::test]
async fn a_person_looks_confirms_and_sees_the_end_in_the_same_message() {
    let world = World::new().await;
    let shown = card(&world).await;
    assert!(shown.text.contains("waits for a person: 1 of 4 objects differ"), "{}", shown.text);
    assert!(shown.buttons().iter().all(|(_, data)| data.len() <= 64 && !data.contains("shop")));
    world.press(&shown, DANA, "Diff shop-prod");
    world.shows(GROUP, "web:cccccccc").await;
    let shown = with_button(&world, "Sync shop-prod").await;
    world.press(&shown, DANA, "Sync shop-prod");
    let question = with_button(&world, CONFIRM).await;
    assert_eq!(question.message_id, shown.message_id);
    for part in
        ["Sync shop-prod to dddddddd?", "~ Deployment prod/shop-web", "web: aaaaaaaa → cccccccc", "Only dana"]
    {
        assert!(question.text.contains(part), "{part} is not in:\n{}", question.text);
    }
    world.press(&question, DANA, CONFIRM);
    let granted = world.shows(GROUP, "granted by dana").await;
    assert!(granted.buttons().is_empty() || granted.buttons().iter().all(|(label, _)| label != CONFIRM));
    let grants = world.api.calls("POST", "/grants");
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0].act_as, format!("telegram:{DANA}"));
    assert_eq!(grants[0].body["revision"], "d".repeat(40));
    assert_eq!(grants[0].body["manifestDigest"], serde_json::json!(sluice_schemas::Digest::of(b"[]")));
    assert!(!grants[0].key.is_empty());
    world.tell("c", &SyncStarted::example()).await;
    world.tell("c", &SyncFinished::example()).await;
    world
        .tell("c", &AppCompared { sync: SyncStatus::Synced, out_of_sync: 0, ..AppCompared::example() })
        .await;
    let end = world.shows(GROUP, "shop-prod synced, healthy").await;
    assert_eq!(end.message_id, shown.message_id);
    assert!(end.buttons().is_empty(), "{:?}", end.buttons());
}

#[tokio::test]
async fn nobody_else_can_confirm_and_nobody_twice() {
    let world = World::new().await;
    let shown = card(&world).await;
    let stranger = world.press(&shown, OLEG, "Sync shop-prod");
    world.answer(&stranger).await;
    world.shows(GROUP, "I do not know you yet").await;
    let shown = with_button(&world, "Sync shop-prod").await;
    world.press(&shown, DANA, "Sync shop-prod");
    let question = with_button(&world, CONFIRM).await;
    let other = world.press(&question, OLEG, CONFIRM);
    assert!(world.answer(&other).await.contains("Somebody else asked this"));
    assert!(world.api.calls("POST", "/grants").is_empty());
    let (first, second) = (world.press(&question, DANA, CONFIRM), world.press(&question, DANA, CONFIRM));
    let mut answers = [world.answer(&first).await, world.answer(&second).await];
    answers.sort();
    assert!(answers[0].contains("Confirmed") && answers[1].contains("used already"), "{answers:?}");
    world.shows(GROUP, "granted by dana").await;
    assert_eq!(world.api.calls("POST", "/grants").len(), 1);
}

#[tokio::test]
async fn a_confirmation_runs_out() {
    let world = World::with("  confirm_seconds: 1\n").await;
    let shown = card(&world).await;
    world.press(&shown, DANA, "Sync shop-prod");
    let expired = world.shows(GROUP, "ran out; nothing was changed").await;
    assert!(expired.buttons().iter().all(|(label, _)| label != CONFIRM));
    assert!(expired.buttons().iter().any(|(label, _)| label == "Sync shop-prod"), "it can be asked again");
    assert!(world.api.calls("POST", "/grants").is_empty());
}

#[tokio::test]
async fn a_typed_sync_asks_and_is_answered_in_its_own_message() {
    let world = World::new().await;
    world.say(DANA, DANA, "/sync shop-prod");
    let question = world.shows(DANA, "Sync shop-prod to dddddddd?").await;
    world.press(&question, DANA, CONFIRM);
    world.shows(DANA, "granted by dana").await;
    // The stand-in's grant and sync are those of the examples' operation, but by another grant.
    let mut finished = SyncFinished::example();
    finished.sync.trigger = sluice_schemas::events::SyncTrigger::Grant {
        grant: sluice_schemas::ids::GrantId::from_text("0193c1f2a7b4"),
        person: sluice_schemas::ids::Person::from_text("dana"),
        surface: sluice_schemas::events::Surface::Telegram,
    };
    world.tell("s", &finished).await;
    let end = world.shows(DANA, "✅ synced by dana (telegram)").await;
    assert_eq!((end.message_id, end.buttons().len()), (question.message_id, 0));
}

#[tokio::test]
async fn cancelling_takes_the_question_away() {
    let world = World::new().await;
    world.say(DANA, DANA, "/sync shop-prod");
    let question = world.shows(DANA, "Sync shop-prod to dddddddd?").await;
    world.press(&question, DANA, "Cancel");
    let end = world.shows(DANA, "cancelled by dana").await;
    assert!(end.buttons().is_empty());
    assert!(world.api.calls("POST", "/grants").is_empty());
}

#[tokio::test]
async fn a_card_for_an_older_revision_leads_nowhere() {
    let world = World::new().await;
    let mut older = AppCompared::example();
    older.revision = sluice_schemas::Sha::try_from("e".repeat(40)).expect("40 digits");
    world.tell("c", &older).await;
    let shown = with_button(&world, "Sync shop-prod").await;
    world.press(&shown, DANA, "Sync shop-prod");
    world.shows(GROUP, "is at dddddddd by now").await;
    assert!(world.api.calls("POST", "/grants").is_empty());
}
