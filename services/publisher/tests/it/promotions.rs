//! A person takes what dev has to prod.

use sluice_schemas::Event;
use sluice_schemas::commands::Promote;
use sluice_schemas::events::BumpKind;
use sluice_schemas::ids::{BumpId, Person, RepoSlug};
use sluice_schemas::subject::Entity;
use sluice_schemas::{Digest, Message as _};

use crate::support::World;

const IMAGE: &str = "r.example.com/shop/web";

fn promote(world: &World, id: &str) -> Promote {
    Promote {
        bump: BumpId::from_text(id),
        source: RepoSlug::from_full_name("dev/shop-web"),
        deploy_url: world.deploy_url(),
        image: IMAGE.to_owned(),
        tag: "new".to_owned(),
        digest: Some(Digest::of(b"new")),
        person: Person::from_text("ada"),
        ..Promote::example()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_writes_prod_only_and_names_the_person() {
    let old = format!("image: {IMAGE}:old\n");
    let world = World::new(&[("dev/web.yaml", &old), ("prod/web.yaml", &old)]).await;
    world.start().await;
    fail::cfg("publisher-pushed-before-event", "1*panic(crash)").unwrap();
    world.publish(&promote(&world, "p1"), "one").await;
    let choose = |event| if let Event::BumpCommitted(fact) = event { Some(*fact) } else { None };
    let fact = world.facts(Entity::Bump, 1, choose).await.remove(0);
    assert_eq!((fact.bump.kind, fact.bump.directory.as_str()), (BumpKind::Promotion, "prod"));
    assert_eq!(fact.bump.person, Some(Person::from_text("ada")));
    assert_eq!(world.file("prod/web.yaml"), format!("image: {IMAGE}:new\n"));
    assert_eq!(world.file("dev/web.yaml"), old);
    let message = world.log("%B").join("\n");
    assert!(message.contains("Sluice-Person: ada") && message.contains("update(shop-web): new"), "{message}");
    assert_eq!(world.log("%H").len(), 2);
    // The same command under another cause: one commit, one fact.
    world.publish(&promote(&world, "p1"), "two").await;
    world.publish(&promote(&world, "p2"), "three").await;
    let choose = |event| if let Event::BumpUnchanged(fact) = event { Some(*fact) } else { None };
    assert_eq!(world.facts(Entity::Bump, 1, choose).await[0].reason, "already there");
    assert_eq!(world.count(Entity::Bump, "committed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_repositories_are_written_to() {
    let world = World::new(&[]).await;
    world.start().await;
    let mut command = promote(&world, "p1");
    command.deploy_url = "https://git.example.com/somebody/else.git".to_owned();
    world.publish(&command, "one").await;
    let letters = world.dead_letters(1).await;
    assert!(letters[0].contains("not in `publisher.deploy`"), "{letters:?}");
}
