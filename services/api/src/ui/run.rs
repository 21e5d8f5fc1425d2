//! A run: job graph, reason, steps and log.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use maud::{Markup, html};
use serde::Deserialize;
use sluice_schemas::events::{Annotation, AnnotationLevel, Conclusion};

use super::errors::PageError;
use super::forms::{Done, toast};
use super::layout::{Frame, Place, crumbs, page as layout};
use super::parts::{
    ago, button, conclusion_status, icon, icon_with, job_status, run_status, safe_url, status, tint, who,
};
use super::{View, Viewer, dag, log};
use crate::Api;
use crate::access::{Action, Caller, Resource};
use crate::error::Answer;
use crate::model::{JobPhase, JobView, RunPhase, RunView, StepView, place};
use crate::rest::{logs, runs};
use crate::text::words::{count, duration};

/// Which job and step are shown.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Chosen {
    pub(super) job: Option<String>,
    pub(super) step: Option<u32>,
}

pub(super) async fn page(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    Path((repo, number)): Path<(String, u64)>,
    headers: HeaderMap,
    Query(chosen): Query<Chosen>,
    Query(done): Query<Done>,
) -> Result<Markup, PageError> {
    let run = runs::find(&api, &caller, &repo, number, Resource::Runs, Action::Get)?;
    let view = View::new(&api, &caller);
    let (job, step) = select(&run, &chosen)?;
    let slug = &run.run.repository.slug;
    let may_read = view.may(Resource::Logs, Action::Get, slug.as_str());
    let lines = match (&job, may_read) {
        (Some(job), true) => log::so_far(&api, slug, number, job, step).await,
        _ => log::Lines::default(),
    };
    let body = html! {
        (head(&view, &run))
        div class="gap" {
            @if !run.jobs.is_empty() { (graph(&run, job.as_ref())) }
            (reasons(&run))
            @if let Some(job) = &job { (job_panel(&view, &run, job, step, &lines, may_read)) }
        }
    };
    let at = job.as_ref().map_or_else(String::new, |job| format!("{}/{step}", job.planned.id));
    // The stream goes on after the lines that the page shows.
    let stream = format!("run/{slug}/{number}/{at}/{}", lines.last);
    let title = format!("{} #{number}", run.run.repository.full_name);
    let frame = Frame { done: toast(&done), ..Frame::new(&title, Place::Runs, stream) };
    Ok(layout(&view, &headers, &frame, &body))
}

/// What may change while somebody looks.
pub(super) fn fragments(
    view: &View<'_>,
    repo: &str,
    number: u64,
    job: &str,
    step: u32,
) -> Vec<(String, Markup)> {
    let Ok(run) = find(view.api, view.caller, repo, number) else { return Vec::new() };
    let shown = run.jobs.iter().find(|it| it.planned.id.as_str() == job);
    let mut found = vec![
        ("run-head".to_owned(), head(view, &run)),
        ("graph".to_owned(), graph(&run, shown)),
        ("reasons".to_owned(), reasons(&run)),
    ];
    if let Some(job) = shown {
        found.push(("job-head".to_owned(), job_head(job)));
        found.push(("steps".to_owned(), steps(view, &run, job, step)));
    }
    found
}

fn find(api: &Api, caller: &Caller, repo: &str, number: u64) -> Answer<RunView> {
    runs::find(api, caller, repo, number, Resource::Runs, Action::Get)
}

fn select(run: &RunView, chosen: &Chosen) -> Answer<(Option<JobView>, u32)> {
    let job = match chosen.job.as_deref().filter(|job| !job.is_empty()) {
        Some(text) => {
            let id = logs::named(&run.jobs, text)?;
            run.job(&id).cloned()
        }
        None => run.interesting_job().cloned(),
    };
    let step = chosen.step.or_else(|| job.as_ref().map(JobView::interesting_step)).unwrap_or_default();
    Ok((job, step))
}

fn head(view: &View<'_>, run: &RunView) -> Markup {
    let repository = &run.run.repository;
    let slug = &repository.slug;
    let number = run.run.number;
    let ended = matches!(run.phase, RunPhase::Finished | RunPhase::Refused);
    let failed = run.conclusion == Some(Conclusion::Failure);
    let branch = run.run.git_ref.trim_start_matches("refs/heads/");
    html! {
        header class="head" id="run-head" {
            (crumbs(&[("/runs", "Runs"), (&format!("/runs?repo={slug}"), &repository.full_name)], &format!("#{number}")))
            div class="row" {
                h1 { (run.title) }
                span id="run-status" { (tint(run_status(run))) }
                span class="mute" {
                    "#" (number) @if run.attempt > 1 { ", attempt " (run.attempt) } ", " (run.run.workflow_file.rsplit('/').next().unwrap_or_default())
                    ", " @if ended { (duration(run.duration_ms(view.now))) ", " } (ago(view, run.finished_at.unwrap_or(run.queued_at))) " ago"
                }
                span class="push row" {
                    a class="btn quiet" href={ "/deliveries/" (run.correlation) } { (icon("ledger")) "Delivery" }
                    @if !ended && view.may(Resource::Runs, Action::Cancel, slug.as_str()) {
                        (button(view, &format!("/ui/runs/{slug}/{number}/cancel"), "", "stop", "Cancel", None))
                    }
                    @if ended && view.may(Resource::Runs, Action::Rerun, slug.as_str()) {
                        @if failed && run.phase == RunPhase::Finished {
                            (button(view, &format!("/ui/runs/{slug}/{number}/rerun?failed=true"), "", "rerun", "Re-run failed", None))
                        }
                        (button(view, &format!("/ui/runs/{slug}/{number}/rerun"), "quiet", "rerun", "Re-run", None))
                    }
                }
            }
            div class="row mute small" {
                span { (who(&run.author)) } span { (icon("branch")) " " (branch) }
                span { (icon("commit")) " "
                    @match safe_url(&repository.html_url) {
                        Some(url) => { a href={ (url.trim_end_matches('/')) "/commit/" (run.run.sha) } rel="noreferrer" { code { (run.run.sha.short()) } } }
                        None => { code { (run.run.sha.short()) } }
                    }
                }
                span { (count(run.jobs.len(), "job", "jobs")) }
            }
        }
    }
}

