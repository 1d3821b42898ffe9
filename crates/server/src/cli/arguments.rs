//! Parsers of argument values shared by several commands.

use crate::instant;
use duolog_base::TimestampMs;

/// Why a `name=value` is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not of the form name=value")]
pub(crate) struct PairError {
    given: String,
}

/// Reads `name=value`; the value may be empty and may contain `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), PairError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(PairError { given: text.to_owned() }),
    }
}

/// Reads RFC 3339 or milliseconds since 1970.
pub(crate) fn time(text: &str) -> Result<TimestampMs, instant::InstantError> {
    instant::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(pair("=a").is_err() && pair("a").is_err());
    }
}
