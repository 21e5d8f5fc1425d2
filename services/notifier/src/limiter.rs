//! Telegram's limits, kept from our side: so many messages a minute and chat, and silence after a 429.
//!
//! Invariant: a permit is taken before each call that a person can see. Called by the outbox.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Chats remembered; beyond that, those that have been quiet go.
const CHATS: usize = 1_000;
/// Calls that a quiet chat may get at once.
const BURST: f64 = 8.0;

/// What Telegram allows in a private chat.
const PRIVATE_PER_MINUTE: u32 = 60;
/// Fewer permits than this are kept for what people must see.
const TIGHT: f64 = 3.0;

/// What a call costs. Telegram's published limit counts messages; edits have a softer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A new message.
    Message,
    /// A change of one.
    Edit,
}

/// The limits of all chats.
pub(crate) struct Limiter {
    per_minute: u32,
    chats: Mutex<HashMap<i64, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
    held_until: Option<Instant>,
}

impl Limiter {
    /// At most `per_minute` calls a chat.
    #[must_use]
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute: per_minute.max(1), chats: Mutex::default() }
    }

    /// Waits until a call to `chat` is allowed.
    pub(crate) async fn pass(&self, chat: i64, cost: Cost) {
        while let Some(wait) = self.take(chat, cost) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether what can wait should wait: few permits are left.
    #[must_use]
    pub(crate) fn is_tight(&self, chat: i64) -> bool {
        let now = Instant::now();
        let chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        chats.get(&chat).is_some_and(|bucket| self.filled(chat, bucket, now) < TIGHT)
    }

    /// No call to `chat` for `wait`.
    pub(crate) fn hold(&self, chat: i64, wait: Duration) {
        let now = Instant::now();
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = chats.entry(chat).or_insert_with(|| full(now));
        bucket.held_until = Some(now + wait);
    }

    /// Takes a permit, or says how long to wait for the next.
    fn take(&self, chat: i64, cost: Cost) -> Option<Duration> {
        let cost = match cost {
            Cost::Message => 1.0,
            Cost::Edit => 0.5,
        };
        let now = Instant::now();
        let mut chats = self.chats.lock().unwrap_or_else(PoisonError::into_inner);
        if chats.len() > CHATS {
            chats.retain(|_, bucket| now.duration_since(bucket.filled_at) < Duration::from_secs(120));
        }
        let bucket = chats.entry(chat).or_insert_with(|| full(now));
        if let Some(until) = bucket.held_until {
            if until > now {
                return Some(until - now);
            }
            bucket.held_until = None;
        }
        bucket.tokens = self.filled(chat, bucket, now);
        bucket.filled_at = now;
        if bucket.tokens >= cost {
            bucket.tokens -= cost;
            return None;
        }
        Some(Duration::from_secs_f64((cost - bucket.tokens) / self.per_second(chat)))
    }

    fn filled(&self, chat: i64, bucket: &Bucket, now: Instant) -> f64 {
        let gained = now.duration_since(bucket.filled_at).as_secs_f64() * self.per_second(chat);
        (bucket.tokens + gained).min(BURST)
    }

    fn per_second(&self, chat: i64) -> f64 {
        // Private chats have positive numbers.
        let per_minute = if chat > 0 { self.per_minute.max(PRIVATE_PER_MINUTE) } else { self.per_minute };
        f64::from(per_minute) / 60.0
    }
}

fn full(now: Instant) -> Bucket {
    Bucket { tokens: BURST, filled_at: now, held_until: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_steady_rate_and_each_chat_for_itself() {
        let limiter = Limiter::new(60);
        let passed = (0..20).take_while(|_| limiter.take(1, Cost::Message).is_none()).count();
        assert_eq!(passed, 8);
        let wait = limiter.take(1, Cost::Message).expect("must wait");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limiter.take(2, Cost::Message), None);
    }

    #[test]
    fn after_a_429_there_is_silence() {
        let limiter = Limiter::new(60);
        limiter.hold(1, Duration::from_secs(7));
        assert!(limiter.take(1, Cost::Edit).expect("must wait") > Duration::from_secs(6));
    }
}
