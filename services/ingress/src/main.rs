//! The program of the front door alone; `sluice up` runs it together with the others.

fn main() -> std::process::ExitCode {
    sluice_chassis::main::<sluice_ingress::Config, _, _>("ingress", sluice_ingress::run)
}
