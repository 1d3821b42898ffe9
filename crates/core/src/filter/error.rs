//! Why an expression is refused. Front ends answer with it: `SUBSCRIPTION_PARSE_FAILED` or `ILLEGAL_FILTER_EXPRESSION`.

/// `at` is where in the expression, in bytes from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("expressions of type {kind} are not known, only TAG and SQL92")]
    UnknownType { kind: String },
    #[error("the expression is empty")]
    Empty,
    #[error("the expression has {bytes} bytes, more than {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("the expression has more than {limit} tags")]
    TooManyTags { limit: usize },
    #[error("unexpected character {found:?} at byte {at}")]
    UnexpectedCharacter { at: usize, found: char },
    #[error("the text that begins at byte {at} has no end")]
    UnterminatedText { at: usize },
    #[error("the comment that begins at byte {at} has no end")]
    UnterminatedComment { at: usize },
    #[error("{found} at byte {at}, expected {expected}")]
    UnexpectedToken { at: usize, found: String, expected: &'static str },
    #[error("the number at byte {at} is out of range")]
    NumberOutOfRange { at: usize },
    #[error("the expression before byte {at} is neither true nor false")]
    NotACondition { at: usize },
    #[error("a value at byte {at} can only be compared with = and <>, not ordered")]
    NotOrdered { at: usize },
    #[error("the values at byte {at} cannot be compared")]
    NotComparable { at: usize },
    #[error("IN at byte {at} needs a property before it")]
    NotAProperty { at: usize },
    #[error("BETWEEN at byte {at} has a lower bound above its upper bound")]
    EmptyRange { at: usize },
    #[error("the expression is nested more than {limit} deep at byte {at}")]
    TooDeep { at: usize, limit: usize },
    #[error("IN at byte {at} has more than {limit} values")]
    TooManyOperands { at: usize, limit: usize },
}
