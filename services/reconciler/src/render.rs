//! Asking for renderings: which applications a push concerns, and the command for each.
//!
//! Called by the push handler and by the application's actor.

use sluice_kubernetes::secrets::normalise_url;
use sluice_kubernetes::{Application, Source};
use sluice_schemas::Sha;
use sluice_schemas::commands::{Render, RenderSource, SourceKind};
use sluice_schemas::events::PushReceived;
use sluice_schemas::ids::{RenderId, hash_token};

use crate::state::app_ref;

/// Whether a push moves what this application follows.
pub(crate) fn is_concerned(app: &Application, push: &PushReceived) -> bool {
    let urls = [&push.repository.clone_url, &push.repository.html_url].map(|url| normalise_url(url));
    let sources = app.sources();
    sources.iter().any(|source| {
        let url = normalise_url(&source.repo_url);
        urls.iter().any(|it| *it == url) && follows(source, push)
    })
}

/// The command to render an application, at `revision` if it is known. `seed` makes the id: the same cause asks once.
/// `order` is the place in the log up to which the rendering knows everything: that of the push, or the end of the log when
/// the renderer resolves what is newest. It stands in the id, so that of two results every replica knows the later one.
pub(crate) fn command(
    app: &Application,
    revision: Option<Sha>,
    hard: bool,
    seed: &str,
    order: u64,
) -> Option<Render> {
    let reference = app_ref(app);
    let sources = app.sources();
    let source = sources.first()?;
    let spec = serde_json::to_string(source).unwrap_or_default();
    let id = hash_token(&["render", reference.project.as_str(), reference.app.as_str(), seed, &spec]);
    Some(Render {
        render: RenderId::from_text(&format!("{order:016x}-{id}")),
        app: reference.app,
        project: reference.project,
        repository: source.repo_url.clone(),
        target_revision: target_revision(source).to_owned(),
        revision,
        source: render_source(source),
        hard,
    })
}

/// The order in a render's id; `None` for one that somebody else asked for.
pub(crate) fn order_of(render: &RenderId) -> Option<u64> {
    let (order, hash) = render.as_str().split_once('-')?;
    (order.len() == 16 && !hash.is_empty()).then(|| u64::from_str_radix(order, 16).ok())?
}

/// `HEAD` where the Application names none, as Argo CD.
pub(crate) fn target_revision(source: &Source) -> &str {
    source.target_revision.as_deref().filter(|it| !it.is_empty()).unwrap_or("HEAD")
}

fn follows(source: &Source, push: &PushReceived) -> bool {
    let target = target_revision(source);
    let target = target.strip_prefix("refs/heads/").unwrap_or(target);
    match (push.branch(), push.tag()) {
        (Some(branch), _) => {
            target == branch || (target == "HEAD" && branch == push.repository.default_branch)
        }
        (_, Some(tag)) => {
            target == tag || target.strip_prefix("refs/tags/") == Some(tag) || is_constraint(target)
        }
        _ => false,
    }
}

/// A semantic version constraint may come to mean another tag.
fn is_constraint(target: &str) -> bool {
    target.contains(['*', '>', '<', '~', '^'])
}

fn render_source(source: &Source) -> RenderSource {
    let directory = source.directory.clone().unwrap_or_default();
    let kind = if source.plugin.is_some() {
        SourceKind::Plugin
    } else if source.helm.is_some() || source.chart.is_some() {
        SourceKind::Helm
    } else if source.kustomize.is_some() {
        SourceKind::Kustomize
    } else if directory.jsonnet.is_some() {
        SourceKind::Jsonnet
    } else if source.directory.is_some() {
        SourceKind::Directory
    } else {
        SourceKind::Detect
    };
    RenderSource {
        path: source.path.clone().unwrap_or_default(),
        kind,
        recurse: directory.recurse.unwrap_or(false),
        include: directory.include.unwrap_or_default(),
        exclude: directory.exclude.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_kubernetes::{ApplicationSpec, Directory};
    use sluice_schemas::Message;

    fn app(url: &str, target: Option<&str>) -> Application {
        let source = Source {
            repo_url: url.into(),
            path: Some("dev".into()),
            target_revision: target.map(str::to_owned),
            directory: Some(Directory { recurse: Some(true), ..Directory::default() }),
            ..Source::default()
        };
        let mut app = Application {
            spec: ApplicationSpec {
                project: "default".into(),
                source: Some(source),
                ..ApplicationSpec::default()
            },
            ..Application::default()
        };
        app.metadata.name = Some("shop-dev".into());
        app
    }

    fn push(git_ref: &str) -> PushReceived {
        let mut push = PushReceived::example();
        push.repository.clone_url = "https://git.example.com/dev/deploy.git".into();
        push.repository.html_url = String::new();
        push.git_ref = git_ref.into();
        push
    }

    #[test]
    fn a_push_concerns_who_follows_its_ref() {
        let url = "https://GIT.example.com/dev/deploy";
        let table = [
            (url, None, "refs/heads/main", true),
            (url, Some("HEAD"), "refs/heads/main", true),
            (url, Some("HEAD"), "refs/heads/other", false),
            (url, Some("other"), "refs/heads/other", true),
            (url, Some("refs/heads/other"), "refs/heads/other", true),
            (url, Some("v1"), "refs/tags/v1", true),
            (url, Some(">=1.0"), "refs/tags/v2", true),
            (url, Some("HEAD"), "refs/tags/v1", false),
            ("https://git.example.com/dev/another", None, "refs/heads/main", false),
        ];
        for (url, target, git_ref, expected) in table {
            assert_eq!(
                is_concerned(&app(url, target), &push(git_ref)),
                expected,
                "{url} {target:?} {git_ref}"
            );
        }
    }

    #[test]
    fn the_same_cause_asks_for_the_same_render() {
        let app = app("https://git.example.com/dev/deploy", None);
        let first = command(&app, None, false, "push-1", 7).expect("a source");
        assert_eq!(Some(&first), command(&app, None, false, "push-1", 7).as_ref());
        assert_ne!(Some(first.render.clone()), command(&app, None, false, "push-2", 9).map(|it| it.render));
        assert_eq!((order_of(&first.render), order_of(&RenderId::from_text("x-y"))), (Some(7), None));
        assert_eq!(first.source.kind, SourceKind::Directory);
        assert_eq!(first.target_revision, "HEAD");
    }
}
