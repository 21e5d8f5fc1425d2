//! Values of the expression language.
//!
//! Arrays and objects compare by identity, as on GitHub, so they are shared pointers. Objects keep their
//! order (`toJSON` shows it) and are looked up without regard to case, except where the environment of a Linux
//! job is meant.

use std::collections::HashMap;
use std::sync::Arc;

use super::coerce::{fold, number_to_string, string_to_number};

#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    String(Arc<str>),
    Array(Arc<Vec<Value>>),
    Object(Arc<Object>),
}

/// An ordered map with case-insensitive lookup.
#[derive(Debug, Clone, Default)]
pub struct Object {
    entries: Vec<(Arc<str>, Value)>,
    index: HashMap<String, usize>,
    case_sensitive: bool,
}

impl Object {
    pub fn new() -> Self {
        Self::default()
    }

    /// The `env` context on Linux: `PATH` and `Path` are two variables.
    pub fn case_sensitive() -> Self {
        Self { case_sensitive: true, ..Self::default() }
    }

    /// Adds or replaces; a replaced key keeps its place and its first spelling.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: impl Into<Value>) {
        let key = key.into();
        let folded = self.normal(&key);
        match self.index.get(&folded) {
            Some(&place) => self.entries[place].1 = value.into(),
            None => {
                self.index.insert(folded, self.entries.len());
                self.entries.push((key, value.into()));
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(&self.normal(key)).map(|&place| &self.entries[place].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_ref(), value))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn normal(&self, key: &str) -> String {
        if self.case_sensitive { key.to_owned() } else { key.chars().map(fold).collect() }
    }
}

impl<K: Into<Arc<str>>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut object = Self::new();
        for (key, value) in entries {
            object.insert(key, value);
        }
        object
    }
}

impl Value {
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(items))
    }

    pub fn object(object: Object) -> Self {
        Self::Object(Arc::new(object))
    }

    /// What `if` and `&&` go by: false, 0, NaN, '' and null are not true.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Number(value) => *value != 0.0 && !value.is_nan(),
            Self::String(text) => !text.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
        }
    }

    pub fn is_primitive(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// Coercion to text; collections give their kind.
    pub fn to_text(&self) -> Arc<str> {
        match self {
            Self::Null => Arc::from(""),
            Self::Bool(true) => Arc::from("true"),
            Self::Bool(false) => Arc::from("false"),
            Self::Number(number) => Arc::from(number_to_string(*number)),
            Self::String(text) => Arc::clone(text),
            Self::Array(_) => Arc::from("Array"),
            Self::Object(_) => Arc::from("Object"),
        }
    }

    /// Coercion to a number; collections give NaN.
    pub fn to_number(&self) -> f64 {
        match self {
            Self::Null | Self::Bool(false) => 0.0,
            Self::Bool(true) => 1.0,
            Self::Number(number) => *number,
            Self::String(text) => string_to_number(text),
            Self::Array(_) | Self::Object(_) => f64::NAN,
        }
    }

    /// The member of an object, `Null` where there is none.
    pub fn get(&self, key: &str) -> Value {
        match self {
            Self::Object(object) => object.get(key).cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "Null",
            Self::Bool(_) => "Boolean",
            Self::Number(_) => "Number",
            Self::String(_) => "String",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<std::sync::Arc<str>> for Value {
    fn from(text: std::sync::Arc<str>) -> Self {
        Self::String(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::object(object)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::array(items)
    }
}
