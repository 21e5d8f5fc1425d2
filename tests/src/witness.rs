//! A witness of the bus: every fact, in order, as the real `nats` command reports them.
//!
//! It is a child process and no client of ours, so it also proves that the chain can be watched with the
//! command that people have. It reads EVENTS from the start and goes on where it was after a restart.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::nats::Nats;
use crate::until::until;

/// One fact.
#[derive(Debug, Clone)]
pub struct Event {
    pub sequence: u64,
    /// When the bus took it, in nanoseconds since 1970.
    pub time: u64,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub data: Value,
}

impl Event {
    /// `evt.<entity>.….<fact>` as `entity.fact`.
    pub fn kind(&self) -> String {
        let tokens: Vec<_> = self.subject.split('.').collect();
        format!("{}.{}", tokens.get(1).unwrap_or(&""), tokens.last().unwrap_or(&""))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn correlation(&self) -> &str {
        self.header("ce-correlationid")
    }
}

pub struct Witness {
    events: watch::Sender<Vec<Event>>,
    reader: Option<(Child, JoinSet<()>)>,
}

impl Witness {
    /// Begins to watch, once there is the stream EVENTS.
    pub async fn start(nats: &Nats) -> anyhow::Result<Self> {
        until("the stream EVENTS", Duration::from_secs(30), async || {
            nats.ok(&["stream", "info", "EVENTS", "--json"]).await
        })
        .await?;
        let mut witness = Self { events: watch::Sender::new(Vec::new()), reader: None };
        witness.follow(nats)?;
        Ok(witness)
    }

