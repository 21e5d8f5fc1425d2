//! Places in a workflow file and the mistakes found there.
//!
//! Invariant: a reader never stops at the first mistake; it notes it here and goes on, so that a person sees
//! all of them at once. The builder turns them into annotations of a run that failed to plan.

use std::fmt;

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Location {
    pub line: u32,
    pub column: u32,
}

impl Location {
    pub fn new(line: u32, column: u32) -> Self {
        Self { line, column }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong in a file, with the place where a person mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{at}: {message}")]
pub struct Mistake {
    pub file: String,
    pub at: Location,
    pub message: String,
}

/// All mistakes of one file, in reading order. Never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A hostile file must not make us remember a mistake for each of its bytes.
const MAX_MISTAKES: usize = 100;

/// Collects mistakes while a file is read.
#[derive(Debug)]
pub(crate) struct Notes {
    file: String,
    mistakes: Vec<Mistake>,
}

impl Notes {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), mistakes: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: Location, message: impl Into<String>) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(Mistake { file: self.file.clone(), at, message: message.into() });
        }
    }

    /// The value, or everything that was noted on the way to it.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.mistakes.is_empty() => Ok(value),
            _ => {
                if self.mistakes.is_empty() {
                    self.add(Location::new(1, 1), "the file could not be read as a workflow");
                }
                self.mistakes.sort_by_key(|mistake| mistake.at);
                Err(Mistakes(self.mistakes))
            }
        }
    }
}
