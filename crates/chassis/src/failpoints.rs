//! Failpoints: named places at which a test lets a process die as by `kill -9`.
//!
//! Invariant: without the feature `failpoints`, which only test builds turn on, nothing here exists and every
//! `fail::fail_point!` is empty. With it, `SLUICE_KILL_AT=<name>[,<name>…]` ends the process the moment it comes to
//! one of them, without running a destructor; `FAILPOINTS` has the meaning that the crate `fail` gives it. Called by
//! [`crate::Process::new`].

/// Arms what the environment names.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    // The registry's scenario is kept for the life of the process; a second one would wait for the first for ever.
    static ARMED: std::sync::Once = std::sync::Once::new();
    ARMED.call_once(|| {
        std::mem::forget(fail::FailScenario::setup());
        for name in
            std::env::var("SLUICE_KILL_AT").unwrap_or_default().split(',').filter(|name| !name.is_empty())
        {
            // No destructor and no handler runs, as with SIGKILL.
            match fail::cfg_callback(name, || std::process::abort()) {
                Ok(()) => tracing::warn!(failpoint = name, "this process will die at a failpoint"),
                Err(error) => tracing::error!(failpoint = name, error, "the failpoint cannot be armed"),
            }
        }
    });
}

/// Nothing to arm.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm() {}
