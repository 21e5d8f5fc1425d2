//! The contexts of expressions and the default variables of steps: what a run looks like from inside.
//!
//! Pure: made from the run's reference and the push's fact. Secrets are not here.

use sluice_schemas::events::{PushReceived, RunRef};
use sluice_workflow::expression::{Environment, Object, Value};

/// Contexts that are known before any job runs: `github`, `vars`, `inputs`.
pub(crate) struct RunContext {
    pub(crate) github: Value,
    pub(crate) cancelled: bool,
}

impl Environment for RunContext {
    fn context(&self, name: &str) -> Option<Value> {
        match name.to_ascii_lowercase().as_str() {
            "github" => Some(self.github.clone()),
            "vars" | "inputs" => Some(Object::new().into()),
            _ => None,
        }
    }

    fn success(&self, _jobs: &[Value]) -> bool {
        !self.cancelled
    }

    fn failure(&self, _jobs: &[Value]) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        self.cancelled
    }

    fn hash_files(&self, _patterns: &[String]) -> Result<String, String> {
        Err("there is no workspace before a job runs".to_owned())
    }
}

/// The `github` context. `push` is absent only when its fact is older than the log.
pub(crate) fn github(run: &RunRef, push: Option<&PushReceived>, attempt: u32) -> Object {
    let (owner, _) = run.repository.full_name.split_once('/').unwrap_or((&run.repository.full_name, ""));
    let (ref_name, ref_type) = split_ref(&run.git_ref);
    let actor = push.map_or("", |push| push.pusher.as_str());
    let server = server_url(run);
    let mut github = Object::new();
    let number = run.number.to_string();
    let attempt = attempt.to_string();
    let workflow_ref = format!("{}/{}@{}", run.repository.full_name, run.workflow_file, run.git_ref);
    let clone_url = run.repository.clone_url.as_str();
    for (key, value) in [
        ("action", ""),
        ("actor", actor),
        ("triggering_actor", actor),
        ("api_url", ""),
        ("base_ref", ""),
        ("head_ref", ""),
        ("event_name", "push"),
        ("ref", run.git_ref.as_str()),
        ("ref_name", ref_name),
        ("ref_type", ref_type),
        ("repository", run.repository.full_name.as_str()),
        ("repository_owner", owner),
        ("repositoryUrl", clone_url),
        ("run_id", number.as_str()),
        ("run_number", number.as_str()),
        ("run_attempt", attempt.as_str()),
        ("server_url", server.as_str()),
        ("sha", run.sha.as_str()),
        ("workflow", run.workflow_name.as_str()),
        ("workflow_ref", workflow_ref.as_str()),
        ("workflow_sha", run.sha.as_str()),
        ("secret_source", "Actions"),
        // There is no token of the Git host here; an action that needs one says so itself.
        ("token", ""),
    ] {
        github.insert(key, value);
    }
    github.insert("ref_protected", false);
    github.insert("event", event(run, push));
    github
}

/// `https://host`, as actions expect it.
pub(crate) fn server_url(run: &RunRef) -> String {
    let url =
        if run.repository.html_url.is_empty() { &run.repository.clone_url } else { &run.repository.html_url };
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
        }
        None => String::new(),
    }
}

/// The name of the repository without its owner.
pub(crate) fn short_name(run: &RunRef) -> &str {
    run.repository.full_name.rsplit('/').next().unwrap_or(&run.repository.full_name)
}

fn split_ref(git_ref: &str) -> (&str, &str) {
    if let Some(branch) = git_ref.strip_prefix("refs/heads/") {
        (branch, "branch")
    } else if let Some(tag) = git_ref.strip_prefix("refs/tags/") {
        (tag, "tag")
    } else {
        (git_ref, "branch")
    }
}

/// `github.event` of a push, the parts that workflows read.
fn event(run: &RunRef, push: Option<&PushReceived>) -> Value {
    let mut repository = Object::new();
    repository.insert("name", short_name(run));
    repository.insert("full_name", run.repository.full_name.as_str());
    repository.insert("default_branch", run.repository.default_branch.as_str());
    repository.insert("clone_url", run.repository.clone_url.as_str());
    repository.insert("html_url", run.repository.html_url.as_str());
    let mut event = Object::new();
    event.insert("ref", run.git_ref.as_str());
    event.insert("after", run.sha.as_str());
    event.insert("repository", repository);
    let Some(push) = push else { return event.into() };
    event.insert("before", push.before.as_str());
    event.insert("created", push.created);
    event.insert("deleted", push.deleted);
    event.insert("forced", push.forced);
    let mut pusher = Object::new();
    pusher.insert("name", push.pusher.as_str());
    event.insert("pusher", pusher);
    if let Some(commit) = &push.head_commit {
        let mut author = Object::new();
        author.insert("name", commit.author_name.as_str());
        author.insert("email", commit.author_email.as_str());
        let mut head = Object::new();
        head.insert("id", commit.sha.as_str());
        head.insert("message", commit.message.as_str());
        head.insert("author", author);
        let head = Value::from(head);
        event.insert("commits", vec![head.clone()]);
        event.insert("head_commit", head);
    }
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_schemas::Message as _;

    #[test]
    fn the_github_context_tells_of_the_push() {
        let push = PushReceived::example();
        let run = sluice_schemas::events::RunQueued::example().run;
        let github = Value::from(github(&run, Some(&push), 2));
        for (path, wanted) in [
            ("ref_name", "main"),
            ("run_number", "42"),
            ("run_attempt", "2"),
            ("actor", "ada"),
            ("repository_owner", "dev"),
            ("server_url", "https://git.example.com"),
            ("token", ""),
        ] {
            assert_eq!(github.get(path).to_text().as_ref(), wanted, "{path}");
        }
        assert_eq!(
            github.get("event").get("head_commit").get("message").to_text().as_ref(),
            "Show the basket's total"
        );
    }
}
