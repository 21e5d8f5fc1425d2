//! Tokens of the expression language.
//!
//! Invariant: a token carries the 1-based position (in UTF-16 units, as GitHub counts) and the text it came
//! from, so that every message can name both. The token before decides what a dot or a name is.

use std::sync::Arc;

use super::coerce::parse_number;
use super::value::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Not,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    StartGroup,
    StartParameters,
    EndParenthesis,
    StartIndex,
    EndIndex,
    Separator,
    Dereference,
    Wildcard,
    Operator(Operator),
    Literal(LiteralValue),
    Property,
    Function,
    Name,
    Unexpected,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LiteralValue {
    Null,
    Bool(bool),
    Number(f64),
    Text(Arc<str>),
}

impl LiteralValue {
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text),
        }
    }
}

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars, at: 0, tokens: Vec::new() };
    while let Some(token) = lexer.next() {
        let stop = token.kind == Kind::Unexpected;
        lexer.tokens.push(token);
        if stop {
            break;
        }
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn next(&mut self) -> Option<Token> {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        let start = self.at;
        let kind = match self.peek(0)? {
            '(' if matches!(self.last(), Some(Kind::Function)) => self.single(Kind::StartParameters),
            '(' => self.single(Kind::StartGroup),
            ')' => self.single(Kind::EndParenthesis),
            '[' => self.single(Kind::StartIndex),
            ']' => self.single(Kind::EndIndex),
            ',' => self.single(Kind::Separator),
            '*' => self.single(Kind::Wildcard),
            '\'' => self.string(),
            '!' | '<' | '>' | '=' | '&' | '|' => self.operator(),
            '.' if self.value_may_start() => self.number(),
            '.' => self.single(Kind::Dereference),
            '+' | '-' | '0'..='9' => self.number(),
            _ => self.keyword(),
        };
        let text: String = self.chars[start..self.at].iter().collect();
        let position = 1 + self.chars[..start].iter().map(|c| c.len_utf16()).sum::<usize>();
        Some(Token { kind, text, position })
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn last(&self) -> Option<&Kind> {
        self.tokens.last().map(|token| &token.kind)
    }

    fn value_may_start(&self) -> bool {
        match self.last() {
            None => true,
            Some(kind) => matches!(
                kind,
                Kind::Separator
                    | Kind::StartGroup
                    | Kind::StartIndex
                    | Kind::StartParameters
                    | Kind::Operator(_)
            ),
        }
    }

    fn single(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn string(&mut self) -> Kind {
        let mut text = String::new();
        self.at += 1;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c != '\'' {
                text.push(c);
            } else if self.peek(0) == Some('\'') {
                text.push('\'');
                self.at += 1;
            } else {
                return Kind::Literal(LiteralValue::Text(text.into()));
            }
        }
        Kind::Unexpected
    }

    fn operator(&mut self) -> Kind {
        let (operator, length) = match (self.peek(0), self.peek(1)) {
            (Some('!'), Some('=')) => (Operator::NotEqual, 2),
            (Some('>'), Some('=')) => (Operator::GreaterEqual, 2),
            (Some('<'), Some('=')) => (Operator::LessEqual, 2),
            (Some('='), Some('=')) => (Operator::Equal, 2),
            (Some('&'), Some('&')) => (Operator::And, 2),
            (Some('|'), Some('|')) => (Operator::Or, 2),
            (Some('!'), _) => (Operator::Not, 1),
            (Some('>'), _) => (Operator::Greater, 1),
            (Some('<'), _) => (Operator::Less, 1),
            _ => {
                self.at += 1;
                self.to_boundary(false);
                return Kind::Unexpected;
            }
        };
        self.at += length;
        Kind::Operator(operator)
    }

    fn number(&mut self) -> Kind {
        self.at += 1;
        let start = self.at - 1;
        self.to_boundary(true);
        let text: String = self.chars[start..self.at].iter().collect();
        let number = parse_number(&text);
        if number.is_nan() { Kind::Unexpected } else { Kind::Literal(LiteralValue::Number(number)) }
    }

    fn keyword(&mut self) -> Kind {
        let start = self.at;
        self.at += 1;
        self.to_boundary(false);
        let text: String = self.chars[start..self.at].iter().collect();
        let legal = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !legal {
            return Kind::Unexpected;
        }
        if matches!(self.last(), Some(Kind::Dereference)) {
            return Kind::Property;
        }
        match text.as_str() {
            "null" => Kind::Literal(LiteralValue::Null),
            "true" => Kind::Literal(LiteralValue::Bool(true)),
            "false" => Kind::Literal(LiteralValue::Bool(false)),
            "NaN" => Kind::Literal(LiteralValue::Number(f64::NAN)),
            "Infinity" => Kind::Literal(LiteralValue::Number(f64::INFINITY)),
            _ => {
                let rest = self.chars[self.at..].iter().find(|c| !c.is_whitespace());
                if rest == Some(&'(') { Kind::Function } else { Kind::Name }
            }
        }
    }

    fn to_boundary(&mut self, dots_too: bool) {
        while let Some(c) = self.peek(0) {
            let boundary = c.is_whitespace()
                || matches!(c, '(' | ')' | '[' | ']' | ',' | '!' | '<' | '>' | '=' | '&' | '|')
                || (c == '.' && !dots_too);
            if boundary {
                break;
            }
            self.at += 1;
        }
    }
}
