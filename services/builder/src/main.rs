//! The builder as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_chassis::main("builder", sluice_builder::run)
}
