//! `run ls`, `run rerun`, `run cancel`, and finding the run that a person means.

use std::process::Command;

use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::output::Table;
use crate::value::{Fields, duration, segment};

/// What a person wrote for a run: `REPO#NUMBER`, `REPO` or `NUMBER`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunName {
    pub(crate) repo: Option<String>,
    pub(crate) number: Option<u64>,
}

/// Where the person stands: the repository and commit of the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Here {
    pub(crate) repo: String,
    pub(crate) sha: String,
}

impl RunName {
    pub(crate) fn parse(text: Option<&str>) -> Outcome<Self> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Self { repo: None, number: None });
        };
        if let Ok(number) = text.trim_start_matches('#').parse() {
            return Ok(Self { repo: None, number: Some(number) });
        }
        match text.split_once('#') {
            None => Ok(Self { repo: Some(text.to_owned()), number: None }),
            Some((repo, number)) if !repo.is_empty() => match number.parse() {
                Ok(number) => Ok(Self { repo: Some(repo.to_owned()), number: Some(number) }),
                Err(_) => Err(not_a_run(text)),
            },
            Some(_) => Err(not_a_run(text)),
        }
    }

    /// The run that is meant, as the API has it: the number when it is named, else the newest. `None`: there is none yet.
    pub(crate) async fn find(&self, client: &Client) -> Outcome<Option<Value>> {
        let repo = self.repo.clone().or_else(|| here().map(|here| here.repo));
        if let Some(number) = self.number {
            let repo = repo.ok_or_else(|| {
                Failure::usage(
                    format_args!("run {number} of which repository?"),
                    format!("write REPO#{number}"),
                )
            })?;
            return client.get(&path(&repo, number)).await.map(Some);
        }
        let query = repo.map_or_else(String::new, |repo| format!("&repo={}", segment(&repo)));
        let newest = client.get(&format!("/api/v1/runs?limit=1{query}")).await?;
        let Some(run) = newest.list("items").first() else { return Ok(None) };
        client.get(&path(&run.text("repository.slug"), run.number("number"))).await.map(Some)
    }

    /// As [`RunName::find`]; that there is none is an error.
    pub(crate) async fn must_find(&self, client: &Client) -> Outcome<Value> {
        self.find(client).await?.ok_or_else(|| {
            Failure::failed("there is no run yet", "push something; `sluice run ls` lists runs")
        })
    }
}

/// The API's path of a run.
pub(crate) fn path(repo: &str, number: u64) -> String {
    format!("/api/v1/runs/{}/{number}", segment(repo))
}

/// `shop-web#42`.
pub(crate) fn name(run: &Value) -> String {
    let full = run.text("repository.fullName");
    let full = if full.is_empty() { run.text("repository.slug") } else { full };
    format!("{full}#{}", run.number("number"))
}

/// Conclusion, or phase while there is none.
pub(crate) fn standing(item: &Value) -> String {
    let conclusion = item.text("conclusion");
    if conclusion.is_empty() { item.text("phase") } else { conclusion }
}

/// From start to end, or to now.
pub(crate) fn took(item: &Value, start: &str, end: &str) -> String {
    let Some(start) = item.time(start) else { return String::new() };
    duration(item.time(end).unwrap_or_else(sluice_schemas::Timestamp::now).millis_since(start))
}

/// The repository and commit of the working directory, when it is a clone with a remote `origin`.
pub(crate) fn here() -> Option<Here> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let repo = full_name(&git(&["remote", "get-url", "origin"])?)?;
    Some(Here { repo, sha: git(&["rev-parse", "HEAD"])? })
}

/// `owner/name` of a clone URL in any form.
fn full_name(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let mut parts = path.rsplit(['/', ':']);
    let (name, owner) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !owner.is_empty() && parts.next().is_some()).then(|| format!("{owner}/{name}"))
}

fn not_a_run(text: &str) -> Failure {
    Failure::usage(format_args!("`{text}` is not a run"), "write REPO#NUMBER, for example shop-web#42")
}

pub(crate) async fn ls(context: &Context, repo: Option<&str>, limit: u32) -> Outcome {
    let query = repo.map_or_else(String::new, |repo| format!("&repo={}", segment(repo)));
    let answer = context.client()?.get(&format!("/api/v1/runs?limit={limit}{query}")).await?;
    if context.output.data(&answer)? {
        return Ok(());
    }
    if answer.list("items").is_empty() {
        context.output.note("There is no run yet. Push something to a repository that Sluice listens to.");
        return Ok(());
    }
    let mut table = Table::new(&[
        "RUN",
        "STATUS",
        "COMMIT",
        "TITLE",
        "AGE",
        "TOOK",
        "+REF",
        "+WORKFLOW",
        "+AUTHOR",
        "+CORRELATION",
    ]);
    for run in answer.list("items") {
        let title: String = run.text("title").chars().take(60).collect();
        table.row([
            name(run),
            standing(run),
            run.short("sha"),
            title,
            run.age("queuedAt"),
            took(run, "queuedAt", "finishedAt"),
            run.text("ref").trim_start_matches("refs/heads/").to_owned(),
            run.text("workflowFile"),
            run.text("author"),
            run.text("correlation"),
        ]);
    }
    table.print(context.output)
}

pub(crate) async fn rerun(context: &Context, run: &str, failed: bool) -> Outcome {
    act(context, run, "rerun", &json!({"failedOnly": failed}), "runs again").await
}

pub(crate) async fn cancel(context: &Context, run: &str) -> Outcome {
    act(context, run, "cancel", &json!({}), "is being stopped").await
}

async fn act(context: &Context, run: &str, verb: &str, body: &Value, done: &str) -> Outcome {
    let client = context.client()?;
    let run = RunName::parse(Some(run))?.must_find(&client).await?;
    let path = format!("{}/{verb}", path(&run.text("repository.slug"), run.number("number")));
    let answer = client.post_once(&path, body).await?;
    if !context.output.data(&answer)? {
        context.output.line(format!("{} {done}. Follow it: `sluice run watch {0}`", name(&run)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_named_as_people_name_them() {
        let parsed = |text| RunName::parse(Some(text)).map(|name| (name.repo, name.number));
        assert_eq!(parsed("shop-web#42"), Ok((Some("shop-web".into()), Some(42))));
        assert_eq!(parsed("dev/shop-web"), Ok((Some("dev/shop-web".into()), None)));
        assert_eq!((parsed("42"), parsed("#42")), (Ok((None, Some(42))), Ok((None, Some(42)))));
        for wrong in ["shop#x", "#", "#x"] {
            assert_eq!(parsed(wrong).map_err(|failure| failure.kind.exit_code()), Err(2), "{wrong}");
        }
        assert_eq!(RunName::parse(None), Ok(RunName { repo: None, number: None }));
    }

    #[test]
    fn the_repository_is_the_end_of_the_remotes_url() {
        for url in [
            "https://git.example.com/dev/web.git",
            "git@git.example.com:dev/web.git",
            "http://h:3080/x/dev/web/",
        ] {
            assert_eq!(full_name(url).as_deref(), Some("dev/web"), "{url}");
        }
        assert_eq!(full_name("web"), None);
    }
}
