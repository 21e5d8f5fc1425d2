//! The layout invariants of ARCHITECTURE.md, as tests over `cargo metadata` and the sources.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    /// Our crates: direct dependencies (not for tests alone) by crate name.
    fn workspace() -> BTreeMap<String, BTreeSet<String>> {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
        let packages = metadata["packages"].as_array().expect("packages");
        packages
            .iter()
            .map(|package| {
                let dependencies = package["dependencies"].as_array().expect("dependencies");
                let direct = dependencies
                    .iter()
                    .filter(|dependency| dependency["kind"] != "dev")
                    .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                    .collect();
                (package["name"].as_str().expect("a name").to_owned(), direct)
            })
            .collect()
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
    }

    /// Product crates that depend on `name` directly.
    fn users_of(name: &str) -> BTreeSet<String> {
        let product = |krate: &str| !["sluice-e2e", "sluice-telegram-fake", "sluice-layout"].contains(&krate);
        workspace()
            .into_iter()
            .filter(|(krate, dependencies)| product(krate) && dependencies.contains(name))
            .map(|(krate, _)| krate)
            .collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const SERVICES: &[&str] =
        &["ingress", "builder", "publisher", "renderer", "reconciler", "notifier", "api"];

    #[test]
    fn a_service_depends_on_no_other_service() {
        let workspace = workspace();
        for service in SERVICES {
            let name = format!("sluice-{service}");
            let dependencies =
                workspace.get(&name).unwrap_or_else(|| panic!("{name} is not in the workspace"));
            let others: Vec<_> = SERVICES
                .iter()
                .map(|other| format!("sluice-{other}"))
                .filter(|o| dependencies.contains(o))
                .collect();
            assert!(others.is_empty(), "{name} depends on {others:?}");
        }
    }

    #[test]
    fn the_outside_world_has_one_door_each() {
        assert_eq!(users_of("async-nats"), set(&["sluice-bus"]));
        assert_eq!(users_of("git2"), set(&["sluice-git"]));
        assert_eq!(users_of("kube"), set(&["sluice-kubernetes"]));
        assert_eq!(users_of("bollard"), set(&["sluice-builder"]));
        assert_eq!(users_of("teloxide"), set(&["sluice-notifier"]));
    }

    #[test]
    fn pure_crates_have_no_runtime() {
        let workspace = workspace();
        for krate in ["sluice-schemas", "sluice-workflow", "sluice-gitops"] {
            for forbidden in
                ["tokio", "reqwest", "async-nats", "kube", "git2", "bollard", "sluice-bus", "sluice-chassis"]
            {
                assert!(!workspace[krate].contains(forbidden), "{krate} depends on {forbidden}");
            }
        }
        for krate in ["crates/workflow", "crates/gitops"] {
            for (file, text) in sources(&root().join(krate).join("src")) {
                for io in ["std::fs", "std::net", "std::process", "std::env::var"] {
                    assert!(!text.contains(io), "{} does I/O ({io})", file.display());
                }
            }
        }
    }

    #[test]
    fn every_task_is_spawned_by_the_registry_or_a_join_set() {
        for folder in ["crates", "services"] {
            for (file, text) in sources(&root().join(folder)) {
                let allowed = file.ends_with("chassis/src/tasks.rs") || file.ends_with("bus/src/consume.rs");
                if allowed || file.components().any(|part| part.as_os_str() == "tests") {
                    continue;
                }
                for bare in ["tokio::spawn(", "tokio::task::spawn(", "unbounded_channel("] {
                    assert!(!text.contains(bare), "{} has a bare `{bare}…`", file.display());
                }
            }
        }
    }

    #[test]
    fn no_wire_type_is_flattened_or_untagged() {
        for (file, text) in sources(&root().join("schemas/src")) {
            for attribute in ["flatten", "untagged"] {
                assert!(!text.contains(&format!("serde({attribute}")), "{} uses {attribute}", file.display());
            }
        }
    }

    #[test]
    fn there_is_no_crate_for_odds_and_ends() {
        for krate in workspace().keys() {
            assert!(
                !["common", "utils", "util", "helpers"].iter().any(|word| krate.ends_with(word)),
                "{krate}"
            );
        }
    }

    fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a text file");
                    found.push((path, text));
                }
            }
        }
        assert!(!found.is_empty(), "no sources below {}", folder.display());
        found
    }
}
