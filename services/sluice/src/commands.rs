//! The commands, one file each. Called by `main`.

mod account;
mod app;
mod bus;
mod create;
mod dlq;
mod doctor;
mod logs;
mod promote;
mod registry;
mod replay;
mod repo;
mod run;
mod secret;
mod sync;
mod trace;
mod version;
mod watch;
mod workflow;

use clap::CommandFactory;

use crate::arguments::{AppCommand, Cli, Command, RunCommand};
use crate::context::Context;
use crate::failure::Outcome;

/// Carries out a command, all but `up`.
pub(crate) async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Up(_) => Ok(()),
        Command::Doctor(arguments) => doctor::doctor(context, &arguments).await,
        Command::Login(arguments) => account::login(context, arguments).await,
        Command::Logout => account::logout(context).await,
        Command::Link { remove } => account::link(context, remove).await,
        Command::Run(command) => runs(context, command).await,
        Command::App(command) => apps(context, command).await,
        Command::Promote(arguments) => promote::promote(context, arguments).await,
        Command::Secret(command) => secret::secret(context, command).await,
        Command::Registry(command) => registry::registry(context, command).await,
        Command::Repo(command) => repo::repo(context, command).await,
        Command::Trace { what } => trace::trace(context, &what).await,
        Command::Replay(arguments) => replay::replay(context, &arguments).await,
        Command::Dlq(command) => dlq::dlq(context, command).await,
        Command::Bus(command) => bus::bus(context, command).await,
        Command::Workflow(command) => workflow::workflow(context, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
            context.output.text(&String::from_utf8_lossy(&script))
        }
        Command::Version => version::version(context).await,
    }
}

/// An error of a service with everything under it.
pub(crate) fn chain_of(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

async fn runs(context: &Context, command: RunCommand) -> Outcome {
    match command {
        RunCommand::Ls { repo, limit } => run::ls(context, repo.as_deref(), limit).await,
        RunCommand::Watch { run, timeout } => watch::watch(context, run.as_deref(), timeout).await,
        RunCommand::Logs { run, job, step, follow, timestamps, failed } => {
            let wanted = logs::Wanted { job, step, follow, timestamps, failed };
            logs::logs(context, run.as_deref(), &wanted).await
        }
        RunCommand::Rerun { run, failed } => run::rerun(context, &run, failed).await,
        RunCommand::Cancel { run } => run::cancel(context, &run).await,
    }
}

async fn apps(context: &Context, command: AppCommand) -> Outcome {
    match command {
        AppCommand::Create { file, upsert } => create::create(context, &file, upsert).await,
        AppCommand::Ls => app::ls(context).await,
        AppCommand::Get { name, refresh } => app::get(context, &name, refresh).await,
        AppCommand::Diff { name } => app::diff(context, &name).await,
        AppCommand::Sync(arguments) => sync::sync(context, arguments).await,
        AppCommand::Wait { name, sync, health, timeout } => {
            app::wait(context, &name, sync, health, timeout).await
        }
    }
}