fn graph(run: &RunView, job: Option<&JobView>) -> Markup {
    html! {
        section class="panel" id="graph" aria-label="Job graph" { div class="dag scroll in" { (dag::svg(run, job.map(|job| &job.planned.id))) } }
    }
}

/// Why it failed, with file and line.
fn reasons(run: &RunView) -> Markup {
    let annotations: Vec<&Annotation> = run.all_annotations();
    let errors: Vec<_> = annotations.iter().filter(|it| it.level == AnnotationLevel::Error).collect();
    let others: Vec<_> =
        annotations.iter().filter(|it| it.level != AnnotationLevel::Error).take(10).collect();
    html! {
        div id="reasons" class="gap tight" {
            @if run.conclusion == Some(Conclusion::Failure) {
                @if errors.is_empty() && let Some(reason) = &run.reason {
                    div class="banner bad" { (icon("bad")) span { b { (reason) } } a class="btn quiet push" href="#log" data-key="e" { "First error" } }
                }
                @for it in errors.iter().take(10) {
                    div class="banner bad" {
                        (icon("bad"))
                        span {
                            @if !it.file.is_empty() { b { (it.file) @if it.line > 0 { ", line " (it.line) @if it.column > 0 { ", column " (it.column) } } ":" } " " }
                            (it.message)
                        }
                    }
                }
            }
            @for it in others { div class="banner" { (icon("warn")) span { (place(it)) } } }
        }
    }
}

fn job_panel(
    view: &View<'_>,
    run: &RunView,
    job: &JobView,
    step: u32,
    lines: &log::Lines,
    may_read: bool,
) -> Markup {
    let slug = &run.run.repository.slug;
    let raw = format!("/api/v1/runs/{slug}/{}/logs?job={}&step={step}", run.run.number, job.planned.key);
    html! {
        section class="panel clip" aria-label={ "Job " (job.planned.name) } {
            (job_head(job))
            div class="runview" {
                (steps(view, run, job, step))
                div {
                    div class="logbar" {
                        input class="input" type="search" placeholder="Find in log" aria-label="Find in log" aria-keyshortcuts="/" data-find="#log";
                        span class="small mute" data-found="" {}
                        button class="btn quiet only" type="button" aria-label="Next match" data-next="" title="n" { (icon("down")) }
                        span class="push row" {
                            label class="small mute" { input type="checkbox" id="follow" checked[job.phase == JobPhase::Running]; " Follow" }
                            a class="btn quiet only" href=(raw) title="Raw log" { (icon("save")) span class="sr" { "Raw log" } }
                        }
                    }
                    @if may_read { (log::list(job, step, lines)) }
                    @else { p class="in mute" { "You may see this run, not its log: that needs logs, get on " (slug) "." } }
                }
            }
        }
    }
}

fn job_head(job: &JobView) -> Markup {
    let (kind, icon_name, word) = job_status(job.phase, job.conclusion);
    html! {
        header id="job-head" {
            h2 { (job.planned.name) } (status(kind, icon_name, word))
            @if let Some(reason) = &job.reason { span class="mute" { (reason) } }
            span class="dim small" { (job.executor) @if let Some(note) = &job.note { ", " (note) } }
        }
    }
}

fn steps(view: &View<'_>, run: &RunView, job: &JobView, current: u32) -> Markup {
    let base = format!("/runs/{}/{}?job={}&step=", run.run.repository.slug, run.run.number, job.planned.key);
    html! {
        ol id="steps" aria-label="Steps" { @for step in &job.steps {
            @let (name, class) = look(step);
            li { a class="step" href={ (base) (step.index) } aria-current=[(step.index == current).then_some("true")] data-nav="" {
                (icon_with(name, class)) span class="cut" { (step.index + 1) " " (step.name) }
                @match step.phase {
                    JobPhase::Finished if step.conclusion == Some(Conclusion::Skipped) => { time { "skipped" } }
                    JobPhase::Finished => { time { (duration(step.duration_ms)) } }
                    JobPhase::Running => { @if let Some(at) = step.started_at { (ago(view, at)) } }
                    JobPhase::Waiting => { time {} }
                }
            } }
        } }
    }
}

fn look(step: &StepView) -> (&'static str, &'static str) {
    match step.phase {
        JobPhase::Waiting => ("queue", ""),
        JobPhase::Running => ("run", "spin"),
        JobPhase::Finished => match step.conclusion.map(conclusion_status) {
            Some(("ok", name, _)) => (name, "ok-c"),
            Some(("bad", name, _)) => (name, "bad-c"),
            Some((_, name, _)) => (name, ""),
            None => ("unknown", ""),
        },
    }
}
