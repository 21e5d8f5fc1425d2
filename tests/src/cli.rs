//! The command `sluice`, run as a person runs it.

use tokio::process::Command;

use crate::shell::{self, Output};
use crate::world::World;

/// A person at a terminal: a home of their own, so that their login is theirs alone.
#[derive(Debug, Clone)]
pub struct Cli {
    program: std::path::PathBuf,
    home: std::path::PathBuf,
    server: String,
}

impl Cli {
    pub fn new(world: &World, person: &str) -> anyhow::Result<Self> {
        let home = world.directory.join("homes").join(person);
        std::fs::create_dir_all(&home)?;
        Ok(Self { program: world.platform.ours("sluice"), home, server: world.api_url() })
    }

    /// The admin, logged in.
    pub async fn admin(world: &World) -> anyhow::Result<Self> {
        let cli = Self::new(world, "admin")?;
        let output = cli.run(&["login", &world.api_url()], &format!("{}\n", world.password()?)).await?;
        output.ok("sluice login")?;
        Ok(cli)
    }

    /// The command with a terminal of its own, for what it asks only people.
    pub fn at_a_terminal(&self, arguments: &[&str]) -> Command {
        let words: Vec<String> = arguments.iter().map(|a| format!("'{a}'")).collect();
        let line = format!("'{}' {}", self.program.display(), words.join(" "));
        let mut command = Command::new("script");
        self.dress(&mut command);
        command.args(["-q", "-e", "-c", &line, "/dev/null"]);
        command
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.dress(&mut command);
        command.args(arguments);
        command
    }

    fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", "/usr/bin:/bin")
            .env("SLUICE_SERVER", &self.server);
        command.env("NO_COLOR", "1");
    }

    pub async fn run(&self, arguments: &[&str], input: &str) -> anyhow::Result<Output> {
        shell::run(self.command(arguments), input).await
    }

    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run(arguments, "").await?.ok(&format!("sluice {}", arguments.join(" ")))
    }
}
