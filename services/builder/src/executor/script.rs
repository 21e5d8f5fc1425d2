//! `run:` steps: a script in the job's container.
//!
//! Output is split into lines, workflow commands are obeyed, everything else goes masked into the log. The step ends
//! when its process does; a stop or time limit sends the signals that GitHub's runner sends, with its patience.

use std::time::Duration;

use futures::StreamExt as _;
use indexmap::IndexMap;
use sluice_schemas::events::{Annotation, AnnotationLevel};

use super::stop::Stop;
use crate::commands::lines::{Interpreter, LineCommand};
use crate::failpoint;
use crate::log::lines::Lines;
use crate::log::mask::Masker;
use crate::log::writer::{FLUSH_EVERY, LogWriter};
use crate::sandbox::container::{Command, Output, Running, Sandbox, SandboxError};

/// From SIGINT to SIGTERM.
const INTERRUPT_PATIENCE: Duration = Duration::from_millis(7_500);
/// From SIGTERM to SIGKILL.
const TERMINATE_PATIENCE: Duration = Duration::from_millis(2_500);
/// From SIGKILL to giving up on the process.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// Annotations of a step.
const MAX_ANNOTATIONS: usize = 20;

/// How a script ended.
pub(crate) enum ScriptEnd {
    Exited(i32),
    TimedOut,
    Stopped,
}

/// What a script printed for us.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) outputs: IndexMap<String, String>,
    pub(crate) annotations: Vec<Annotation>,
}

pub(crate) struct Script<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) log: &'a mut LogWriter,
    pub(crate) masker: &'a Masker,
    pub(crate) limit: Duration,
    /// Absent for steps that run in spite of a stop.
    pub(crate) stop: Option<&'a Stop>,
}

impl Script<'_> {
    pub(crate) async fn run(&mut self, command: Command) -> Result<(ScriptEnd, Said), SandboxError> {
        let mut running = self.sandbox.execute(command).await?;
        failpoint::hit(failpoint::MID_STEP);
        let mut said = Said::default();
        let mut reader = Reader::default();
        let mut ticks = tokio::time::interval(FLUSH_EVERY);
        let mut limit = std::pin::pin!(tokio::time::sleep(self.limit));
        let stop = self.stop.cloned();
        let mut stopped = std::pin::pin!(stopped(stop.as_ref()));
        let end = loop {
            tokio::select! {
                piece = running.output.next() => match piece {
                    Some(piece) => self.take(&mut reader, &mut said, piece?).await,
                    None => break None,
                },
                _ = ticks.tick() => self.log.tick().await,
                () = &mut limit => break Some(ScriptEnd::TimedOut),
                () = &mut stopped => break Some(ScriptEnd::Stopped),
            }
        };
        let end = match end {
            None => ScriptEnd::Exited(self.sandbox.exit_code(&running.id).await?),
            Some(end) => {
                self.bring_down(&mut running, &mut reader, &mut said).await;
                end
            }
        };
        for line in reader.finish() {
            self.obey(&mut reader, &mut said, line).await;
        }
        Ok((end, said))
    }

    async fn bring_down(&mut self, running: &mut Running, reader: &mut Reader, said: &mut Said) {
        for (signal, patience) in
            [("INT", INTERRUPT_PATIENCE), ("TERM", TERMINATE_PATIENCE), ("KILL", KILL_PATIENCE)]
        {
            self.sandbox.signal(signal).await;
            let drained = tokio::time::timeout(patience, async {
                while let Some(Ok(piece)) = running.output.next().await {
                    self.take(reader, said, piece).await;
                }
            });
            if drained.await.is_ok() {
                return;
            }
        }
        tracing::warn!(
            container = self.sandbox.name(),
            "a process outlives SIGKILL; it goes with its container"
        );
    }

    async fn take(&mut self, reader: &mut Reader, said: &mut Said, piece: Output) {
        for line in reader.take(piece, self.masker.longest()) {
            self.obey(reader, said, line).await;
        }
    }

    async fn obey(&mut self, reader: &mut Reader, said: &mut Said, line: String) {
        match reader.interpreter.read(&line) {
            LineCommand::Show(line) => self.log.line(&line).await,
            LineCommand::AddMask(secret) => self.masker.add(&secret),
            LineCommand::SetOutput { name, value } => {
                said.outputs.insert(name, value);
            }
            LineCommand::Annotate { level, file, line, column, message } => {
                let word = match level {
                    AnnotationLevel::Error => "error",
                    AnnotationLevel::Warning => "warning",
                    AnnotationLevel::Notice => "notice",
                };
                self.log.line(&format!("##[{word}]{message}")).await;
                if said.annotations.len() < MAX_ANNOTATIONS {
                    let (file, message) = (self.masker.mask(&file), self.masker.mask(&message));
                    said.annotations.push(Annotation { level, file, line, column, message });
                }
            }
            LineCommand::Quiet => {}
            LineCommand::Refused(reason) => self.log.line(&format!("##[error]{reason}")).await,
        }
    }
}

/// Completes when the job is to stop; never for what runs in spite of that.
pub(crate) async fn stopped(stop: Option<&Stop>) {
    match stop {
        Some(stop) => stop.triggered().await,
        None => std::future::pending().await,
    }
}

/// Both streams of a process, each with its own unfinished line.
#[derive(Default)]
struct Reader {
    out: Lines,
    err: Lines,
    interpreter: Interpreter,
}

impl Reader {
    fn take(&mut self, piece: Output, hold_back: usize) -> Vec<String> {
        match piece {
            Output::Out(bytes) => self.out.take(&bytes, hold_back),
            Output::Err(bytes) => self.err.take(&bytes, hold_back),
        }
    }

    fn finish(&mut self) -> Vec<String> {
        self.out.finish().into_iter().chain(self.err.finish()).collect()
    }
}
