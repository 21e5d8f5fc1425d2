//! The reconciler's own program.

fn main() -> std::process::ExitCode {
    sluice_chassis::main::<sluice_reconciler::Config, _, _>("reconciler", sluice_reconciler::run)
}
