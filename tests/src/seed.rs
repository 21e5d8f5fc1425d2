//! The demo repositories as a world has them: copied, with its own addresses and names written in.

use std::path::Path;

use anyhow::Context;

use crate::git::Copy;
use crate::shell;
use crate::world::World;

/// Tag of the image that runs before the first push of a test.
pub const FIRST_TAG: &str = "00000000";

/// Makes a working copy of `tests/demo/repositories/<name>` for this world, committed and pushed.
pub async fn repository(world: &World, name: &str) -> anyhow::Result<Copy> {
    let copy = empty(world, name).await?;
    let source = world.platform.root.join("tests/demo/repositories").join(name);
    transcribe(world, &source, &copy.path)?;
    copy.commit("first").await?;
    copy.git(&["push", "-q", "-f", "origin", "main"]).await?;
    Ok(copy)
}

/// An empty repository on the Git server, and an empty working copy of it.
pub async fn empty(world: &World, name: &str) -> anyhow::Result<Copy> {
    let full_name = world.full_name(name);
    let mut command = world.platform.script();
    command.args(["repo", &full_name]);
    let url = shell::run(command, "").await?.ok("platform repo")?.trim().to_owned();
    let path = world.directory.join("copies").join(name);
    Copy::init(&world.platform, &path, &url).await
}

/// Makes a branch the repository's default, on the server.
pub async fn default_branch(world: &World, name: &str, branch: &str) -> anyhow::Result<()> {
    let path = world.platform.directory.join(format!("git/repos/{}.git", world.full_name(name)));
    let mut command = tokio::process::Command::new("git");
    command.current_dir(path).args(["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]);
    shell::run(command, "").await?.ok("git symbolic-ref")?;
    Ok(())
}

/// Copies a folder; texts get this world's addresses and names.
pub fn transcribe(world: &World, from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            transcribe(world, &entry.path(), &target)?;
        } else {
            let text = std::fs::read_to_string(entry.path())?;
            std::fs::write(&target, world.rewrite(&text))?;
        }
    }
    Ok(())
}

/// Builds the image of a working copy by plain Docker and pushes it under `tag`: what ran before Sluice.
pub async fn image(world: &World, copy: &Copy, tag: &str) -> anyhow::Result<String> {
    let image = format!("{}:{tag}", world.image());
    let folder = copy.path.to_string_lossy().into_owned();
    for arguments in [["build", "-q", "-t", &image, &folder].as_slice(), ["push", "-q", &image].as_slice()] {
        let mut command = world.platform.docker();
        command.args(arguments);
        shell::run(command, "").await?.ok(&format!("docker {}", arguments.join(" ")))?;
    }
    Ok(image)
}

/// Applies a folder of manifests as the application `app` would have been applied before, so that it is in
/// sync when Sluice takes over: with its tracking annotations. `app.yaml` stays out of it.
pub async fn running(world: &World, copy: &Copy, folder: &str, app: &str) -> anyhow::Result<()> {
    let folder = copy.path.join(folder);
    let files = ["namespace.yaml", "web/configmap.yaml", "web/service.yaml", "web/deployment.yaml"];
    for file in files {
        world.kube.apply(&std::fs::read_to_string(folder.join(file))?).await?;
    }
    let prod = &world.names.prod;
    for (kind, group, namespace, name) in [
        ("Namespace", "", "", prod.as_str()),
        ("ConfigMap", "", prod, "web"),
        ("Service", "", prod, "web"),
        ("Deployment", "apps", prod, "web"),
    ] {
        // Argo CD writes the destination's name space for objects that have none.
        let place = if namespace.is_empty() { prod.as_str() } else { namespace };
        let id = format!("argocd.argoproj.io/tracking-id={app}:{group}/{kind}:{place}/{name}");
        let mut arguments = vec!["annotate", "--overwrite", kind, name, &id];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        world.kube.ok(&arguments).await?;
    }
    Ok(())
}
