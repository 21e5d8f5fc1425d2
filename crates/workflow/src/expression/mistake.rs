//! What an expression may name, and everything that can be wrong with one before it is evaluated.

/// The highest tree that is built.
pub(super) const MAX_DEPTH: usize = 50;
/// The longest expression that is read.
pub const MAX_LENGTH: usize = 21_000;

/// The contexts and functions that may be named where an expression stands.
#[derive(Debug, Clone, Copy)]
pub enum Names<'a> {
    /// Whatever the environment offers at evaluation; every known function.
    Any,
    /// These contexts, and these functions beside those that are always there.
    Only { contexts: &'a [&'a str], functions: &'a [&'a str] },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("Unexpected symbol: '{symbol}'. Located at position {position} within expression: {expression}")]
    UnexpectedSymbol { symbol: String, position: usize, expression: String },
    #[error(
        "Unexpected end of expression: '{symbol}'. Located at position {position} within expression: {expression}"
    )]
    UnexpectedEnd { symbol: String, position: usize, expression: String },
    #[error(
        "Unrecognized named-value: '{name}'. Located at position {position} within expression: {expression}"
    )]
    UnrecognizedName { name: String, position: usize, expression: String },
    #[error(
        "Unrecognized function: '{name}'. Located at position {position} within expression: {expression}"
    )]
    UnrecognizedFunction { name: String, position: usize, expression: String },
    #[error(
        "Too few parameters supplied: '{name}'. Located at position {position} within expression: {expression}"
    )]
    TooFewParameters { name: String, position: usize, expression: String },
    #[error(
        "Too many parameters supplied: '{name}'. Located at position {position} within expression: {expression}"
    )]
    TooManyParameters { name: String, position: usize, expression: String },
    #[error("An even number of parameters was supplied to '{name}', which needs a default as its last one")]
    EvenParameters { name: String },
    #[error("Exceeded max expression depth {MAX_DEPTH}")]
    TooDeep,
    #[error("Exceeded max expression length {MAX_LENGTH}")]
    TooLong,
    #[error("An expression was expected")]
    Empty,
}
