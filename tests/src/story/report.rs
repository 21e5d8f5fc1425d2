//! What happened and what was expected, with times: printed while it happens, and kept as JSON.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::bail;
use serde::Serialize;
use serde_json::{Value, json};

use crate::witness::Event;

/// Who tells the story while it happens.
pub trait Teller: Send + Sync {
    fn chapter(&self, title: &str);
    /// Something a person did or sees; no fact on the bus.
    fn note(&self, text: &str);
    /// A fact, and the milliseconds since the chapter began.
    fn fact(&self, text: &str, subject: &str, after_ms: u64);
    fn broken(&self, expectation: &str);
}

/// Tells nothing.
pub struct Silent;

impl Teller for Silent {
    fn chapter(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn fact(&self, _: &str, _: &str, _: u64) {}
    fn broken(&self, _: &str) {}
}

/// Tells it in lines, which the test harness shows when the test fails.
pub struct Plain;

#[expect(clippy::print_stdout, reason = "a test's output is kept until it fails")]
impl Teller for Plain {
    fn chapter(&self, title: &str) {
        println!("{title}");
    }
    fn note(&self, text: &str) {
        println!("  {text}");
    }
    fn fact(&self, text: &str, subject: &str, after_ms: u64) {
        println!("{after_ms:>7} ms {text}  {subject}");
    }
    fn broken(&self, expectation: &str) {
        println!("  not so: {expectation}");
    }
}

#[derive(Debug, Serialize)]
struct Chapter {
    title: String,
    #[serde(skip)]
    began: Instant,
    duration_ms: u64,
    timeline: Vec<Value>,
    expectations: Vec<Value>,
}

/// The report of one telling.
pub struct Report {
    teller: Box<dyn Teller>,
    began: Instant,
    chapters: Mutex<Vec<Chapter>>,
}

impl Report {
    pub fn new(teller: Box<dyn Teller>) -> Self {
        Self { teller, began: Instant::now(), chapters: Mutex::default() }
    }

    pub fn silent() -> Self {
        Self::new(Box::new(Silent))
    }

    pub fn plain() -> Self {
        Self::new(Box::new(Plain))
    }

    pub fn chapter(&self, title: &str) {
        self.teller.chapter(title);
        let mut chapters = self.chapters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = chapters.last_mut() {
            last.duration_ms = millis(last.began);
        }
        let began = Instant::now();
        chapters.push(Chapter {
            title: title.to_owned(),
            began,
            duration_ms: 0,
            timeline: Vec::new(),
            expectations: Vec::new(),
        });
    }

    pub fn note(&self, text: &str) {
        self.teller.note(text);
        self.add(|chapter, after| chapter.timeline.push(json!({"after_ms": after, "note": text})));
    }

    pub fn fact(&self, event: &Event, text: &str) {
        self.add(|chapter, after| {
            self.teller.fact(text, &event.subject, after);
            chapter.timeline.push(json!({
                "after_ms": after, "what": text, "subject": event.subject, "sequence": event.sequence,
                "time_ns": event.time, "id": event.header("ce-id"), "correlation": event.correlation(),
            }));
        });
    }

    /// An expectation; one that does not hold ends the story.
    pub fn expect(&self, what: &str, held: bool) -> anyhow::Result<()> {
        self.add(|chapter, _| chapter.expectations.push(json!({"what": what, "held": held})));
        if !held {
            self.teller.broken(what);
            bail!("expected: {what}");
        }
        Ok(())
    }

    /// Everything, for `report.json`. `error` is why it ended early.
    pub fn json(&self, error: Option<&str>) -> Value {
        let mut chapters = self.chapters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = chapters.last_mut() {
            last.duration_ms = millis(last.began);
        }
        let held =
            error.is_none() && chapters.iter().flat_map(|c| &c.expectations).all(|e| e["held"] == true);
        json!({"held": held, "error": error, "duration_ms": millis(self.began), "chapters": *chapters})
    }

    fn add(&self, act: impl FnOnce(&mut Chapter, u64)) {
        let mut chapters = self.chapters.lock().unwrap_or_else(PoisonError::into_inner);
        if chapters.is_empty() {
            let began = Instant::now();
            chapters.push(Chapter {
                title: String::new(),
                began,
                duration_ms: 0,
                timeline: Vec::new(),
                expectations: Vec::new(),
            });
        }
        if let Some(chapter) = chapters.last_mut() {
            let after = millis(chapter.began);
            act(chapter, after);
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
