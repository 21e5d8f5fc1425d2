//! The build context as a tar file. Blocking.
//!
//! Links are packed as links and never followed, so that nothing outside the workspace gets into an image. Owner and
//! times are left out: the engine's cache goes by content.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::ignore::Ignore;
use crate::sandbox::workspace::{inside, open_regular};

/// The name of a Dockerfile that lies outside the context.
const OUTSIDE: &str = ".sluice-dockerfile";
const MAX_IGNORE: u64 = 1 << 20;

/// Packs `context` (relative to `sources`) into `target`. Gives the Dockerfile's name in it.
pub(crate) fn pack(sources: &Path, context: &str, dockerfile: &str, target: &Path) -> Result<String, String> {
    let root = inside(sources, context).map_err(|error| error.to_string())?;
    if !root.is_dir() {
        return Err(format!("the build context '{context}' is not a directory of the workspace"));
    }
    let file = inside(sources, dockerfile).map_err(|error| error.to_string())?;
    if !file.is_file() {
        return Err(format!(
            "there is no '{dockerfile}' in the workspace; check the `dockerfile` input, and that a checkout comes first"
        ));
    }
    let name = file.strip_prefix(&root).map(|path| path.to_string_lossy().into_owned()).ok();
    let ignore = Ignore::parse(&ignore_file(&root, &file)?)?;
    let out = File::create(target).map_err(|error| format!("{}: {error}", target.display()))?;
    let mut archive = tar::Builder::new(BufWriter::new(out));
    let keep = [name.clone().unwrap_or_default(), ".dockerignore".to_owned()];
    let fail = |error: std::io::Error| format!("the build context cannot be packed: {error}");
    add_directory(&mut archive, &root, "", &ignore, &keep).map_err(fail)?;
    let name = match name {
        Some(name) => name,
        None => {
            add(&mut archive, &file, OUTSIDE).map_err(fail)?;
            OUTSIDE.to_owned()
        }
    };
    archive.into_inner().and_then(|mut out| out.flush()).map_err(fail)?;
    Ok(name)
}

/// `<dockerfile>.dockerignore` comes before `.dockerignore`.
fn ignore_file(root: &Path, dockerfile: &Path) -> Result<String, String> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [Path::new(&own).to_owned(), root.join(".dockerignore")] {
        let opened = open_regular(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        if let Some(file) = opened {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_IGNORE), &mut text)
                .map_err(|error| format!(".dockerignore: {error}"))?;
            return Ok(text);
        }
    }
    Ok(String::new())
}

fn add_directory<W: Write>(
    archive: &mut tar::Builder<W>,
    directory: &Path,
    prefix: &str,
    ignore: &Ignore,
    keep: &[String],
) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let path = format!("{prefix}{}", name.to_string_lossy());
        let kept = keep.iter().any(|keep| *keep == path || keep.starts_with(&format!("{path}/")));
        let ignored = ignore.ignores(&path) && !kept;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !ignored {
                add(archive, &entry.path(), &path)?;
            }
            if !ignored || ignore.has_exceptions() {
                add_directory(archive, &entry.path(), &format!("{path}/"), ignore, keep)?;
            }
        } else if !ignored {
            add(archive, &entry.path(), &path)?;
        }
    }
    Ok(())
}

/// Adds one entry by what it is now. Pipes, sockets and devices stay behind.
fn add<W: Write>(archive: &mut tar::Builder<W>, path: &Path, name: &str) -> std::io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    if metadata.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        return archive.append_link(&mut header, name, std::fs::read_link(path)?);
    }
    if metadata.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        return archive.append_data(&mut header, format!("{name}/"), std::io::empty());
    }
    let Some(file) = open_regular(path)? else { return Ok(()) };
    let size = file.metadata()?.len();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    archive.append_data(&mut header, name, std::io::Read::take(file, size))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names(target: &Path) -> BTreeMap<String, String> {
        let mut archive = tar::Archive::new(File::open(target).expect("open"));
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| {
                let entry = entry.expect("entry");
                let path = entry.path().expect("path").to_string_lossy().into_owned();
                (path, format!("{:?}", entry.header().entry_type()))
            })
            .collect()
    }

    #[test]
    fn the_context_is_what_docker_would_send() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("w");
        for (path, text) in [
            ("Dockerfile", "FROM scratch"),
            (".dockerignore", "Dockerfile\n*.log\ndist\n!dist/keep"),
            ("a.log", "x"),
            ("dist/drop", "x"),
            ("dist/keep", "x"),
            ("src/main", "x"),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).expect("linked");
        let target = directory.path().join("context.tar");
        assert_eq!(pack(&root, ".", "./Dockerfile", &target).as_deref(), Ok("Dockerfile"));
        let found = names(&target);
        let wanted = [".dockerignore", "Dockerfile", "dist/keep", "link", "src/", "src/main"];
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), wanted);
        assert_eq!(found["link"], "Symlink");
        assert_eq!(pack(&root, "src", "Dockerfile", &target).as_deref(), Ok(OUTSIDE));
        assert!(names(&target).contains_key(OUTSIDE));
        for (context, dockerfile) in
            [("..", "Dockerfile"), (".", "../x"), ("none", "Dockerfile"), (".", "link")]
        {
            assert!(pack(&root, context, dockerfile, &target).is_err(), "{context} {dockerfile}");
        }
    }
}
