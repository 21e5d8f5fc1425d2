//! Tells the story on a terminal.
#![expect(clippy::print_stdout, reason = "this is the demo's voice")]

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use sluice_e2e::story::Teller;

pub(crate) struct Terminal {
    attended: bool,
    colour: bool,
    began: Mutex<Instant>,
}

impl Terminal {
    pub(crate) fn new(attended: bool) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { attended, colour, began: Mutex::new(Instant::now()) }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Teller for Terminal {
    fn chapter(&self, title: &str) {
        if let Ok(mut began) = self.began.lock() {
            *began = Instant::now();
        }
        println!("\n{}", self.paint("1", title));
    }

    fn note(&self, text: &str) {
        println!("  {text}");
    }

    fn fact(&self, text: &str, subject: &str, after_ms: u64) {
        let time = format!("{:>7.2} s", std::time::Duration::from_millis(after_ms).as_secs_f64());
        let width = 52_usize.saturating_sub(text.chars().count());
        println!(
            "{} {} {text}{:width$} {}",
            self.paint("2", &time),
            self.paint("32", "✔"),
            "",
            self.paint("2", subject)
        );
    }

    fn broken(&self, expectation: &str) {
        println!("          {} expected: {expectation}", self.paint("31", "✘"));
        if self.attended {
            println!("          everything stays up for you to look; Ctrl-C ends it");
        }
    }
}

/// The last words.
pub(crate) fn ending(error: Option<&str>, report: Option<&Path>) {
    match error {
        Some(error) => println!("\nThe story did not end well: {error}"),
        None => println!("\nEvery expectation held."),
    }
    if let Some(file) = report {
        println!("Report: {}", file.display());
    }
}
