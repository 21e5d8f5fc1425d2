//! Building with the engine's classic builder, over its API: no client program, no credentials, output into the log.

use std::collections::HashMap;
use std::io::Read as _;

use bollard::query_parameters::BuildImageOptions;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use sluice_schemas::ids::hash_token;
use tokio_util::io::ReaderStream;

use super::context;
use super::place::Progress;
use crate::executor::Job;
use crate::log::lines::Lines;
use crate::log::writer::LogWriter;
use crate::sandbox::engine::reason;
use crate::sandbox::workspace::{inside, open_regular};

/// A longer Dockerfile is not searched for a mistake.
const MAX_DOCKERFILE: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) enum BuildError {
    Failed(String),
    Passing(String),
}

/// An image in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// `sha256:` and the digest of its config.
    pub(crate) id: String,
}

impl Built {
    pub(crate) fn short(&self) -> &str {
        self.id.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or(&self.id)
    }
}

/// Builds `dockerfile` (relative to the workspace) in `words`: the context, then flags of `docker build`, because the
/// original pastes its input into a command line and people use that.
pub(crate) async fn build(
    job: &mut Job,
    dockerfile: &str,
    words: &str,
    log: &mut LogWriter,
) -> Result<Built, BuildError> {
    let mut options = options(words).map_err(BuildError::Failed)?;
    let archive = pack(job, dockerfile, &mut options).await?;
    let file =
        tokio::fs::File::open(&archive).await.map_err(|error| BuildError::Passing(error.to_string()))?;
    let body = ReaderStream::with_capacity(file, 256 * 1024).map_ok(Bytes::from);
    let body = body
        .take_while(|piece| std::future::ready(piece.is_ok()))
        .filter_map(|piece| std::future::ready(piece.ok()));
    let name = hash_token(&[job.run.repository.slug.as_str(), dockerfile, words]);
    options.build.t = Some(format!("sluice-build-{}:latest", &name[..16]));
    let docker = job.executor.engine.docker().clone();
    let mut output =
        std::pin::pin!(docker.build_image(options.build, None, Some(bollard::body_stream(body))));
    let (mut lines, mut id, mut progress) = (Lines::default(), None, Progress::default());
    while let Some(info) = output.next().await {
        let info = match info {
            Ok(info) => info,
            Err(error) => {
                let text = text_of(job, dockerfile).await;
                return Err(BuildError::Failed(progress.reason(dockerfile, &text, &reason(&error))));
            }
        };
        if let Some(text) = info.stream {
            for line in lines.take(text.as_bytes(), job.masker.longest()) {
                progress.read(&line);
                log.line(&line).await;
            }
        }
        if let Some(status) = info.status {
            log.line(&status).await;
        }
        if let Some(found) = info.aux.and_then(|aux| aux.id) {
            id = Some(found);
        }
    }
    if let Some(line) = lines.finish() {
        log.line(&line).await;
    }
    drop(tokio::fs::remove_file(&archive).await);
    id.map(|id| Built { id })
        .ok_or_else(|| BuildError::Failed("the engine did not name the image that it built".to_owned()))
}

/// The Dockerfile, for the place of a mistake; nothing when it cannot be read any more.
async fn text_of(job: &Job, dockerfile: &str) -> String {
    let (sources, dockerfile) = (job.slot().workspace().sources(), dockerfile.to_owned());
    let text = sluice_chassis::blocking("read a Dockerfile", move || {
        let file = open_regular(&inside(&sources, &dockerfile).ok()?).ok()??;
        let mut text = String::new();
        file.take(MAX_DOCKERFILE).read_to_string(&mut text).ok()?;
        Some(text)
    });
    text.await.ok().flatten().unwrap_or_default()
}

/// Packs the context while nothing in the workspace moves.
async fn pack(job: &Job, dockerfile: &str, options: &mut Options) -> Result<std::path::PathBuf, BuildError> {
    let sandbox = if job.strangers_ran { job.slot().running() } else { None };
    if let Some(sandbox) = &sandbox {
        sandbox.freeze().await.map_err(|error| BuildError::Failed(error.to_string()))?;
    }
    let workspace = job.slot().workspace();
    let target = workspace.stage().join("context.tar");
    let packed = sluice_chassis::blocking("pack a build context", {
        let (sources, target) = (workspace.sources(), target.clone());
        let (context, dockerfile) = (options.context.clone(), dockerfile.to_owned());
        move || context::pack(&sources, &context, &dockerfile, &target)
    })
    .await;
    if let Some(sandbox) = &sandbox {
        sandbox.thaw().await.map_err(|error| BuildError::Failed(error.to_string()))?;
    }
    let name = packed.map_err(|error| BuildError::Passing(error.to_string()))?.map_err(BuildError::Failed)?;
    options.build.dockerfile = name;
    Ok(target)
}

struct Options {
    context: String,
    build: BuildImageOptions,
}

/// The context and the flags behind it.
fn options(words: &str) -> Result<Options, String> {
    let mut words = words.split_whitespace();
    let context = words.next().unwrap_or(".").to_owned();
    if context == "-" || context.contains("://") || context.starts_with("git@") {
        return Err(format!("the build context '{context}' must be a directory of the workspace"));
    }
    let mut build = BuildImageOptions { rm: true, forcerm: true, ..BuildImageOptions::default() };
    let mut arguments: HashMap<String, String> = HashMap::new();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word, None),
        };
        let mut value = || value.clone().or_else(|| words.next().map(str::to_owned)).unwrap_or_default();
        match flag {
            "--build-arg" => {
                let argument = value();
                let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
                arguments.insert(name.to_owned(), value.to_owned());
            }
            "--target" => build.target = value(),
            "--platform" => build.platform = value(),
            "--no-cache" => build.nocache = true,
            "--pull" => build.pull = Some("true".to_owned()),
            other => {
                return Err(format!(
                    "`docker_build_context` holds '{other}', which is not a flag that can be honoured here (--build-arg, --target, --platform, --no-cache, --pull)"
                ));
            }
        }
    }
    build.buildargs = (!arguments.is_empty()).then_some(arguments);
    Ok(Options { context, build })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_behind_the_context_are_flags() {
        let read =
            options("api --build-arg A=1 --build-arg=B=x=y --target run --no-cache").expect("known flags");
        assert_eq!(read.context, "api");
        let arguments = read.build.buildargs.expect("some");
        assert_eq!((arguments["A"].as_str(), arguments["B"].as_str()), ("1", "x=y"));
        assert_eq!((read.build.target.as_str(), read.build.nocache), ("run", true));
        for broken in [". --privileged", "https://example.com/x.git", "-"] {
            assert!(options(broken).is_err(), "{broken}");
        }
    }
}
