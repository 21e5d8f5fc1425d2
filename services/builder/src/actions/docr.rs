//! `ripplr-io/docr-docker-publish`: an image of the workspace, built here and published by the publisher.
//!
//! Two tags, the first characters of the commit and `latest`, on any branch. The registry's credentials are with the
//! publisher alone; the step ends with the publisher's answer. An image that is on record already (the job was taken
//! over after a crash) is not built again.

use std::time::Duration;

use super::{ActionError, Outputs};
use crate::executor::facts::Facts;
use crate::executor::{Inputs, Job};
use crate::image::build::{self, BuildError};
use crate::image::publish::{self, Publication, PublishError, Verdict};
use crate::image::reference::{ImagePath, resolve};
use crate::log::writer::LogWriter;

pub(super) const INPUTS: &[&str] = &["image_path", "sha_size", "dockerfile", "docker_build_context"];
/// Where an image path without a host belongs.
const HOST: &str = "registry.digitalocean.com";

pub(super) async fn run(
    job: &mut Job,
    inputs: &Inputs,
    log: &mut LogWriter,
    facts: &Facts,
) -> Result<Outputs, ActionError> {
    let written = inputs.required("image_path")?;
    let path = resolve(written, HOST, &job.executor.config.registries)
        .map_err(|reason| ActionError::Failed(format!("{}: {reason}", inputs.place("image_path"))))?;
    let size = inputs.or("sha_size", "8");
    let size: usize = size.parse().ok().filter(|size| (1..=40).contains(size)).ok_or_else(|| {
        ActionError::Failed(format!("{}: `sha_size` must be a number from 1 to 40", inputs.place("sha_size")))
    })?;
    let tag = job.run.sha.as_str()[..size].to_owned();
    let tags = vec![tag.clone(), "latest".to_owned()];
    let publication = Publication::new(job, facts, path.clone(), tags);
    job.images += 1;
    let known = publication.known().await.map_err(action_error)?;
    if known {
        log.line("the image is on record already; waiting for the publisher").await;
    } else {
        let dockerfile = inputs.or("dockerfile", "Dockerfile");
        let context = inputs.or("docker_build_context", ".");
        let started = std::time::Instant::now();
        let built = build::build(job, dockerfile, context, log).await.map_err(|error| match error {
            BuildError::Failed(reason) => ActionError::Failed(reason),
            BuildError::Passing(reason) => ActionError::Passing(reason),
        })?;
        log.line(&format!("Successfully built {}", built.short())).await;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        publish::hand_over(job, &publication, &built, milliseconds, log).await.map_err(action_error)?;
    }
    log.tick().await;
    let patience = Duration::from_secs(job.executor.config.publish_timeout_seconds);
    match publication.verdict(patience).await.map_err(action_error)? {
        Verdict::Published { digest } => {
            log.line(&format!("published {}:{tag}", path.name())).await;
            log.line(&format!("published {}@{digest}", path.name())).await;
        }
        Verdict::Failed { reason } => {
            return Err(ActionError::Failed(format!("the image was not published: {reason}")));
        }
        Verdict::Silent => {
            return Err(ActionError::Failed(format!(
                "the publisher did not answer within {} s; see that it runs and reaches {}",
                patience.as_secs(),
                path.host
            )));
        }
    }
    Ok(outputs(&path, &tag))
}

fn outputs(path: &ImagePath, tag: &str) -> Outputs {
    Outputs::from([
        ("image_url".to_owned(), format!("{}:{tag}", path.name())),
        ("image_latest_url".to_owned(), format!("{}:latest", path.name())),
    ])
}

fn action_error(error: PublishError) -> ActionError {
    match error {
        PublishError::Passing(reason) => ActionError::Passing(reason),
        PublishError::Failed(reason) => ActionError::Failed(reason),
    }
}
