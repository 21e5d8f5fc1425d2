//! `.dockerignore`: what does not travel to the engine. Pure.

use globset::{GlobBuilder, GlobMatcher};

/// The rules of one file; the last that matches decides.
#[derive(Debug, Default)]
pub(crate) struct Ignore(Vec<(bool, GlobMatcher)>);

impl Ignore {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (ignored, pattern) = match line.strip_prefix('!') {
                Some(rest) => (false, rest.trim()),
                None => (true, line),
            };
            let pattern = pattern.trim_start_matches('/').trim_start_matches("./").trim_end_matches('/');
            if pattern.is_empty() || pattern == "." {
                continue;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|error| format!(".dockerignore, line {}: {error}", index + 1))?;
            rules.push((ignored, glob.compile_matcher()));
        }
        Ok(Self(rules))
    }

    /// Whether a path (relative, with slashes) stays behind. A rule for a directory holds for what is in it.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let matches = |glob: &GlobMatcher| {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.into_iter().any(|end| glob.is_match(&path[..end]))
        };
        self.0.iter().rev().find(|(_, glob)| matches(glob)).is_some_and(|(ignored, _)| *ignored)
    }

    /// Whether something below an ignored directory may be wanted all the same.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|(ignored, _)| !ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_rule_decides() {
        let ignore =
            Ignore::parse("# c\n.git\n*.log\n**/target\nnode_modules/\n!important.log\n/docs/*.md\n")
                .expect("valid");
        for (path, ignored) in [
            (".git", true),
            (".git/config", true),
            ("a.log", true),
            ("important.log", false),
            ("deep/a.log", false),
            ("deep/target/x", true),
            ("node_modules/a/b", true),
            ("docs/a.md", true),
            ("docs/x/a.md", false),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignore.ignores(path), ignored, "{path}");
        }
        assert!(ignore.has_exceptions());
        assert!(Ignore::parse("a[").is_err());
    }
}
