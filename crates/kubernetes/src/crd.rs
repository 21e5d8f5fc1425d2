//! The CustomResourceDefinitions of `argoproj.io/v1alpha1`, generated from the types.
//!
//! Invariant: every object in the schema keeps unknown fields, so a user's existing file is accepted whole. The result is
//! checked in under `k8s/base/crds/` and compared by a test. Called by `sluice up` and the tests.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::annotations::FIELD_MANAGER;
use crate::application::{ApplicationSpec, GROUP, VERSION};
use crate::client::Cluster;
use crate::project::AppProjectSpec;
use crate::status::{ApplicationStatus, Operation};

/// An API server that takes longer than this to serve a new kind is broken.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// One definition: the file's name under `k8s/base/crds/` and the object.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub file: &'static str,
    pub object: Value,
}

impl Definition {
    /// The checked-in form.
    pub fn yaml(&self) -> String {
        let body = serde_saphyr::to_string(&self.object).unwrap_or_default();
        format!(
            "# Generated from the types in crates/kubernetes; `UPDATE_CRDS=1 cargo test -p sluice-kubernetes` rewrites it.\n{body}"
        )
    }
}

/// Applications, then AppProjects.
pub fn definitions() -> Vec<Definition> {
    let application = json!({
        "spec": schema_of::<ApplicationSpec>(),
        "status": schema_of::<ApplicationStatus>(),
        "operation": schema_of::<Operation>(),
    });
    let project = json!({ "spec": schema_of::<AppProjectSpec>(), "status": free_object() });
    let columns = json!([
        { "name": "Sync Status", "type": "string", "jsonPath": ".status.sync.status" },
        { "name": "Health Status", "type": "string", "jsonPath": ".status.health.status" },
        { "name": "Revision", "type": "string", "jsonPath": ".status.sync.revision", "priority": 10 },
        { "name": "Project", "type": "string", "jsonPath": ".spec.project", "priority": 10 },
    ]);
    vec![
        Definition {
            file: "application-crd.yaml",
            object: definition("Application", "application", &["app", "apps"], application, columns),
        },
        Definition {
            file: "appproject-crd.yaml",
            object: definition("AppProject", "appproject", &["appproj", "appprojs"], project, json!([])),
        },
    ]
}

/// Why the definitions could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("failed to install the CustomResourceDefinition {name}: {source}")]
    Refused { name: String, source: Box<kube::Error> },
    #[error("the CustomResourceDefinition {name} was not established within {} s", ESTABLISH_TIMEOUT.as_secs())]
    NotEstablished { name: String },
}

impl Cluster {
    /// Installs both definitions and waits until the API server serves them. Those that another installation (Argo CD)
    /// owns are left as they are.
    ///
    /// # Errors
    /// When the API server refuses, or takes too long.
    pub async fn install_crds(&self) -> Result<(), InstallError> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client());
        for definition in definitions() {
            let name = definition.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let refused = |source| InstallError::Refused { name: name.clone(), source: Box::new(source) };
            let present = api.get_opt(&name).await.map_err(refused)?;
            let foreign = present.is_some_and(|it| {
                it.metadata.labels.and_then(|all| all.get("app.kubernetes.io/part-of").cloned()).as_deref()
                    != Some("sluice")
            });
            if !foreign {
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                api.patch(&name, &parameters, &Patch::Apply(&definition.object)).await.map_err(refused)?;
            }
            let established = await_condition(api.clone(), &name, conditions::is_crd_established());
            match tokio::time::timeout(ESTABLISH_TIMEOUT, established).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(name, error = %error, "failed to watch a definition; it is used all the same");
                }
                Err(_) => return Err(InstallError::NotEstablished { name }),
            }
        }
        Ok(())
    }
}

fn definition(kind: &str, singular: &str, short: &[&str], mut properties: Value, columns: Value) -> Value {
    let plural = format!("{singular}s");
    for (name, description) in [
        ("apiVersion", "Version of this representation of an object."),
        ("kind", "The REST resource that this object represents."),
    ] {
        properties[name] = json!({ "type": "string", "description": description });
    }
    properties["metadata"] = json!({ "type": "object" });
    let mut version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "schema": { "openAPIV3Schema": {
            "type": "object",
            "required": ["metadata", "spec"],
            "properties": properties,
            "x-kubernetes-preserve-unknown-fields": true,
        }},
    });
    if columns.as_array().is_some_and(|all| !all.is_empty()) {
        version["additionalPrinterColumns"] = columns;
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            "labels": { "app.kubernetes.io/name": format!("{plural}.{GROUP}"), "app.kubernetes.io/part-of": "sluice" },
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular,
                "shortNames": short,
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    })
}

fn schema_of<T: JsonSchema>() -> Value {
    let generator = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(schemars::transform::AddNullable::default())
        .with_transform(kube::core::schema::StructuralSchemaRewriter)
        .with_transform(kube::core::schema::OptionalEnum)
        .with_transform(kube::core::schema::OptionalIntOrString)
        .into_generator();
    let mut schema =
        serde_json::to_value(generator.into_root_schema_for::<T>()).unwrap_or_else(|_| free_object());
    relax(&mut schema);
    schema
}

fn free_object() -> Value {
    json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Makes a schema tolerant: unknown fields are kept, nothing below `spec` is required, nothing is defaulted (a default
/// would write into users' objects what they never wrote), free-form values stay free-form.
fn relax(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for unwanted in ["default", "title", "required", "$schema"] {
        fields.remove(unwanted);
    }
    if let Some(items) = fields.get_mut("items") {
        relax(items);
    }
    match fields.get_mut("additionalProperties") {
        Some(Value::Bool(true)) => {
            fields.remove("additionalProperties");
            keep_unknown(fields);
        }
        Some(additional) if is_anything(additional) => {
            fields.remove("additionalProperties");
            keep_unknown(fields);
        }
        Some(additional) => relax(additional),
        None => {}
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(relax);
        keep_unknown(fields);
    }
}

fn is_anything(schema: &Value) -> bool {
    schema
        .as_object()
        .is_some_and(|fields| fields.keys().all(|key| key == "description" || key == "nullable"))
}

fn keep_unknown(fields: &mut Map<String, Value>) {
    fields.insert("x-kubernetes-preserve-unknown-fields".to_owned(), Value::Bool(true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_what_stands_in_the_repository() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s/base/crds");
        for definition in definitions() {
            let path = folder.join(definition.file);
            if std::env::var_os("UPDATE_CRDS").is_some() {
                std::fs::write(&path, definition.yaml()).expect("the CRD folder is writable");
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(stored == definition.yaml(), "{} is out of date; run with UPDATE_CRDS=1", path.display());
        }
    }

    #[test]
    fn every_object_keeps_unknown_fields_and_nothing_is_defaulted() {
        fn walk(schema: &Value, path: &str) {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true, "{path}");
                properties.iter().for_each(|(name, inner)| walk(inner, &format!("{path}.{name}")));
            }
            assert!(schema.get("default").is_none(), "{path} has a default");
            if let Some(items) = schema.get("items") {
                walk(items, &format!("{path}[]"));
            }
        }
        for definition in definitions() {
            walk(&definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"], definition.file);
        }
    }
}
