//! Why a configuration is refused.

/// A key or value that cannot be taken. Every variant names the key, so that a message can stand alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown configuration key {key}{}", suggestion(*nearest))]
    Unknown { key: String, nearest: Option<&'static str> },
    #[error("invalid value {value:?} for configuration {key}: expected {expected}")]
    Malformed { key: String, value: String, expected: String },
    #[error("configuration {key} cannot be updated dynamically")]
    NotDynamic { key: String },
    #[error("configuration {key} is chosen when a topic is created and cannot be changed")]
    Fixed { key: &'static str },
    #[error("configuration {key} is not a list, so nothing can be appended to or subtracted from it")]
    NotAList { key: String },
    #[error("configuration {key} has no value")]
    NoValue { key: String },
    #[error("configuration {key} is given more than once")]
    Repeated { key: String },
    #[error("configuration {lower} is {lower_value}, which is above {upper} of {upper_value}")]
    Contradiction { lower: &'static str, lower_value: i64, upper: &'static str, upper_value: i64 },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map_or(String::new(), |name| format!("; did you mean {name}?"))
}
