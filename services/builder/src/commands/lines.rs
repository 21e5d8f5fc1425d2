//! `::name key=value,…::data` in a step's output.
//!
//! Pure: [`Interpreter`] says what each line means; the executor acts on it. `stop-commands` is honoured, so that a
//! program can print text of strangers.

use sluice_schemas::events::AnnotationLevel;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LineCommand {
    /// An ordinary line, or one that only shapes the log (`::group::`): show it.
    Show(String),
    AddMask(String),
    SetOutput {
        name: String,
        value: String,
    },
    Annotate {
        level: AnnotationLevel,
        file: String,
        line: u32,
        column: u32,
        message: String,
    },
    /// Understood, nothing to show (`::debug::`, `::stop-commands::`, `::echo::`, `::save-state::`).
    Quiet,
    /// A command that is switched off, with the reason.
    Refused(String),
}

#[derive(Debug, Default)]
pub(crate) struct Interpreter {
    stopped: Option<String>,
}

impl Interpreter {
    pub(crate) fn read(&mut self, line: &str) -> LineCommand {
        let Some((name, properties, data)) = parse(line) else { return LineCommand::Show(line.to_owned()) };
        if let Some(token) = &self.stopped {
            if name == token {
                self.stopped = None;
                return LineCommand::Quiet;
            }
            return LineCommand::Show(line.to_owned());
        }
        let property = |key: &str| {
            let found = properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        match name.to_ascii_lowercase().as_str() {
            "add-mask" => LineCommand::AddMask(data),
            "set-output" => LineCommand::SetOutput { name: property("name"), value: data },
            "error" => annotation(AnnotationLevel::Error, &property, data),
            "warning" => annotation(AnnotationLevel::Warning, &property, data),
            "notice" => annotation(AnnotationLevel::Notice, &property, data),
            "group" => LineCommand::Show(format!("##[group]{data}")),
            "endgroup" => LineCommand::Show("##[endgroup]".to_owned()),
            "debug" | "echo" | "save-state" | "add-matcher" | "remove-matcher" => LineCommand::Quiet,
            "stop-commands" if data.is_empty() || is_known(&data) => {
                LineCommand::Refused(format!("'{data}' cannot stop commands: use a random word"))
            }
            "stop-commands" => {
                self.stopped = Some(data);
                LineCommand::Quiet
            }
            "set-env" | "add-path" => LineCommand::Refused(format!(
                "the `{name}` command is switched off because output of strangers could use it; write to the file in ${} instead",
                if name.eq_ignore_ascii_case("set-env") { "GITHUB_ENV" } else { "GITHUB_PATH" }
            )),
            _ => LineCommand::Show(line.to_owned()),
        }
    }
}

fn annotation(level: AnnotationLevel, property: &dyn Fn(&str) -> String, message: String) -> LineCommand {
    LineCommand::Annotate {
        level,
        file: property("file"),
        line: property("line").parse().unwrap_or(0),
        column: property("col").parse().unwrap_or(0),
        message,
    }
}

fn is_known(name: &str) -> bool {
    const KNOWN: &[&str] = &[
        "add-mask",
        "set-output",
        "error",
        "warning",
        "notice",
        "group",
        "endgroup",
        "debug",
        "echo",
        "save-state",
        "stop-commands",
        "set-env",
        "add-path",
        "add-matcher",
        "remove-matcher",
        "pause-logging",
    ];
    KNOWN.contains(&name.to_ascii_lowercase().as_str())
}

type Parsed<'a> = (&'a str, Vec<(String, String)>, String);

fn parse(line: &str) -> Option<Parsed<'_>> {
    let rest = line.trim_start().strip_prefix("::")?;
    let (head, data) = rest.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    if name.is_empty() {
        return None;
    }
    let properties = properties
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), unescape_property(value)))
        .collect();
    Some((name, properties, unescape_data(data)))
}

fn unescape_data(text: &str) -> String {
    text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")
}

fn unescape_property(text: &str) -> String {
    unescape_data(&text.replace("%3A", ":").replace("%2C", ","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> LineCommand {
        Interpreter::default().read(line)
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(read("::add-mask::hunter2"), LineCommand::AddMask("hunter2".into()));
        assert_eq!(
            read("::set-output name=image_url::r/a:1%0Ab%25"),
            LineCommand::SetOutput { name: "image_url".into(), value: "r/a:1\nb%".into() }
        );
        assert_eq!(
            read("  ::error file=a%2Cb.rs,line=3,col=4::bad"),
            LineCommand::Annotate {
                level: AnnotationLevel::Error,
                file: "a,b.rs".into(),
                line: 3,
                column: 4,
                message: "bad".into()
            }
        );
        assert_eq!(read("::debug::x"), LineCommand::Quiet);
        assert_eq!(read("::group::Tests"), LineCommand::Show("##[group]Tests".into()));
        assert!(
            matches!(read("::set-env name=A::b"), LineCommand::Refused(text) if text.contains("GITHUB_ENV"))
        );
        for plain in ["hello", ":: x", "::::", "::unknown::x", "a ::error::b", "std::vec::Vec"] {
            assert_eq!(read(plain), LineCommand::Show(plain.into()));
        }
    }

    #[test]
    fn stopped_commands_are_text_until_the_word_comes() {
        let mut interpreter = Interpreter::default();
        assert_eq!(interpreter.read("::stop-commands::w0rd"), LineCommand::Quiet);
        assert_eq!(interpreter.read("::add-mask::x"), LineCommand::Show("::add-mask::x".into()));
        assert_eq!(interpreter.read("::w0rd::"), LineCommand::Quiet);
        assert_eq!(interpreter.read("::add-mask::x"), LineCommand::AddMask("x".into()));
        assert!(matches!(interpreter.read("::stop-commands::error"), LineCommand::Refused(_)));
        assert!(matches!(interpreter.read("::stop-commands::"), LineCommand::Refused(_)));
    }
}
