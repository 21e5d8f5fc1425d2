//! `hashFiles`: SHA-256 over the SHA-256s of the workspace's files that match, in path order. Blocking.
//!
//! Links are not followed, so nothing outside the workspace is ever read.

use std::io::Read as _;
use std::path::Path;

use globset::GlobBuilder;
use sha2::{Digest as _, Sha256};

use crate::sandbox::workspace::open_regular;

/// More files are a mistake in the pattern.
const MAX_FILES: usize = 200_000;

pub(crate) fn hash_files(root: &Path, patterns: &[String]) -> Result<String, String> {
    let mut rules = Vec::new();
    for pattern in patterns.iter().flat_map(|pattern| pattern.lines()).map(str::trim) {
        if pattern.is_empty() {
            continue;
        }
        let (keep, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (false, rest),
            None => (true, pattern),
        };
        let pattern = pattern.trim_start_matches("./");
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("'{pattern}': {error}"))?;
        rules.push((keep, glob.compile_matcher()));
    }
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            let Ok(relative) = path.strip_prefix(root) else { continue };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let matched = rules.iter().rev().find(|(_, glob)| glob.is_match(relative));
                if matched.is_some_and(|(keep, _)| *keep) {
                    files.push(path);
                }
                if files.len() > MAX_FILES {
                    return Err(format!("more than {MAX_FILES} files match"));
                }
            }
        }
    }
    if files.is_empty() {
        return Ok(String::new());
    }
    files.sort();
    let mut all = Sha256::new();
    for path in files {
        let Some(mut file) = open_regular(&path).map_err(|error| error.to_string())? else { continue };
        let (mut one, mut buffer) = (Sha256::new(), vec![0_u8; 64 * 1024]);
        loop {
            let read = file.read(&mut buffer).map_err(|error| error.to_string())?;
            if read == 0 {
                break;
            }
            one.update(&buffer[..read]);
        }
        all.update(one.finalize());
    }
    Ok(hex::encode(all.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_over_the_hashes_of_matching_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        std::fs::create_dir(root.join("a")).expect("made");
        std::fs::write(root.join("a/x.lock"), "x").expect("written");
        std::fs::write(root.join("y.lock"), "y").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", root.join("z.lock")).expect("linked");
        let mut wanted = Sha256::new();
        wanted.update(Sha256::digest(b"x"));
        wanted.update(Sha256::digest(b"y"));
        let wanted = hex::encode(wanted.finalize());
        assert_eq!(hash_files(root, &["**/*.lock".into()]), Ok(wanted));
        assert_eq!(hash_files(root, &["nothing".into()]), Ok(String::new()));
        assert_eq!(
            hash_files(root, &["**/*.lock".into(), "!a/**".into(), "!y.lock".into()]),
            Ok(String::new())
        );
    }
}
