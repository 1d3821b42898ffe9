//! Where configuration comes from: file, environment, flags, each laid over the one before.
//!
//! Everything is brought to (key, value, source); the table in `duolog_core::config` says what is valid. Each layer is
//! checked on its own first, so that an error can say in which of them the mistake is.

use duolog_core::config::{BrokerConfig, ConfigError, KEYS, Scope, Source};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a variable begins with to be ours.
const PREFIX: &str = "DUOLOG_";
/// Ours, but not keys of the table: they are read before it.
const NOT_KEYS: [&str; 2] = ["DUOLOG_CONFIG", "DUOLOG_LOG_FORMAT"];

/// Where a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    /// The variable's name.
    Environment(String),
    Flags,
    /// Values that contradict each other across layers.
    Together,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flags => write!(f, "command line"),
            Origin::Together => write!(f, "configuration"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("{path}: {error}", path = path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{path}: {error}", path = path.display())]
    Syntax { path: PathBuf, error: Box<toml::de::Error> },
    #[error("{path}: configuration {key} is neither a text, a number, a boolean nor a list of those", path = path.display())]
    Shape { path: PathBuf, key: String },
    #[error("environment variable {name} is not valid UTF-8")]
    NotText { name: String },
    #[error("{origin}: {error}")]
    Config { origin: Origin, error: ConfigError },
}

type Values = Vec<(String, String, Source)>;

/// Resolves all layers. `environment` is all variables, ours or not; `flags` are keys of the table already.
pub(crate) fn resolve(
    file: Option<&Path>,
    environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    flags: &[(String, String)],
) -> Result<BrokerConfig, LayerError> {
    let Some(path) = file else { return lay(None, environment, flags) };
    let text = std::fs::read_to_string(path).map_err(|error| LayerError::Read { path: path.to_owned(), error })?;
    lay(Some((path, &text)), environment, flags)
}

/// As [`resolve`], with the file's text at hand.
pub(crate) fn lay(
    file: Option<(&Path, &str)>,
    environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    flags: &[(String, String)],
) -> Result<BrokerConfig, LayerError> {
    let mut values = Values::new();
    if let Some((path, text)) = file {
        let layer = parse(path, text)?;
        check(&layer, Origin::File(path.to_owned()))?;
        values.extend(layer);
    }
    for (name, value) in environment {
        values.extend(variable(&name, value)?);
    }
    let layer: Values = flags.iter().map(|(key, value)| (key.clone(), value.clone(), Source::Flag)).collect();
    check(&layer, Origin::Flags)?;
    values.extend(layer);
    BrokerConfig::from_values(values).map_err(|error| LayerError::Config { origin: Origin::Together, error })
}

fn check(layer: &Values, origin: Origin) -> Result<(), LayerError> {
    match BrokerConfig::from_values(layer.clone()) {
        // Whether values fit together is known only when all layers are there.
        Ok(_) | Err(ConfigError::Contradiction { .. }) => Ok(()),
        Err(error) => Err(LayerError::Config { origin, error }),
    }
}

fn parse(path: &Path, text: &str) -> Result<Values, LayerError> {
    let table: toml::Table =
        toml::from_str(text).map_err(|error| LayerError::Syntax { path: path.to_owned(), error: Box::new(error) })?;
    let mut values = Values::new();
    flatten(path, "", &table, &mut values)?;
    Ok(values)
}

/// TOML reads `log.retention.ms = 1` as tables within tables; their names joined by dots are the key again.
fn flatten(path: &Path, prefix: &str, table: &toml::Table, values: &mut Values) -> Result<(), LayerError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if let toml::Value::Table(inner) = value {
            flatten(path, &key, inner, values)?;
            continue;
        }
        let text = text_of(value).ok_or_else(|| LayerError::Shape { path: path.to_owned(), key: key.clone() })?;
        values.push((key, text, Source::File));
    }
    Ok(())
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<String>> = items.iter().map(text_of).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Table(_) | toml::Value::Datetime(_) => None,
    }
}

fn variable(name: &std::ffi::OsStr, value: std::ffi::OsString) -> Result<Option<(String, String, Source)>, LayerError> {
    let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && !NOT_KEYS.contains(name)) else {
        return Ok(None);
    };
    let value = value.into_string().map_err(|_| LayerError::NotText { name: name.to_owned() })?;
    let entry = (key_of(name), value, Source::Environment);
    check(&vec![entry.clone()], Origin::Environment(name.to_owned()))?;
    Ok(Some(entry))
}

/// `DUOLOG_NUM_PARTITIONS` is `num.partitions`. A name that no key has is turned into one all the same, for the error.
fn key_of(variable: &str) -> String {
    let dotted = variable[PREFIX.len()..].to_ascii_lowercase().replace('_', ".");
    let names = KEYS
        .iter()
        .filter(|key| key.scope == Scope::Broker)
        .flat_map(|key| std::iter::once(key.name).chain(key.synonyms.iter().map(|synonym| synonym.name)));
    // Keys may have underscores of their own, which a variable cannot tell from dots.
    names.into_iter().find(|name| name.replace('_', ".") == dotted).map_or(dotted, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn variables(list: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let owned: Vec<_> = list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        owned.into_iter()
    }

    fn flag(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = file("num.partitions = 2\nauto.create.topics.enable = false\n[log.retention]\nms = 1000\n");
        let config = resolve(
            Some(file.path()),
            variables(&[("DUOLOG_NUM_PARTITIONS", "3"), ("DUOLOG_LOG_RETENTION_MS", "2000"), ("PATH", "/bin")]),
            &flag("num.partitions", "4"),
        )
        .unwrap();
        assert_eq!(config.value("num.partitions"), Some(("4".to_owned(), Source::Flag)));
        assert_eq!(config.value("log.retention.ms"), Some(("2000".to_owned(), Source::Environment)));
        assert_eq!(config.value("auto.create.topics.enable"), Some(("false".to_owned(), Source::File)));
    }

    #[test]
    fn every_layer_names_itself_the_unknown_key_and_the_nearest_one() {
        let file = file("num.partitons = 2\n");
        let path = file.path().display().to_string();
        let error = resolve(Some(file.path()), variables(&[]), &[]).unwrap_err().to_string();
        assert_eq!(error, format!("{path}: unknown configuration key num.partitons; did you mean num.partitions?"));
        let error = resolve(None, variables(&[("DUOLOG_NUM_PARTITONS", "2")]), &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("environment variable DUOLOG_NUM_PARTITONS: unknown") && error.contains("num.partitions?"),
            "{error}"
        );
        let error = resolve(None, variables(&[]), &flag("num.partitions", "x")).unwrap_err().to_string();
        assert!(error.starts_with("command line: invalid value \"x\" for configuration num.partitions"), "{error}");
    }

    #[test]
    fn lists_may_be_written_as_arrays_and_tables_of_nothing_known_are_refused() {
        let good = file("listeners = [\"kafka://a:1\", \"kafka://b:2\"]\n");
        assert_eq!(resolve(Some(good.path()), variables(&[]), &[]).unwrap().listeners, ["kafka://a:1", "kafka://b:2"]);
        let bad = file("num.partitions = 2026-01-01\n");
        assert!(matches!(resolve(Some(bad.path()), variables(&[]), &[]), Err(LayerError::Shape { .. })));
        assert!(matches!(resolve(Some(file("x = = 1").path()), variables(&[]), &[]), Err(LayerError::Syntax { .. })));
    }
}
