//! `strategy.matrix` to its rows: product, then `exclude`, then `include`.
//!
//! Pure. The planner calls it with the evaluated matrix. At most [`MAX_ROWS`] rows, as on GitHub.

use indexmap::IndexMap;

use crate::expression::{Object, Value, to_json};
use crate::model::MatrixRow;

pub const MAX_ROWS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    #[error("the matrix must be a mapping of names to lists")]
    NotAMapping,
    #[error("the matrix vector '{name}' must be a list with at least one value")]
    NotAVector { name: String },
    #[error("`{key}` of a matrix must be a list of mappings")]
    NotRows { key: &'static str },
    #[error("the matrix makes more than {MAX_ROWS} jobs")]
    TooMany,
    #[error("the matrix makes no job: it has neither vectors nor include")]
    Empty,
}

pub fn expand(matrix: &Value) -> Result<Vec<MatrixRow>, MatrixError> {
    let Value::Object(matrix) = matrix else { return Err(MatrixError::NotAMapping) };
    let include = rows(matrix, "include")?;
    let exclude = rows(matrix, "exclude")?;
    let mut product: Vec<MatrixRow> = vec![MatrixRow::new()];
    let mut vectors = Vec::new();
    for (name, values) in matrix.iter() {
        if name.eq_ignore_ascii_case("include") || name.eq_ignore_ascii_case("exclude") {
            continue;
        }
        let Value::Array(values) = values else {
            return Err(MatrixError::NotAVector { name: name.to_owned() });
        };
        if values.is_empty() {
            return Err(MatrixError::NotAVector { name: name.to_owned() });
        }
        if product.len().saturating_mul(values.len()) > MAX_ROWS * 16 {
            return Err(MatrixError::TooMany);
        }
        vectors.push(name.to_owned());
        product = product
            .iter()
            .flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.insert(name.to_owned(), value.clone());
                    row
                })
            })
            .collect();
    }
    if vectors.is_empty() {
        product.clear();
    }
    product.retain(|row| {
        !exclude.iter().any(|exclude| {
            exclude.iter().all(|(key, value)| find(row, key).is_some_and(|own| same(own, value)))
        })
    });
    let original = product.len();
    for extra in include {
        let mut added = false;
        for row in product.iter_mut().take(original) {
            // An include may add to a row, never overwrite what the vectors gave it.
            let fits = extra.iter().all(|(key, value)| {
                let own = vectors.iter().any(|name| name.eq_ignore_ascii_case(key));
                !own || find(row, key).is_some_and(|own| same(own, value))
            });
            if fits {
                row.extend(extra.iter().map(|(key, value)| (key.to_owned(), value.clone())));
                added = true;
            }
        }
        if !added {
            product.push(extra);
        }
    }
    match product.len() {
        0 => Err(MatrixError::Empty),
        1..=MAX_ROWS => Ok(product),
        _ => Err(MatrixError::TooMany),
    }
}

/// What stands in brackets behind the job's name: the values of the row.
pub fn title(row: &MatrixRow) -> String {
    let values: Vec<String> = row.values().flat_map(leaves).collect();
    values.join(", ")
}

/// The row as the `matrix` context.
pub fn context(row: &MatrixRow) -> Value {
    let object: Object = row.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    Value::object(object)
}

fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        Value::Object(object) => object.iter().flat_map(|(_, value)| leaves(value)).collect(),
        _ => vec![value.to_text().to_string()],
    }
}

fn rows(matrix: &Object, key: &'static str) -> Result<Vec<MatrixRow>, MatrixError> {
    match matrix.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::Object(object) => Ok(object
                    .iter()
                    .map(|(key, value)| (key.to_owned(), value.clone()))
                    .collect::<IndexMap<_, _>>()),
                _ => Err(MatrixError::NotRows { key }),
            })
            .collect(),
        Some(_) => Err(MatrixError::NotRows { key }),
    }
}

fn find<'a>(row: &'a MatrixRow, key: &str) -> Option<&'a Value> {
    row.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

/// Equal by content: `1` in a vector and `1` in an exclude are two values of one look.
fn same(left: &Value, right: &Value) -> bool {
    to_json(left) == to_json(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::from_json;

    fn titles(json: &str) -> Result<Vec<String>, MatrixError> {
        let rows = expand(&from_json(json).expect("JSON"))?;
        Ok(rows.iter().map(title).collect())
    }

    #[test]
    fn product_exclude_and_include_in_this_order() {
        let json = r#"{"fruit":["apple","pear"],"animal":["cat","dog"],
            "include":[{"color":"green"},{"color":"pink","animal":"cat"},{"fruit":"apple","shape":"circle"},
                       {"fruit":"banana"},{"fruit":"banana","animal":"cat"}]}"#;
        assert_eq!(
            titles(json).expect("expands"),
            [
                "apple, cat, pink, circle",
                "apple, dog, green, circle",
                "pear, cat, pink",
                "pear, dog, green",
                "banana",
                "banana, cat"
            ]
        );
        let json = r#"{"a":[1,2],"b":["x","y"],"exclude":[{"a":1},{"a":2,"b":"y"}]}"#;
        assert_eq!(titles(json).expect("expands"), ["2, x"]);
        assert_eq!(titles(r#"{"include":[{"a":1},{"a":2}]}"#).expect("expands"), ["1", "2"]);
    }

    #[test]
    fn limits_and_wrong_shapes_are_refused() {
        let many = format!("[{}]", (0..17).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        let json = format!(r#"{{"a":{many},"b":{many}}}"#);
        assert_eq!(titles(&json), Err(MatrixError::TooMany));
        assert_eq!(titles(r#"{"a":[]}"#), Err(MatrixError::NotAVector { name: "a".into() }));
        assert_eq!(titles("[]"), Err(MatrixError::NotAMapping));
        assert_eq!(titles("{}"), Err(MatrixError::Empty));
    }
}
