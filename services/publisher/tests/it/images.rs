//! Images on their way to a registry.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sluice_chassis::Secret;
use sluice_publisher::registry::{Login, Logins};
use sluice_schemas::Event;
use sluice_schemas::events::{ImageFailed, ImagePublished};
use sluice_schemas::rpc::MissingBlobs;
use sluice_schemas::subject::Entity;

use crate::fake_registry::{self, Fake};
use crate::support::{World, registry, unique};

async fn published(world: &World, count: usize) -> Vec<ImagePublished> {
    let choose = |event| match event {
        Event::ImagePublished(fact) => Some(*fact),
        Event::ImageFailed(fact) => panic!("failed: {}", fact.reason),
        _ => None,
    };
    world.facts(Entity::Image, count, choose).await
}

async fn failed(world: &World) -> ImageFailed {
    let choose = |event| if let Event::ImageFailed(fact) = event { Some(*fact) } else { None };
    world.facts(Entity::Image, 1, choose).await.remove(0)
}

async fn registry_has(repository: &str, tag: &str) -> String {
    let url = format!("http://{}/v2/{repository}/manifests/{tag}", registry());
    let accept = crate::support::MANIFEST_TYPE;
    let answer = reqwest::Client::new().head(url).header("accept", accept).send().await.unwrap();
    assert!(answer.status().is_success(), "{tag}: {}", answer.status());
    answer.headers()["docker-content-digest"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_published_by_digest_and_tags_and_only_what_is_missing_travels() {
    let world = World::new(&[]).await;
    world.start().await;
    let repository = unique("web");
    let shared: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let first = world.image(&registry(), &repository, 1, &[&shared, b"first"]).await;
    let blobs: Vec<_> = first.layers.iter().map(|blob| blob.digest.clone()).collect();
    let question = |repository: &str| MissingBlobs {
        registry: registry(),
        repository: repository.to_owned(),
        digests: blobs.clone(),
    };
    let patience = Duration::from_secs(20);
    let answer = world.bus.call(&question(&repository), patience).await.unwrap();
    assert_eq!((answer.missing, answer.problem), (blobs.clone(), None));
    world.publish(&first, "first").await;
    let fact = published(&world, 1).await.remove(0);
    assert_eq!(fact.tags, first.tags);
    assert!(fact.bytes_sent > 1_200_000);
    for tag in ["tag1", "latest", first.manifest.as_str()] {
        assert_eq!(registry_has(&repository, tag).await, first.manifest.as_str());
    }
    let answer = world.bus.call(&question(&repository), patience).await.unwrap();
    assert_eq!(answer.missing, []);

    // The second image shares a layer, which the builder did not even store.
    let mut second = world.image(&registry(), &repository, 2, &[&shared, b"second"]).await;
    second.layers[0].stored = false;
    world.publish(&second, "second").await;
    let fact = published(&world, 2).await.remove(1);
    assert!(fact.bytes_sent < 5_000, "{fact:?}");
    assert_eq!(registry_has(&repository, "latest").await, second.manifest.as_str());

    // A sibling repository takes the layers without an upload.
    let sibling = unique("sibling");
    let third = world.image(&registry(), &sibling, 3, &[&shared, b"first"]).await;
    world.publish(&third, "third").await;
    let fact = published(&world, 3).await.remove(2);
    assert!(fact.bytes_sent < 5_000, "{fact:?}");
    assert_eq!(registry_has(&sibling, "tag3").await, third.manifest.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_and_repetitions_end_in_one_image_and_one_fact() {
    let world = World::new(&[]).await;
    world.start().await;
    for point in ["publisher-before-blob", "publisher-manifest-before-tag", "publisher-tag-before-event"] {
        fail::cfg(point, "1*panic(crash)").unwrap();
    }
    let repository = unique("crash");
    let built = world.image(&registry(), &repository, 1, &[b"layer"]).await;
    world.publish(&built, "built").await;
    world.publish(&built, "built").await;
    published(&world, 1).await;
    let again = world.image(&registry(), &repository, 2, &[b"layer"]).await;
    world.publish(&again, "again").await;
    published(&world, 2).await;
    assert_eq!(world.count(Entity::Image, "published").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_built_again_under_its_id_is_published_again() {
    let world = World::new(&[]).await;
    world.start().await;
    let repository = unique("rerun");
    let first = world.image(&registry(), &repository, 1, &[b"one"]).await;
    world.publish(&first, "attempt 1").await;
    published(&world, 1).await;
    let mut second = world.image(&registry(), &repository, 1, &[b"two"]).await;
    second.image.image = first.image.image.clone();
    world.publish(&second, "attempt 2").await;
    let facts = published(&world, 2).await;
    assert_eq!(facts[1].digest, second.manifest);
    assert_eq!(registry_has(&repository, "tag1").await, second.manifest.as_str());
}

struct Fixed(&'static str, &'static str);

impl Logins for Fixed {
    fn login<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Login>, String>> {
        let login = Login { username: Secret::new(self.0), password: Secret::new(self.1) };
        Box::pin(std::future::ready(Ok(Some(login))))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_lost_blobs_and_an_unavailable_registry_are_dealt_with() {
    let fake = Fake { login: Some("user:word".into()), lose_blobs: 1, unavailable: 2, ..Fake::default() };
    let fake = fake_registry::start(fake).await;
    let address = fake.lock().unwrap().address.clone();
    let world = World::new(&[]).await;
    world.start_with(Arc::new(Fixed("user", "word"))).await;
    let built = world.image(&address, "a/b", 1, &[b"one", b"two"]).await;
    world.publish(&built, "built").await;
    let fact = published(&world, 1).await.remove(0);
    assert_eq!(fact.digest, built.manifest);
    let fake = fake.lock().unwrap();
    assert_eq!(fake.blobs.len(), 3);
    assert_eq!(fake.log.iter().filter(|line| line.ends_with("/token")).count(), 1, "{:#?}", fake.log);
    // Three blobs, one of them twice.
    assert_eq!(fake.log.iter().filter(|line| line.starts_with("PUT") && line.contains("uploads")).count(), 4);
    let first_manifest =
        fake.log.iter().position(|line| line.starts_with("PUT") && line.contains("/manifests/"));
    assert!(fake.log[first_manifest.unwrap()].contains("/manifests/sha256:"), "by digest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_whose_it_is_and_names_no_password() {
    let fake = fake_registry::start(Fake { login: Some("user:word".into()), ..Fake::default() }).await;
    let address = fake.lock().unwrap().address.clone();
    let world = World::new(&[]).await;
    world.start_with(Arc::new(Fixed("user", "canary"))).await;
    let built = world.image(&address, "a/b", 1, &[b"one"]).await;
    world.publish(&built, "built").await;
    let reason = failed(&world).await.reason;
    assert!(
        reason.contains(&format!("sluice registry set {address}")) && !reason.contains("canary"),
        "{reason}"
    );
    let asked = fake.lock().unwrap().log.iter().filter(|line| line.ends_with("/token")).count();
    assert_eq!(asked, 1, "a refused login is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_nowhere_fails_the_image_in_words() {
    let fake = fake_registry::start(Fake::default()).await;
    let address = fake.lock().unwrap().address.clone();
    let world = World::new(&[]).await;
    world.start().await;
    let mut built = world.image(&address, "a/b", 1, &[b"one"]).await;
    built.layers[0].digest = sluice_schemas::Digest::of(b"never stored");
    built.layers[0].stored = false;
    world.publish(&built, "built").await;
    let reason = failed(&world).await.reason;
    assert!(reason.contains("run the job again"), "{reason}");
    assert!(fake.lock().unwrap().manifests.is_empty());
}
