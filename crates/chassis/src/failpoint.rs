//! Places where a test may make the process die, as by `kill -9`: no destructor runs, nothing is flushed.
//!
//! Compiled in only with the feature `failpoints`. `FAILPOINTS='publisher-before-push=return'` ends the process when it
//! comes by; `1*return->off`, `sleep(500)` and `pause` work as the `fail` crate describes them. Names are
//! `<service>-<place>`; the end-to-end tests name them. Called by services just before and after a side effect.

/// Comes by the place called `name`.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    fail::fail_point!(name, |_| std::process::abort());
}

/// Comes by the place called `name`: nothing happens in this build.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_: &str) {}

/// Reads `FAILPOINTS`. Called once by a process, before its services start.
pub(crate) fn arm() {
    #[cfg(feature = "failpoints")]
    {
        // The scenario lasts as long as the process.
        std::mem::forget(fail::FailScenario::setup());
        let armed: Vec<String> = fail::list().into_iter().map(|(name, action)| format!("{name}={action}")).collect();
        if !armed.is_empty() {
            tracing::warn!(?armed, "this process will die on purpose");
        }
    }
}
