//! Where in a Dockerfile a build failed: the engine tells the number of the step, people want the line.
//!
//! Called by [`super::build`] for its error.

/// Follows the engine's output to the step that it is at.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: usize,
}

impl Progress {
    /// Looks at a line of output: `Step 3/8 : RUN make`.
    pub(crate) fn read(&mut self, line: &str) {
        let number =
            line.strip_prefix("Step ").and_then(|rest| rest.split_once('/')).map(|(number, _)| number);
        if let Some(step) = number.and_then(|number| number.parse().ok()) {
            self.step = step;
        }
    }

    /// The engine's reason with file and line before it. `text` is the Dockerfile, as far as it can be read.
    pub(crate) fn reason(&self, file: &str, text: &str, reason: &str) -> String {
        // A file that cannot be understood is refused before the first step, with its line.
        let refused = reason
            .split_once("parse error on line ")
            .or_else(|| reason.split_once("parse error line "))
            .and_then(|(_, rest)| rest.split_once(": "))
            .and_then(|(line, what)| Some((line.parse::<usize>().ok()?, what)));
        match (refused, line_of(text, self.step)) {
            (Some((line, what)), _) => format!("{file}:{line}: {what}"),
            (None, Some(line)) => format!("{file}:{line}: {reason}"),
            (None, None) => format!("{file}: {reason}"),
        }
    }
}

/// The line on which the `step`-th instruction begins, both from 1.
fn line_of(text: &str, step: usize) -> Option<usize> {
    let escape = if text.to_lowercase().starts_with("# escape=`") { '`' } else { '\\' };
    let (mut seen, mut continues) = (0, false);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        // Neither ends a continued instruction.
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !continues {
            seen += 1;
            if seen == step {
                return Some(at + 1);
            }
        }
        continues = line.ends_with(escape);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# syntax\nFROM a\n\nRUN one && \\\n    # why\n\n    two\n# three\nRUN three\n";

    #[test]
    fn instructions_are_counted_as_the_engine_does() {
        let lines: Vec<_> = (0..=4).map(|step| line_of(TEXT, step)).collect();
        assert_eq!(lines, [None, Some(2), Some(4), Some(9), None]);
        assert_eq!(line_of("# escape=`\nFROM a\nRUN a `\n b\nRUN c \\\n", 3), Some(5));
    }

    #[test]
    fn reasons_say_where() {
        let mut progress = Progress::default();
        let refused = "dockerfile parse error on line 9: unknown instruction: RUNN";
        assert_eq!(progress.reason("Dockerfile", TEXT, refused), "Dockerfile:9: unknown instruction: RUNN");
        assert_eq!(progress.reason("Dockerfile", TEXT, "no space"), "Dockerfile: no space");
        for line in ["Step 1/3 : FROM a", " ---> 21b0d229f42d", "Step 2/3 : RUN one", "Step by step"] {
            progress.read(line);
        }
        assert_eq!(progress.reason("api/Dockerfile", TEXT, "code 4"), "api/Dockerfile:4: code 4");
        assert_eq!(progress.reason("Dockerfile", "", "code 4"), "Dockerfile: code 4");
    }
}
