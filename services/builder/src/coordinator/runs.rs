//! The bucket `runs`: states by number, numbers by push, the counter of each repository.
//!
//! Invariants: a push and a workflow file have one number, whoever asks and how often; every write is a
//! compare-and-swap.

use std::sync::Arc;

use futures::Stream;
use sluice_bus::{Bucket, Bus, Entry, Kv, KvChange, KvError};
use sluice_schemas::ids::{PushId, RepoSlug, RunNumber};
use sluice_schemas::state::{RunState, RunsOfPush};
use tokio::sync::Mutex;

/// Tries of one compare-and-swap before giving up.
const TRIES: usize = 50;

#[derive(Clone)]
pub(crate) struct Runs {
    states: Kv<RunState>,
    pushes: Kv<RunsOfPush>,
    counters: Kv<u64>,
    /// Numbers are given out one at a time in this process: the same push told four times at once burns none.
    numbering: Arc<Mutex<()>>,
}

impl Runs {
    pub(crate) fn new(bus: &Bus) -> Self {
        let (states, pushes, counters) = (bus.kv(Bucket::Runs), bus.kv(Bucket::Runs), bus.kv(Bucket::Runs));
        Self { states, pushes, counters, numbering: Arc::default() }
    }

    pub(crate) async fn get(
        &self,
        repository: &RepoSlug,
        number: RunNumber,
    ) -> Result<Option<Entry<RunState>>, KvError> {
        self.states.get(&RunState::key(repository, number)).await
    }

    /// Writes a new run's state; one that is there stays.
    pub(crate) async fn create(&self, state: &RunState) -> Result<(), KvError> {
        let key = RunState::key(&state.run.repository.slug, state.run.number);
        match self.states.create(&key, state).await {
            Ok(_) | Err(KvError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn update(&self, state: &RunState, revision: u64) -> Result<(), KvError> {
        let key = RunState::key(&state.run.repository.slug, state.run.number);
        self.states.update(&key, state, revision).await.map(drop)
    }

    /// Changes a state until nobody is in between. `change` says whether there is anything to write.
    pub(crate) async fn change(
        &self,
        repository: &RepoSlug,
        number: RunNumber,
        change: impl Fn(&mut RunState) -> bool,
    ) -> Result<Option<RunState>, KvError> {
        let key = RunState::key(repository, number);
        for _ in 0..TRIES {
            let Some(Entry { value: mut state, revision }) = self.states.get(&key).await? else {
                return Ok(None);
            };
            if !change(&mut state) {
                return Ok(Some(state));
            }
            match self.states.update(&key, &state, revision).await {
                Ok(_) => return Ok(Some(state)),
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KvError::Conflict { bucket: Bucket::Runs.as_str(), key })
    }

    /// Changes of one run, the present state first.
    pub(crate) async fn watch(
        &self,
        repository: &RepoSlug,
        number: RunNumber,
    ) -> Result<impl Stream<Item = KvChange<RunState>> + Send + Unpin + use<>, KvError> {
        self.states.watch(&RunState::key(repository, number)).await
    }

    /// Keys of all runs.
    pub(crate) async fn all(&self) -> Result<Vec<(RepoSlug, RunNumber)>, KvError> {
        let keys = self.states.keys().await?;
        Ok(keys
            .iter()
            .filter_map(|key| {
                let (repository, number) = key.split_once('.')?;
                if matches!(repository, "push" | "counter") {
                    return None;
                }
                Some((repository.parse().ok()?, number.parse().ok()?))
            })
            .collect())
    }

    /// The number of the run of `file` for a push: the one it has, or the repository's next.
    pub(crate) async fn number(
        &self,
        push: &PushId,
        repository: &RepoSlug,
        file: &str,
    ) -> Result<RunNumber, KvError> {
        let key = format!("push.{push}");
        let _one_at_a_time = self.numbering.lock().await;
        for _ in 0..TRIES {
            let known = self.pushes.get(&key).await?;
            if let Some(number) = known.as_ref().and_then(|entry| entry.value.runs.get(file)) {
                return Ok(*number);
            }
            let number = RunNumber(self.count(repository).await?);
            let written = match known {
                Some(Entry { value: mut runs, revision }) => {
                    runs.runs.insert(file.to_owned(), number);
                    self.pushes.update(&key, &runs, revision).await
                }
                None => {
                    let runs = RunsOfPush { runs: [(file.to_owned(), number)].into() };
                    self.pushes.create(&key, &runs).await
                }
            };
            match written {
                Ok(_) => return Ok(number),
                // The number is lost, which leaves a gap and harms nobody.
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KvError::Conflict { bucket: Bucket::Runs.as_str(), key })
    }

    async fn count(&self, repository: &RepoSlug) -> Result<u64, KvError> {
        let key = format!("counter.{repository}");
        for _ in 0..TRIES {
            let known = self.counters.get(&key).await?;
            let next = known.as_ref().map_or(1, |entry| entry.value + 1);
            let written = match known {
                Some(entry) => self.counters.update(&key, &next, entry.revision).await,
                None => self.counters.create(&key, &next).await,
            };
            match written {
                Ok(_) => return Ok(next),
                Err(KvError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(KvError::Conflict { bucket: Bucket::Runs.as_str(), key })
    }
}
