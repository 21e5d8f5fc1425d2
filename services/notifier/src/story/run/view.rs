//! What a run looks like: header, commit, a line a job, the image, and on failure what, where and why.

use sluice_schemas::events::{Annotation, Conclusion};

use super::{JobLine, RunStory};
use crate::content::Content;
use crate::story::{Site, duration, image_name};
use crate::text::Text;

/// Characters of one quoted line.
const TAIL_WIDTH: usize = 200;
/// Job lines that a message shows; a large matrix would fill the screen.
const JOBS_SHOWN: usize = 12;
/// Mistakes of a workflow file that a message shows.
const MISTAKES_SHOWN: usize = 5;

impl RunStory {
    pub(in crate::story) fn render(&self, site: &Site) -> Content {
        let mut text = self.header(site).line().then(self.commit());
        for line in self.jobs.iter().take(JOBS_SHOWN) {
            text = text.line().say(job_line(line));
        }
        if self.jobs.len() > JOBS_SHOWN {
            text = text.line().say(format!("… and {} more jobs", self.jobs.len() - JOBS_SHOWN));
        }
        for image in &self.images {
            text = text.line().say("📦 ").code(image_name(image));
        }
        if !self.mistakes.is_empty() {
            text = mistakes(text, &self.mistakes);
        } else if self.conclusion.is_none() || self.conclusion == Some(Conclusion::Failure) {
            text = self.what_failed(text);
        }
        Content::text(text)
    }

    fn header(&self, site: &Site) -> Text {
        let (icon, state) = match (self.conclusion, self.mistakes.is_empty()) {
            (_, false) => ("❌", "cannot run".to_owned()),
            (Some(Conclusion::Success), _) => ("✅", format!("succeeded in {}", duration(self.duration_ms))),
            (Some(Conclusion::Failure), _) => ("❌", format!("failed after {}", duration(self.duration_ms))),
            (Some(Conclusion::Cancelled), _) => ("⛔", "cancelled".to_owned()),
            (Some(Conclusion::Skipped), _) => ("⏭", "skipped".to_owned()),
            (None, _) if self.jobs.iter().any(|job| job.started) => ("⏳", "runs".to_owned()),
            (None, _) => ("⏳", "queued".to_owned()),
        };
        let repository = &self.run.repository;
        let number = format!("#{}", self.run.number);
        let text = Text::new().say(format!("{icon} ")).bold(repository.full_name.clone()).say(" ");
        let text = match site.page(&format!("/runs/{}/{}", repository.slug, self.run.number)) {
            Some(url) => text.link(number, url),
            None => text.say(number),
        };
        let attempt = (self.attempt > 1).then(|| format!(", attempt {}", self.attempt)).unwrap_or_default();
        text.say(format!(" {state}{attempt} · {} · {}", branch(&self.run.git_ref), self.run.workflow_name))
    }

    fn commit(&self) -> Text {
        let url = &self.run.repository.html_url;
        let sha = self.run.sha.short();
        let text = if url.is_empty() {
            Text::new().code(sha)
        } else {
            Text::new().link(sha, format!("{url}/commit/{}", self.run.sha))
        };
        let by = if self.author.is_empty() { String::new() } else { format!(" — {}", self.author) };
        text.say(format!(" {}{by}", self.title))
    }

    fn what_failed(&self, text: Text) -> Text {
        let Some(failure) = &self.failure else {
            return text.when(self.reason.as_ref(), |text, reason| text.line().line().say(reason.clone()));
        };
        let text = text.line().line().say("job ").code(failure.job_name.clone());
        let text = match &failure.step {
            Some((number, name)) => text.say(format!(", step {} ", number + 1)).code(name.clone()),
            None => text,
        };
        let text = text.say(format!(": {}", failure.reason));
        let text = match &failure.place {
            Some((file, line)) if *line > 0 => text.line().code(format!("{file}:{line}")),
            Some((file, _)) => text.line().code(file.clone()),
            None => text,
        };
        let text = match (&failure.place, failure.message.is_empty()) {
            (_, true) => text,
            (Some(_), false) => text.say(format!(": {}", failure.message)),
            (None, false) => text.line().say(failure.message.clone()),
        };
        if failure.tail.is_empty() {
            return text;
        }
        let lines: Vec<String> =
            failure.tail.iter().map(|line| line.chars().take(TAIL_WIDTH).collect()).collect();
        text.line().pre(lines.join("\n"))
    }
}

