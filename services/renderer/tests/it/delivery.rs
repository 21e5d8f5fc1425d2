//! The four deliveries of every handler: happy (see `directory`), duplicate, crash before the ack, undecodable.

use std::time::Duration;

use crate::support::World;

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sent_twice_ends_once() {
    let world = World::new().await;
    world.start().await;
    world.write("dev/a.yaml", MANIFEST);
    let sha = world.push("one");
    let command = world.command("twice", "dev", Some(&sha));
    world.render(command.clone()).await.unwrap();
    // Another cause, as when the sender lost its memory: the bus does not drop it, the renderer must.
    let cause = sluice_schemas::Cause::root(sluice_schemas::envelope::correlation_of("x"), "another");
    world.bus.publish(&command, &cause).await.unwrap();
    world.render(world.command("after", "dev", Some(&sha))).await.unwrap();
    assert_eq!(world.facts().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_event_changes_nothing_but_the_time() {
    let world = World::new().await;
    world.start().await;
    world.write("dev/a.yaml", MANIFEST);
    let sha = world.push("one");
    fail::cfg("renderer-before-event", "1*panic(crash)").unwrap();
    let fact = world.render(world.command("crash", "dev", Some(&sha))).await.unwrap();
    assert_eq!((fact.objects, world.facts().await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_flows_on() {
    let world = World::new().await;
    world.start().await;
    world.write("dev/a.yaml", MANIFEST);
    let sha = world.push("one");
    world.publish_garbage("cmd.renderer.render.garbage");
    world.render(world.command("good", "dev", Some(&sha))).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let letters = world.bus.dead_letters().await.unwrap();
        if let [letter] = letters.as_slice() {
            assert_eq!(letter.subject, "cmd.renderer.render.garbage");
            break;
        }
        assert!(tokio::time::Instant::now() < until, "no dead letter");
        tokio::task::yield_now().await;
    }
}
