//! Whether an automated application syncs by itself now, and how often it may try.
//!
//! Invariant: it never decides for a gated application; that is asked before. Called by the reconciler after a comparison.

use std::time::Duration;

/// `syncPolicy.automated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Automation {
    pub prune: bool,
    pub self_heal: bool,
    pub allow_empty: bool,
}

/// The result of a comparison, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Objects that a sync would create or change.
    pub changes: usize,
    /// Objects that a sync with prune would delete.
    pub extra: usize,
    /// Objects that are desired.
    pub desired: usize,
    /// The manifests are those of the last attempt.
    pub same_manifests: bool,
    /// The last attempt with these manifests succeeded.
    pub last_succeeded: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Nothing,
    /// Something new to apply.
    Sync,
    /// The same manifests, but live objects drifted: after the self-heal back-off.
    Heal,
    /// The last attempt failed: retried only by the retry policy.
    Failed,
    /// Everything would be deleted, and `allowEmpty` is not set.
    WouldEmpty,
}

pub fn decide(automation: Automation, situation: Situation) -> Decision {
    let deletes = if automation.prune { situation.extra } else { 0 };
    if situation.changes + deletes == 0 {
        return Decision::Nothing;
    }
    if situation.desired == 0 && deletes > 0 && !automation.allow_empty {
        return Decision::WouldEmpty;
    }
    match (situation.same_manifests, situation.last_succeeded) {
        (false, _) => Decision::Sync,
        (true, false) => Decision::Failed,
        (true, true) if automation.self_heal => Decision::Heal,
        (true, true) => Decision::Nothing,
    }
}

/// Pause before the `attempt`th self-heal in a row (from 0): none before the first, then 2 s × 3ⁿ, at most 5 minutes.
pub fn heal_pause(attempt: u32) -> Duration {
    match attempt {
        0 => Duration::ZERO,
        n => Duration::from_secs(2).saturating_mul(3u32.saturating_pow(n - 1)).min(Duration::from_secs(300)),
    }
}

/// A retry policy: `syncPolicy.retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// `None` means no end.
    pub limit: Option<u32>,
    pub first: Duration,
    pub factor: u32,
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: Some(5), first: Duration::from_secs(5), factor: 2, longest: Duration::from_secs(180) }
    }
}

impl Retry {
    /// Pause before retry number `retry` (from 0); `None` when there is none left.
    pub fn pause(&self, retry: u32) -> Option<Duration> {
        if self.limit.is_some_and(|limit| retry >= limit) {
            return None;
        }
        Some(self.first.saturating_mul(self.factor.max(1).saturating_pow(retry)).min(self.longest))
    }
}

/// A duration as people write it in `backoff`: `5s`, `3m`, `1h30m`, `500ms`; a plain number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let part = match &rest[..unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let all = Automation { prune: true, self_heal: true, allow_empty: false };
        let none = Automation::default();
        let new = Situation { changes: 1, desired: 1, ..Situation::default() };
        let drift = Situation { same_manifests: true, last_succeeded: true, ..new };
        let table = [
            (all, Situation { desired: 3, ..Situation::default() }, Decision::Nothing),
            (all, new, Decision::Sync),
            (none, new, Decision::Sync),
            (all, drift, Decision::Heal),
            (none, drift, Decision::Nothing),
            (all, Situation { last_succeeded: false, ..drift }, Decision::Failed),
            (none, Situation { extra: 2, desired: 1, ..Situation::default() }, Decision::Nothing),
            (all, Situation { extra: 2, desired: 1, ..Situation::default() }, Decision::Sync),
            (all, Situation { extra: 2, ..Situation::default() }, Decision::WouldEmpty),
            (
                Automation { allow_empty: true, ..all },
                Situation { extra: 2, ..Situation::default() },
                Decision::Sync,
            ),
        ];
        for (automation, situation, expected) in table {
            assert_eq!(decide(automation, situation), expected, "{automation:?} {situation:?}");
        }
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let heals: Vec<_> = (0..8).map(|n| heal_pause(n).as_secs()).collect();
        assert_eq!(heals, [0, 2, 6, 18, 54, 162, 300, 300]);
        let retry = Retry::default();
        let pauses: Vec<_> = (0..6).map(|n| retry.pause(n).map(|it| it.as_secs())).collect();
        assert_eq!(pauses, [Some(5), Some(10), Some(20), Some(40), Some(80), None]);
        assert_eq!(Retry { limit: None, ..retry }.pause(u32::MAX), Some(retry.longest));
    }

    #[test]
    fn durations_as_people_write_them() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse_duration("5 minutes"), None);
        assert_eq!(parse_duration(""), None);
    }
}
