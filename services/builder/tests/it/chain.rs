//! The main road: a push, jobs that need each other, an image, a message.

use std::time::Duration;

use futures::StreamExt as _;
use sluice_bus::{Expected, From, Outcome, Store, topology};
use sluice_schemas::commands::SendMessage;
use sluice_schemas::events::{ChatSent, Conclusion, Event, ImageBuilt, ImagePublished};
use sluice_schemas::ids::ChatId;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Digest, Filter};

use crate::support::{World, world};

const WORKFLOW: &str = r##"
name: Shop
on: { push: { branches: [ main ] } }
env: { GREETING: hello }
jobs:
  test:
    runs-on: ubuntu-latest
    outputs: { version: "${{ steps.v.outputs.version }}", leaked: "${{ secrets.PASSWORD }}" }
    steps:
      - uses: actions/checkout@v2
      - name: Look around
        run: |
          test "$CI$GITHUB_ACTIONS$GITHUB_REF_NAME" = truetruemain
          test "$(git rev-parse HEAD)" = "$GITHUB_SHA"
          test "$(git rev-parse --abbrev-ref HEAD)" = main
          test "$(pwd)" = "$GITHUB_WORKSPACE"
          test "$(cat file.txt)" = content
          jq -e '.head_commit.message' "$GITHUB_EVENT_PATH"
          grep -q '^CapEff:.0000000000000000$' /proc/self/status
          grep -q '^NoNewPrivs:.1$' /proc/self/status
      - id: v
        name: Set things
        env: { OWN: "${{ env.GREETING }} you" }
        run: |
          echo "version=1.4" >> "$GITHUB_OUTPUT"
          echo "::set-output name=old::way"
          printf 'LATER<<END\none\ntwo\nEND\n' >> "$GITHUB_ENV"
          mkdir -p tools && printf '#!/bin/sh\necho found\n' > tools/my-tool && chmod +x tools/my-tool
          echo "$PWD/tools" >> "$GITHUB_PATH"
          echo "# Summary of it" >> "$GITHUB_STEP_SUMMARY"
          test "$OWN" = "hello you"
      - name: Use them
        run: |
          test "$LATER" = "$(printf 'one\ntwo')"
          test "${OWN-unset}" = unset
          test "$(my-tool)" = found
          test "${{ steps.v.outputs.old }}-${{ steps.v.conclusion }}" = way-success
          echo "the password is ${{ secrets.PASSWORD }}"
          printf 'x:%s' "${{ secrets.PASSWORD }}" | base64
          echo "::add-mask::made-up-later"
          echo "now made-up-later is gone"
          echo "::warning file=file.txt,line=1::look here"
  build:
    needs: test
    if: needs.test.outputs.version == '1.4'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v2
      - uses: digitalocean/action-doctl@v2.1.0
        with: { token: "${{ secrets.DO_TOKEN }}" }
      - id: publish
        name: Publish
        uses: ripplr-io/docr-docker-publish@v1
        with: { image_path: "${{ secrets.IMAGE_PATH }}", sha_size: 8 }
      - run: test "${{ steps.publish.outputs.image_url }}" = "registry.test:5000/shop/web:${GITHUB_SHA:0:8}"
        shell: bash
      - uses: yanzay/notify-telegram@v0.1.0
        if: always()
        with: { chat: "${{ secrets.CHAT }}", token: "${{ secrets.TELEGRAM }}", status: "${{ job.status }}" }
"##;

