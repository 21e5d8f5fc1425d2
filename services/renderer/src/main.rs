//! The renderer as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_chassis::main::<sluice_renderer::Config, _, _>("renderer", sluice_renderer::run)
}
