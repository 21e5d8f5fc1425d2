//! The `sluice.yaml` of a world. Written as JSON, which is YAML too.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::world::World;

/// Writes the configuration and answers its path.
pub fn write(world: &World) -> anyhow::Result<PathBuf> {
    let mut config = generate(world);
    merge(&mut config, &world.settings);
    let path = world.directory.join("sluice.yaml");
    // Never seen half written: another service may be reading it.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("{config:#}\n"))?;
    std::fs::rename(&draft, &path)?;
    Ok(path)
}

fn generate(world: &World) -> Value {
    let data = world.directory.join("data");
    let git = data.join("git");
    let mut config = json!({
        "bus": {"url": world.nats.url, "lease_seconds": 3},
        "log": {"format": "json"},
        "server": {"listen": format!("127.0.0.1:{}", world.ports.operations)},
        "kubernetes": {
            "kubeconfig": world.platform.kubeconfig, "namespace": world.names.system,
            "applications_namespace": world.names.apps,
        },
        "ingress": {"listen": format!("127.0.0.1:{}", world.ports.ingress), "data_dir": git},
        "builder": {
            "data": data.join("builder"), "docker": world.platform.docker_host, "image": world.platform.image_runner,
            "registries": {"registry.digitalocean.com": world.platform.registry}, "memory_mib": 512,
            // Worlds end by being killed: what runs ahead of jobs would stay behind.
            "warm": 0,
        },
        "publisher": {"data_dir": git, "deploy": [{"repository": world.clone_url("deploy")}]},
        "renderer": {"data_dir": git},
        "reconciler": {},
        "notifier": {
            "chats": [{"chat": world.chat}], "server_url": world.api_url(), "public_url": world.api_url(), "edit_interval_ms": 300,
        },
        "api": {
            "listen": format!("127.0.0.1:{}", world.ports.api), "ingress_url": format!("http://127.0.0.1:{}", world.ports.ingress),
            "initial_password_file": world.password_file(),
        },
    });
    if !world.real_telegram {
        merge(
            &mut config,
            &json!({"notifier": {"api_url": world.telegram.url()}, "api": {"chat_url": world.telegram.url()}}),
        );
    }
    config
}

/// Lays `over` over `base`: objects key by key, everything else as a whole.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_laid_over_key_by_key() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut base, &json!({"a": {"b": 3}, "d": []}));
        assert_eq!(base, json!({"a": {"b": 3, "c": 2}, "d": []}));
    }
}
