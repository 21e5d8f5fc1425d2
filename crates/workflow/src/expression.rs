//! The `${{ }}` language: lexer, parser, values and evaluation, with GitHub's coercions.
//!
//! [`Expression::parse`] checks names against what is allowed where the expression stands, so that a wrong
//! context or function is a mistake of the file and not of the run. [`Expression::evaluate`] asks an
//! [`Environment`] for contexts and for the few functions that know about the run.

mod coerce;
mod evaluate;
mod functions;
mod json;
mod lexer;
mod mistake;
mod parser;
mod tree;
mod value;

pub use coerce::parse_number;
pub use evaluate::{Environment, EvaluationError, NoEnvironment};
pub use json::{from_json, to_json};
pub use mistake::{MAX_LENGTH, Names, ParseError};
pub use tree::Expression;
pub use value::{Object, Value};

#[cfg(test)]
mod tests;
