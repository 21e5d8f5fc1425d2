//! `yanzay/notify-telegram`: one message about how the job fares, sent by the notifier.
//!
//! The command names the secrets that hold chat and token; their values are read by the notifier. The step ends with
//! the notifier's answer, so a message that did not get through fails it, as with the original.

use std::time::Duration;

use futures::StreamExt as _;
use sluice_bus::From;
use sluice_schemas::Filter;
use sluice_schemas::commands::SendMessage;
use sluice_schemas::events::Event;
use sluice_schemas::ids::CommandId;
use sluice_schemas::subject::Entity;

use super::{ActionError, Outputs};
use crate::context::server_url;
use crate::executor::facts::Facts;
use crate::executor::{Inputs, Job};
use crate::log::writer::LogWriter;

pub(super) const INPUTS: &[&str] = &["chat", "token", "status"];
/// Telegram takes no longer text.
const MAX_TEXT: usize = 4096;

pub(super) async fn run(
    job: &mut Job,
    inputs: &Inputs,
    step: u32,
    log: &mut LogWriter,
    facts: &Facts,
) -> Result<Outputs, ActionError> {
    inputs.required("token")?;
    let chat = inputs.required("chat")?;
    let status = inputs.required("status")?;
    let Some(token_secret) = inputs.secret("token") else {
        return Err(ActionError::Failed(format!(
            "{}: the token must be a secret and nothing else, `${{{{ secrets.NAME }}}}`, because only its name is handed to the notifier",
            inputs.place("token")
        )));
    };
    let chat_secret = inputs.secret("chat");
    let run = &job.run;
    let id = format!("{}--{}-{step}", run.repository.slug, job.id);
    let message = CommandId::try_from(id.clone()).unwrap_or_else(|_| CommandId::from_text(&id));
    let link = format!("{}/{}/commit/{}/checks", server_url(run), run.repository.full_name, run.sha);
    // Only what the workflow wrote can hold a secret. The rest is no secret, even where one has the same value: the
    // organisation's IMAGE_PATH is its repository's name, and a message about `***` tells nobody anything.
    let status = job.masker.mask(status);
    let text = text(&status, &run.repository.full_name, &run.workflow_name, &link);
    let command = SendMessage {
        message: message.clone(),
        run: run.clone(),
        job: job.id.clone(),
        chat_secret: chat_secret.map(str::to_owned),
        chat: if chat_secret.is_some() { None } else { Some(chat.to_owned()) },
        token_secret: Some(token_secret.to_owned()),
        text,
    };
    log.line(&format!("sending: {}", command.text)).await;
    let bus = &job.executor.bus;
    let filter = Filter::facts(Entity::Chat, None, Some(message.as_str()), None);
    let passing = |error: &dyn std::error::Error| ActionError::Passing(error.to_string());
    // An earlier executor of this job may have asked already: then the answer is there or on its way.
    let known = bus.aggregate(&filter).await.map_err(|error| passing(&error))?;
    if let Some(answer) = known.into_iter().find_map(|fact| answer(fact.event)) {
        return conclude(answer, log).await;
    }
    bus.publish(&command, &facts.cause(&format!("send.{step}"))).await.map_err(|error| passing(&error))?;
    let mut answers = bus.facts(&filter, From::Start).await.map_err(|error| passing(&error))?;
    log.tick().await;
    let patience = Duration::from_secs(job.executor.config.notify_timeout_seconds);
    let waited = tokio::time::timeout(patience, async {
        while let Some(fact) = answers.next().await {
            if let Some(answer) = answer(fact.map_err(|error| passing(&error))?.event) {
                return Ok(answer);
            }
        }
        Err(ActionError::Passing("the log of facts ended".to_owned()))
    });
    match waited.await {
        Ok(answer) => conclude(answer?, log).await,
        Err(_) => Err(ActionError::Failed(format!(
            "the notifier did not answer within {} s; see that it runs and reaches Telegram",
            patience.as_secs()
        ))),
    }
}

async fn conclude(answer: Result<(), String>, log: &mut LogWriter) -> Result<Outputs, ActionError> {
    match answer {
        Ok(()) => {
            log.line("sent").await;
            Ok(Outputs::new())
        }
        Err(reason) => Err(ActionError::Failed(format!("the message was not sent: {reason}"))),
    }
}

fn answer(event: Event) -> Option<Result<(), String>> {
    match event {
        Event::ChatSent(_) => Some(Ok(())),
        Event::ChatFailed(fact) => Some(Err(fact.reason)),
        _ => None,
    }
}

/// The original's text without its mark-up, which breaks on names with underscores.
fn text(status: &str, repository: &str, workflow: &str, link: &str) -> String {
    let icon = match status.to_lowercase().as_str() {
        "success" => "\u{2705}",
        "failure" => "\u{2757}",
        "cancelled" => "\u{2755}",
        _ => "",
    };
    let text = format!("{icon}{status}: {repository} ({workflow}) {link}");
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_text_says_what_and_where() {
        assert_eq!(
            text("success", "dev/shop-web", "Java CI", "http://h/c"),
            "✅success: dev/shop-web (Java CI) http://h/c"
        );
        assert!(text("Failure", "a", "b", "c").starts_with("❗Failure: "));
        assert!(text("skipped", "a", "b", "c").starts_with("skipped: "));
    }
}
