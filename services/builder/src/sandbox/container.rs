//! One running sandbox: executing in it, stopping what runs, freezing it, removing it.

use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::engine::reason;

/// The engine reports a process's end a moment after its output ends.
const EXIT_POLLS: u32 = 100;
const EXIT_POLL: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("the command cannot be run in the job's container: {reason}")]
    Exec { reason: String },
    #[error("the job's container does not obey: {reason}")]
    Control { reason: String },
}

/// What to execute.
pub(crate) struct Command {
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`; goes to the engine in the request's body.
    pub(crate) environment: Vec<String>,
    pub(crate) directory: String,
}

/// A piece of output.
pub(crate) enum Output {
    Out(Bytes),
    Err(Bytes),
}

pub(crate) type OutputStream = Pin<Box<dyn Stream<Item = Result<Output, SandboxError>> + Send>>;

/// A running command.
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) output: OutputStream,
}

#[derive(Clone)]
pub(crate) struct Sandbox {
    docker: Docker,
    name: String,
    network: String,
}

impl Sandbox {
    pub(super) fn new(docker: Docker, name: String, network: String) -> Self {
        Self { docker, name, network }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn network(&self) -> &str {
        &self.network
    }

    pub(crate) async fn execute(&self, command: Command) -> Result<Running, SandboxError> {
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.arguments),
            env: Some(command.environment),
            working_dir: Some(command.directory),
            ..CreateExecOptions::default()
        };
        let fail = |error: bollard::errors::Error| SandboxError::Exec { reason: reason(&error) };
        let id = self.docker.create_exec(&self.name, options).await.map_err(fail)?.id;
        match self.docker.start_exec(&id, None).await.map_err(fail)? {
            StartExecResults::Attached { output, .. } => {
                let output = output.filter_map(|piece| {
                    std::future::ready(match piece {
                        Ok(LogOutput::StdErr { message }) => Some(Ok(Output::Err(message))),
                        Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => {
                            Some(Ok(Output::Out(message)))
                        }
                        Ok(LogOutput::StdIn { .. }) => None,
                        Err(error) => Some(Err(SandboxError::Exec { reason: reason(&error) })),
                    })
                });
                Ok(Running { id, output: Box::pin(output) })
            }
            StartExecResults::Detached => {
                Err(SandboxError::Exec { reason: "the engine did not attach".to_owned() })
            }
        }
    }

    /// The exit code of a command whose output has ended.
    pub(crate) async fn exit_code(&self, id: &str) -> Result<i32, SandboxError> {
        for _ in 0..EXIT_POLLS {
            let inspected = self.docker.inspect_exec(id).await;
            let inspected = inspected.map_err(|error| SandboxError::Exec { reason: reason(&error) })?;
            if inspected.running != Some(true)
                && let Some(code) = inspected.exit_code
            {
                return Ok(i32::try_from(code).unwrap_or(-1));
            }
            tokio::time::sleep(EXIT_POLL).await;
        }
        // A child that outlives its parent and has closed its output: the step has ended all the same.
        Err(SandboxError::Exec { reason: "the command's end was not reported".to_owned() })
    }

    /// Runs a short command of ours to its end; gives exit code and what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<(i32, String), SandboxError> {
        let command = Command {
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            environment: Vec::new(),
            directory: "/".to_owned(),
        };
        let mut running = self.execute(command).await?;
        let mut printed = Vec::new();
        while let Some(piece) = running.output.next().await {
            match piece? {
                Output::Out(bytes) | Output::Err(bytes) if printed.len() < 64 * 1024 => {
                    printed.extend_from_slice(&bytes);
                }
                _ => {}
            }
        }
        let code = self.exit_code(&running.id).await?;
        Ok((code, String::from_utf8_lossy(&printed).into_owned()))
    }

    /// Sends a signal to every process of the job. The two that are not the job's stay: the container's init and what
    /// it waits for, which are the two oldest.
    pub(crate) async fn signal(&self, signal: &str) {
        const TO_ALL: &str = "m=0
for p in /proc/[0-9]*; do p=${p#/proc/}; if [ $p -gt 1 ] && { [ $m -eq 0 ] || [ $p -lt $m ]; }; then m=$p; fi; done
for p in /proc/[0-9]*; do p=${p#/proc/}
if [ $p -gt 1 ] && [ $p -ne $m ] && [ $p -ne $$ ]; then kill -s $0 $p 2>/dev/null; fi; done
true";
        match self.run(&["sh", "-c", TO_ALL, signal]).await {
            Ok((0, _)) => {}
            Ok((code, said)) => {
                tracing::warn!(container = self.name, signal, code, said, "the signal was not sent")
            }
            Err(error) => tracing::warn!(container = self.name, signal, %error, "the signal was not sent"),
        }
    }

    /// Freezes every process, so that the job's files hold still while we read them.
    pub(crate) async fn freeze(&self) -> Result<(), SandboxError> {
        self.docker
            .pause_container(&self.name)
            .await
            .map_err(|error| SandboxError::Control { reason: reason(&error) })
    }

    pub(crate) async fn thaw(&self) -> Result<(), SandboxError> {
        self.docker
            .unpause_container(&self.name)
            .await
            .map_err(|error| SandboxError::Control { reason: reason(&error) })
    }

    /// `PATH` of the image, which directories are put in front of.
    pub(crate) async fn image_path(&self) -> Option<String> {
        let none = None::<bollard::query_parameters::InspectContainerOptions>;
        let inspected = self.docker.inspect_container(&self.name, none).await.ok()?;
        let variables = inspected.config?.env?;
        variables.iter().find_map(|variable| variable.strip_prefix("PATH=").map(str::to_owned))
    }

    /// Removes container and network. What cannot be removed is found by its label at the next start.
    pub(crate) async fn remove(&self) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        if let Err(error) = self.docker.remove_container(&self.name, Some(options)).await {
            tracing::debug!(container = self.name, %error, "no container to remove");
        }
        if let Err(error) = self.docker.remove_network(&self.network).await {
            tracing::warn!(network = self.network, %error, "a network stays behind");
        }
    }
}
