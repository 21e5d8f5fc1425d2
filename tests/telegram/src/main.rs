//! `sluice-telegram-fake`: the fake as a program of its own, for trying things by hand.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use sluice_telegram_fake::{Fake, Options};

/// A fake of the Telegram Bot API. Its page is at the address it prints.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The bot's name, without @
    #[arg(long, default_value = "sluice_demo_bot")]
    bot: String,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command tells its user where it listens")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { listen: arguments.listen, bot_name: arguments.bot, ..Options::default() };
    let fake = match Fake::start(options).await {
        Ok(fake) => fake,
        Err(error) => {
            eprintln!("cannot listen on {}: {error}", arguments.listen);
            return ExitCode::FAILURE;
        }
    };
    println!("page and API: {}\ntoken: {}", fake.url(), fake.token());
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
