//! `digitalocean/action-doctl`: a token for later steps.
//!
//! The original installs `doctl` and logs in. Registry credentials are the publisher's business here, so nothing needs
//! to be installed for an image to be pushed; a `doctl` in the job's image finds the token in its environment.

use super::{ActionError, Outputs};
use crate::executor::{Inputs, Job};
use crate::log::writer::LogWriter;

pub(super) const INPUTS: &[&str] = &["version", "token", "no_auth"];

pub(super) async fn run(job: &mut Job, inputs: &Inputs, log: &mut LogWriter) -> Result<Outputs, ActionError> {
    let version = inputs.or("version", "latest").trim_start_matches('v');
    log.line(&format!("doctl {version} is not installed: Sluice pushes images through its publisher, which has its own credentials"))
        .await;
    if inputs.is_true("no_auth", false) {
        log.line("no_auth is set: no token is handed on").await;
        return Ok(Outputs::new());
    }
    let token = inputs.required("token")?;
    job.masker.add(token);
    job.contexts.env.insert("DIGITALOCEAN_ACCESS_TOKEN", token);
    log.line("a doctl in the job's image finds the token in DIGITALOCEAN_ACCESS_TOKEN").await;
    Ok(Outputs::new())
}
