//! `run watch`: a live tree of jobs and steps on a terminal, lines elsewhere; at the end what failed and what to do.

use std::collections::BTreeMap;

use serde_json::Value;

use super::logs;
use super::run::{Here, RunName, here, name, path, standing, took};
use crate::client::Client;
use crate::context::{Context, until};
use crate::failure::{Failure, Kind, Outcome};
use crate::output::{Output, Tone, tone};
use crate::value::{Fields, duration};

/// A push needs a moment to become a run.
const UNTIL_THERE_IS_ONE: u64 = 60;
/// Lines of a failed step that are shown.
const TAIL: usize = 20;

pub(crate) async fn watch(context: &Context, run: Option<&str>, timeout: u64) -> Outcome {
    let client = context.client()?;
    let first = find(context, &client, run).await?;
    let at = path(&first.text("repository.slug"), first.number("number"));
    let mut screen = Screen { output: context.output, drawn: 0, said: BTreeMap::new() };
    let mut last = Value::Null;
    let finished = until(&format!("run {}", name(&first)), timeout, async || {
        let run = match client.get(&at).await {
            Ok(run) => run,
            // An API that restarts is no reason to stop watching.
            Err(failure) if matches!(failure.kind, Kind::Failed | Kind::Timeout) && !last.is_null() => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        if run != last {
            screen.show(&run)?;
            last = run;
        } else if context.output.live {
            screen.redraw(&last)?;
        }
        Ok(matches!(last.text("phase").as_str(), "finished" | "refused").then(|| last.clone()))
    })
    .await?;
    conclude(context, &client, &finished).await
}

/// The run that is meant. Without a name, in a clone: that of the commit checked out, which may be about to come.
async fn find(context: &Context, client: &Client, run: Option<&str>) -> Outcome<Value> {
    let named = RunName::parse(run)?;
    let Some(Here { repo, sha }) = here().filter(|_| run.is_none()) else {
        return named.must_find(client).await;
    };
    let query = format!("/api/v1/runs?limit=20&repo={}", crate::value::segment(&repo));
    let mut told = false;
    let found = until("the run of this commit", UNTIL_THERE_IS_ONE, async || {
        let runs = match client.get(&query).await {
            Ok(runs) => runs,
            // The repository has no run at all yet.
            Err(failure) if failure.kind == Kind::Failed => Value::Null,
            Err(failure) => return Err(failure),
        };
        let found = runs.list("items").iter().find(|run| run.text("sha") == sha).cloned();
        if found.is_none() && !told {
            told = true;
            context
                .output
                .note(format!("Waiting for a run of {repo} at {}. Is it pushed?", &sha[..sha.len().min(8)]));
        }
        Ok(found)
    })
    .await;
    found.map_err(|failure| match failure.kind {
        Kind::Timeout => Failure::timeout(
            format_args!("no run of {repo} at {} came within {UNTIL_THERE_IS_ONE} s", &sha[..sha.len().min(8)]),
            "is it pushed, does a workflow start from it, and does the Git host send its webhook? `sluice run ls` lists runs",
        ),
        _ => failure,
    })
}

/// What is on the terminal.
struct Screen {
    output: Output,
    /// Lines of the tree that stand there.
    drawn: usize,
    /// What was said of each job and step, where there is no terminal.
    said: BTreeMap<String, String>,
}

impl Screen {
    fn show(&mut self, run: &Value) -> Outcome {
        if self.output.record(run)? {
            return Ok(());
        }
        if self.output.live { self.redraw(run) } else { self.say_changes(run) }
    }

    fn redraw(&mut self, run: &Value) -> Outcome {
        if !self.output.for_people() {
            return Ok(());
        }
        let lines = tree(self.output, run);
        let mut text = if self.drawn > 0 { format!("\u{1b}[{}A", self.drawn) } else { String::new() };
        for line in &lines {
            text.push_str(&format!("\u{1b}[2K{line}\n"));
        }
        // A tree that has shrunk leaves nothing behind.
        text.push_str("\u{1b}[0J");
        self.drawn = lines.len();
        self.output.text(&text)
    }

    fn say_changes(&mut self, run: &Value) -> Outcome {
        let mut now = Vec::new();
        for job in run.list("jobs") {
            for step in job.list("steps") {
                let key = format!("{}.{}", job.text("id"), step.number("index"));
                let what = format!("{} / {}", job.text("name"), step.text("name"));
                let finished = !step.at("conclusion").is_null();
                let took = if finished { duration(step.number("durationMs")) } else { String::new() };
                now.push((key, what, standing(step), took));
            }
            now.push((job.text("id"), job.text("name"), standing(job), job.text("reason")));
        }
        // The run begins before its jobs and ends after them.
        let it = (String::new(), name(run), standing(run), run.text("title"));
        let end = if matches!(run.text("phase").as_str(), "finished" | "refused") { now.len() } else { 0 };
        now.insert(end, it);
        for (key, what, standing, more) in now {
            let known = self.said.insert(key, standing.clone());
            let quiet = standing == "waiting" || standing.is_empty();
            if known.as_ref() != Some(&standing) && !quiet {
                self.output.line(format!("{standing:<10} {what}  {more}").trim_end())?;
            }
        }
        Ok(())
    }
}

/// Finished jobs are folded to a line; running and failed ones show their steps.
fn tree(output: Output, run: &Value) -> Vec<String> {
    let head =
        format!("{}  {}  {}", output.paint(Tone::Strong, &name(run)), run.short("sha"), run.text("title"));
    let mut lines = vec![format!("{} {head}  {}", mark(output, run), took(run, "queuedAt", "finishedAt"))];
    for job in run.list("jobs") {
        let time = took(job, "startedAt", "finishedAt");
        let reason = job.text("reason");
        lines.push(
            format!("  {} {}  {time}  {reason}", mark(output, job), job.text("name")).trim_end().to_owned(),
        );
        if !matches!(standing(job).as_str(), "running" | "failure") {
            continue;
        }
        for step in job.list("steps") {
            let time = step.at("durationMs").as_u64().map(duration).unwrap_or_default();
            lines.push(
                format!("    {} {}  {time}", mark(output, step), step.text("name")).trim_end().to_owned(),
            );
        }
    }
    lines
}

fn mark(output: Output, item: &Value) -> String {
    let standing = standing(item);
    let sign = match standing.as_str() {
        "success" => "✔",
        "failure" | "refused" => "✗",
        "cancelled" | "skipped" => "-",
        "running" => "●",
        _ => "○",
    };
    output.paint(tone(&standing), sign)
}

async fn conclude(context: &Context, client: &Client, run: &Value) -> Outcome {
    let output = context.output;
    let success = run.text("conclusion") == "success";
    if !output.for_people() {
        return if success { Ok(()) } else { Err(Failure::said()) };
    }
    remarks(output, run, &Value::Null)?;
    if success {
        return output.line(format!(
            "\n{} succeeded. Where it went: `sluice trace {}`",
            name(run),
            run.short("sha")
        ));
    }
    for job in run.list("jobs").iter().filter(|job| standing(job) == "failure") {
        let Some(step) = job.list("steps").iter().find(|step| standing(step) == "failure") else { continue };
        let heading = format!("{} / {}", job.text("name"), step.text("name"));
        output.line(format!("\n{}", output.paint(Tone::Strong, &heading)))?;
        remarks(output, step, run)?;
        // What cannot be read now is left out: the verdict stands.
        if let Ok(lines) = logs::tail(client, run, &job.text("id"), step.number("index"), TAIL).await {
            output.text(&lines.iter().map(|line| format!("  {line}\n")).collect::<String>())?;
        }
    }
    let why = if run.text("reason").is_empty() { standing(run) } else { run.text("reason") };
    if run.text("phase") == "refused" {
        return Err(Failure::failed(
            format_args!("{} was not started: {why}", name(run)),
            "mend the file and push again; `sluice workflow lint` checks it before",
        ));
    }
    Err(Failure::failed(
        format_args!("{}: {why}", name(run)),
        format!(
            "the whole log: `sluice run logs {} --failed`; once more: `sluice run rerun {0} --failed`",
            name(run)
        ),
    ))
}

/// Mistakes and remarks with their places, as editors and terminals make links of.
/// Those of `told` stand above already.
fn remarks(output: Output, item: &Value, told: &Value) -> Outcome {
    for remark in item.list("annotations").iter().filter(|remark| !told.list("annotations").contains(remark))
    {
        let place = match (remark.text("file"), remark.number("line"), remark.number("column")) {
            (file, ..) if file.is_empty() => String::new(),
            (file, 0, _) => format!("{file}: "),
            (file, line, 0) => format!("{file}:{line}: "),
            (file, line, column) => format!("{file}:{line}:{column}: "),
        };
        let level = remark.text("level");
        let tone = if level == "error" { Tone::Bad } else { Tone::Waiting };
        output.line(format!("{place}{}: {}", output.paint(tone, &level), remark.text("message")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Format;

    #[test]
    fn the_tree_folds_what_is_over_and_opens_what_failed() {
        let output = Output { format: Format::Table, color: false, live: false };
        let run = json!({
            "repository": {"fullName": "dev/shop-web"}, "number": 7, "sha": "cc846571ff", "title": "Totals", "phase": "finished",
            "conclusion": "failure", "queuedAt": "2025-01-01T00:00:00Z", "finishedAt": "2025-01-01T00:01:01Z",
            "jobs": [
                {"name": "test", "conclusion": "failure", "steps": [{"name": "sh test.sh", "conclusion": "failure", "durationMs": 1250}]},
                {"name": "build", "conclusion": "skipped", "reason": "test failed", "steps": [{"name": "x", "conclusion": "skipped"}]}]});
        let lines = tree(output, &run);
        assert_eq!(lines[0], "✗ dev/shop-web#7  cc846571  Totals  1 min 1 s");
        assert_eq!(lines[1..], ["  ✗ test", "    ✗ sh test.sh  1.2 s", "  - build    test failed"]);
    }
}
