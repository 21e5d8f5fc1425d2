//! The publisher as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_chassis::main::<sluice_publisher::Config, _, _>("publisher", sluice_publisher::run)
}
