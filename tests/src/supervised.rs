//! A service that dies at chosen places and is started again, as a supervisor would.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;

use crate::config;
use crate::nats::free_port;
use crate::platform::Platform;
use crate::process::{Process, Start};
use crate::world::World;

/// It must come to each place within this time.
const REACHED_WITHIN: Duration = Duration::from_secs(180);

pub struct Supervised {
    service: String,
    points: Vec<String>,
    died_at: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Supervised {
    /// Starts the service's own program so that it dies at each of `points` in turn, and lives after that.
    pub fn start(world: &World, service: &str, points: &[&str]) -> anyhow::Result<Self> {
        let config = config::write(world)?;
        let points: Vec<String> = points.iter().map(|p| (*p).to_owned()).collect();
        let died_at: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let life = Life {
            platform: world.platform.clone(),
            config,
            directory: world.directory.clone(),
            service: service.to_owned(),
        };
        let (places, died) = (points.clone(), Arc::clone(&died_at));
        tasks.spawn(async move {
            for place in places {
                let mut process = life.begin(&place)?;
                process.ended(REACHED_WITHIN).await?;
                died.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            }
            let mut process = life.begin("")?;
            // Until the test is over and this task is dropped with the process.
            process.ended(Duration::MAX).await
        });
        Ok(Self { service: service.to_owned(), points, died_at, tasks })
    }

    /// Whether it died everywhere it should.
    pub fn died_everywhere(&mut self) -> anyhow::Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        let died = self.died_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(died == self.points, "{} died at {died:?}, not at {:?}", self.service, self.points);
        Ok(())
    }
}

struct Life {
    platform: Platform,
    config: PathBuf,
    directory: PathBuf,
    service: String,
}

impl Life {
    fn begin(&self, place: &str) -> anyhow::Result<Process> {
        let start = Start {
            program: &format!("sluice-{}", self.service),
            arguments: &[],
            config: &self.config,
            operations: free_port()?,
            name: &self.service,
            environment: &[("SLUICE_KILL_AT", place)],
            directory: &self.directory,
        };
        Process::start(&self.platform, start)
    }
}
