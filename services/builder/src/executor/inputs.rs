//! The inputs of a native action: evaluated, with defaults, and able to say where a missing one should have come from.

use indexmap::IndexMap;
use sluice_workflow::expression::Environment;
use sluice_workflow::{Location, Template};

/// An input that cannot be used. The text is for the person who reads the run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InputError(pub(crate) String);

struct Input {
    value: String,
    at: Location,
    /// Secrets that its expressions name.
    secrets: Vec<String>,
    /// The one secret that it is, and nothing else.
    only_secret: Option<String>,
}

pub(crate) struct Inputs {
    given: IndexMap<String, Input>,
    file: String,
    /// `uses:` itself, for inputs that were not given at all.
    at: Location,
    repository: String,
    /// Secrets that the repository has.
    known: Vec<String>,
}

impl Inputs {
    pub(crate) fn evaluate(
        with: &IndexMap<String, Template>,
        environment: &dyn Environment,
        place: (&str, Location),
        repository: &str,
        known: Vec<String>,
    ) -> Result<Self, InputError> {
        let (file, at) = place;
        let mut given = IndexMap::new();
        for (name, template) in with {
            let value = template.text(environment).map_err(|failure| {
                InputError(format!(
                    "{file}:{}: the input `{name}` cannot be computed: {}",
                    failure.at, failure.source
                ))
            })?;
            let secrets = template.references("secrets");
            let only_secret = match secrets.as_slice() {
                [name] if is_just_the_secret(template, name) => Some(name.clone()),
                _ => None,
            };
            let input = Input { value: value.trim().to_owned(), at: template.at(), secrets, only_secret };
            given.insert(name.clone(), input);
        }
        let (file, repository) = (file.to_owned(), repository.to_owned());
        Ok(Self { given, file, at, repository, known })
    }

    /// The value, empty when it was not given.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.given.get(name).map_or("", |input| &input.value)
    }

    /// The value, or the default when it is empty.
    pub(crate) fn or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let value = self.get(name);
        if value.is_empty() { default } else { value }
    }

    /// The value, which must not be empty. The error leads to the secret that would have filled it.
    pub(crate) fn required(&self, name: &str) -> Result<&str, InputError> {
        let value = self.get(name);
        if !value.is_empty() {
            return Ok(value);
        }
        let Some(input) = self.given.get(name) else {
            return Err(InputError(format!(
                "{}:{}: the input `{name}` is required and was not given",
                self.file, self.at
            )));
        };
        let place = format!("{}:{}", self.file, input.at);
        let missing = input
            .secrets
            .iter()
            .find(|secret| !self.known.iter().any(|known| known.eq_ignore_ascii_case(secret)));
        Err(InputError(match missing {
            Some(secret) => format!(
                "{place}: the input `{name}` is empty because the secret `{secret}` is not set; set it with `sluice secret set {} {secret}`",
                self.repository
            ),
            None => format!("{place}: the input `{name}` is required and is empty"),
        }))
    }

    /// GitHub's lenient switch: only `true`, in any case, is true.
    pub(crate) fn is_true(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            "" => default,
            value => value.eq_ignore_ascii_case("true"),
        }
    }

    /// The secret that the input is, when it is one and nothing around it.
    pub(crate) fn secret(&self, name: &str) -> Option<&str> {
        self.given.get(name).and_then(|input| input.only_secret.as_deref())
    }

    /// Where the input stands.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}:{}", self.file, self.given.get(name).map_or(self.at, |input| input.at))
    }

    /// Inputs that the action does not have.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<&str> {
        self.given.keys().map(String::as_str).filter(|name| !known.contains(name)).collect()
    }
}

fn is_just_the_secret(template: &Template, name: &str) -> bool {
    let source = template.source();
    let Some(inner) = source.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")) else {
        return false;
    };
    let inner = inner.trim().to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    inner == format!("secrets.{name}") || inner == format!("secrets['{name}']")
}

#[cfg(test)]
mod tests {
    use sluice_workflow::availability::STEP;
    use sluice_workflow::expression::NoEnvironment;

    use super::*;

    fn inputs(with: &[(&str, &str)]) -> Inputs {
        let with = with
            .iter()
            .map(|(name, text)| {
                let template = Template::parse(Location::new(7, 9), text, Some(STEP)).expect("parses");
                ((*name).to_owned(), template)
            })
            .collect();
        let place = (".github/workflows/b.yml", Location::new(5, 7));
        Inputs::evaluate(&with, &NoEnvironment, place, "dev/shop-web", vec!["TOKEN".to_owned()])
            .expect("evaluates")
    }

    #[test]
    fn a_missing_secret_is_named_with_its_remedy() {
        let inputs = inputs(&[("path", "${{ secrets.IMAGE_PATH }}"), ("token", "${{ secrets.token }}")]);
        let error = inputs.required("path").expect_err("empty").to_string();
        assert!(error.starts_with(".github/workflows/b.yml:7:9:"), "{error}");
        assert!(error.ends_with("`sluice secret set dev/shop-web IMAGE_PATH`"), "{error}");
        let error = inputs.required("token").expect_err("empty").to_string();
        assert!(error.ends_with("is required and is empty"), "{error}");
        let error = inputs.required("other").expect_err("absent").to_string();
        assert!(error.starts_with(".github/workflows/b.yml:5:7:"), "{error}");
    }

    #[test]
    fn an_input_knows_the_secret_that_it_is() {
        let inputs = inputs(&[("a", "${{ secrets.CHAT }}"), ("b", "x${{ secrets.CHAT }}"), ("c", " 7 ")]);
        assert_eq!(inputs.secret("a"), Some("CHAT"));
        assert_eq!(inputs.secret("b"), None);
        assert_eq!(inputs.or("c", "8"), "7");
        assert_eq!(inputs.or("d", "8"), "8");
        assert_eq!(inputs.unknown(&["a", "b"]), ["c"]);
    }
}
