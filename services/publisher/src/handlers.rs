//! The three messages that the publisher obeys.
//!
//! `evt.image.*.*.built` → upload; `evt.image.*.*.published` → the tag into the
//! deploy repositories' dev directories; `cmd.publisher.promote.*` → the image that
//! dev has into prod. Invariant: each is safe to run twice; facts are appended last.

use sluice_bus::{AppendError, Bus, Delivery, Expected, Outcome};
use sluice_git::RemoteUrl;
use sluice_schemas::commands::Promote;
use sluice_schemas::events::{BumpKind, BumpRef, ImageBuilt, ImageFailed, ImagePublished};
use sluice_schemas::ids::{BumpId, hash_token};
use sluice_schemas::{Event, Fact, Message as _};

use crate::config::Deploy;
use crate::deploy::{Deploys, Wanted};
use crate::image::Images;
use crate::metrics::PublisherMetrics;

/// Deliveries after which a passing failure is told to people instead of tried again:
/// the step that built the image waits for an answer.
const PATIENCE: i64 = 5;

/// `evt.image.*.*.built`.
pub async fn built(
    bus: &Bus,
    images: &Images,
    metrics: &PublisherMetrics,
    delivery: Delivery<ImageBuilt>,
) -> Outcome {
    let built = &delivery.message;
    // A job that is run again builds the same image id again: each `built` has its own end.
    let last = match end_of(bus, &delivery).await {
        Ok(Ok(())) => return Outcome::Done,
        Ok(Err(last)) => last,
        Err(reason) => return Outcome::retry(&delivery, reason),
    };
    match images.publish(built).await {
        Ok(fact) => {
            tracing::info!(
                image = built.image.name(),
                digest = fact.digest.short(),
                bytes = fact.bytes_sent,
                "image published"
            );
            fail::fail_point!("publisher-tag-before-event");
            metrics.images.with_label_values(&["published"]).inc();
            append(bus, &delivery, &fact, last).await
        }
        Err(error) if error.is_passing() && delivery.delivered < PATIENCE => Outcome::retry(&delivery, error),
        Err(error) => {
            tracing::warn!(image = built.image.name(), %error, "an image could not be published");
            metrics.images.with_label_values(&["failed"]).inc();
            let fact = ImageFailed { image: built.image.clone(), reason: error.to_string() };
            append(bus, &delivery, &fact, last).await
        }
    }
}

/// `evt.image.*.*.published`.
pub async fn published(
    deploys: &Deploys,
    configured: &[Deploy],
    delivery: Delivery<ImagePublished>,
) -> Outcome {
    let image = &delivery.message.image;
    let Some(tag) = delivery.message.tags.first() else { return Outcome::Done };
    let repository = &image.run.repository;
    for (ordinal, deploy) in (0u64..).zip(configured) {
        // The deploy repository may have workflows that build images: those do not bump themselves.
        if same_repository(&repository.clone_url, &deploy.repository) {
            continue;
        }
        let key = [
            repository.slug.as_str(),
            image.image.as_str(),
            delivery.message.digest.as_str(),
            tag,
            &deploy.repository,
            &deploy.branch,
            &deploy.dev,
        ];
        let bump = BumpRef {
            bump: BumpId::from_text(&hash_token(&key)),
            source: repository.slug.clone(),
            kind: BumpKind::Bump,
            deploy_url: deploy.repository.clone(),
            branch: deploy.branch.clone(),
            directory: deploy.dev.clone(),
            image: image.name(),
            tag: tag.clone(),
            digest: Some(delivery.message.digest.clone()),
            person: None,
        };
        let wanted = Wanted {
            bump,
            name: short_name(&repository.full_name).to_owned(),
            run: Some((repository.slug.to_string(), image.run.number.0)),
        };
        match deploys.write(&delivery, ordinal, wanted).await {
            Outcome::Done => {}
            other => return other,
        }
    }
    Outcome::Done
}

/// `cmd.publisher.promote.*`.
pub async fn promote(deploys: &Deploys, configured: &[Deploy], delivery: Delivery<Promote>) -> Outcome {
    let command = &delivery.message;
    let Some(deploy) =
        configured.iter().find(|deploy| same_repository(&deploy.repository, &command.deploy_url))
    else {
        return Outcome::Reject {
            reason: format!(
                "{} is not in `publisher.deploy`; only configured deploy repositories are written to",
                command.deploy_url
            ),
        };
    };
    let bump = BumpRef {
        bump: command.bump.clone(),
        source: command.source.clone(),
        kind: BumpKind::Promotion,
        deploy_url: deploy.repository.clone(),
        branch: deploy.branch.clone(),
        directory: deploy.prod.clone(),
        image: command.image.clone(),
        tag: command.tag.clone(),
        digest: command.digest.clone(),
        person: Some(command.person.clone()),
    };
    let name = command.source.as_str().rsplit('_').next().unwrap_or_default().to_owned();
    deploys.write(&delivery, 0, Wanted { bump, name, run: None }).await
}

/// `Ok(())` when this very `built` has ended before, else the sequence of the aggregate's last fact.
async fn end_of(bus: &Bus, delivery: &Delivery<ImageBuilt>) -> Result<Result<(), u64>, String> {
    let Some(filter) = delivery.message.subject().aggregate() else { return Ok(Err(0)) };
    let facts = bus.aggregate(&filter).await.map_err(|error| error.to_string())?;
    let ended = facts.iter().any(|fact| {
        fact.envelope.causation.as_ref() == Some(&delivery.envelope.id)
            && matches!(fact.event, Event::ImagePublished(_) | Event::ImageFailed(_))
    });
    Ok(if ended { Ok(()) } else { Err(facts.last().map_or(0, |fact| fact.sequence)) })
}

async fn append<F: Fact>(bus: &Bus, delivery: &Delivery<ImageBuilt>, fact: &F, last: u64) -> Outcome {
    match bus.append(fact, &delivery.cause(), Expected::AggregateLast(last)).await {
        Ok(_) => Outcome::Done,
        // Another delivery was faster, or the image was built again: looking again will tell.
        Err(error @ AppendError::Conflict { .. }) => Outcome::retry(delivery, error),
        Err(AppendError::Publish(error)) => Outcome::retry(delivery, error),
    }
}

fn same_repository(one: &str, other: &str) -> bool {
    match (RemoteUrl::parse(one), RemoteUrl::parse(other)) {
        (Ok(one), Ok(other)) => one.identity() == other.identity(),
        _ => one == other,
    }
}

fn short_name(full_name: &str) -> &str {
    full_name.rsplit('/').next().unwrap_or(full_name)
}
