//! Image references as they stand in manifests: `name[:tag][@digest]`.
//!
//! Invariant: a reference that is rewritten keeps its own spelling of the name and
//! its form (tag, digest, or both). Pure; called by [`crate::edit`].

/// A reference taken apart; the parts are those of the original text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    pub name: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// `None` for what cannot be an image reference (blanks, template marks, nothing).
    pub fn parse(text: &'a str) -> Option<Self> {
        let plausible = !text.is_empty()
            && text.len() <= 1024
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@+[]".contains(&b));
        if !plausible {
            return None;
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].rfind(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        (!name.is_empty()).then_some(Self { name, tag, digest })
    }

    /// Whether both name the same repository of the same registry.
    pub fn is_of(&self, name: &str) -> bool {
        full_name(self.name) == full_name(name)
    }

    /// This reference with another tag (and digest), in the form it has. A digest
    /// that must be replaced by an unknown one gives way to the tag.
    pub fn at(&self, tag: &str, digest: Option<&str>) -> String {
        match (self.digest, digest) {
            (None, _) | (Some(_), None) => format!("{}:{tag}", self.name),
            (Some(_), Some(digest)) if self.tag.is_some() => format!("{}:{tag}@{digest}", self.name),
            (Some(_), Some(digest)) => format!("{}@{digest}", self.name),
        }
    }
}

/// `host/path`, with what Docker leaves out for its own hub put in.
pub fn full_name(name: &str) -> String {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    format!("{}/{path}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_tags_and_digests_are_told_apart() {
        let digest = "sha256:00";
        for (text, name, tag, with) in [
            ("a", "a", None, None),
            ("a:1", "a", Some("1"), None),
            ("host:5000/a", "host:5000/a", None, None),
            ("host:5000/a/b:1", "host:5000/a/b", Some("1"), None),
            ("host:5000/a:1@sha256:00", "host:5000/a", Some("1"), Some(digest)),
            ("a@sha256:00", "a", None, Some(digest)),
        ] {
            assert_eq!(Reference::parse(text), Some(Reference { name, tag, digest: with }), "{text}");
        }
        for text in ["", "{{ .Values.image }}", "a b", "$IMAGE", ":1"] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_hub_has_several_spellings_and_neighbours_are_not_the_same() {
        assert!(Reference::parse("nginx:1").unwrap().is_of("docker.io/library/nginx"));
        assert!(Reference::parse("shop/web").unwrap().is_of("index.docker.io/shop/web"));
        assert!(!Reference::parse("r.example.com/shop/web2:1").unwrap().is_of("r.example.com/shop/web"));
        assert!(!Reference::parse("r.example.com/shop/web/x:1").unwrap().is_of("r.example.com/shop/web"));
    }

    #[test]
    fn the_form_is_kept() {
        let at = |text: &str, digest| Reference::parse(text).unwrap().at("2", digest);
        assert_eq!(at("a:1", Some("sha256:n")), "a:2");
        assert_eq!(at("a", None), "a:2");
        assert_eq!(at("a:1@sha256:o", Some("sha256:n")), "a:2@sha256:n");
        assert_eq!(at("a@sha256:o", Some("sha256:n")), "a@sha256:n");
        assert_eq!(at("a@sha256:o", None), "a:2");
    }
}
