//! Which application an object belongs to: the tracking-id annotation, exactly as Argo CD writes it.
//!
//! `<app>:<group>/<kind>:<namespace>/<name>`. The id names the object itself as well, because controllers copy annotations
//! (a ReplicaSet gets those of its Deployment): an id about another object says nothing. Called by the reconciler and the
//! live cache.

use std::fmt;

use serde_json::Value;

use crate::resource::{Gvk, ObjectKey, annotation, set_annotation};

/// Argo CD's annotation.
pub const ANNOTATION: &str = "argocd.argoproj.io/tracking-id";

/// A parsed tracking id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingId {
    pub app: String,
    pub key: ObjectKey,
}

impl TrackingId {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (app, group_kind, place) = (parts.next()?, parts.next()?, parts.next()?);
        let (group, kind) = group_kind.split_once('/')?;
        let (namespace, name) = place.split_once('/')?;
        if app.is_empty() || kind.is_empty() || name.is_empty() {
            return None;
        }
        Some(Self { app: app.to_owned(), key: ObjectKey::new(group, kind, namespace, name) })
    }
}

impl fmt::Display for TrackingId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectKey { group, kind, namespace, name } = &self.key;
        write!(out, "{}:{group}/{kind}:{namespace}/{name}", self.app)
    }
}

/// Marks a desired object as belonging to `app`. Argo CD puts the destination namespace into the id of cluster-wide objects
/// as well, so `namespace` is used where the object has none.
pub fn mark(object: &mut Value, app: &str, namespace: &str) {
    let Some(mut key) = ObjectKey::of(object) else { return };
    if key.namespace.is_empty() {
        namespace.clone_into(&mut key.namespace);
    }
    let id = TrackingId { app: app.to_owned(), key };
    set_annotation(object, ANNOTATION, &id.to_string());
}

/// The application that a live object belongs to, if its tracking id is about itself.
pub fn owner(object: &Value) -> Option<String> {
    let id = TrackingId::parse(annotation(object, ANNOTATION)?)?;
    let gvk = Gvk::of(object)?;
    let own = object["metadata"]["name"].as_str()?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let same_place = namespace.is_empty() || id.key.namespace == namespace;
    (id.key.group == gvk.group && id.key.kind == gvk.kind && id.key.name == own && same_place)
        .then_some(id.app)
}

/// The namespace in an object's tracking id: for cluster-wide objects that of its application's destination.
pub fn namespace(object: &Value) -> Option<String> {
    Some(TrackingId::parse(annotation(object, ANNOTATION)?)?.key.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(namespace: &str) -> Value {
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": namespace } })
    }

    #[test]
    fn marks_as_argo_cd_does() {
        let mut object = deployment("dev");
        mark(&mut object, "shop", "other");
        assert_eq!(annotation(&object, ANNOTATION), Some("shop:apps/Deployment:dev/web"));
        let mut service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "dev" } });
        mark(&mut service, "shop", "dev");
        assert_eq!(annotation(&service, ANNOTATION), Some("shop:/Service:dev/web"));
        let mut namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "dev" } });
        mark(&mut namespace, "shop", "dev");
        assert_eq!(annotation(&namespace, ANNOTATION), Some("shop:/Namespace:dev/dev"));
        assert_eq!(owner(&namespace).as_deref(), Some("shop"));
        assert_eq!(super::namespace(&namespace).as_deref(), Some("dev"));
    }

    #[test]
    fn a_copied_id_is_nobodys() {
        let mut object = deployment("dev");
        mark(&mut object, "shop", "dev");
        assert_eq!(owner(&object).as_deref(), Some("shop"));
        object["kind"] = "ReplicaSet".into();
        assert_eq!(owner(&object), None);
        let mut moved = deployment("dev");
        mark(&mut moved, "shop", "dev");
        moved["metadata"]["namespace"] = "prod".into();
        assert_eq!(owner(&moved), None);
    }

    proptest::proptest! {
        #[test]
        fn parse_and_display_are_inverse(
            app in "[a-z0-9.-]{1,20}", group in "[a-z.]{0,20}", kind in "[A-Z][A-Za-z]{0,12}",
            namespace in "[a-z-]{0,12}", name in "[a-z0-9:.-]{1,20}",
        ) {
            let id = TrackingId { app, key: ObjectKey::new(&group, &kind, &namespace, &name) };
            proptest::prop_assert_eq!(TrackingId::parse(&id.to_string()), Some(id));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _parsed = TrackingId::parse(&text);
        }
    }
}
