//! Asking the person: lines, confirmations, secrets without echo.
//!
//! Invariants: a secret comes from the terminal with echo off, from standard input or from a file, never from an argument;
//! with `--no-input`, or when standard input has ended, a question is an error that says how to do without; reading
//! happens off the runtime's threads, so that Ctrl-C is heard, and the echo comes back whatever happens.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use sluice_chassis::Secret;

use crate::failure::{Failure, Outcome};

/// No secret is longer.
const MAX_SECRET: u64 = 1 << 20;
/// The terminal's echo is off.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Asks; `None` when there is nobody to answer.
pub(crate) async fn ask(question: impl Into<String>, may_ask: bool) -> Outcome<Option<String>> {
    if !may_ask {
        return Ok(None);
    }
    let question = question.into();
    off_the_runtime(move || ask_now(&question)).await
}

/// A secret from a file, the terminal or standard input.
pub(crate) async fn secret(
    question: impl Into<String>,
    file: Option<&Path>,
    may_ask: bool,
) -> Outcome<Secret> {
    let (question, file) = (question.into(), file.map(Path::to_owned));
    off_the_runtime(move || secret_now(&question, file.as_deref(), may_ask)).await
}

/// Turns the echo on again if a question was cut short.
pub(crate) fn restore() {
    if SILENT.swap(false, Ordering::SeqCst) {
        stty("echo");
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> Outcome<T> {
    let result = sluice_chassis::blocking("a question", work).await;
    result.map_err(|error| Failure::failed(error, "try again"))?
}

fn ask_now(question: &str) -> Outcome<Option<String>> {
    prompt(question);
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).map_err(|error| unreadable(&error))?;
    Ok((read > 0).then(|| line.trim().to_owned()))
}

fn secret_now(question: &str, file: Option<&Path>, may_ask: bool) -> Outcome<Secret> {
    if let Some(path) = file {
        let opened = File::open(path).and_then(|file| read_all(file));
        return opened.map(Secret::new).map_err(|error| {
            Failure::usage(
                format_args!("{} cannot be read: {error}", path.display()),
                "name a readable UTF-8 file",
            )
        });
    }
    if !io::stdin().is_terminal() {
        let text = read_all(io::stdin().lock()).map_err(|error| unreadable(&error))?;
        // `echo value |` adds a line end that nobody means.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        return given(text.strip_suffix('\r').unwrap_or(text));
    }
    if !may_ask {
        return Err(Failure::usage(
            "a secret is needed and --no-input forbids asking",
            "give it on standard input, or name a file",
        ));
    }
    let _silence = Silence::new();
    prompt(question);
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| unreadable(&error))?;
    prompt("\n");
    given(line.trim_end_matches(['\r', '\n']))
}

fn given(text: &str) -> Outcome<Secret> {
    if text.is_empty() {
        return Err(Failure::usage("the value is empty", "type it, or give it on standard input"));
    }
    Ok(Secret::new(text))
}

fn prompt(text: &str) {
    let mut terminal = io::stderr().lock();
    // A prompt that cannot be shown is missed by nobody: the answer is read all the same.
    drop(terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()));
}

fn read_all(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_SECRET).read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::failed(
        format_args!("standard input cannot be read: {error}"),
        "run this in a terminal, or pipe the answer in",
    )
}

/// Turns the terminal's echo off while it lives. `stty` does it, because the system call needs unsafe code.
struct Silence;

impl Silence {
    fn new() -> Self {
        SILENT.store(true, Ordering::SeqCst);
        stty("-echo");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        restore();
    }
}

fn stty(setting: &str) {
    let Ok(terminal) = File::open("/dev/tty") else { return };
    let status = Command::new("stty")
        .arg(setting)
        .stdin(terminal)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if let Err(error) = status {
        tracing::debug!(%error, "stty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_byte_by_byte() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        std::fs::write(&path, "a\nb\n").expect("written");
        assert_eq!(secret_now("?", Some(&path), false).ok().expect("read").expose(), "a\nb\n");
        let missing = secret_now("?", Some(Path::new("/no/such/file")), false).err().expect("an error");
        assert_eq!(missing.kind.exit_code(), 2);
    }

    #[tokio::test]
    async fn nobody_is_asked_when_nobody_may_be() {
        assert_eq!(ask("?", false).await.expect("no error"), None);
    }
}
