//! Scenarios of the expression language: what is true of which properties, what is refused; and that no text is too strange.

use super::super::{FilterError, Properties};
use super::{Condition, MAX_DEPTH, MAX_IN_VALUES, NotComparable, parse};
use proptest::prelude::*;

struct Message(&'static [(&'static str, &'static str)]);

impl Properties for Message {
    fn property(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// `m` and `n` are missing.
const MESSAGE: Message = Message(&[
    ("i", "5"),
    ("big", "3000000000"),
    ("d", "5.5"),
    ("s", "axb"),
    ("t", "True"),
    ("q", "'tag'"),
    ("blank", " 7 "),
    ("empty", ""),
    ("nan", "NaN"),
    ("TAGS", "TagA"),
    ("_$1", "odd"),
]);

const TRUE: Result<Option<bool>, NotComparable> = Ok(Some(true));
const FALSE: Result<Option<bool>, NotComparable> = Ok(Some(false));
const UNKNOWN: Result<Option<bool>, NotComparable> = Ok(None);
const FAILS: Result<Option<bool>, NotComparable> = Err(NotComparable);

fn check(scenarios: &[(&str, Result<Option<bool>, NotComparable>)]) {
    for (expression, expected) in scenarios {
        let condition = parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(condition.evaluate(&MESSAGE), *expected, "{expression}");
        assert_eq!(parse(&condition.to_string()).as_ref(), Ok(&condition), "{expression}");
    }
}

#[test]
fn texts_are_equal_or_not() {
    check(&[
        ("s = 'axb'", TRUE),
        ("s <> 'axb'", FALSE),
        ("'axb' = s", TRUE),
        ("s = 'AXB'", FALSE),
        ("S = 'axb'", UNKNOWN),
        ("q = '''tag'''", TRUE),
        ("empty = ''", TRUE),
        ("TAGS = 'TagA'", TRUE),
        ("_$1 = 'odd'", TRUE),
        ("s = i", FALSE),
        ("i = '5'", TRUE),
    ]);
}

#[test]
fn a_missing_property_is_unknown_except_on_the_right() {
    check(&[
        ("m = 'x'", UNKNOWN),
        ("m <> 'x'", UNKNOWN),
        ("'x' = m", FALSE),
        ("'x' <> m", TRUE),
        ("m = n", TRUE),
        ("m > 1", UNKNOWN),
        ("1 > m", UNKNOWN),
        ("m BETWEEN 1 AND 2", UNKNOWN),
        ("m IN ('x')", UNKNOWN),
        ("m NOT IN ('x')", UNKNOWN),
        ("m CONTAINS 'x'", FALSE),
        ("m NOT CONTAINS 'x'", FALSE),
        ("m IS NULL", TRUE),
        ("m IS NOT NULL", FALSE),
        ("s IS NULL", FALSE),
        ("s IS NOT NULL", TRUE),
        ("m = 'x' IS NULL", TRUE),
        ("(m = 'x') IS NULL", TRUE),
    ]);
}

#[test]
fn texts_become_the_numbers_they_are_compared_with() {
    check(&[
        ("i = 5", TRUE),
        ("i <> 5", FALSE),
        ("i > 4 AND i >= 5 AND i < 6 AND i <= 5", TRUE),
        ("4 < i", TRUE),
        ("i = 5.0", TRUE),
        ("i < 5.5", TRUE),
        ("d > 5.4", TRUE),
        ("d > 5", FAILS),
        ("s > 5", FAILS),
        ("s = 5", FAILS),
        ("empty = 0", FAILS),
        ("blank = 7", FAILS),
        ("blank = 7.0", TRUE),
        ("big > 5", FAILS),
        ("big > 2999999999", TRUE),
        ("big = 3000000000", TRUE),
        ("big = 3e9", TRUE),
        ("i < 3000000000", TRUE),
        ("nan > 1.0", TRUE),
        ("i < d", TRUE),
        ("i < s", FAILS),
    ]);
}

#[test]
fn literals_compare_in_the_wider_type() {
    check(&[
        ("5 = 5", TRUE),
        ("5 = 5L", TRUE),
        ("5l < 3000000000", TRUE),
        ("5 < 5.5", TRUE),
        ("3000000000 > 1.5", TRUE),
        (".5 = 0.5", TRUE),
        ("5. = 5", TRUE),
        ("5.E1 = 50", TRUE),
        ("007.5 = 7.5", TRUE),
        ("5e-1 = .5", TRUE),
        ("'5' = 5", TRUE),
        ("'x' = 'x'", TRUE),
        ("0.0 = 0", TRUE),
        ("-0.0 = 0.0", FALSE),
        ("5 = TRUE", FALSE),
        ("5 <> TRUE", TRUE),
    ]);
}

#[test]
fn signs_belong_to_numbers() {
    check(&[
        ("-5 < 0", TRUE),
        ("- -5 = 5", TRUE),
        ("5 = --5", TRUE),
        ("+i = 5", TRUE),
        ("i > -1", TRUE),
        ("-i < 0", UNKNOWN),
        ("-'5' = 5", UNKNOWN),
        ("(-m) IS NULL", TRUE),
        ("(-TRUE) IS NULL", TRUE),
    ]);
}

#[test]
fn ranges_include_their_ends() {
    check(&[
        ("i BETWEEN 5 AND 6", TRUE),
        ("i BETWEEN 4 AND 5", TRUE),
        ("i BETWEEN 6 AND 9", FALSE),
        ("i NOT BETWEEN 6 AND 9", TRUE),
        ("i NOT BETWEEN 5 AND 9", FALSE),
        ("i NOT BETWEEN 9 AND 6", TRUE),
        ("5 BETWEEN i AND 6", TRUE),
        ("i BETWEEN 6 AND s", FALSE),
        ("i BETWEEN 4 AND s", FAILS),
        ("i NOT BETWEEN 6 AND s", TRUE),
        ("i BETWEEN m AND 4", FALSE),
        ("i BETWEEN m AND 6", UNKNOWN),
        ("i BETWEEN 4.5 AND 5.5 AND s = 'axb'", TRUE),
    ]);
}

#[test]
fn texts_are_searched() {
    check(&[
        ("s CONTAINS 'x'", TRUE),
        ("s NOT CONTAINS 'x'", FALSE),
        ("s STARTSWITH 'ax'", TRUE),
        ("s NOT STARTSWITH 'x'", TRUE),
        ("s ENDSWITH 'xb'", TRUE),
        ("s NOT ENDSWITH 'xb'", FALSE),
        ("s CONTAINS ''", FALSE),
        ("s NOT CONTAINS ''", FALSE),
        ("i CONTAINS '5'", TRUE),
        ("5 CONTAINS '5'", FALSE),
        ("'axb' CONTAINS 'x'", TRUE),
        ("s CONTAINS 'x' CONTAINS 'x'", FALSE),
    ]);
}

#[test]
fn lists_hold_texts() {
    check(&[
        ("s IN ('axb')", TRUE),
        ("s IN ('b', 'axb', 'a')", TRUE),
        ("s IN ('a', 'b', 'c', 'd', 'e', 'f')", FALSE),
        ("s NOT IN ('a', 'b')", TRUE),
        ("i IN ('5')", TRUE),
        ("(s) IN ('axb')", TRUE),
        ("q IN ('''tag''')", TRUE),
    ]);
}

#[test]
fn conditions_are_joined_with_three_values() {
    check(&[
        ("s = 'axb' AND m = 1", UNKNOWN),
        ("m = 1 AND s = 'axb'", UNKNOWN),
        ("s = 'x' AND m = 1", FALSE),
        ("m = 1 AND s = 'x'", FALSE),
        ("s = 'axb' OR m = 1", TRUE),
        ("m = 1 OR s = 'axb'", TRUE),
        ("m = 1 OR s = 'x'", UNKNOWN),
        ("NOT (m = 1)", UNKNOWN),
        ("NOT (s = 'axb')", FALSE),
        ("TRUE", TRUE),
        ("FALSE OR TRUE", TRUE),
        ("NULL", UNKNOWN),
        ("NULL OR TRUE", TRUE),
        ("NULL AND FALSE", FALSE),
        ("s = 'x' AND s = 'y' OR s = 'axb'", TRUE),
        ("s = 'x' AND (s = 'y' OR s = 'axb')", FALSE),
    ]);
}

#[test]
fn what_cannot_be_compared_fails_unless_it_is_decided_before() {
    check(&[
        ("s = 'axb' OR s > 5", TRUE),
        ("s > 5 OR s = 'axb'", FAILS),
        ("s = 'x' AND s > 5", FALSE),
        ("s > 5 AND s = 'x'", FAILS),
        ("m = 1 AND s > 5", FAILS),
        ("NOT (s > 5)", FAILS),
        ("(s > 5) CONTAINS ''", FALSE),
    ]);
}

#[test]
fn properties_are_never_conditions_that_hold() {
    check(&[
        ("t", FALSE),
        ("m", UNKNOWN),
        ("NOT t", TRUE),
        ("t = TRUE", TRUE),
        ("s = TRUE", FALSE),
        ("s = FALSE", TRUE),
        ("t <> FALSE", TRUE),
        ("TRUE = t", FAILS),
        ("(s = 'axb') = TRUE", TRUE),
        ("(s = 'axb') = t", FAILS),
        ("t = (s = 'axb')", TRUE),
    ]);
}

#[test]
fn not_binds_to_one_value() {
    check(&[("NOT s = 'axb'", FAILS), ("NOT s = 1", FALSE), ("NOT m = 1", UNKNOWN), ("NOT m IS NULL", TRUE)]);
}

#[test]
fn keywords_have_no_case_and_blanks_no_meaning() {
    check(&[
        ("s in ('axb') aNd i bEtween 1 and 9 OR not (m is not null)", TRUE),
        ("\t s\n=\r\n'axb'\x0c", TRUE),
        ("s='axb'and(i=5)", TRUE),
        ("/* any * text */ s /**/ = 'axb' /***/", TRUE),
        ("s = -- the value\n 'axb'", TRUE),
        ("s = 'axb' -- it's good", TRUE),
        ("s = 'a--\nb/**/'", FALSE),
        ("innate = 'x' OR nullable = 'x' OR s = 'axb'", TRUE),
    ]);
}

#[test]
fn what_has_no_meaning_is_refused() {
    let refused = |expression: &str| parse(expression).expect_err(expression);
    let token = |at: usize, found: &str, expected| FilterError::UnexpectedToken { at, found: found.to_owned(), expected };
    for (expression, expected) in [
        ("", token(0, "the end", "a value")),
        ("a = ", token(4, "the end", "a value")),
        ("a = 1 b = 2", token(6, "Identifier(\"b\")", "an operator or the end")),
        ("a = 01", token(5, "Integer(\"1\")", "an operator or the end")),
        ("a = 1)", token(5, "Close", "an operator or the end")),
        ("(a = 1", token(6, "the end", "an operator or )")),
        ("a and between 2 and 10", token(6, "Between", "a value")),
        ("a NOT 1", token(6, "Integer(\"1\")", "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH")),
        ("a IS 1", token(5, "Integer(\"1\")", "NULL")),
        ("a CONTAINS 1", token(11, "Integer(\"1\")", "a text in quotes")),
        ("a IN ()", token(6, "Close", "a text in quotes")),
        ("a IN (1)", token(6, "Integer(\"1\")", "a text in quotes")),
        ("a LIKE 'x'", token(2, "Identifier(\"LIKE\")", "an operator or the end")),
        ("a != 1", FilterError::UnexpectedCharacter { at: 2, found: '!' }),
        ("a = .", FilterError::UnexpectedCharacter { at: 4, found: '.' }),
        ("ä = 1", FilterError::UnexpectedCharacter { at: 0, found: 'ä' }),
        ("a = 'x", FilterError::UnterminatedText { at: 4 }),
        ("a = 'x''", FilterError::UnterminatedText { at: 4 }),
        ("a = 1 /* x", FilterError::UnterminatedComment { at: 6 }),
        ("a > 9223372036854775808", FilterError::NumberOutOfRange { at: 4 }),
        ("a > 1e999", FilterError::NumberOutOfRange { at: 4 }),
        ("5", FilterError::NotACondition { at: 1 }),
        ("'x' AND TRUE", FilterError::NotACondition { at: 4 }),
        ("NOT 5", FilterError::NotACondition { at: 5 }),
        ("a > 'x'", FilterError::NotOrdered { at: 2 }),
        ("TRUE < a", FilterError::NotOrdered { at: 5 }),
        ("a > 1 > 2", FilterError::NotOrdered { at: 6 }),
        ("NOT a > 1", FilterError::NotOrdered { at: 6 }),
        ("a BETWEEN '1' AND '2'", FilterError::NotOrdered { at: 2 }),
        ("a = NULL", FilterError::NotComparable { at: 2 }),
        ("NULL <> a", FilterError::NotComparable { at: 5 }),
        ("TRUE = 5", FilterError::NotComparable { at: 5 }),
        ("5 IN ('x')", FilterError::NotAProperty { at: 2 }),
        ("NOT a IN ('x')", FilterError::NotAProperty { at: 6 }),
        ("a BETWEEN 10 AND 0", FilterError::EmptyRange { at: 2 }),
        ("a BETWEEN 1.5 AND 1", FilterError::EmptyRange { at: 2 }),
    ] {
        assert_eq!(refused(expression), expected, "{expression}");
    }
}

#[test]
fn depth_is_bounded_however_it_comes_about() {
    let nested = |depth: usize| format!("{}a{} = '1'", "(".repeat(depth), ")".repeat(depth));
    let signed = |depth: usize| format!("a > {}1", "- ".repeat(depth));
    let chained = |depth: usize| format!("a{}", " IS NULL".repeat(depth + 1));
    let searched = |depth: usize| format!("a{}", " CONTAINS 'x'".repeat(depth + 1));
    for expression in [nested, signed, chained, searched] {
        assert!(parse(&expression(MAX_DEPTH)).is_ok());
        let refused = parse(&expression(MAX_DEPTH + 1));
        assert!(matches!(refused, Err(FilterError::TooDeep { limit: MAX_DEPTH, .. })), "{refused:?}");
    }
    assert!(parse(&vec!["a = 1"; 10_000].join(" OR ")).is_ok(), "a chain of OR is flat");
}

#[test]
fn lists_are_bounded() {
    let list = |values: usize| format!("a IN ({})", vec!["'x'"; values].join(","));
    assert!(parse(&list(MAX_IN_VALUES)).is_ok());
    assert_eq!(parse(&list(MAX_IN_VALUES + 1)), Err(FilterError::TooManyOperands { at: 2, limit: MAX_IN_VALUES }));
}

/// Words that expressions are made of, in any order: most are refused, and all that are not have a value.
fn any_words() -> impl Strategy<Value = String> {
    let words = [
        "a",
        "s",
        "i",
        "'x'",
        "''",
        "5",
        "5.5",
        "3000000000",
        "TRUE",
        "NULL",
        "NOT",
        "AND",
        "OR",
        "=",
        "<>",
        "<",
        ">=",
        "-",
        "+",
        "(",
        ")",
        "IN",
        "IN ('5','x')",
        "BETWEEN",
        "BETWEEN 1 AND 9",
        "IS NULL",
        "IS",
        "CONTAINS 'x'",
        "ENDSWITH",
        ",",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 1..12).prop_map(|words| words.join(" "))
}

fn any_operand() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,2}",
        "-?[0-9]{1,12}",
        "[0-9]{0,3}\\.[0-9]{1,3}(e[0-9])?",
        "'[a-z' ]{0,3}'".prop_map(|text| format!("'{}'", text[1..text.len() - 1].replace('\'', "''"))),
    ]
}

