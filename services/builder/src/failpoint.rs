//! Places at which a test may kill this process, chosen to be the worst ones.
//!
//! With the feature `failpoints`, `SLUICE_KILL_AT=builder-job-taken` ends the process there, without any clean-up, as
//! a power cut would; the chassis arms it. Without the feature all of this is nothing.

/// A job is taken and announced; nothing of it has run.
pub(crate) const JOB_TAKEN: &str = "builder-job-taken";
/// The container runs, its first step does not.
pub(crate) const CONTAINER_CREATED: &str = "builder-container-created";
/// A step is under way.
pub(crate) const MID_STEP: &str = "builder-mid-step";
/// An image is built and stored; nobody knows yet.
pub(crate) const IMAGE_BEFORE_EVENT: &str = "builder-image-before-event";
/// The job's end is on record, its command not acknowledged.
pub(crate) const EVENT_BEFORE_ACK: &str = "builder-event-before-ack";
/// A run is on record, its jobs not handed out.
pub(crate) const RUN_QUEUED: &str = "builder-run-queued";

/// Dies here if a test wants it.
pub(crate) fn hit(name: &str) {
    // Without the feature the macro does not even look at the name.
    let _ = name;
    fail::fail_point!(name, |_| std::process::abort());
}
