//! The functions of the language that need nothing but their arguments, and the names of those that do.

use super::coerce::{equal, folded};
use super::evaluate::EvaluationError;
use super::value::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Contains,
    StartsWith,
    EndsWith,
    Format,
    Join,
    ToJson,
    FromJson,
    Case,
    HashFiles,
    Success,
    Failure,
    Always,
    Cancelled,
}

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "contains" => Self::Contains,
            "startswith" => Self::StartsWith,
            "endswith" => Self::EndsWith,
            "format" => Self::Format,
            "join" => Self::Join,
            "tojson" => Self::ToJson,
            "fromjson" => Self::FromJson,
            "case" => Self::Case,
            "hashfiles" => Self::HashFiles,
            "success" => Self::Success,
            "failure" => Self::Failure,
            "always" => Self::Always,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    pub(super) fn parameters(self) -> (usize, usize) {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith => (2, 2),
            Self::Join => (1, 2),
            Self::ToJson | Self::FromJson => (1, 1),
            Self::Format | Self::HashFiles => (1, 255),
            Self::Case => (3, 255),
            Self::Always | Self::Cancelled => (0, 0),
            // Job conditions may name jobs; step conditions take none.
            Self::Success | Self::Failure => (0, 255),
        }
    }

    pub(super) fn is_status(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Always | Self::Cancelled)
    }

    /// Only known where the place in the workflow allows it.
    pub(super) fn is_special(self) -> bool {
        self.is_status() || self == Self::HashFiles
    }
}

pub(super) fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::Array(items) => items.iter().any(|candidate| equal(candidate, item)),
        Value::Object(_) => false,
        _ if !item.is_primitive() => false,
        _ => folded(&search.to_text()).contains(&folded(&item.to_text())),
    }
}

pub(super) fn affix(text: &Value, affix: &Value, test: fn(&str, &str) -> bool) -> bool {
    text.is_primitive() && affix.is_primitive() && test(&folded(&text.to_text()), &folded(&affix.to_text()))
}

pub(super) fn join(items: &Value, separator: Option<&Value>) -> String {
    let separator = match separator {
        Some(separator) if separator.is_primitive() => separator.to_text(),
        _ => ",".into(),
    };
    match items {
        Value::Array(items) => {
            let texts: Vec<_> = items
                .iter()
                .map(|item| if item.is_primitive() { item.to_text() } else { "".into() })
                .collect();
            texts.join(&separator)
        }
        Value::Object(_) => String::new(),
        _ => items.to_text().to_string(),
    }
}

/// `{N}` is the N-th argument, doubled braces are braces; anything else is an error of the run.
pub(super) fn format(
    pattern: &str,
    argument: &mut dyn FnMut(usize) -> Result<Option<std::sync::Arc<str>>, EvaluationError>,
) -> Result<String, EvaluationError> {
    let invalid = || EvaluationError::InvalidFormat { pattern: pattern.to_owned() };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(brace) = rest.find(['{', '}']) {
        out.push_str(&rest[..brace]);
        let tail = &rest[brace..];
        if let Some(after) = tail.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = tail.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else {
            let (digits, after) =
                tail.strip_prefix('{').and_then(|tail| tail.split_once('}')).ok_or_else(invalid)?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            let index: usize = digits.parse().map_err(|_| invalid())?;
            match argument(index)? {
                Some(text) => out.push_str(&text),
                None => return Err(EvaluationError::MissingArgument { pattern: pattern.to_owned() }),
            }
            if out.len() > super::evaluate::MAX_MEMORY {
                return Err(EvaluationError::TooMuchMemory);
            }
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}