/// Well-formed conditions; some are refused for what they compare.
fn any_expression() -> impl Strategy<Value = String> {
    let comparison = (any_operand(), prop::sample::select(vec!["=", "<>", "<", ">=", "CONTAINS", "IN"]), any_operand());
    let leaf = comparison.prop_map(|(left, operator, right)| match operator {
        "IN" => format!("{left} NOT IN ({right}, 'x')"),
        operator => format!("{left} {operator} {right}"),
    });
    leaf.prop_recursive(4, 24, 3, |inner| {
        (inner.clone(), prop::sample::select(vec!["AND", "OR", "=", "IS NULL OR"]), inner, any::<bool>()).prop_map(
            |(left, operator, right, negated)| format!("{} ({left}) {operator} {right}", if negated { "NOT" } else { "" }),
        )
    })
}

fn holds_its_promises(text: &str) -> Result<Option<Condition>, TestCaseError> {
    let Ok(condition) = parse(text) else { return Ok(None) };
    let _ = condition.evaluate(&MESSAGE);
    let (printed, again) = (condition.to_string(), parse(&condition.to_string()));
    prop_assert_eq!(again.as_ref(), Ok(&condition), "{}", printed);
    Ok(Some(condition))
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
        holds_its_promises(&text)?;
    }

    #[test]
    fn any_words_are_parsed_or_refused(text in any_words()) {
        holds_its_promises(&text)?;
    }

    #[test]
    fn printed_expressions_parse_to_the_same(text in any_expression()) {
        holds_its_promises(&text)?;
    }
}
