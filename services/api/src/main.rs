//! The API server as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_chassis::main("api", sluice_api::run)
}
