//! The notifier's own program.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_chassis::main::<sluice_notifier::Config, _, _>("notifier", sluice_notifier::run)
}
