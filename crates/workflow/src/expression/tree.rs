//! The parsed expression and what can be asked of it without a run.
//!
//! Invariant: the tree is at most 50 nodes high, so walking it by recursion is safe.

use super::evaluate::{Environment, EvaluationError, Evaluator};
use super::functions::Function;
use super::lexer::Operator;
use super::mistake::{MAX_LENGTH, Names, ParseError};
use super::parser::parse;
use super::value::Value;

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Expression {
    source: String,
    root: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Literal(Value),
    Name(String),
    Wildcard,
    Not(Box<Node>),
    Compare(Operator, Box<Node>, Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Index(Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

impl Expression {
    pub fn parse(source: &str, names: Names<'_>) -> Result<Self, ParseError> {
        if source.len() > MAX_LENGTH {
            return Err(ParseError::TooLong);
        }
        let root = parse(source, names)?;
        Ok(Self { source: source.to_owned(), root })
    }

    pub fn evaluate(&self, environment: &dyn Environment) -> Result<Value, EvaluationError> {
        Evaluator::new(environment).evaluate(&self.root)
    }

    /// The text between the braces.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a status function is called, which takes the place of the implied `success()`.
    pub fn calls_status_function(&self) -> bool {
        any(&self.root, &|node| matches!(node, Node::Call(function, _) if function.is_status()))
    }

    /// The second parts of `context.NAME`, literal ones only: which secrets an expression refers to.
    pub fn references(&self, context: &str) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.root, context, &mut found);
        found
    }
}

fn children(node: &Node) -> Vec<&Node> {
    match node {
        Node::Literal(_) | Node::Name(_) | Node::Wildcard => Vec::new(),
        Node::Not(inner) => vec![inner],
        Node::Compare(_, left, right) | Node::Index(left, right) => vec![left, right],
        Node::And(items) | Node::Or(items) | Node::Call(_, items) => items.iter().collect(),
    }
}

fn any(node: &Node, test: &dyn Fn(&Node) -> bool) -> bool {
    test(node) || children(node).into_iter().any(|child| any(child, test))
}

fn collect(node: &Node, context: &str, found: &mut Vec<String>) {
    if let Node::Index(object, index) = node
        && let (Node::Name(name), Node::Literal(Value::String(key))) = (object.as_ref(), index.as_ref())
        && name.eq_ignore_ascii_case(context)
    {
        found.push(key.to_string());
    }
    for child in children(node) {
        collect(child, context, found);
    }
}
