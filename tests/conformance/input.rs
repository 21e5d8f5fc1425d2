//! Where the input lies, and copying it into a working copy.

use std::path::{Path, PathBuf};

use sluice_e2e::Platform;

/// The organisation's files.
pub(crate) fn real_input(platform: &Platform) -> PathBuf {
    let shared = std::env::var_os("SLUICE_SHARED").map(PathBuf::from);
    let shared = shared.or_else(|| platform.root.parent().map(|p| p.join("shared"))).unwrap_or_default();
    let folder = shared.join("real-input");
    assert!(
        folder.is_dir(),
        "{} is missing: set SLUICE_SHARED to the folder that holds real-input",
        folder.display()
    );
    folder
}

/// Copies a folder byte for byte.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())) {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
