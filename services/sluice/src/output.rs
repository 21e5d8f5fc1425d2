//! What a command prints: a table for people, or the API's JSON as it is for programs.
//!
//! Invariants: results go to standard output, remarks and errors to standard error; colour only on a terminal and never
//! with `NO_COLOR`; a reader that goes away (`| head`) is no error. Called by every command.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For people with a wide terminal.
    Wide,
    /// For programs: the API's answer.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) color: bool,
    /// Standard output is a terminal.
    pub(crate) live: bool,
}

/// Colours with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Waiting,
    Bad,
    Faint,
    Strong,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let live = io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dumb = std::env::var("TERM").is_ok_and(|terminal| terminal == "dumb");
        Self { format, live, color: live && wanted && !dumb }
    }

    /// Whether people read this.
    pub(crate) fn for_people(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// A line of the result.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Outcome {
        self.text(&format!("{}\n", text.as_ref()))
    }

    /// Part of the result, as it is.
    pub(crate) fn text(self, text: &str) -> Outcome {
        let mut out = io::stdout().lock();
        ended(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// A remark to the person; not part of the result.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        // Nobody reads it: nothing is lost.
        drop(writeln!(io::stderr().lock(), "{}", text.as_ref()));
    }

    /// The result for programs; `false` when people read and the command must say it in words.
    pub(crate) fn data(self, value: &Value) -> Outcome<bool> {
        match self.format {
            Format::Json => self.line(serde_json::to_string_pretty(value).unwrap_or_default())?,
            Format::Yaml => self.line(serde_saphyr::to_string(value).unwrap_or_default().trim_end())?,
            Format::Table | Format::Wide => return Ok(false),
        }
        Ok(true)
    }

    /// One of many results for programs: a line of JSON.
    pub(crate) fn record(self, value: &Value) -> Outcome<bool> {
        match self.format {
            Format::Json => self.line(value.to_string())?,
            Format::Yaml => {
                self.line(format!("---\n{}", serde_saphyr::to_string(value).unwrap_or_default().trim_end()))?
            }
            Format::Table | Format::Wide => return Ok(false),
        }
        Ok(true)
    }

    /// `text` in the colour of `tone`.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Waiting => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
            Tone::Plain => return text.to_owned(),
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A status word in its colour.
    pub(crate) fn status(self, word: &str) -> String {
        self.paint(tone(word), word)
    }
}

/// What a status word means.
pub(crate) fn tone(word: &str) -> Tone {
    match word {
        "Synced" | "Healthy" | "success" | "Succeeded" | "committed" | "ok" | "yes" | "allowed" | "done" => {
            Tone::Good
        }
        "OutOfSync" | "Progressing" | "running" | "Running" | "queued" | "waiting" | "Pending"
        | "pending" | "warn" => Tone::Waiting,
        "Degraded" | "Missing" | "failure" | "Failed" | "Error" | "failed" | "refused" | "Refused"
        | "fail" => Tone::Bad,
        "skipped" | "cancelled" | "Unknown" | "finished" | "-" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// A table under construction: named columns, some only for `-o wide`.
pub(crate) struct Table {
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns; a name that begins with `+` is shown by `-o wide` alone.
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        let columns = columns.iter().map(|name| match name.strip_prefix('+') {
            Some(name) => (name, true),
            None => (*name, false),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(
            cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).collect(),
        );
    }

    pub(crate) fn print(self, output: Output) -> Outcome {
        output.text(&self.render(output))
    }

    fn render(self, output: Output) -> String {
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|index| output.format == Format::Wide || !self.columns[*index].1)
            .collect();
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
            cells.chain([self.columns[index].0.len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = shown.iter().map(|index| width(*index)).collect();
        let mut text = String::new();
        let mut line = |cells: Vec<&str>, header: bool| {
            let mut written = String::new();
            for (at, cell) in cells.iter().enumerate() {
                let painted =
                    if header { output.paint(Tone::Faint, cell) } else { output.paint(tone(cell), cell) };
                written.push_str(&painted);
                if at + 1 < cells.len() {
                    written.push_str(&" ".repeat(widths[at] - cell.chars().count() + 2));
                }
            }
            text.push_str(written.trim_end());
            text.push('\n');
        };
        line(shown.iter().map(|index| self.columns[*index].0).collect(), true);
        for row in &self.rows {
            line(shown.iter().map(|index| row.get(*index).map_or("-", String::as_str)).collect(), false);
        }
        text
    }
}

/// A broken pipe ends the command quietly and well: the reader has what it wanted.
fn ended(result: io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::failed(
            format_args!("the output cannot be written: {error}"),
            "check the disk or the pipe that standard output goes to",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(format: Format, color: bool) -> Output {
        Output { format, color, live: color }
    }

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "SYNC", "+REVISION"]);
        table.row(["shop-dev".into(), "Synced".into(), "dddddddd".into()]);
        table.row(["täglich".into(), "OutOfSync".into(), String::new()]);
        table
    }

    #[test]
    fn columns_line_up_and_wide_shows_more() {
        assert_eq!(
            table().render(output(Format::Table, false)),
            "NAME      SYNC\nshop-dev  Synced\ntäglich   OutOfSync\n"
        );
        let wide = table().render(output(Format::Wide, false));
        assert_eq!(
            wide,
            "NAME      SYNC       REVISION\nshop-dev  Synced     dddddddd\ntäglich   OutOfSync  -\n"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let text = table().render(output(Format::Wide, true));
        assert!(text.contains("\u{1b}[32mSynced\u{1b}[0m     dddddddd"), "{text:?}");
    }
}
