//! What every command is given: how to print, whom to ask, which server.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sluice_chassis::config::{ConfigError, ConfigFile};

use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// The file that is used when it lies in the working directory and none is named.
const CONFIG_FILE: &str = "sluice.yaml";
/// Between two looks at something that is waited for.
pub(crate) const PACE: Duration = Duration::from_millis(400);

/// The surroundings of a command.
pub(crate) struct Context {
    pub(crate) output: Output,
    pub(crate) server: Option<String>,
    pub(crate) may_ask: bool,
}

impl Context {
    pub(crate) fn client(&self) -> Outcome<Client> {
        Client::new(self.server.as_deref())
    }
}

/// Reads the configuration: the file named, else the one in this directory, else none; variables over it.
pub(crate) fn load_config(named: Option<&Path>) -> Outcome<(ConfigFile, Option<PathBuf>)> {
    let here = Path::new(CONFIG_FILE);
    let path = named.map(Path::to_owned).or_else(|| here.is_file().then(|| here.to_owned()));
    let file = ConfigFile::load(path.as_deref()).map_err(config_failure)?;
    Ok((file, path))
}

/// One section of the configuration.
pub(crate) fn section<T: serde::de::DeserializeOwned>(file: &ConfigFile, name: &str) -> Outcome<T> {
    file.section(name).map_err(config_failure)
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
pub(crate) fn config_failure(error: ConfigError) -> Failure {
    Failure::usage(error, "mend the configuration; docs/configuration.md has every key")
}

/// Looks again and again until there is an answer or the time is up.
pub(crate) async fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Failure::timeout(
                format_args!("{what} took longer than {seconds} s"),
                "it goes on without you; look again, or wait longer with --timeout",
            ));
        }
        tokio::time::sleep(PACE).await;
    }
}
