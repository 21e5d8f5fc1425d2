//! The directory of one job on our side of the container's wall.
//!
//! Its four parts are mounted into the container, so a job may put anything there, links included. Invariants: the
//! parts themselves cannot be moved by the job (they are mount points there); we create files only under fresh names
//! and open files only if they are files, never through a link, and never so that opening could block.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    #[error("the job's directory {path} cannot be used: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} is larger than {limit} bytes")]
    TooLarge { name: String, limit: u64 },
    #[error("the path '{path}' leaves the workspace; give one inside it")]
    Outside { path: String },
}

/// The directory of one job. Removed by [`Workspace::remove`], and at the next start if that did not happen.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Makes the directory. Blocking, a few calls.
    pub(crate) fn create(jobs: &Path, name: &str) -> Result<Self, WorkspaceError> {
        let root = jobs.join(name);
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(io(&root))?;
        }
        // Nobody else on this machine gets in; the job does, whatever user its image has.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(io(&root))?;
        for part in ["workspace", "home", "temp", "commands", "stage"] {
            let path = root.join(part);
            std::fs::create_dir(&path).map_err(io(&path))?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o777)).map_err(io(&path))?;
        }
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What a checkout fills: the container's workspace.
    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("workspace")
    }

    /// A place of ours that the container never sees.
    pub(crate) fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }

    /// Directory on our side and in the container.
    pub(crate) fn mounts(&self) -> [(PathBuf, &'static str); 4] {
        use super::paths;
        [
            (self.root.join("workspace"), paths::WORKSPACE),
            (self.root.join("home"), paths::HOME),
            (self.root.join("temp"), paths::TEMP),
            (self.root.join("commands"), paths::COMMANDS),
        ]
    }

    /// Writes a new file among the commands; `name` must be fresh.
    pub(crate) fn write_command(&self, name: &str, content: &[u8]) -> Result<(), WorkspaceError> {
        self.write_new(&self.root.join("commands").join(name), content)
    }

    /// Writes a new file into the job's temporary directory; `name` must be fresh.
    pub(crate) fn write_temp(&self, name: &str, content: &[u8]) -> Result<(), WorkspaceError> {
        self.write_new(&self.root.join("temp").join(name), content)
    }

    fn write_new(&self, path: &Path, content: &[u8]) -> Result<(), WorkspaceError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(io(path))?;
        file.set_permissions(Permissions::from_mode(0o666)).map_err(io(path))?;
        file.write_all(content).map_err(io(path))
    }

    /// Reads a file among the commands and deletes it. One that is gone, or is no file any more, is empty.
    pub(crate) fn take_command(&self, name: &str, limit: u64) -> Result<String, WorkspaceError> {
        let path = self.root.join("commands").join(name);
        let content = read_regular(&path, limit, name);
        // A directory in its place stays until the job ends; it disturbs nobody.
        drop(std::fs::remove_file(&path));
        Ok(content?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
    }

    pub(crate) fn remove_temp(&self, name: &str) {
        drop(std::fs::remove_file(self.root.join("temp").join(name)));
    }

    /// Deletes everything. Blocking.
    pub(crate) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.root.display(), %error, "a job's directory stays behind");
        }
    }
}

/// A path of a workflow as one below the workspace, without `..` and links that lead out. The last part need not be.
pub(crate) fn inside(root: &Path, relative: &str) -> Result<PathBuf, WorkspaceError> {
    let outside = || WorkspaceError::Outside { path: relative.to_owned() };
    let relative_path = Path::new(relative);
    let relative_path = relative_path.strip_prefix(super::paths::WORKSPACE).unwrap_or(relative_path);
    let mut path = root.to_owned();
    for part in relative_path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => {
                path.push(name);
                if path.is_symlink() {
                    return Err(outside());
                }
            }
            Component::ParentDir if path != root => {
                path.pop();
            }
            _ => return Err(outside()),
        }
    }
    Ok(path)
}

/// Opens what is a plain file right now, without following a link or waiting for a pipe.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<Option<File>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_regular(path: &Path, limit: u64, name: &str) -> Result<Option<Vec<u8>>, WorkspaceError> {
    let Some(file) = open_regular(path).map_err(io(path))? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(io(path))?;
    if content.len() as u64 > limit {
        return Err(WorkspaceError::TooLarge { name: name.to_owned(), limit });
    }
    Ok(Some(content))
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> WorkspaceError + use<> {
    let path = path.to_owned();
    move |source| WorkspaceError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_job_planted_are_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "of the host").expect("written");
        let workspace = Workspace::create(directory.path(), "job").expect("made");
        let commands = workspace.root().join("commands");
        std::os::unix::fs::symlink(&secret, commands.join("env")).expect("linked");
        assert_eq!(workspace.take_command("env", 100).expect("read"), "");
        assert!(workspace.write_command("fresh", b"x").is_ok());
        std::os::unix::fs::symlink(&secret, commands.join("planted")).expect("linked");
        assert!(workspace.write_command("planted", b"x").is_err());
        assert_eq!(std::fs::read_to_string(&secret).expect("there"), "of the host");
        assert_eq!(workspace.take_command("fresh", 100).expect("read"), "x");
        assert_eq!(workspace.take_command("fresh", 100).expect("gone"), "");
        workspace.write_command("large", &[b'x'; 101]).expect("written");
        assert!(matches!(workspace.take_command("large", 100), Err(WorkspaceError::TooLarge { .. })));
    }

    #[test]
    fn paths_stay_inside() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::os::unix::fs::symlink("/etc", root.join("out")).expect("linked");
        assert_eq!(inside(root, "./a/../b").expect("inside"), root.join("b"));
        assert_eq!(inside(root, "/github/workspace/a").expect("inside"), root.join("a"));
        for path in ["..", "a/../../b", "/etc", "out/passwd"] {
            assert!(inside(root, path).is_err(), "{path}");
        }
    }
}
