//! The command `sluice`: a client of the API, and `sluice up`, which is every service in one process.
//!
//! Purpose: everything that a person at a terminal does. Invariants: it holds no rights of its own, what it does it does
//! through the API as the person logged in (but for `up`, `doctor`, `bus`, `repo` and `dlq --direct`, which are an
//! operator's and use bus and cluster); every error has a next step and a promised exit code; no secret is an argument.
//! The only crate that names all services.

mod arguments;
mod client;
mod commands;
mod context;
mod failure;
mod login;
mod output;
#[cfg(test)]
mod reference;
mod terminal;
mod up;
mod value;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Cli, Command};
use context::Context;
use failure::{Failure, Outcome};
use output::{Output, Tone};

/// The whole life of the command.
#[must_use]
pub fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and exit code 2.
    let Cli { output, server, no_input, command } = Cli::parse();
    let context = Context { output: Output::new(output), server, may_ask: !no_input };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return report(
                context.output,
                &Failure::failed(format_args!("no runtime: {error}"), "free some memory"),
            );
        }
    };
    let outcome = runtime.block_on(run(&context, command));
    terminal::restore();
    // A question that nobody answers any more must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(context.output, &failure),
    }
}

async fn run(context: &Context, command: Command) -> Outcome {
    if let Command::Up(arguments) = command {
        // It ends in an orderly way at a signal, by itself.
        return Box::pin(up::up(context, arguments)).await;
    }
    tokio::select! {
        outcome = Box::pin(commands::run(context, command)) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

fn report(output: Output, failure: &Failure) -> ExitCode {
    if !failure.message.is_empty() {
        let word = output.paint(Tone::Bad, "error:");
        let mut text = format!("{word} {}\n", failure.message);
        if !failure.next.is_empty() {
            text.push_str(&format!("next:  {}\n", failure.next));
        }
        // Without standard error the exit code has to do.
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }
    ExitCode::from(failure.kind.exit_code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            let below: Vec<_> =
                command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
            if below.is_empty() && command.get_name() != "help" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:\n  sluice "), "{} has no examples", command.get_name());
            }
            open.extend(below);
        }
    }

    #[test]
    fn no_argument_takes_a_secret() {
        let mut command = Cli::command();
        command.build();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let suspicious = ["password", "token", "value", "secret"].contains(&name);
                assert!(!suspicious, "{} {name}", command.get_name());
            }
            open.extend(command.get_subcommands().cloned());
        }
    }
}
