//! Writes the table as `docs/config.md`.

use super::key::{Effect, Key, Scope};
use super::table::KEYS;
use super::value::expected;
use std::fmt::Write;

/// The text of `docs/config.md`.
pub fn config_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    section(&mut text, "Server", "Set at start; those marked *dynamic* can also be altered while the server runs.", |key| {
        key.scope == Scope::Broker
    });
    section(&mut text, "Topics", "Set when a topic is created, or altered later.", |key| {
        key.scope == Scope::Topic && key.effect == Effect::Honoured
    });
    section(
        &mut text,
        "Topics: kept, without effect",
        "Kafka's tools and libraries set these. They are checked, kept and shown, and change nothing.",
        |key| key.scope == Scope::Topic && key.effect != Effect::Honoured,
    );
    section(&mut text, "Groups", "Set on a consumer group at run time.", |key| key.scope == Scope::Group);
    text
}

const INTRODUCTION: &str = "\
# Configuration

Generated from the table of keys; do not edit.

A value is taken from, later ones winning: the built-in default, the TOML file (`--config FILE`), the environment
(`DUOLOG_` and the key in upper case with `_` for `.`), and flags (`--set key=value`). An unknown key or a malformed
value stops the start with a message that names it. Where Kafka has the setting, the name is Kafka's.
";

fn section(text: &mut String, title: &str, about: &str, wanted: impl Fn(&Key) -> bool) {
    let _ = write!(text, "\n## {title}\n{about}\n\n| key | default | values | meaning |\n|---|---|---|---|\n");
    for key in KEYS.iter().filter(|key| wanted(key)) {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", key.name, default(key), expected(key.kind), meaning(key));
    }
}

fn default(key: &Key) -> String {
    match (key.broker_default, key.default) {
        (Some(broker), _) => format!("the server's `{broker}`"),
        (None, Some(value)) => format!("`{value}`"),
        (None, None) => "unset".to_owned(),
    }
}

fn meaning(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    if let Effect::Stored(reason) = key.effect {
        let _ = write!(text, " No effect: {reason}.");
    }
    if !key.synonyms.is_empty() {
        let names: Vec<_> = key.synonyms.iter().map(|synonym| format!("`{}`", synonym.name)).collect();
        let _ = write!(text, " Also {}.", names.join(", "));
    }
    if key.dynamic && key.scope == Scope::Broker {
        text.push_str(" *Dynamic.*");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented_once_in_its_section() {
        let text = config_markdown();
        for key in KEYS {
            assert!(text.contains(&format!("| `{}` | {} |", key.name, default(key))), "{} is missing", key.name);
        }
    }

    #[test]
    fn the_committed_document_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        if std::env::var_os("DUOLOG_WRITE_DOCS").is_some() {
            std::fs::write(path, config_markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(committed, config_markdown(), "run the tests of duolog-core once with DUOLOG_WRITE_DOCS=1");
    }
}
