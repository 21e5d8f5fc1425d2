//! Trees to values.
//!
//! Invariant: evaluation ends and uses bounded memory; what a run knows (contexts, status, files) comes in
//! through [`Environment`] only.

use super::coerce::{equal, order};
use super::functions::{self, Function};
use super::json;
use super::lexer::Operator;
use super::tree::Node;
use super::value::Value;

/// Texts made by functions of one expression, counted as GitHub does: two bytes a character.
pub(super) const MAX_MEMORY: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("The following format string is invalid: {pattern}")]
    InvalidFormat { pattern: String },
    #[error("The following format string references more arguments than were supplied: {pattern}")]
    MissingArgument { pattern: String },
    #[error("The maximum allowed memory size was exceeded")]
    TooMuchMemory,
    #[error("case predicate must evaluate to a boolean value")]
    CasePredicate,
    #[error("Error parsing fromJson: {reason}")]
    Json { reason: String },
    #[error("hashFiles failed: {reason}")]
    HashFiles { reason: String },
    #[error("{message}")]
    Unexpected { message: String },
}

/// What an expression can ask of the run around it.
pub trait Environment {
    /// A context by its name (any case); `None` reads as null.
    fn context(&self, name: &str) -> Option<Value>;
    fn success(&self, jobs: &[Value]) -> bool;
    fn failure(&self, jobs: &[Value]) -> bool;
    fn cancelled(&self) -> bool;
    /// SHA-256 over the SHA-256s of the files that match, hexadecimal; empty when none does.
    fn hash_files(&self, patterns: &[String]) -> Result<String, String>;
}

/// Nothing is known and all is well: for expressions of constants, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEnvironment;

impl Environment for NoEnvironment {
    fn context(&self, _name: &str) -> Option<Value> {
        None
    }

    fn success(&self, _jobs: &[Value]) -> bool {
        true
    }

    fn failure(&self, _jobs: &[Value]) -> bool {
        false
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn hash_files(&self, _patterns: &[String]) -> Result<String, String> {
        Err("there is no workspace here".to_owned())
    }
}

pub(super) struct Evaluator<'a> {
    environment: &'a dyn Environment,
    memory: usize,
}

/// A filtered array (`.*`) applies what follows to each of its items.
enum Outcome {
    Plain(Value),
    Filtered(Vec<Value>),
}

impl Outcome {
    fn into_value(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::Filtered(items) => Value::array(items),
        }
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(environment: &'a dyn Environment) -> Self {
        Self { environment, memory: 0 }
    }

    pub(super) fn evaluate(&mut self, node: &Node) -> Result<Value, EvaluationError> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Name(name) => Ok(self.environment.context(name).unwrap_or(Value::Null)),
            Node::Wildcard => Ok(Value::Null),
            Node::Not(inner) => Ok(Value::Bool(!self.evaluate(inner)?.is_truthy())),
            Node::And(items) => self.first_where(items, |value| !value.is_truthy()),
            Node::Or(items) => self.first_where(items, Value::is_truthy),
            Node::Compare(operator, left, right) => {
                let (left, right) = (self.evaluate(left)?, self.evaluate(right)?);
                Ok(Value::Bool(compare(*operator, &left, &right)))
            }
            Node::Index(..) => self.outcome(node).map(Outcome::into_value),
            Node::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    fn first_where(&mut self, items: &[Node], stop: fn(&Value) -> bool) -> Result<Value, EvaluationError> {
        let mut last = Value::Null;
        for item in items {
            last = self.evaluate(item)?;
            if stop(&last) {
                break;
            }
        }
        Ok(last)
    }

    fn outcome(&mut self, node: &Node) -> Result<Outcome, EvaluationError> {
        let Node::Index(object, index) = node else { return self.evaluate(node).map(Outcome::Plain) };
        let object = self.outcome(object)?;
        if matches!(**index, Node::Wildcard) {
            let items = match object {
                Outcome::Plain(value) => values(&value),
                Outcome::Filtered(items) => items.iter().flat_map(values).collect(),
            };
            self.remember(items.len() * size_of::<Value>())?;
            return Ok(Outcome::Filtered(items));
        }
        let index = self.evaluate(index)?;
        Ok(match object {
            Outcome::Plain(value) => Outcome::Plain(member(&value, &index).unwrap_or(Value::Null)),
            Outcome::Filtered(items) => {
                Outcome::Filtered(items.iter().filter_map(|item| member(item, &index)).collect())
            }
        })
    }