    /// Watches again after the bus was away.
    pub fn follow(&mut self, nats: &Nats) -> anyhow::Result<()> {
        self.reader = None;
        let next = self.events.borrow().last().map_or(1, |e| e.sequence + 1).to_string();
        let mut command: Command =
            nats.cli(&["sub", "evt.>", "--stream", "EVENTS", "--start-sequence", &next, "--dump=-"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("nats sub cannot be started")?;
        let mut lines = BufReader::new(child.stdout.take().context("nats sub's output")?);
        let events = self.events.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut line = Vec::new();
            while lines.read_until(0, &mut line).await.is_ok_and(|n| n > 0) {
                line.pop_if(|byte| *byte == 0);
                if let Some(event) = parse(&line) {
                    events.send_modify(|all| {
                        if all.last().is_none_or(|last| last.sequence < event.sequence) {
                            all.push(event);
                        }
                    });
                }
                line.clear();
            }
        });
        self.reader = Some((child, task));
        Ok(())
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// The facts so far of one kind (`run.finished`), oldest first.
    pub fn all(&self, kind: &str) -> Vec<Event> {
        self.events.borrow().iter().filter(|e| e.kind() == kind).cloned().collect()
    }

    /// The first fact of this kind, from now or before, that `look` accepts.
    pub async fn wait(
        &self,
        kind: &str,
        within: Duration,
        look: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        self.wait_after(0, kind, within, look).await
    }

    /// The same, among the facts after `sequence`.
    pub async fn wait_after(
        &self,
        sequence: u64,
        kind: &str,
        within: Duration,
        look: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        let deadline = Instant::now() + within;
        let mut changes = self.events.subscribe();
        loop {
            let fits = |e: &&Event| e.sequence > sequence && e.kind() == kind && look(e);
            if let Some(found) = changes.borrow_and_update().iter().find(fits) {
                return Ok(found.clone());
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                bail!("no fact {kind} that fits within {within:?}; seen:\n{}", self.story(sequence));
            }
        }
    }

    /// The last sequence seen.
    pub fn now(&self) -> u64 {
        self.events.borrow().last().map_or(0, |e| e.sequence)
    }

    /// Waits until there was no fact for `quiet`; returns what there is. For "and nothing else happens".
    pub async fn settle(&self, quiet: Duration, within: Duration) -> anyhow::Result<Vec<Event>> {
        let deadline = Instant::now() + within;
        let mut changes = self.events.subscribe();
        loop {
            changes.borrow_and_update();
            if timeout_at(Instant::now() + quiet, changes.changed()).await.is_err() {
                return Ok(self.events());
            }
            if Instant::now() >= deadline {
                bail!("the bus does not come to rest within {within:?}:\n{}", self.story(0));
            }
        }
    }

    /// What happened after `sequence`, a line a fact.
    pub fn story(&self, sequence: u64) -> String {
        let events = self.events.borrow();
        let lines = events.iter().filter(|e| e.sequence > sequence).map(|e| {
            let mut data = e.data.to_string();
            if data.len() > 300 {
                let cut = (0..=300).rev().find(|at| data.is_char_boundary(*at)).unwrap_or(0);
                data.truncate(cut);
            }
            format!("{:>4} {} {data}", e.sequence, e.subject)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A subject of nobody's, to try whether we are heard.
const PROBE: &str = "test.probe";

/// An ear on the bus outside of any stream: what passes while it listens, as any client with access hears it.
pub struct Tap {
    heard: watch::Sender<Vec<Event>>,
    _reader: (Child, JoinSet<()>),
}

impl Tap {
    /// Listens from the moment that this returns.
    pub async fn start(nats: &Nats, subject: &str) -> anyhow::Result<Self> {
        let mut command: Command = nats.cli(&["sub", subject, PROBE, "--dump=-"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context("nats sub cannot be started")?;
        let heard = watch::Sender::new(Vec::new());
        let mut reader = JoinSet::new();
        let (mut lines, all) =
            (BufReader::new(child.stdout.take().context("nats sub's output")?), heard.clone());
        reader.spawn(async move {
            let mut line = Vec::new();
            while lines.read_until(0, &mut line).await.is_ok_and(|n| n > 0) {
                line.pop_if(|byte| *byte == 0);
                if let Some(event) = serde_json::from_slice(&line).ok().and_then(|d| read(d, 0, 0)) {
                    all.send_modify(|all: &mut Vec<Event>| all.push(event));
                }
                line.clear();
            }
        });
        let tap = Self { heard, _reader: (child, reader) };
        // It listens when it hears us.
        until("nats sub listens", Duration::from_secs(10), async || {
            nats.publish(PROBE, &[], "").await?;
            tap.wait(Duration::from_millis(200), |e| e.subject == PROBE).await
        })
        .await?;
        Ok(tap)
    }

    /// The first message that `look` accepts.
    pub async fn wait(&self, within: Duration, look: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        let deadline = Instant::now() + within;
        let mut changes = self.heard.subscribe();
        loop {
            if let Some(found) = changes.borrow_and_update().iter().find(|e| look(e)) {
                return Ok(found.clone());
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                bail!("nothing that fits was heard within {within:?}");
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dumped {
    subject: String,
    reply: String,
    header: Option<BTreeMap<String, Vec<String>>>,
    data: Option<String>,
}

fn parse(line: &[u8]) -> Option<Event> {
    let dumped: Dumped = serde_json::from_slice(line).ok()?;
    // $JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>
    let reply: Vec<String> = dumped.reply.split('.').map(str::to_owned).collect();
    let number = |from_end: usize| reply.get(reply.len().checked_sub(from_end)?)?.parse().ok();
    read(dumped, number(4)?, number(2)?)
}

fn read(dumped: Dumped, sequence: u64, time: u64) -> Option<Event> {
    let body = base64::engine::general_purpose::STANDARD.decode(dumped.data.unwrap_or_default()).ok()?;
    let first =
        |(name, mut values): (String, Vec<String>)| (name, values.drain(..).next().unwrap_or_default());
    Some(Event {
        sequence,
        time,
        subject: dumped.subject,
        headers: dumped.header.unwrap_or_default().into_iter().map(first).collect(),
        data: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_dumps_is_read() {
        let line = br#"{"Subject":"evt.run.o_r.1.started","Reply":"$JS.ACK.EVENTS.Gc.1.41.2.1795531765517251268.0","Header":{"ce-id":["x"]},"Data":"eyJhIjoxfQ==","Sub":null}"#;
        let event = parse(line).unwrap();
        assert_eq!(
            (event.sequence, event.time, event.kind().as_str()),
            (41, 1_795_531_765_517_251_268, "run.started")
        );
        assert_eq!((event.header("ce-id"), &event.data["a"]), ("x", &serde_json::json!(1)));
        assert!(parse(b"not json").is_none());
    }
}
