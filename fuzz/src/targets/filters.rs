//! Expressions of subscriptions: any text is parsed or refused, has a value for any properties, and its printed form is itself.

use crate::memory::{allowed, within};
use duolog_core::filter::{Properties, Subscription, sql};

/// Every property has the same text.
struct Same<'a>(&'a str);

impl Properties for Same<'_> {
    fn property(&self, _: &str) -> Option<&str> {
        Some(self.0)
    }
}

pub(super) fn run(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (expression, property) = input.split_once('\0').unwrap_or((input, ""));
    tags(expression);
    let Ok(condition) = within(allowed(bytes), || sql::parse(expression)) else { return };
    let _ = within(0, || condition.evaluate(&Same(property)));
    assert_eq!(sql::parse(&condition.to_string()).as_ref(), Ok(&condition));
}

fn tags(expression: &str) {
    let Ok(subscription) = within(allowed(expression.as_bytes()), || Subscription::tags(expression)) else { return };
    let wanted = subscription.matches(Some(expression), &Same(expression));
    assert!(!wanted || subscription.may_match(0));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        "TagA || TagB",
        "a > 5 AND b <= 3.5 OR NOT (c = 'it''s' AND d <> TRUE)\x005",
        "a IN ('x', 'y') OR a NOT IN ('z')\x00x",
        "a BETWEEN 1 AND 10 AND b NOT BETWEEN -5 AND 3000000000\x007",
        "TAGS CONTAINS 'x' AND a NOT STARTSWITH 'y' OR b ENDSWITH 'z'\x00xyz",
        "a IS NULL OR b IS NOT NULL /* both */ -- or none\n",
        "- + -1.5e-3 < a\x00NaN",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
