//! Images on their way into a deploy repository's dev directory.

use sluice_schemas::Event;
use sluice_schemas::events::{BumpCommitted, BumpUnchanged};
use sluice_schemas::subject::Entity;

use crate::support::{World, git};

const IMAGE: &str = "r.example.com/shop/web";

fn manifest(image: &str) -> String {
    format!(
        "# kept: äöü\r\nspec:\r\n  containers:\r\n  - name: 'web'\r\n    image: \"{image}\"  # the image\r\n"
    )
}

async fn committed(world: &World, count: usize) -> Vec<BumpCommitted> {
    let choose = |event| match event {
        Event::BumpCommitted(fact) => Some(*fact),
        Event::BumpFailed(fact) => panic!("failed: {}", fact.reason),
        _ => None,
    };
    world.facts(Entity::Bump, count, choose).await
}

async fn unchanged(world: &World, count: usize) -> Vec<BumpUnchanged> {
    let choose = |event| if let Event::BumpUnchanged(fact) = event { Some(*fact) } else { None };
    world.facts(Entity::Bump, count, choose).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_lands_in_dev_and_every_other_byte_is_kept() {
    let old = manifest(&format!("{IMAGE}:old"));
    let other = "image: r.example.com/shop/other:1\n";
    let files = [
        ("dev/web.yaml", old.as_str()),
        ("dev/other.yaml", other),
        ("prod/web.yaml", &old),
        ("web.yaml", &old),
    ];
    let world = World::new(&files).await;
    world.start().await;
    world.publish(&World::published(IMAGE, 7, "new"), "seven").await;
    let fact = committed(&world, 1).await.remove(0);
    assert_eq!(world.file("dev/web.yaml"), manifest(&format!("{IMAGE}:new")));
    assert_eq!(world.file("prod/web.yaml"), old);
    assert_eq!(git(&world.bare, &["diff", "--numstat", "main~1", "main"]), "1\t1\tdev/web.yaml");
    let change = &fact.changes[0];
    assert_eq!((change.path.as_str(), change.line, fact.changes.len()), ("dev/web.yaml", 5, 1));
    assert_eq!(
        (change.from.as_str(), change.to.as_str()),
        (&*format!("{IMAGE}:old"), &*format!("{IMAGE}:new"))
    );
    assert_eq!(world.log("%H")[0], fact.commit.as_str());
    assert_eq!(world.log("%s")[0], "update(shop-web): new");
    let message = world.log("%B").join("\n");
    let correlation = sluice_schemas::envelope::correlation_of("seven");
    for line in [
        format!("Sluice-Correlation: {correlation}"),
        "Sluice-Run: dev_shop-web#7".to_owned(),
        format!("Sluice-Image: {IMAGE}:new@{}", sluice_schemas::Digest::of(b"new")),
    ] {
        assert!(message.contains(&line), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_or_nowhere_makes_no_commit() {
    let world = World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:new")))]).await;
    world.start().await;
    world.publish(&World::published(IMAGE, 1, "new"), "one").await;
    assert_eq!(unchanged(&world, 1).await[0].reason, "already there");
    world.publish(&World::published("r.example.com/shop/unknown", 2, "new"), "two").await;
    assert!(unchanged(&world, 2).await[1].reason.contains("no file below dev names"));
    assert_eq!(world.log("%H").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_commit_that_races_a_bump_is_kept() {
    let world = World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:0")))]).await;
    world.start().await;
    // The publisher's mirror is warm, so its next try starts from an old commit.
    world.publish(&World::published(IMAGE, 1, "1"), "1").await;
    committed(&world, 1).await;
    world.push_on_top("dev/human.yaml", "a: 1\n");
    world.publish(&World::published(IMAGE, 2, "2"), "2").await;
    let fact = committed(&world, 2).await.remove(1);
    assert_eq!(fact.retries, 1);
    assert_eq!(world.file("dev/human.yaml"), "a: 1\n");
    assert_eq!(world.file("dev/web.yaml"), manifest(&format!("{IMAGE}:2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_images_and_a_busy_person_all_land() {
    let services: Vec<(String, String)> =
        (0..8).map(|n| (format!("dev/{n}.yaml"), format!("image: r.example.com/shop/s{n}:old\n"))).collect();
    let files: Vec<(&str, &str)> =
        services.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let world = World::new(&files).await;
    world.start().await;
    for n in 0..8 {
        let image = format!("r.example.com/shop/s{n}");
        world.publish(&World::published(&image, n + 1, "new"), &format!("image {n}")).await;
    }
    for n in 0..5 {
        tokio::task::block_in_place(|| world.push_on_top(&format!("notes/{n}"), "x\n"));
    }
    committed(&world, 8).await;
    for n in 0..8 {
        assert_eq!(world.file(&format!("dev/{n}.yaml")), format!("image: r.example.com/shop/s{n}:new\n"));
    }
    for n in 0..5 {
        assert_eq!(world.file(&format!("notes/{n}")), "x\n");
    }
    assert_eq!(world.log("%H").len(), 1 + 8 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_before_and_after_the_push_make_one_commit_and_one_fact() {
    let world = World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:old")))]).await;
    world.start().await;
    fail::cfg("publisher-before-push", "1*panic(crash)").unwrap();
    fail::cfg("publisher-pushed-before-event", "1*panic(crash)").unwrap();
    world.publish(&World::published(IMAGE, 1, "new"), "one").await;
    let fact = committed(&world, 1).await.remove(0);
    assert_eq!(fact.changes.len(), 1, "the change is told although an earlier try made it");
    assert_eq!(world.log("%H").len(), 2);
    // The same fact once more under another cause, as after a restore from a backup.
    world.publish(&World::published(IMAGE, 1, "new"), "again").await;
    world.publish(&World::published("r.example.com/shop/unknown", 9, "x"), "after").await;
    unchanged(&world, 1).await;
    assert_eq!(world.count(Entity::Bump, "committed").await, 1);
    assert_eq!(world.log("%H").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_run_does_not_replace_a_newer_one() {
    let world = World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:0")))]).await;
    world.start().await;
    world.publish(&World::published(IMAGE, 9, "nine"), "9").await;
    committed(&world, 1).await;
    world.publish(&World::published(IMAGE, 8, "eight"), "8").await;
    assert!(unchanged(&world, 1).await[0].reason.contains("run #9"));
    assert_eq!(world.file("dev/web.yaml"), manifest(&format!("{IMAGE}:nine")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_manifest_does_not_hold_up_the_image() {
    let broken = format!("spec: [\n    image: {IMAGE}:old\n\tx\n");
    let world =
        World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:old"))), ("dev/broken.yaml", &broken)])
            .await;
    world.start().await;
    world.publish(&World::published(IMAGE, 1, "new"), "one").await;
    assert_eq!(committed(&world, 1).await[0].changes.len(), 2);
    assert_eq!(world.file("dev/broken.yaml"), broken.replace(":old", ":new"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_flows_on() {
    let world = World::new(&[("dev/web.yaml", &manifest(&format!("{IMAGE}:old")))]).await;
    world.start().await;
    world.publish_garbage("evt.image.x.y.built");
    world.publish_garbage("evt.image.x.y.published");
    world.publish_garbage("cmd.publisher.promote.x");
    world.publish(&World::published(IMAGE, 1, "new"), "one").await;
    committed(&world, 1).await;
    world.dead_letters(3).await;
}