    fn call(&mut self, function: Function, nodes: &[Node]) -> Result<Value, EvaluationError> {
        match function {
            Function::Format => return self.format(nodes),
            Function::Case => return self.case(nodes),
            _ => {}
        }
        let arguments = nodes.iter().map(|node| self.evaluate(node)).collect::<Result<Vec<_>, _>>()?;
        let (first, second) = (arguments.first().unwrap_or(&Value::Null), arguments.get(1));
        let other = second.unwrap_or(&Value::Null);
        Ok(match function {
            Function::Contains => functions::contains(first, other).into(),
            Function::StartsWith => {
                functions::affix(first, other, |text, part| text.starts_with(part)).into()
            }
            Function::EndsWith => functions::affix(first, other, |text, part| text.ends_with(part)).into(),
            Function::Join => self.text(functions::join(first, second))?,
            Function::ToJson => self.text(json::to_json(first))?,
            Function::FromJson => {
                let text = first.to_text();
                self.remember(text.len() * 2)?;
                json::from_json(&text).map_err(|reason| EvaluationError::Json { reason })?
            }
            Function::HashFiles => {
                let patterns: Vec<_> = arguments.iter().map(|value| value.to_text().to_string()).collect();
                let hash = self.environment.hash_files(&patterns);
                hash.map_err(|reason| EvaluationError::HashFiles { reason })?.into()
            }
            Function::Success => self.environment.success(&arguments).into(),
            Function::Failure => self.environment.failure(&arguments).into(),
            Function::Always => true.into(),
            Function::Cancelled => self.environment.cancelled().into(),
            Function::Format | Function::Case => Value::Null,
        })
    }

    fn format(&mut self, nodes: &[Node]) -> Result<Value, EvaluationError> {
        let Some((pattern, rest)) = nodes.split_first() else { return Ok(Value::Null) };
        let pattern = self.evaluate(pattern)?.to_text();
        // An argument is evaluated only when the pattern names it, and only once.
        let mut known: Vec<Option<std::sync::Arc<str>>> = vec![None; rest.len()];
        let text = functions::format(&pattern, &mut |index| {
            let (Some(slot), Some(node)) = (known.get_mut(index), rest.get(index)) else { return Ok(None) };
            if slot.is_none() {
                *slot = Some(self.evaluate(node)?.to_text());
            }
            Ok(slot.clone())
        })?;
        self.text(text)
    }

    fn case(&mut self, nodes: &[Node]) -> Result<Value, EvaluationError> {
        let (pairs, default) = nodes.split_at(nodes.len().saturating_sub(1));
        for pair in pairs.chunks_exact(2) {
            match self.evaluate(&pair[0])? {
                Value::Bool(true) => return self.evaluate(&pair[1]),
                Value::Bool(false) => {}
                _ => return Err(EvaluationError::CasePredicate),
            }
        }
        default.first().map_or(Ok(Value::Null), |node| self.evaluate(node))
    }

    fn text(&mut self, text: String) -> Result<Value, EvaluationError> {
        self.remember(text.len() * 2)?;
        Ok(Value::string(text))
    }

    fn remember(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > MAX_MEMORY { Err(EvaluationError::TooMuchMemory) } else { Ok(()) }
    }
}

fn compare(operator: Operator, left: &Value, right: &Value) -> bool {
    let ordered = || order(left, right);
    match operator {
        Operator::Equal => equal(left, right),
        Operator::NotEqual => !equal(left, right),
        Operator::Less => ordered().is_some_and(std::cmp::Ordering::is_lt),
        Operator::LessEqual => ordered().is_some_and(std::cmp::Ordering::is_lt) || equal(left, right),
        Operator::Greater => ordered().is_some_and(std::cmp::Ordering::is_gt),
        Operator::GreaterEqual => ordered().is_some_and(std::cmp::Ordering::is_gt) || equal(left, right),
        Operator::Not | Operator::And | Operator::Or => false,
    }
}

fn values(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.to_vec(),
        Value::Object(object) => object.iter().map(|(_, value)| value.clone()).collect(),
        _ => Vec::new(),
    }
}

fn member(value: &Value, index: &Value) -> Option<Value> {
    match value {
        Value::Object(object) if index.is_primitive() => object.get(&index.to_text()).cloned(),
        Value::Array(items) => {
            let number = index.to_number().floor();
            // NaN and negative numbers fail this test as well.
            (number >= 0.0 && number < items.len() as f64).then(|| items[number as usize].clone())
        }
        _ => None,
    }
}
