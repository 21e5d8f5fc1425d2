//! Coercion and comparison, the rules under every operator.
//!
//! Strings compare without regard to case by folding each character to its simple upper case; the dotless i,
//! the dotted I and the long s stay what they are, as on GitHub.

use std::cmp::Ordering;
use std::sync::Arc;

use super::value::Value;

/// Simple upper case of one character, never between ASCII and the rest.
pub(super) fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    if matches!(c, '\u{131}' | '\u{130}' | '\u{17f}') {
        return c;
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

pub(super) fn folded(text: &str) -> String {
    text.chars().map(fold).collect()
}

pub(super) fn string_to_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() { 0.0 } else { parse_number(text) }
}

/// A number as the language writes it: decimal with exponent, `0x`, `0o`, `Infinity`; NaN when it is none.
pub fn parse_number(text: &str) -> f64 {
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if decimal && text.bytes().any(|b| b.is_ascii_digit()) {
        return text.parse().unwrap_or(f64::NAN);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    match text {
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => f64::NAN,
    }
}

/// 32 bits with a sign, as GitHub reads them.
fn radix(digits: &str, radix: u32) -> f64 {
    if digits.is_empty() || digits.starts_with('+') {
        return f64::NAN;
    }
    match u32::from_str_radix(digits, radix) {
        Ok(bits) => f64::from(bits.cast_signed()),
        Err(_) => f64::NAN,
    }
}

/// 15 significant digits, exponent form outside 1e-4 ≤ |n| < 1e15.
pub(super) fn number_to_string(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..15).contains(&exponent) {
        let decimals = usize::try_from(14 - exponent).unwrap_or(0);
        return trim_zeros(&format!("{number:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}E{sign}{:02}", trim_zeros(mantissa), exponent.abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// `==`: kinds that differ meet as numbers; collections only equal themselves.
pub(super) fn equal(left: &Value, right: &Value) -> bool {
    match coerce(left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(l), Value::Bool(r)) => l == r,
        (Value::Number(l), Value::Number(r)) => l == r,
        (Value::String(l), Value::String(r)) => l.chars().map(fold).eq(r.chars().map(fold)),
        (Value::Array(l), Value::Array(r)) => Arc::ptr_eq(&l, &r),
        (Value::Object(l), Value::Object(r)) => Arc::ptr_eq(&l, &r),
        _ => false,
    }
}

/// `<` and `>`: `None` where the two have no order (NaN, collections, kinds that never meet).
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match coerce(left, right) {
        (Value::Bool(l), Value::Bool(r)) => Some(l.cmp(&r)),
        (Value::Number(l), Value::Number(r)) => l.partial_cmp(&r),
        (Value::String(l), Value::String(r)) => {
            Some(folded(&l).encode_utf16().cmp(folded(&r).encode_utf16()))
        }
        _ => None,
    }
}

fn coerce(left: &Value, right: &Value) -> (Value, Value) {
    use Value::{Bool, Null, Number, String};
    match (left, right) {
        (Null, Null) | (Bool(_), Bool(_)) => (left.clone(), right.clone()),
        (Number(_), String(_)) => (left.clone(), Number(right.to_number())),
        (String(_), Number(_)) => (Number(left.to_number()), right.clone()),
        (Null | Bool(_), _) => coerce(&Number(left.to_number()), right),
        (_, Null | Bool(_)) => coerce(left, &Number(right.to_number())),
        _ => (left.clone(), right.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_fifteen_digits() {
        for (number, wanted) in [
            (0.1 + 0.2, "0.3"),
            (1e15, "1E+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (-0.0, "0"),
            (1.0 / 3.0, "0.333333333333333"),
            (0.00001, "1E-05"),
            (0.0001, "0.0001"),
            (120.0, "120"),
            (1e300, "1E+300"),
        ] {
            assert_eq!(number_to_string(number), wanted, "{number:?}");
        }
    }

    #[test]
    fn only_true_numbers_are_numbers() {
        for text in ["", "inf", "nan", "1e", "0x", "0xg", "0x+1", "1_0", "--1", "1 2"] {
            assert!(parse_number(text).is_nan(), "{text}");
        }
        assert_eq!(parse_number("0xFFFFFFFF"), -1.0);
        assert_eq!(parse_number("+1.5e1"), 15.0);
    }

    #[test]
    fn the_dotless_i_stays_apart() {
        assert!(!equal(&"ı".into(), &"I".into()));
        assert!(equal(&"straße".into(), &"STRAßE".into()));
        assert!(equal(&"Ä".into(), &"ä".into()));
    }
}
