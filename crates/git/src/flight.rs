//! One transfer at a time per repository, shared by all who wait for it.
//!
//! Invariants: a caller's wish is carried out by a transfer that starts after the
//! wish was made; callers that arrive during a transfer share the next one; a
//! caller that goes away (dropped future) takes nobody else down, because every
//! waiter of a batch is able to run it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Wishes of type `W`, each of which ends in a `Result<(), E>`.
pub(crate) struct Flight<W, E> {
    turn: tokio::sync::Mutex<()>,
    next: Mutex<Option<Arc<Batch<W, E>>>>,
}

struct Batch<W, E> {
    wishes: Mutex<Vec<W>>,
    results: OnceLock<BTreeMap<W, Result<(), E>>>,
}

impl<W: Ord + Clone, E: Clone> Flight<W, E> {
    pub(crate) fn new() -> Self {
        Self { turn: tokio::sync::Mutex::new(()), next: Mutex::new(None) }
    }

    /// Adds `wish` to the next batch and waits for its result. `run` must answer
    /// for every wish it is given.
    pub(crate) async fn join<F, R>(&self, wish: W, run: F) -> Result<(), E>
    where
        F: FnOnce(Vec<W>) -> R,
        R: Future<Output = BTreeMap<W, Result<(), E>>>,
    {
        let batch = self.board(wish.clone());
        let _turn = self.turn.lock().await;
        if batch.results.get().is_none() {
            self.close(&batch);
            let wishes = lock(&batch.wishes).clone();
            let results = run(wishes).await;
            // Only the holder of the turn gets here, so the cell is empty.
            let _already = batch.results.set(results);
        }
        batch.results.get().and_then(|results| results.get(&wish).cloned()).unwrap_or(Ok(()))
    }

    fn board(&self, wish: W) -> Arc<Batch<W, E>> {
        let mut next = lock(&self.next);
        let batch = next.get_or_insert_with(|| {
            Arc::new(Batch { wishes: Mutex::new(Vec::new()), results: OnceLock::new() })
        });
        let mut wishes = lock(&batch.wishes);
        if !wishes.contains(&wish) {
            wishes.push(wish);
        }
        drop(wishes);
        Arc::clone(batch)
    }

    fn close(&self, batch: &Arc<Batch<W, E>>) {
        let mut next = lock(&self.next);
        if next.as_ref().is_some_and(|current| Arc::ptr_eq(current, batch)) {
            *next = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The guarded values are plain collections: usable after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_hundred_callers_need_two_runs() {
        let flight = Arc::new(Flight::<u32, ()>::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let (open, gate) = tokio::sync::watch::channel(false);
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..100u32 {
            let (flight, runs, mut gate) = (Arc::clone(&flight), Arc::clone(&runs), gate.clone());
            callers.spawn(async move {
                flight
                    .join(n % 3, |wishes| async move {
                        runs.fetch_add(1, Ordering::SeqCst);
                        gate.wait_for(|open| *open).await.unwrap();
                        wishes.into_iter().map(|wish| (wish, Ok(()))).collect()
                    })
                    .await
            });
        }
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // Everybody else has boarded the second batch by the time the first runs.
        for _ in 0..300 {
            tokio::task::yield_now().await;
        }
        open.send(true).unwrap();
        while let Some(result) = callers.join_next().await {
            result.unwrap().unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_its_batch_to_the_others() {
        let flight = Arc::new(Flight::<u32, ()>::new());
        let leader = flight.join(1, |_| std::future::pending());
        assert!(tokio::time::timeout(std::time::Duration::from_millis(20), leader).await.is_err());
        let done =
            flight.join(2, |wishes| async move { wishes.into_iter().map(|wish| (wish, Ok(()))).collect() });
        tokio::time::timeout(std::time::Duration::from_secs(5), done).await.unwrap().unwrap();
    }
}
