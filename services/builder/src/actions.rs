//! The actions that the builder carries out itself: same inputs, outputs and defaults as the originals, any version.
//!
//! A registry: [`find`] by `owner/repository`, in any case. They run on our side of the container's wall, so what they
//! take from the job (paths, texts) is checked, and what they hold (credentials) never enters it.

mod checkout;
mod docr;
mod doctl;
mod telegram;

use indexmap::IndexMap;
use sluice_schemas::events::StepKind;

use crate::executor::facts::Facts;
use crate::executor::{InputError, Inputs, Job};
use crate::log::writer::LogWriter;

/// Written as people write them, for the message that names them.
pub(crate) const NAMES: &[&str] = &[
    "actions/checkout",
    "digitalocean/action-doctl",
    "ripplr-io/docr-docker-publish",
    "yanzay/notify-telegram",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Native {
    Checkout,
    Doctl,
    DocrDockerPublish,
    NotifyTelegram,
}

/// Why an action did not succeed.
#[derive(Debug)]
pub(crate) enum ActionError {
    /// The step fails, with this reason.
    Failed(String),
    /// The job is being stopped.
    Stopped,
    /// Not the workflow's fault: the job is tried again.
    Passing(String),
}

impl From<InputError> for ActionError {
    fn from(error: InputError) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(crate) type Outputs = IndexMap<String, String>;

/// The native action of that name, whatever its version.
pub(crate) fn find(slug: &str) -> Option<Native> {
    match slug.to_ascii_lowercase().as_str() {
        "actions/checkout" => Some(Native::Checkout),
        "digitalocean/action-doctl" => Some(Native::Doctl),
        "ripplr-io/docr-docker-publish" => Some(Native::DocrDockerPublish),
        "yanzay/notify-telegram" => Some(Native::NotifyTelegram),
        _ => None,
    }
}

impl Native {
    /// Names of its inputs.
    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Checkout => checkout::INPUTS,
            Self::Doctl => doctl::INPUTS,
            Self::DocrDockerPublish => docr::INPUTS,
            Self::NotifyTelegram => telegram::INPUTS,
        }
    }

    pub(crate) fn kind(self) -> StepKind {
        match self {
            Self::Checkout => StepKind::Checkout,
            Self::Doctl => StepKind::Action,
            Self::DocrDockerPublish => StepKind::Image,
            Self::NotifyTelegram => StepKind::Notify,
        }
    }

    pub(crate) async fn run(
        self,
        job: &mut Job,
        inputs: &Inputs,
        step: u32,
        log: &mut LogWriter,
        facts: &Facts,
    ) -> Result<Outputs, ActionError> {
        match self {
            Self::Checkout => Box::pin(checkout::run(job, inputs, step, log)).await,
            Self::Doctl => doctl::run(job, inputs, log).await,
            Self::DocrDockerPublish => Box::pin(docr::run(job, inputs, log, facts)).await,
            Self::NotifyTelegram => Box::pin(telegram::run(job, inputs, step, log, facts)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_found_in_any_case() {
        assert_eq!(find("Actions/Checkout"), Some(Native::Checkout));
        assert!(NAMES.iter().all(|name| find(name).is_some()));
        assert_eq!(find("actions/cache"), None);
    }
}
