use proptest::prelude::*;

use super::*;

fn value(source: &str) -> String {
    match Expression::parse(source, Names::Any) {
        Ok(expression) => match expression.evaluate(&Context) {
            Ok(value) => to_json(&value),
            Err(error) => format!("failed: {error}"),
        },
        Err(error) => format!("refused: {error}"),
    }
}

struct Context;

impl Environment for Context {
    fn context(&self, name: &str) -> Option<Value> {
        let json = r#"{"github":{"ref":"refs/heads/main","event":{"commits":[{"id":1},{"id":2}]}},
            "needs":{"test":{"result":"success"}}}"#;
        let all = from_json(json).expect("JSON");
        let Value::Object(all) = all else { return None };
        all.get(name).cloned()
    }

    fn success(&self, _jobs: &[Value]) -> bool {
        false
    }

    fn failure(&self, _jobs: &[Value]) -> bool {
        true
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        Ok(patterns.join("+"))
    }
}

#[test]
fn operators_bind_as_written_in_the_manual() {
    for (source, wanted) in [
        ("1 < 2 == true && !false", "true"),
        ("'' || 'default'", "\"default\""),
        ("'a' && 'b' || 'c'", "\"b\""),
        ("!(1 == 1 && 2 == 3)", "true"),
        ("!!'x'", "true"),
        ("'0x10' == 16", "true"),
        ("null == 0", "true"),
        ("'It''s' == 'IT''S'", "true"),
        ("github.event.commits.*.id", "[\n  1,\n  2\n]"),
        ("join(github.event.commits.*.id, '-')", "\"1-2\""),
        ("github['REF'] == GITHUB.ref", "true"),
        ("github.nothing.at.all", "null"),
        ("startsWith(github.ref, 'REFS/')", "true"),
        ("endsWith(github.ref, 'main') && contains(needs.*.result, 'success')", "true"),
        ("format('{1}{0}{{}}', 1, 'a')", "\"a1{}\""),
        ("fromJSON('{\"a\": [1, {\"b\": null}]}').a[1].b == null", "true"),
        ("case(false, 1, true, 2, 3)", "2"),
        ("failure() && !success() && always() && !cancelled()", "true"),
        ("hashFiles('a', 'b')", "\"a+b\""),
    ] {
        assert_eq!(value(source), wanted, "{source}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_position() {
    for (source, wanted) in [
        ("", "refused: An expression was expected"),
        ("a b", "refused: Unexpected symbol: 'b'. Located at position 3 within expression: a b"),
        ("what()", "refused: Unrecognized function: 'what'. Located at position 1 within expression: what()"),
        (
            "contains(1)",
            "refused: Too few parameters supplied: 'contains'. Located at position 1 within expression: contains(1)",
        ),
        (
            "always(1)",
            "refused: Too many parameters supplied: 'always'. Located at position 1 within expression: always(1)",
        ),
        ("(1", "refused: Unexpected end of expression: '1'. Located at position 2 within expression: (1"),
        (
            "1 ==",
            "refused: Unexpected end of expression: '=='. Located at position 3 within expression: 1 ==",
        ),
        ("'open", "refused: Unexpected symbol: ''open'. Located at position 1 within expression: 'open"),
        ("format('{0')", "failed: The following format string is invalid: {0"),
    ] {
        assert_eq!(value(source), wanted, "{source}");
    }
    assert!(value("fromJSON('{')").starts_with("failed: Error parsing fromJson"));
    assert_eq!(
        value(&"(".repeat(20_000)),
        format!(
            "refused: Unexpected end of expression: '('. Located at position 20000 within expression: {}",
            "(".repeat(20_000)
        )
    );
    assert_eq!(value(&format!("{}1", "!".repeat(20_000))), "refused: Exceeded max expression depth 50");
    let chain = vec!["true"; 2_000].join(" && ");
    assert_eq!(value(&chain), "true");
}

proptest! {
    #[test]
    fn any_text_is_evaluated_or_refused(source in "\\PC{0,60}") {
        value(&source);
    }

    #[test]
    fn any_mix_of_tokens_is_evaluated_or_refused(tokens in prop::collection::vec(prop::sample::select(vec![
        "(", ")", "[", "]", ".", "*", ",", "!", "==", "&&", "||", "<", "1", "'a'", "null", "github", "contains",
        "format", "toJSON", "case", " "]), 0..24)) {
        value(&tokens.concat());
    }

    #[test]
    fn strings_survive_json(text in "\\PC{0,40}") {
        let value = Value::string(text.clone());
        let back = from_json(&to_json(&value)).expect("JSON");
        prop_assert_eq!(back.to_text().to_string(), text);
    }

    #[test]
    fn numbers_survive_their_text(number in -1e14f64..1e14) {
        let text = Value::Number(number).to_text();
        let back = parse_number(&text);
        prop_assert!((back - number).abs() <= number.abs() * 1e-14, "{number} {text} {back}");
    }

    #[test]
    fn equality_is_symmetric(left in prop::sample::select(vec!["1", "'1'", "true", "null", "''", "NaN", "'a'"]),
                             right in prop::sample::select(vec!["1", "'1'", "true", "null", "''", "NaN", "'A'"])) {
        prop_assert_eq!(value(&format!("{left} == {right}")), value(&format!("{right} == {left}")));
        prop_assert_ne!(value(&format!("{left} == {right}")), value(&format!("{left} != {right}")));
    }
}