fn mistakes(mut text: Text, mistakes: &[Annotation]) -> Text {
    text = text.line();
    for mistake in mistakes.iter().take(MISTAKES_SHOWN) {
        text = text.line().code(place_of(mistake)).say(format!(" {}", mistake.message));
    }
    if mistakes.len() > MISTAKES_SHOWN {
        text = text.line().say(format!("… and {} more", mistakes.len() - MISTAKES_SHOWN));
    }
    text
}

/// `file:line:column`, as far as known.
pub(in crate::story) fn place_of(annotation: &Annotation) -> String {
    match (annotation.line, annotation.column) {
        (0, _) => annotation.file.clone(),
        (line, 0) => format!("{}:{line}", annotation.file),
        (line, column) => format!("{}:{line}:{column}", annotation.file),
    }
}

fn job_line(line: &JobLine) -> String {
    let name = &line.name;
    match line.conclusion {
        Some(Conclusion::Success) => format!("✅ {name} {}", duration(line.duration_ms)),
        Some(Conclusion::Failure) => format!("❌ {name} {}", duration(line.duration_ms)),
        Some(Conclusion::Cancelled) => format!("⛔ {name}"),
        Some(Conclusion::Skipped) => format!("⏭ {name}"),
        None if line.started => {
            let step = usize::try_from(line.done).ok().and_then(|at| line.steps.get(at));
            match step {
                Some(step) => format!("⏳ {name}: {step} ({}/{})", line.done + 1, line.steps.len()),
                None => format!("⏳ {name}"),
            }
        }
        None => format!("▫️ {name}"),
    }
}

fn branch(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref)
}

#[cfg(test)]
mod tests {
    use sluice_schemas::Message;
    use sluice_schemas::events::{
        ImagePublished, JobFinished, JobStarted, RunFinished, RunQueued, RunRefused, StepFinished,
    };

    use super::*;

    fn story() -> RunStory {
        let queued = RunQueued::example();
        let mut story = RunStory::new(queued.run.clone());
        story.queued(&queued);
        story
    }

    #[test]
    fn a_failure_names_job_step_place_reason_and_log() {
        let mut story = story();
        story.job_started(&JobStarted::example());
        assert!(story.step_finished(&StepFinished::example()), "the log is wanted");
        story.quote(vec!["./src/basket.sh:12: total: <unbound>".to_owned(), "1 of 3 failed".to_owned()]);
        story.finished(&RunFinished::example());
        let html = story.render(&Site::default()).text.html();
        for part in [
            "❌ <b>dev/shop-web</b> #42 failed after 22.1 s · main · build",
            "job <code>test</code>, step 2 <code>Run tests</code>: exit code 1",
            "<code>src/basket.sh:12</code>",
            "<pre>./src/basket.sh:12: total: &lt;unbound&gt;\n1 of 3 failed</pre>",
        ] {
            assert!(html.contains(part), "{part} is not in:\n{html}");
        }
    }

    #[test]
    fn a_broken_workflow_names_the_place() {
        let refused = RunRefused::example();
        let mut story = RunStory::new(refused.run.clone());
        story.refused(&refused);
        let plain = story.render(&Site::default()).text.plain();
        assert!(story.is_terminal());
        assert!(plain.contains("cannot run"), "{plain}");
        assert!(plain.contains(".github/workflows/build.yml:12:7 job `build`"), "{plain}");
    }

    #[test]
    fn folding_twice_changes_nothing() {
        let mut story = story();
        story.job_started(&JobStarted::example());
        story.step_finished(&StepFinished::example());
        story.job_finished(&JobFinished::example());
        story.published(&ImagePublished::example());
        let once = story.clone();
        story.job_started(&JobStarted::example());
        story.step_finished(&StepFinished::example());
        story.queued(&RunQueued::example());
        story.job_finished(&JobFinished::example());
        story.published(&ImagePublished::example());
        assert_eq!(story, once);
    }

    #[test]
    fn an_executor_that_lost_its_lease_is_not_heard() {
        let mut story = story();
        story.job_started(&JobStarted { epoch: 9, ..JobStarted::example() });
        assert!(!story.step_finished(&StepFinished::example()));
        story.job_finished(&JobFinished { conclusion: Conclusion::Failure, ..JobFinished::example() });
        assert_eq!((story.failure, story.jobs[0].conclusion), (None, None));
    }

    #[test]
    fn another_attempt_begins_afresh() {
        let mut story = story();
        story.finished(&RunFinished::example());
        story.queued(&RunQueued { attempt: 2, ..RunQueued::example() });
        assert!(!story.is_terminal());
        story.finished(&RunFinished::example());
        assert!(!story.is_terminal(), "the end of the first attempt");
    }
}
