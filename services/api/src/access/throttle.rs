//! The brake on guessing passwords: five failures in five minutes, then a pause, for accounts that exist and for names
//! that do not alike.
//!
//! Invariant: memory is bounded: a thousand names at most, the oldest goes first. Called by login.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sluice_schemas::Timestamp;

/// Failures that are free.
pub(crate) const FREE: usize = 5;
const WINDOW_SECONDS: i64 = 300;
const PAUSE_SECONDS: i64 = 30;
const NAMES: usize = 1000;

#[derive(Default)]
struct Table {
    failures: BTreeMap<String, Vec<Timestamp>>,
    order: VecDeque<String>,
}

/// Failures by name.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<Table>);

impl Throttle {
    /// Whether a try is allowed now; else the seconds to wait.
    ///
    /// # Errors
    /// The seconds to wait.
    pub(crate) fn check(&self, name: &str, now: Timestamp) -> Result<(), u64> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = table.failures.get_mut(name) else { return Ok(()) };
        failures.retain(|at| at.plus_seconds(WINDOW_SECONDS) > now);
        match failures.last() {
            Some(last) if failures.len() >= FREE => {
                let free_at = last.plus_seconds(PAUSE_SECONDS);
                if free_at > now { Err(free_at.millis_since(now).div_ceil(1000)) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Notes a failure; returns how many tries are left before the pause.
    pub(crate) fn failed(&self, name: &str, now: Timestamp) -> usize {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.failures.contains_key(name) {
            if table.order.len() >= NAMES
                && let Some(oldest) = table.order.pop_front()
            {
                table.failures.remove(&oldest);
            }
            table.order.push_back(name.to_owned());
        }
        let failures = table.failures.entry(name.to_owned()).or_default();
        failures.retain(|at| at.plus_seconds(WINDOW_SECONDS) > now);
        failures.push(now);
        // More of them would change nothing.
        if failures.len() > FREE * 4 {
            failures.remove(0);
        }
        FREE.saturating_sub(failures.len())
    }

    /// Forgets the failures of a name after a success.
    pub(crate) fn succeeded(&self, name: &str) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.failures.remove(name);
        table.order.retain(|it| it != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_then_a_pause() {
        let throttle = Throttle::default();
        let now = Timestamp::from_unix_millis(1_790_000_000_000);
        for left in (0..FREE).rev() {
            assert_eq!(throttle.check("ada", now), Ok(()));
            assert_eq!(throttle.failed("ada", now), left);
        }
        assert_eq!(throttle.check("ada", now), Err(30));
        assert_eq!(throttle.check("bob", now), Ok(()));
        assert_eq!(throttle.check("ada", now.plus_seconds(31)), Ok(()));
        throttle.failed("ada", now.plus_seconds(31));
        assert!(throttle.check("ada", now.plus_seconds(32)).is_err());
        throttle.succeeded("ada");
        assert_eq!(throttle.check("ada", now.plus_seconds(32)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        let now = Timestamp::from_unix_millis(1_790_000_000_000);
        for name in 0..(NAMES + 50) {
            throttle.failed(&name.to_string(), now);
        }
        let table = throttle.0.lock().expect("not poisoned");
        assert_eq!((table.failures.len(), table.order.len()), (NAMES, NAMES));
    }
}
