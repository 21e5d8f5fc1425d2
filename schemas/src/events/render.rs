//! Renderings: manifests made from a source at a revision. Written by the renderer, read by the reconciler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Annotation, fact};
use crate::ids::{AppId, ProjectId, RenderId};
use crate::subject::Entity;
use crate::{Digest, Sha, Subject};

/// Which rendering: part of every render fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderRef {
    /// This rendering.
    pub render: RenderId,
    /// The application.
    pub app: AppId,
    /// Its project.
    pub project: ProjectId,
    /// Clone URL.
    pub repository: String,
    /// The commit; absent when the revision could not be resolved.
    pub revision: Option<Sha>,
    /// The directory.
    pub path: String,
}

/// `evt.render.<project>.<render>.succeeded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderSucceeded {
    /// Which.
    pub render: RenderRef,
    /// Canonical JSON array of the objects, in the object store `manifests`.
    pub manifests: Digest,
    /// How many objects.
    pub objects: u32,
    /// Whether nothing had to be done because the inputs were known.
    pub cached: bool,
    /// Fetching from the Git host.
    pub fetch_ms: u64,
    /// Reading and rendering.
    pub render_ms: u64,
}

/// `evt.render.<project>.<render>.failed`: the last good state stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderFailed {
    /// Which.
    pub render: RenderRef,
    /// In one sentence.
    pub reason: String,
    /// With files and lines.
    pub annotations: Vec<Annotation>,
}

fact!(
    RenderSucceeded,
    "render.succeeded",
    |this| Subject::fact(Entity::Render, &this.render.project, &this.render.render, "succeeded"),
    {
        Self {
            render: crate::catalogue::render(),
            manifests: Digest::of(b"[]"),
            objects: 4,
            cached: false,
            fetch_ms: 31,
            render_ms: 2,
        }
    }
);
fact!(
    RenderFailed,
    "render.failed",
    |this| Subject::fact(Entity::Render, &this.render.project, &this.render.render, "failed"),
    {
        Self {
            render: crate::catalogue::render(),
            reason: "dev/service.yaml, line 4, column 3: a tab is not allowed here".to_owned(),
            annotations: vec![Annotation {
                level: super::AnnotationLevel::Error,
                file: "dev/service.yaml".to_owned(),
                line: 4,
                column: 3,
                message: "a tab is not allowed here".to_owned(),
            }],
        }
    }
);
