//! One world a test: bus, Telegram, API server, and a notifier that can be stopped, cut off and started again.

use std::time::Duration;

use sluice_bus::{Bus, BusConfig};
use sluice_chassis::Process;
use sluice_chassis::config::ConfigFile;
use sluice_schemas::envelope::correlation_of;
use sluice_schemas::{Cause, Message};
use sluice_telegram_fake::{Fake, Message as Shown, Options};
use sluice_test_nats::NatsServer;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::stand_in::{SERVICE_TOKEN, StandIn};

/// The team's group of the fake.
pub(crate) const GROUP: i64 = -100_200;
/// Linked to an account.
pub(crate) const DANA: i64 = 1001;
/// A stranger.
pub(crate) const OLEG: i64 = 1002;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) telegram: Fake,
    pub(crate) api: StandIn,
    pub(crate) bus: Bus,
    config: String,
    notifier: Option<Runtime>,
    _directory: TempDir,
    _tester: Process,
    nats: NatsServer,
}

impl World {
    /// Everything but the notifier.
    pub(crate) async fn without_notifier(settings: &str) -> Self {
        sluice_chassis::process::install_crypto();
        let nats = NatsServer::start();
        let telegram = Fake::start(Options::default()).await.expect("the fake starts");
        let api = StandIn::start().await;
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let config = format!(
            "bus:\n  url: {}\n  lease_seconds: 2\nkubernetes:\n  namespace: nothing-here\nnotifier:\n  api_url: {}\n  token_file: {}\n  \
             server_url: {}\n  service_token_file: {}\n  chats: [{{chat: {GROUP}}}]\n  edit_interval_ms: 100\n  \
             messages_per_minute: 600\n{settings}",
            nats.url(),
            telegram.url(),
            file("token", telegram.token()),
            api.url,
            file("service-token", SERVICE_TOKEN),
        );
        let tester = Process::new(parse(&config));
        let service = tester.service("notifier");
        let settings: BusConfig = service.config().section("bus").expect("valid");
        let bus = Bus::connect(&service, &settings).await.expect("a bus");
        bus.provision().await.expect("provisioned");
        Self { telegram, api, bus, config, notifier: None, _directory: directory, _tester: tester, nats }
    }

    pub(crate) async fn with(settings: &str) -> Self {
        let mut world = Self::without_notifier(settings).await;
        world.start().await;
        world
    }

    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// Starts the notifier on threads of its own, so that it can be cut off like a killed process.
    pub(crate) async fn start(&mut self) {
        let runtime = Runtime::new().expect("a runtime");
        let process = Process::new(parse(&self.config));
        let service = process.service("notifier");
        let config = service.config().section("notifier").expect("valid");
        let handle = runtime.handle().clone();
        // `run` starts tasks on the runtime and returns.
        let started = std::thread::spawn(move || handle.block_on(sluice_notifier::run(service, config)));
        while !started.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        started.join().expect("no panic").expect("the notifier starts");
        drop(process);
        self.notifier = Some(runtime);
    }

    /// No destructor of the notifier does anything useful any more: as `kill -9`.
    pub(crate) fn cut_off(&mut self) {
        self.notifier.take().expect("it runs").shutdown_background();
    }

    /// Publishes a fact or command of the chain `chain`.
    pub(crate) async fn tell<M: Message>(&self, chain: &str, message: &M) {
        let cause = Cause::root(correlation_of(chain), format!("{chain} {}", uuid_like()));
        self.bus.publish(message, &cause).await.expect("published");
    }

    /// Waits until the fake's state gives something.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        look: impl Fn(&sluice_telegram_fake::State) -> Option<T>,
    ) -> T {
        match self.telegram.wait(PATIENCE, look).await {
            Some(found) => found,
            None => {
                let seen: Vec<_> = self.messages(GROUP).into_iter().map(|m| m.text).collect();
                panic!("{what} did not come; the group shows {seen:#?}")
            }
        }
    }

    /// Waits for a message in `chat` that says `text`.
    pub(crate) async fn shows(&self, chat: i64, text: &str) -> Shown {
        self.wait(text, |state| {
            let mut shown =
                state.messages().iter().filter(|m| m.chat_id == chat && !m.deleted && m.from.is_bot);
            shown.find(|m| m.text.contains(text)).cloned()
        })
        .await
    }

    /// The bot's messages in `chat` that people see.
    pub(crate) fn messages(&self, chat: i64) -> Vec<Shown> {
        let shown = |m: &&Shown| m.chat_id == chat && !m.deleted && m.from.is_bot;
        self.telegram.read(|state| state.messages().iter().filter(shown).cloned().collect())
    }

    /// How often a method was called.
    pub(crate) async fn count(&self, method: &str) -> usize {
        let url = format!("{}/control/calls", self.telegram.url());
        let calls: Vec<sluice_telegram_fake::Call> =
            reqwest::get(url).await.expect("calls").json().await.expect("JSON");
        calls.iter().filter(|call| call.method.eq_ignore_ascii_case(method)).count()
    }

    pub(crate) fn say(&self, chat: i64, user: i64, text: &str) {
        self.telegram.change(|state| state.say(chat, user, text)).expect("the person exists");
    }

    /// Presses a button by its label; answers the press's id.
    pub(crate) fn press(&self, message: &Shown, user: i64, label: &str) -> String {
        let pressed =
            self.telegram.change(|state| state.press(message.chat_id, message.message_id, user, label));
        pressed.expect("the button is there")
    }

    /// What the person who pressed was told.
    pub(crate) async fn answer(&self, press: &str) -> String {
        let url = format!("{}/control/answers/{press}", self.telegram.url());
        for _ in 0..400 {
            let answer: serde_json::Value =
                reqwest::get(&url).await.expect("an answer").json().await.expect("JSON");
            if answer["answered"] == true {
                return answer["text"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the press was not answered");
    }

    /// The bus goes away and comes back.
    pub(crate) fn restart_bus(&mut self) {
        self.nats.kill();
        self.nats.revive();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(notifier) = self.notifier.take() {
            notifier.shutdown_background();
        }
    }
}

fn parse(config: &str) -> ConfigFile {
    ConfigFile::parse("sluice.yaml".into(), config.to_owned(), []).expect("a valid configuration")
}

/// Messages of one test differ, as those of different causes do.
fn uuid_like() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
