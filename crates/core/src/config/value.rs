//! Checks and parses values by the table. Pure.

use super::error::ConfigError;
use super::key::{Key, Kind, Scope};
use super::nearest::nearest_key;
use super::share::StartOffset;
use super::table::find;
use std::collections::BTreeMap;

/// The key of this name, or an error that suggests another.
pub(super) fn known(scope: Scope, name: &str) -> Result<&'static Key, ConfigError> {
    find(scope, name).ok_or_else(|| unknown_key(name))
}

/// The refusal of a key that is not in the table, with the one that was probably meant.
pub fn unknown_key(name: &str) -> ConfigError {
    ConfigError::Unknown { key: name.to_owned(), nearest: nearest_key(name) }
}

/// Whether `value` is one that `key` can have.
pub(super) fn check(key: &Key, value: &str) -> Result<(), ConfigError> {
    let value = value.trim();
    let good = match key.kind {
        Kind::Boolean => parse_bool(value).is_some(),
        Kind::Short { min, max } => value.parse().is_ok_and(|number| (min..=max).contains(&number)),
        Kind::Int { min, max } => value.parse().is_ok_and(|number| (min..=max).contains(&number)),
        Kind::Long { min, max } => value.parse().is_ok_and(|number| (min..=max).contains(&number)),
        Kind::Double { min, max } => value.parse().is_ok_and(|number| (min..=max).contains(&number)),
        Kind::Text | Kind::Secret => true,
        Kind::StartOffset => StartOffset::parse(value).is_some(),
        Kind::Choice(words) => words.contains(&value),
        Kind::List(words) => list(value).all(|word| !word.is_empty() && (words.is_empty() || words.contains(&word))),
    };
    match good {
        true => Ok(()),
        false => Err(malformed(key.name, value, expected(key.kind))),
    }
}

pub(super) fn malformed(key: &str, value: &str, expected: String) -> ConfigError {
    ConfigError::Malformed { key: key.to_owned(), value: value.to_owned(), expected }
}

/// Value of `name`, a key or one of its synonyms, in the key's own unit.
pub(super) fn canonical(key: &Key, name: &str, value: &str) -> Result<String, ConfigError> {
    let Some(synonym) = key.synonyms.iter().find(|synonym| synonym.name == name) else {
        check(key, value)?;
        return Ok(value.trim().to_owned());
    };
    let number: i64 = value.trim().parse().map_err(|_| malformed(name, value, "a whole number".to_owned()))?;
    // A negative number means "none" in every unit.
    let scaled = if number < 0 { Some(number) } else { number.checked_mul(synonym.factor) };
    let scaled = scaled.ok_or_else(|| malformed(name, value, "a smaller number".to_owned()))?.to_string();
    check(key, &scaled).map_err(|_| malformed(name, value, expected(key.kind)))?;
    Ok(scaled)
}

/// What a value of this kind looks like, for people.
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Short { min, max } => range(i64::from(min), i64::from(max), i64::from(i16::MAX)),
        Kind::Int { min, max } => range(i64::from(min), i64::from(max), i64::from(i32::MAX)),
        Kind::Long { min, max } => range(min, max, i64::MAX),
        Kind::Double { min, max } => format!("a number from {min} to {max}"),
        Kind::Text => "text".to_owned(),
        Kind::Secret => "text, which is never shown".to_owned(),
        Kind::StartOffset => "earliest, latest or by_duration:<ISO 8601 duration>".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::List([]) => "a list separated by commas".to_owned(),
        Kind::List(words) => format!("a list, separated by commas, of {}", words.join(", ")),
    }
}

fn range(min: i64, max: i64, largest: i64) -> String {
    match max == largest {
        true => format!("a whole number of at least {min}"),
        false => format!("a whole number from {min} to {max}"),
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The words of a list; none for an empty value.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    let value = value.trim();
    value.split(',').map(str::trim).filter(move |_| !value.is_empty())
}

/// Refuses a topic's overrides if a key is unknown or a value malformed.
pub fn validate_topic_overrides(overrides: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    overrides.iter().try_for_each(|(name, value)| check(known(Scope::Topic, name)?, value))
}

/// Refuses a group's values if a key is unknown or a value malformed.
pub fn validate_group_values(values: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    values.iter().try_for_each(|(name, value)| check(known(Scope::Group, name)?, value))
}

/// Refuses a change at run time of a broker's key that is unknown, fixed, or malformed. Returns the key's own name and value.
pub fn validate_broker_change(name: &str, value: &str) -> Result<(&'static str, String), ConfigError> {
    let key = known(Scope::Broker, name)?;
    if !key.dynamic {
        return Err(ConfigError::NotDynamic { key: name.to_owned() });
    }
    Ok((key.name, canonical(key, name, value)?))
}

/// Typed reading of values that were checked when they were set.
pub(super) struct Values<'a> {
    /// Gives a key's value, or its default.
    pub(super) lookup: &'a dyn Fn(&'static str) -> String,
}

impl Values<'_> {
    pub(super) fn text(&self, name: &'static str) -> String {
        (self.lookup)(name)
    }

    pub(super) fn boolean(&self, name: &'static str) -> Result<bool, ConfigError> {
        let value = self.text(name);
        parse_bool(&value).ok_or_else(|| malformed(name, &value, expected(Kind::Boolean)))
    }

    pub(super) fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<N, ConfigError> {
        let value = self.text(name);
        value.trim().parse().map_err(|_| malformed(name, &value, "a whole number".to_owned()))
    }
}
