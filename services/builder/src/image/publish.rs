//! Handing an image over to the publisher, and its answer.
//!
//! Only blobs that the registry lacks travel, as claim checks under their digests. What a layer compresses to is
//! remembered, so that a base image is compressed once and never again. The fact `built` is appended once: whoever
//! runs the job after a crash finds it and waits for the same answer.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sluice_bus::{AppendError, Bus, Expected, From, Store};
use sluice_schemas::events::{Blob, Event, ImageBuilt, ImageRef};
use sluice_schemas::ids::ImageId;
use sluice_schemas::rpc::MissingBlobs;
use sluice_schemas::subject::Entity;
use sluice_schemas::{Cause, Digest, Filter};
use tokio::sync::mpsc;

use super::build::Built;
use super::export::{self, Compressed, StreamReader};
use super::reference::ImagePath;
use crate::executor::Job;
use crate::executor::facts::Facts;
use crate::failpoint;
use crate::log::writer::LogWriter;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// The publisher asks the registry; without an answer everything travels.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// Pieces of the engine's export on their way to the reader: a few megabytes.
const PIECES: usize = 32;

#[derive(Debug)]
pub(crate) enum PublishError {
    Failed(String),
    Passing(String),
}

fn passing(error: impl std::fmt::Display) -> PublishError {
    PublishError::Passing(error.to_string())
}

/// The publisher's answer.
pub(crate) enum Verdict {
    Published { digest: Digest },
    Failed { reason: String },
    Silent,
}

/// One image of one job on its way.
pub(crate) struct Publication {
    bus: Bus,
    image: ImageRef,
    tags: Vec<String>,
    cause: Cause,
}

impl Publication {
    pub(crate) fn new(job: &Job, facts: &Facts, path: ImagePath, tags: Vec<String>) -> Self {
        let image = ImageRef {
            image: ImageId::from_text(&format!("{}-{}", job.id, job.images)),
            run: job.run.clone(),
            job: job.id.clone(),
            registry: path.host,
            repository: path.repository,
        };
        let cause = facts.cause(&format!("image.{}", job.images));
        Self { bus: job.executor.bus.clone(), image, tags, cause }
    }

    /// Whether the image was put on record by an earlier executor of this job.
    pub(crate) async fn known(&self) -> Result<bool, PublishError> {
        let facts = self.bus.aggregate(&self.filter()).await.map_err(passing)?;
        Ok(facts.iter().any(|fact| matches!(fact.event, Event::ImageBuilt(_))))
    }

    /// Waits for `published` or `failed`.
    pub(crate) async fn verdict(&self, patience: Duration) -> Result<Verdict, PublishError> {
        let mut facts = self.bus.facts(&self.filter(), From::Start).await.map_err(passing)?;
        let waited = tokio::time::timeout(patience, async {
            while let Some(fact) = facts.next().await {
                match fact.map_err(passing)?.event {
                    Event::ImagePublished(fact) => return Ok(Verdict::Published { digest: fact.digest }),
                    Event::ImageFailed(fact) => return Ok(Verdict::Failed { reason: fact.reason }),
                    _ => {}
                }
            }
            Err(passing("the log of facts ended"))
        });
        waited.await.unwrap_or(Ok(Verdict::Silent))
    }

    fn filter(&self) -> Filter {
        let ImageRef { run, image, .. } = &self.image;
        Filter::facts(Entity::Image, Some(run.repository.slug.as_str()), Some(image.as_str()), None)
    }
}

/// What a layer compresses to, remembered in the builder's data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    size: u64,
}

