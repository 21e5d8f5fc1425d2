//! `GITHUB_ENV`, `GITHUB_OUTPUT`, `GITHUB_STATE` (`name=value`, or `name<<END … END`) and `GITHUB_PATH` (a
//! directory a line).
//!
//! Pure. A file that breaks the format fails its step, with the line that does.

/// Larger files are a mistake or an attack.
pub(crate) const MAX_FILE: u64 = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileCommandError {
    #[error("line {line} of the file command is not of the form NAME=VALUE or NAME<<DELIMITER: '{text}'")]
    Format { line: usize, text: String },
    #[error("the value of '{name}' has no closing line '{delimiter}'")]
    NoEnd { name: String, delimiter: String },
    #[error("a value cannot be set for an empty name (line {line})")]
    EmptyName { line: usize },
    #[error("'{name}' may not be set by a step")]
    Forbidden { name: String },
}

/// Names and values, in their order.
pub(crate) fn pairs(content: &str) -> Result<Vec<(String, String)>, FileCommandError> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    let mut pairs = Vec::new();
    let mut lines = content.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    while let Some((index, line)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (equals, heredoc) = (line.find('='), line.find("<<"));
        match (equals, heredoc) {
            (Some(equals), heredoc) if heredoc.is_none_or(|heredoc| equals < heredoc) => {
                pairs.push((named(&line[..equals], index)?, line[equals + 1..].to_owned()));
            }
            (_, Some(heredoc)) => {
                let (name, delimiter) = (named(&line[..heredoc], index)?, &line[heredoc + 2..]);
                if delimiter.is_empty() {
                    return Err(FileCommandError::Format { line: index + 1, text: line.to_owned() });
                }
                let mut value: Vec<&str> = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if line == delimiter => break,
                        Some((_, line)) => value.push(line),
                        None => {
                            let delimiter = delimiter.to_owned();
                            return Err(FileCommandError::NoEnd { name, delimiter });
                        }
                    }
                }
                pairs.push((name, value.join("\n")));
            }
            (_, None) => return Err(FileCommandError::Format { line: index + 1, text: line.to_owned() }),
        }
    }
    Ok(pairs)
}

/// The variables that a step sets for the steps after it.
pub(crate) fn environment(content: &str) -> Result<Vec<(String, String)>, FileCommandError> {
    let pairs = pairs(content)?;
    match pairs.iter().find(|(name, _)| is_forbidden(name)) {
        Some((name, _)) => Err(FileCommandError::Forbidden { name: name.clone() }),
        None => Ok(pairs.into_iter().filter(|(name, _)| !is_default(name)).collect()),
    }
}

/// The directories that a step puts in front of `PATH`, the last one first.
pub(crate) fn paths(content: &str) -> Vec<String> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    content.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// It would make every later Node program run a stranger's code.
fn is_forbidden(name: &str) -> bool {
    name.eq_ignore_ascii_case("NODE_OPTIONS")
}

/// Set anew for each step; a step cannot change them.
fn is_default(name: &str) -> bool {
    name.starts_with("GITHUB_") || name.starts_with("RUNNER_")
}

fn named(name: &str, index: usize) -> Result<String, FileCommandError> {
    let name = name.trim();
    if name.is_empty() { Err(FileCommandError::EmptyName { line: index + 1 }) } else { Ok(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn both_forms_are_read() {
        let content = "\u{feff}a=1\nb==2=\r\n\nc<<END\none\ntwo\nEND\nd<<=E\nx\n=E\ne=<<x\nf=";
        let found = pairs(content).expect("valid");
        let wanted = [
            pair("a", "1"),
            pair("b", "=2="),
            pair("c", "one\ntwo"),
            pair("d", "x"),
            pair("e", "<<x"),
            pair("f", ""),
        ];
        assert_eq!(found, wanted);
        assert_eq!(pairs("a<<E\nE\n"), Ok(vec![pair("a", "")]));
    }

    #[test]
    fn broken_files_name_the_place() {
        assert_eq!(
            pairs("ok=1\nnonsense\n"),
            Err(FileCommandError::Format { line: 2, text: "nonsense".into() })
        );
        assert_eq!(pairs("=x"), Err(FileCommandError::EmptyName { line: 1 }));
        assert_eq!(pairs("a<<"), Err(FileCommandError::Format { line: 1, text: "a<<".into() }));
        assert!(matches!(pairs("a<<E\nx\n"), Err(FileCommandError::NoEnd { .. })));
    }

    #[test]
    fn defaults_stay_and_node_options_are_refused() {
        assert_eq!(environment("GITHUB_SHA=x\nA=1"), Ok(vec![pair("A", "1")]));
        assert!(environment("NODE_OPTIONS=--require x").is_err());
    }

    proptest! {
        #[test]
        fn any_value_survives_a_heredoc(value in "[^\u{0}\r]{0,60}") {
            let content = format!("n<<__end__\n{value}\n__end__\n");
            prop_assert_eq!(pairs(&content), Ok(vec![pair("n", &value)]));
        }

        #[test]
        fn any_content_is_read_or_refused(content in "\\PC{0,80}") {
            drop(pairs(&content));
        }
    }
}
