//! `make demo`: the main job before your eyes, on real parts.
//!
//! With a terminal it tells each step, waits for the person at the gate, and stays up until Ctrl-C, which
//! stops everything that it started. With `CI=true` or without a terminal it plays the person itself, on
//! each surface once, and its exit code says whether every expectation held.

mod real;
mod stage;
mod teller;
mod telling;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use sluice_e2e::story::Report;
use tokio::signal::unix::{SignalKind, signal};

use crate::stage::Stage;
use crate::teller::Terminal;

/// The main job, step by step: a push becomes a running pod, and prod waits for a person.
#[derive(Parser)]
struct Arguments {
    /// Use the real Telegram Bot API. The token is read from $TELEGRAM_TOKEN, or asked for
    #[arg(long)]
    telegram_token: bool,
    /// Play the person's part, too, and end (the default without a terminal and with CI=true)
    #[arg(long)]
    unattended: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    sluice_e2e::install_crypto();
    let ci = std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false");
    let attended =
        !(ci || arguments.unattended) && std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    let report = Report::new(Box::new(Terminal::new(attended)));
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return ExitCode::FAILURE;
    };
    let mut stage = Stage::default();
    let outcome = tokio::select! {
        outcome = telling::tell(&mut stage, &report, arguments.telegram_token, attended) => Some(outcome),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let error = match &outcome {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("{error:#}")),
        // Attended, Ctrl-C is how it ends; else somebody broke it off.
        None if attended => None,
        None => Some("broken off".to_owned()),
    };
    let file = stage.write_report(&report.json(error.as_deref()));
    teller::ending(error.as_deref(), file.as_deref());
    stage.strike(&report).await;
    if error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
