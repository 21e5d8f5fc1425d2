//! YAML values with `${{ }}` in them.
//!
//! A [`Template`] makes text (or, when it is one expression and nothing else, a value of any kind); a
//! [`Token`] is a whole YAML subtree of templates. Both keep their place, so that what fails in the run can
//! point into the file. Read by `read`, evaluated by the planner and the builder.

use crate::availability::Availability;
use crate::expression::{Environment, EvaluationError, Expression, MAX_LENGTH, Object, ParseError, Value};
use crate::source::Location;

#[derive(Debug, Clone)]
pub struct Template {
    at: Location,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Expression(Expression),
}

/// Evaluation failed at a place in the workflow file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to evaluate the value at {at}")]
pub struct Failure {
    pub at: Location,
    #[source]
    pub source: EvaluationError,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error(
        "The expression is not closed. An unescaped ${{{{ sequence was found, but the closing }}}} sequence was not found."
    )]
    NotClosed,
    #[error("A template expression is not allowed in this context")]
    NotAllowed,
    #[error(
        "The directive 'insert' is not allowed in this context. Directives are not supported for expressions that are embedded within a string. Directives are only supported when the entire value is an expression."
    )]
    Directive,
    #[error(transparent)]
    Expression(#[from] ParseError),
}

impl Template {
    /// Text without expressions.
    pub fn literal(at: Location, text: impl Into<String>) -> Self {
        Self { at, parts: vec![Part::Text(text.into())] }
    }

    /// Text that may hold expressions, where `availability` allows them.
    pub fn parse(
        at: Location,
        text: &str,
        availability: Option<Availability>,
    ) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        // Text with an expression in it counts as one expression, however little of it is computed.
        if text.len() > MAX_LENGTH && text.contains("${{") {
            return Err(ParseError::TooLong.into());
        }
        while let Some(start) = rest.find("${{") {
            let body = &rest[start + 3..];
            let end = closing(body).ok_or(TemplateError::NotClosed)?;
            let availability = availability.ok_or(TemplateError::NotAllowed)?;
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let source = body[..end].trim();
            if source == "insert" {
                return Err(TemplateError::Directive);
            }
            parts.push(Part::Expression(Expression::parse(source, availability.names())?));
            rest = &body[end + 2..];
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { at, parts })
    }

    /// An `if`: the whole text is an expression even without the braces.
    pub fn parse_condition(
        at: Location,
        text: &str,
        availability: Availability,
    ) -> Result<Self, TemplateError> {
        if text.contains("${{") {
            return Self::parse(at, text.trim(), Some(availability));
        }
        let expression = Expression::parse(text.trim(), availability.names())?;
        Ok(Self { at, parts: vec![Part::Expression(expression)] })
    }

    pub fn at(&self) -> Location {
        self.at
    }

    /// The text, if nothing in it has to be computed.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub fn value(&self, environment: &dyn Environment) -> Result<Value, Failure> {
        if let [Part::Expression(expression)] = self.parts.as_slice() {
            return self.evaluate(expression, environment);
        }
        self.text(environment).map(Value::from)
    }

    pub fn text(&self, environment: &dyn Environment) -> Result<String, Failure> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(expression) => {
                    out.push_str(&self.evaluate(expression, environment)?.to_text());
                }
            }
        }
        Ok(out)
    }

    /// Which members of a context are named: `references("secrets")` for what a step needs.
    pub fn references(&self, context: &str) -> Vec<String> {
        self.expressions().flat_map(|expression| expression.references(context)).collect()
    }

    pub fn calls_status_function(&self) -> bool {
        self.expressions().any(Expression::calls_status_function)
    }

    /// The template as it was written.
    pub fn source(&self) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Expression(expression) => format!("${{{{ {} }}}}", expression.source()),
            })
            .collect()
    }

    fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }

    fn evaluate(&self, expression: &Expression, environment: &dyn Environment) -> Result<Value, Failure> {
        expression.evaluate(environment).map_err(|source| Failure { at: self.at, source })
    }
}

/// A YAML subtree with expressions.
#[derive(Debug, Clone)]
pub enum Token {
    Value(Location, Value),
    Text(Template),
    Sequence(Location, Vec<Token>),
    Mapping(Location, Vec<(Template, Token)>),
}

impl Token {
    pub fn at(&self) -> Location {
        match self {
            Self::Value(at, _) | Self::Sequence(at, _) | Self::Mapping(at, _) => *at,
            Self::Text(template) => template.at(),
        }
    }

    pub fn value(&self, environment: &dyn Environment) -> Result<Value, Failure> {
        match self {
            Self::Value(_, value) => Ok(value.clone()),
            Self::Text(template) => template.value(environment),
            Self::Sequence(_, items) => {
                let items =
                    items.iter().map(|item| item.value(environment)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::array(items))
            }
            Self::Mapping(_, entries) => {
                let mut object = Object::new();
                for (key, value) in entries {
                    object.insert(key.text(environment)?, value.value(environment)?);
                }
                Ok(Value::object(object))
            }
        }
    }

    pub fn references(&self, context: &str) -> Vec<String> {
        match self {
            Self::Value(..) => Vec::new(),
            Self::Text(template) => template.references(context),
            Self::Sequence(_, items) => items.iter().flat_map(|item| item.references(context)).collect(),
            Self::Mapping(_, entries) => {
                entries.iter().flat_map(|(_, value)| value.references(context)).collect()
            }
        }
    }
}

/// The end of an expression body: the first `}}` outside a string.
fn closing(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut quoted = false;
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes.get(index + 1) == Some(&b'}') => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::availability::{NOTHING, STEP};
    use crate::expression::NoEnvironment;

    fn text(source: &str) -> Result<String, TemplateError> {
        let template = Template::parse(Location::default(), source, Some(STEP))?;
        Ok(template.text(&NoEnvironment).expect("evaluates"))
    }

    #[test]
    fn text_and_expressions_mix() {
        assert_eq!(text("a ${{ 1 }} b ${{ format('{0}}}', 'x') }}").as_deref(), Ok("a 1 b x}"));
        assert_eq!(text("plain").as_deref(), Ok("plain"));
        assert_eq!(text("").as_deref(), Ok(""));
        assert_eq!(text("${{ 'a' "), Err(TemplateError::NotClosed));
        assert_eq!(text("x ${{ insert }}"), Err(TemplateError::Directive));
    }

    #[test]
    fn one_expression_alone_keeps_its_kind() {
        let template =
            Template::parse(Location::default(), "${{ fromJSON('[1]') }}", Some(STEP)).expect("parses");
        assert_eq!(template.value(&NoEnvironment).expect("evaluates").kind(), "Array");
    }

    #[test]
    fn where_nothing_may_be_computed_nothing_is() {
        let error = Template::parse(Location::default(), "${{ 1 }}", NOTHING).expect_err("not allowed");
        assert_eq!(error, TemplateError::NotAllowed);
    }

    #[test]
    fn secrets_are_found_where_they_are_named() {
        let source = "${{ secrets.A }}-${{ secrets['B'] || env.C }}";
        let template = Template::parse(Location::default(), source, Some(STEP)).expect("parses");
        assert_eq!(template.references("secrets"), ["A", "B"]);
    }
}
