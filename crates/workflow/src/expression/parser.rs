//! Tokens to a tree, by precedence climbing on two explicit stacks (never by recursion: groups may nest as
//! deep as the text is long, while the tree itself is at most [`MAX_DEPTH`] high).

use super::functions;
use super::lexer::{Kind, Operator, Token, tokens};
use super::mistake::{MAX_DEPTH, Names, ParseError};
use super::tree::Node;
use super::value::Value;

/// Parses `source`, whose length has been checked.
pub(super) fn parse(source: &str, names: Names<'_>) -> Result<Node, ParseError> {
    Parser { source, names, operands: Vec::new(), operators: Vec::new() }.parse()
}

enum Pending {
    Group,
    Index,
    Call { function: functions::Function, name: String, position: usize, arguments: usize },
    Operator(Operator),
    Dereference,
}

struct Parser<'a> {
    source: &'a str,
    names: Names<'a>,
    operands: Vec<(Node, usize)>,
    operators: Vec<Pending>,
}

impl Parser<'_> {
    fn parse(mut self) -> Result<Node, ParseError> {
        let tokens = tokens(self.source);
        let mut last: Option<&Token> = None;
        for token in &tokens {
            if token.kind == Kind::Unexpected || !self.is_legal(last.map(|token| &token.kind), &token.kind) {
                return Err(self.unexpected(token));
            }
            self.take(token, last)?;
            last = Some(token);
        }
        let Some(last) = last else { return Err(ParseError::Empty) };
        let open = self
            .operators
            .iter()
            .any(|pending| matches!(pending, Pending::Group | Pending::Index | Pending::Call { .. }));
        if open || !ends_value(&last.kind) {
            return Err(ParseError::UnexpectedEnd {
                symbol: last.text.clone(),
                position: last.position,
                expression: self.source.to_owned(),
            });
        }
        self.reduce_operators(0)?;
        match self.operands.pop() {
            Some((node, height)) if height <= MAX_DEPTH => Ok(node),
            Some(_) => Err(ParseError::TooDeep),
            None => Err(ParseError::Empty),
        }
    }

    /// The grammar as "what may follow what", with the innermost open bracket deciding about the closing ones.
    fn is_legal(&self, last: Option<&Kind>, kind: &Kind) -> bool {
        let starts = last.is_none_or(|last| {
            matches!(
                last,
                Kind::Separator
                    | Kind::StartGroup
                    | Kind::StartParameters
                    | Kind::StartIndex
                    | Kind::Operator(_)
            )
        });
        let ends = last.is_some_and(ends_value);
        let indexable = ends && !matches!(last, Some(Kind::Literal(_)));
        let open = self
            .operators
            .iter()
            .rev()
            .find(|pending| matches!(pending, Pending::Group | Pending::Index | Pending::Call { .. }));
        match kind {
            Kind::StartGroup | Kind::Literal(_) | Kind::Function | Kind::Name => starts,
            Kind::Operator(Operator::Not) => starts,
            Kind::Operator(_) => ends,
            Kind::StartParameters => matches!(last, Some(Kind::Function)),
            Kind::StartIndex | Kind::Dereference => indexable,
            Kind::Wildcard => matches!(last, Some(Kind::StartIndex | Kind::Dereference)),
            Kind::Property => matches!(last, Some(Kind::Dereference)),
            Kind::Separator => ends && matches!(open, Some(Pending::Call { .. })),
            Kind::EndIndex => ends && matches!(open, Some(Pending::Index)),
            Kind::EndParenthesis => match open {
                Some(Pending::Group) => ends,
                Some(Pending::Call { .. }) => ends || matches!(last, Some(Kind::StartParameters)),
                _ => false,
            },
            Kind::Unexpected => false,
        }
    }

    fn take(&mut self, token: &Token, last: Option<&Token>) -> Result<(), ParseError> {
        match &token.kind {
            Kind::Literal(value) => self.operands.push((Node::Literal(value.clone().into_value()), 1)),
            Kind::Name => {
                self.check_name(token)?;
                self.operands.push((Node::Name(token.text.clone()), 1));
            }
            Kind::Property => {
                self.operands.push((Node::Literal(Value::string(token.text.as_str())), 1));
                self.reduce_dereference()?;
            }
            Kind::Wildcard => {
                self.operands.push((Node::Wildcard, 1));
                self.reduce_dereference()?;
            }
            Kind::Function => {
                let function = self.check_function(token)?;
                self.operators.push(Pending::Call {
                    function,
                    name: token.text.clone(),
                    position: token.position,
                    arguments: 0,
                });
            }
            Kind::StartParameters => {}
            Kind::StartGroup => self.operators.push(Pending::Group),
            Kind::StartIndex => {
                self.operators.push(Pending::Index);
            }
            Kind::Dereference => self.operators.push(Pending::Dereference),
            Kind::Separator => {
                self.reduce_operators(0)?;
                if let Some(Pending::Call { arguments, .. }) = self.operators.last_mut() {
                    *arguments += 1;
                }
            }
            Kind::EndIndex => {
                self.reduce_operators(0)?;
                self.operators.pop();
                self.reduce_index()?;
            }
            Kind::EndParenthesis => {
                self.reduce_operators(0)?;
                let empty = matches!(last.map(|token| &token.kind), Some(Kind::StartParameters));
                if let Some(Pending::Call { function, name, position, arguments }) = self.operators.pop() {
                    let arguments = if empty { 0 } else { arguments + 1 };
                    self.call(function, &name, position, arguments)?;
                }
            }
            Kind::Operator(operator) => {
                // `!` binds to what follows it, so nothing before it is complete yet.
                if *operator != Operator::Not {
                    self.reduce_operators(precedence(*operator))?;
                }
                self.operators.push(Pending::Operator(*operator));
            }
            Kind::Unexpected => return Err(self.unexpected(token)),
        }
        Ok(())
    }

    fn check_name(&self, token: &Token) -> Result<(), ParseError> {
        let known = match self.names {
            Names::Any => true,
            Names::Only { contexts, .. } => {
                contexts.iter().any(|name| name.eq_ignore_ascii_case(&token.text))
            }
        };
        if known {
            return Ok(());
        }
        Err(ParseError::UnrecognizedName {
            name: token.text.clone(),
            position: token.position,
            expression: self.source.to_owned(),
        })
    }

    fn check_function(&self, token: &Token) -> Result<functions::Function, ParseError> {
        let function = functions::Function::named(&token.text).filter(|function| match self.names {
            Names::Any => true,
            Names::Only { functions, .. } => {
                !function.is_special() || functions.iter().any(|name| name.eq_ignore_ascii_case(&token.text))
            }
        });
        function.ok_or_else(|| ParseError::UnrecognizedFunction {
            name: token.text.clone(),
            position: token.position,
            expression: self.source.to_owned(),
        })
    }

    fn call(
        &mut self,
        function: functions::Function,
        name: &str,
        position: usize,
        arguments: usize,
    ) -> Result<(), ParseError> {
        let (least, most) = function.parameters();
        let (name, expression) = (name.to_owned(), self.source.to_owned());
        if arguments < least {
            return Err(ParseError::TooFewParameters { name, position, expression });
        }
        if arguments > most {
            return Err(ParseError::TooManyParameters { name, position, expression });
        }
        if function == functions::Function::Case && arguments.is_multiple_of(2) {
            return Err(ParseError::EvenParameters { name });
        }
        let first = self.operands.len().saturating_sub(arguments);
        let parameters = self.operands.split_off(first);
        let height = parameters.iter().map(|(_, height)| *height).max().unwrap_or(0);
        let parameters = parameters.into_iter().map(|(node, _)| node).collect();
        self.push(Node::Call(function, parameters), height)
    }

    fn reduce_dereference(&mut self) -> Result<(), ParseError> {
        if matches!(self.operators.last(), Some(Pending::Dereference)) {
            self.operators.pop();
            self.reduce_index()?;
        }
        Ok(())
    }

    fn reduce_index(&mut self) -> Result<(), ParseError> {
        let (Some((index, a)), Some((object, b))) = (self.operands.pop(), self.operands.pop()) else {
            return Err(ParseError::Empty);
        };
        self.push(Node::Index(Box::new(object), Box::new(index)), a.max(b))
    }

    /// Folds pending operators that bind at least as tightly as `least`, back to the innermost open bracket.
    fn reduce_operators(&mut self, least: u8) -> Result<(), ParseError> {
        while let Some(Pending::Operator(operator)) = self.operators.last() {
            let operator = *operator;
            if precedence(operator) < least {
                break;
            }
            self.operators.pop();
            self.reduce_one(operator)?;
        }
        Ok(())
    }

    fn reduce_one(&mut self, operator: Operator) -> Result<(), ParseError> {
        let Some((right, right_height)) = self.operands.pop() else { return Err(ParseError::Empty) };
        if operator == Operator::Not {
            return self.push(Node::Not(Box::new(right)), right_height);
        }
        let Some((left, left_height)) = self.operands.pop() else { return Err(ParseError::Empty) };
        let height = left_height.max(right_height);
        // Chains of one logical operator are one node, so that a long condition is not a deep one.
        match (operator, left) {
            (Operator::And, Node::And(mut items)) => {
                items.push(right);
                self.operands.push((Node::And(items), left_height.max(right_height + 1)));
                Ok(())
            }
            (Operator::Or, Node::Or(mut items)) => {
                items.push(right);
                self.operands.push((Node::Or(items), left_height.max(right_height + 1)));
                Ok(())
            }
            (Operator::And, left) => self.push(Node::And(vec![left, right]), height),
            (Operator::Or, left) => self.push(Node::Or(vec![left, right]), height),
            (_, left) => self.push(Node::Compare(operator, Box::new(left), Box::new(right)), height),
        }
    }

    fn push(&mut self, node: Node, height_below: usize) -> Result<(), ParseError> {
        if height_below + 1 > MAX_DEPTH {
            return Err(ParseError::TooDeep);
        }
        self.operands.push((node, height_below + 1));
        Ok(())
    }

    fn unexpected(&self, token: &Token) -> ParseError {
        ParseError::UnexpectedSymbol {
            symbol: token.text.clone(),
            position: token.position,
            expression: self.source.to_owned(),
        }
    }
}

fn ends_value(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::EndParenthesis
            | Kind::EndIndex
            | Kind::Wildcard
            | Kind::Literal(_)
            | Kind::Property
            | Kind::Name
    )
}

fn precedence(operator: Operator) -> u8 {
    match operator {
        Operator::Not => 5,
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => 4,
        Operator::Equal | Operator::NotEqual => 3,
        Operator::And => 2,
        Operator::Or => 1,
    }
}