/// Exports, stores what must travel, and appends `built`.
pub(crate) async fn hand_over(
    job: &Job,
    publication: &Publication,
    built: &Built,
    build_ms: u64,
    log: &mut LogWriter,
) -> Result<(), PublishError> {
    let docker = job.executor.engine.docker().clone();
    let config: Digest = built.id.parse().map_err(passing)?;
    let inspected = docker.inspect_image(&built.id).await.map_err(passing)?;
    let layers = inspected.root_fs.and_then(|root| root.layers).unwrap_or_default();
    let layers: Vec<Digest> =
        layers.iter().map(|it| it.parse()).collect::<Result<_, _>>().map_err(passing)?;
    let index = job.executor.config.data.join("layers");
    let mut known = remembered(&index, &layers);
    let store = publication.bus.objects(Store::Artifacts);

    let digests: Vec<Digest> = known.values().map(|known| known.digest.clone()).collect();
    let mut lacking = missing(publication, digests).await;
    let mut keep: HashSet<Digest> = HashSet::new();
    for layer in &layers {
        let needed = match known.get(layer) {
            None => true,
            Some(known) => {
                lacking.contains(&known.digest) && !store.has(&known.digest).await.map_err(passing)?
            }
        };
        if needed {
            keep.insert(layer.clone());
        }
    }
    let directory = job.slot().workspace().stage().join(format!("image-{}", publication.image.image));
    let (bytes, compressed) = export(&docker, built, &config, keep, directory.clone()).await?;
    for (layer, compressed) in &compressed {
        let entry = Known { digest: compressed.digest.clone(), size: compressed.size };
        remember(&index, layer, &entry);
        known.insert(layer.clone(), entry);
    }
    let mut fresh: Vec<Digest> = compressed.values().map(|it| it.digest.clone()).collect();
    fresh.push(config.clone());
    lacking.extend(missing(publication, fresh).await);
    let mut sent = 0;
    for compressed in compressed.values().filter(|it| lacking.contains(&it.digest)) {
        let file = tokio::fs::File::open(&compressed.path).await.map_err(passing)?;
        store.put_stream(&compressed.digest, file).await.map_err(passing)?;
        sent += compressed.size;
    }
    let config_size = bytes.len() as u64;
    if lacking.contains(&config) {
        store.put(Bytes::from(bytes)).await.map_err(passing)?;
        sent += config_size;
    }
    let blobs = layers.iter().map(|layer| {
        known.get(layer).map(|known| Blob {
            digest: known.digest.clone(),
            size: known.size,
            media_type: LAYER.to_owned(),
            stored: lacking.contains(&known.digest),
        })
    });
    let blobs: Vec<Blob> =
        blobs.collect::<Option<_>>().ok_or_else(|| PublishError::Failed("a layer got lost".to_owned()))?;
    let stored = lacking.contains(&config);
    let config = Blob { digest: config, size: config_size, media_type: CONFIG.to_owned(), stored };
    let manifest = Bytes::from(manifest(&config, &blobs));
    let manifest = store.put(manifest).await.map_err(passing)?;
    let total: u64 = blobs.iter().map(|blob| blob.size).sum();
    log.line(&format!(
        "handing {} over: {} layers, {total} bytes, of which {sent} travel",
        publication.image.name(),
        blobs.len()
    ))
    .await;
    drop(tokio::fs::remove_dir_all(&directory).await);
    let fact = ImageBuilt {
        image: publication.image.clone(),
        manifest,
        manifest_type: MANIFEST.to_owned(),
        config,
        layers: blobs,
        tags: publication.tags.clone(),
        build_ms,
    };
    failpoint::hit(failpoint::IMAGE_BEFORE_EVENT);
    match publication.bus.append(&fact, &publication.cause, Expected::AggregateLast(0)).await {
        // On record already, by an executor that we do not know of: its image counts.
        Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
        Err(error) => Err(passing(error)),
    }
}

/// Which of these blobs have to travel.
async fn missing(publication: &Publication, digests: Vec<Digest>) -> HashSet<Digest> {
    if digests.is_empty() {
        return HashSet::new();
    }
    let question = MissingBlobs {
        registry: publication.image.registry.clone(),
        repository: publication.image.repository.clone(),
        digests: digests.clone(),
    };
    match publication.bus.call(&question, ASK_PATIENCE).await {
        Ok(answer) => {
            if let Some(problem) = answer.problem {
                tracing::info!(problem, "the registry could not be asked; every blob travels");
                return digests.into_iter().collect();
            }
            answer.missing.into_iter().collect()
        }
        Err(error) => {
            tracing::info!(%error, "the publisher could not be asked; every blob travels");
            digests.into_iter().collect()
        }
    }
}

/// The config's bytes and the wanted layers, compressed.
async fn export(
    docker: &bollard::Docker,
    built: &Built,
    config: &Digest,
    keep: HashSet<Digest>,
    directory: PathBuf,
) -> Result<(Vec<u8>, HashMap<Digest, Compressed>), PublishError> {
    let (send, receive) = mpsc::channel(PIECES);
    let feeding = async {
        let mut pieces = std::pin::pin!(docker.export_image(&built.id));
        while let Some(piece) = pieces.next().await {
            if send.send(piece.map_err(|error| error.to_string())).await.is_err() {
                break;
            }
        }
        drop(send);
    };
    let config = config.clone();
    let reading = sluice_chassis::blocking("take an image apart", move || {
        let unpacked = export::unpack(StreamReader::new(receive), &directory, &config, &keep)?;
        let mut compressed = HashMap::new();
        for (layer, path) in unpacked.layers {
            compressed.insert(layer, export::compress(&path)?);
        }
        Ok::<_, String>((unpacked.config, compressed))
    });
    let ((), result) = tokio::join!(feeding, reading);
    result.map_err(passing)?.map_err(PublishError::Failed)
}

fn manifest(config: &Blob, layers: &[Blob]) -> String {
    let descriptor =
        |blob: &Blob| json!({"mediaType": blob.media_type, "size": blob.size, "digest": blob.digest});
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    })
    .to_string()
}

fn remembered(index: &Path, layers: &[Digest]) -> HashMap<Digest, Known> {
    layers
        .iter()
        .filter_map(|layer| {
            let text = std::fs::read_to_string(index.join(layer.hex())).ok()?;
            Some((layer.clone(), serde_json::from_str(&text).ok()?))
        })
        .collect()
}

/// Only saves work; a failure costs a compression next time.
fn remember(index: &Path, layer: &Digest, known: &Known) {
    let written = std::fs::create_dir_all(index).and_then(|()| {
        let text = serde_json::to_string(known).unwrap_or_default();
        let fresh = index.join(format!(".{}-{:08x}", layer.hex(), rand::random::<u32>()));
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, index.join(layer.hex()))
    });
    if let Err(error) = written {
        tracing::debug!(%error, "what a layer compresses to is not remembered");
    }
}