const SECRETS: &[(&str, &str)] = &[
    ("PASSWORD", "s3cr3t-of-the-shop"),
    ("DO_TOKEN", "dop_v1_0123456789"),
    ("IMAGE_PATH", "shop/web"),
    ("CHAT", "-100200300"),
    ("TELEGRAM", "4711:telegram-token"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_push_becomes_an_image_and_a_message() {
    let files = [
        (".github/workflows/shop.yml", WORKFLOW),
        ("file.txt", "content\n"),
        ("Dockerfile", "FROM 127.0.0.1:5000/platform/busybox:1\nCOPY file.txt /file.txt\n"),
    ];
    let mut world = world("chain", &files).await;
    let builder = world.builder(SECRETS).await;
    let (publisher, notifier) = (play_publisher(&world), play_notifier(&world).await);
    let push = world.push().await;
    let ((), run) = tokio::join!(publisher, world.run_finished());
    let steps = [world.steps("test").await, world.steps("build").await].concat();
    let mut said = String::new();
    for step in &steps {
        said.push_str(&format!("== {} {:?} {:?}\n", step.name, step.outcome, step.reason));
        said.push_str(&world.log(step).await);
    }
    assert_eq!(run.conclusion, Conclusion::Success, "{:?}\n{said}", run.reason);
    assert_eq!((run.run.number.0, &run.run.push), (1, &push.push));

    // Nothing secret in logs, live or archived, nor in any fact.
    for secret in ["s3cr3t-of-the-shop", "c2VjcjN0", "telegram-token", "dop_v1_"] {
        assert!(!said.contains(secret), "{secret} is in the logs:\n{said}");
    }
    assert!(said.contains("the password is ***") && said.contains("now *** is gone"), "{said}");
    let test = world.steps("test").await;
    assert_eq!(world.live_log(&test[3]).await, world.log(&test[3]).await);
    assert!(said.contains("# Summary of it"));
    assert_eq!(test[3].annotations[0].message, "look here");
    let jobs = world.jobs().await;
    assert_eq!(jobs["test"].outputs.keys().map(String::as_str).collect::<Vec<_>>(), ["version"]);

    // The image: two tags, blobs where they are said to be.
    let built = built(&world).await;
    assert_eq!(built.tags, [push.after.as_str()[..8].to_owned(), "latest".to_owned()]);
    assert_eq!(built.image.name(), "registry.test:5000/shop/web");
    let artifacts = world.bus.objects(Store::Artifacts);
    let manifest = artifacts.get(&built.manifest).await.expect("the manifest");
    assert_eq!(Digest::of(&manifest), built.manifest);
    for blob in built.layers.iter().chain([&built.config]) {
        let bytes = artifacts.get(&blob.digest).await.expect("a blob");
        assert_eq!(bytes.len() as u64, blob.size);
    }

    // The message names secrets, not their values.
    let command = notifier.await.expect("a message");
    assert_eq!(
        (command.chat_secret.as_deref(), command.token_secret.as_deref()),
        (Some("CHAT"), Some("TELEGRAM"))
    );
    assert!(command.text.contains("success: ") && command.text.contains("(Shop)"), "{}", command.text);

    let mut everything = String::new();
    for fact in world.bus.aggregate(&Filter::all_facts()).await.expect("facts") {
        everything.push_str(&fact.event.payload().to_string());
    }
    for (_, secret) in SECRETS.iter().filter(|(name, _)| *name != "IMAGE_PATH") {
        assert!(!everything.contains(secret), "{secret} is in a fact");
    }
    if std::env::var_os("SLUICE_SHOW").is_some() {
        let mut last = push.received_at;
        for fact in world.bus.aggregate(&Filter::all_facts()).await.expect("facts") {
            let (since, step) =
                (fact.envelope.time.millis_since(push.received_at), fact.envelope.time.millis_since(last));
            eprintln!("{since:>6} ms (+{step}) {}", fact.subject);
            last = fact.envelope.time;
        }
    }
    let first_log = world.log(&test[0]).await;
    assert!(first_log.contains("Checked out refs/heads/main"), "{first_log}");
    builder.tasks().shutdown().cancel();
    builder.tasks().wait(Duration::from_secs(20)).await;
    assert_eq!(world.leftovers(), "");
    world.end().await;
}

async fn built(world: &World) -> ImageBuilt {
    world
        .fact(Entity::Image, |fact| match &fact.event {
            Event::ImageBuilt(fact) => Some((**fact).clone()),
            _ => None,
        })
        .await
}

/// Says of the first image that it is published.
async fn play_publisher(world: &World) {
    let filter = Filter::facts(Entity::Image, Some(world.repository.slug.as_str()), None, Some("built"));
    let mut facts = world.bus.facts(&filter, From::Start).await.expect("a reader");
    let waited = tokio::time::timeout(Duration::from_secs(60), facts.next()).await;
    let Ok(Some(Ok(fact))) = waited else { return };
    let Event::ImageBuilt(image) = &fact.event else { panic!("an image") };
    let published = ImagePublished {
        image: image.image.clone(),
        digest: image.manifest.clone(),
        tags: image.tags.clone(),
        bytes_sent: 1,
        duration_ms: 1,
    };
    let cause = fact.envelope.as_cause();
    world.bus.append(&published, &cause, Expected::Absent).await.expect("appended");
}

/// Takes the message and says that it was sent.
async fn play_notifier(world: &World) -> tokio::sync::oneshot::Receiver<SendMessage> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let send = std::sync::Arc::new(std::sync::Mutex::new(Some(send)));
    let process = sluice_chassis::Process::new(
        sluice_chassis::config::ConfigFile::parse("none".into(), String::new(), []).expect("empty"),
    );
    let bus = world.bus.clone();
    world
        .bus
        .consume(
            &process.service("notifier"),
            topology::NOTIFIER_SEND,
            1,
            move |delivery: sluice_bus::Delivery<SendMessage>| {
                let (bus, send) = (bus.clone(), send.clone());
                async move {
                    let command = delivery.message.clone();
                    let sent = ChatSent {
                        bot: ChatId::from_text("test"),
                        message: command.message.clone(),
                        chat: 1,
                        telegram_message: 1,
                        text: Digest::of(command.text.as_bytes()),
                        edited: false,
                    };
                    let cause: Cause = delivery.cause();
                    bus.append(&sent, &cause, Expected::Absent).await.expect("appended");
                    if let Some(send) = send.lock().expect("unpoisoned").take() {
                        drop(send.send(command));
                    }
                    Outcome::Done
                }
            },
        )
        .await
        .expect("consumes");
    receive
}
