//! The report: a table for people, `target/bench/report.json` for programs.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use crate::figure::{Figure, Target};

pub(crate) struct Report {
    figures: Vec<Figure>,
    load: String,
    began: u64,
}

impl Report {
    pub(crate) fn begin() -> Self {
        Self { figures: Vec::new(), load: load(), began: crate::clock::now() }
    }

    /// What is going on, while it does.
    #[allow(clippy::unused_self, reason = "said of this report")]
    pub(crate) fn note(&self, text: &str) {
        say(&format!("sluice-bench: {text}"));
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        say(&format!("  {}", line(&figure)));
        self.figures.push(figure);
    }

    /// Whether every target was met.
    pub(crate) fn held(&self) -> bool {
        self.figures.iter().all(|figure| figure.held != Some(false))
    }

    pub(crate) fn print(&self) {
        let mut text = format!(
            "\n{:<44} {:>11} {:>11}  {:<38} {:>7}  target\n",
            "figure (median)", "measured", "limit", "what the limit is", "ratio"
        );
        for figure in &self.figures {
            text.push_str(&line(figure));
            text.push('\n');
        }
        for figure in self.figures.iter().filter(|figure| !figure.spans.is_empty()) {
            text.push_str(&format!("\n{}, where the time goes (ms)\n", figure.name));
            for (name, millis) in &figure.spans {
                text.push_str(&format!("  {millis:>9.1}  {name}\n"));
            }
        }
        text.push_str(&format!(
            "\nTargets are for an idle machine with 2 cores; load before: {}, now: {}.\n",
            self.load,
            load()
        ));
        say(&text);
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let root =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the repository's root")?;
        let folder: PathBuf = root.join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let report = json!({
            "programs": std::env::var("SLUICE_TARGET").unwrap_or_else(|_| "target/debug".to_owned()),
            "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "load_before": self.load, "load_after": load(),
            "duration_ms": crate::clock::millis(self.began, crate::clock::now()).round(),
            "held": self.held(), "figures": self.figures,
        });
        let file = folder.join("report.json");
        std::fs::write(&file, format!("{report:#}\n")).with_context(|| format!("{}", file.display()))
    }
}

fn line(figure: &Figure) -> String {
    let unit = figure.unit;
    let limit = figure.limit.as_ref().map_or_else(String::new, |limit| format!("{:.1} {unit}", limit.value));
    let what = figure.limit.as_ref().map_or("", |limit| &limit.what);
    let ratio = figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}×"));
    let target = match figure.target {
        None => String::new(),
        Some(Target::AtMost(most)) => format!("≤ {most:.0} {unit}"),
        Some(Target::Over(most)) => format!("≤ {most:.0} {unit} over the limit"),
    };
    let verdict = match (figure.held, &figure.limit, figure.target) {
        (Some(true), ..) => "PASS".to_owned(),
        (Some(false), Some(limit), Some(Target::Over(_))) => {
            format!("over: {:.0} {unit} more than the limit", figure.value - limit.value)
        }
        (Some(false), ..) => "over".to_owned(),
        (None, ..) => String::new(),
    };
    let measured = format!("{:.1} {unit}", figure.value);
    format!("{:<44} {measured:>11} {limit:>11}  {what:<38} {ratio:>7}  {target}  {verdict}", figure.name)
        .trim_end()
        .to_owned()
}

/// Runnable processes over the last minute.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Prints a line.
pub(crate) fn say(text: &str) {
    // Nobody reads any more: the report is in its file.
    writeln!(std::io::stdout(), "{text}").ok();
}
