//! `duolog config list`: the table of configuration keys.

use super::{Failure, OutputArguments, output};
use crate::output::Listing;
use clap::{Args, Subcommand, ValueEnum};
use duolog_core::config::{Effect, KEYS, Key, Scope};
use serde_json::{Value, json};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// List the keys with their defaults
    List(List),
}

#[derive(Args)]
pub(super) struct List {
    /// Only keys of this scope
    #[arg(long, value_enum)]
    scope: Option<ScopeArgument>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeArgument {
    /// Set in the file, the environment or by flags
    Broker,
    /// Set on a topic
    Topic,
    /// Set on a consumer group
    Group,
}

pub(super) fn run(command: ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::List(arguments) = command;
    let wanted = |key: &&Key| arguments.scope.is_none_or(|wanted| scope(key) == name(wanted));
    let keys: Vec<&Key> = KEYS.iter().filter(wanted).collect();
    let mut listing = Listing::new(&["scope", "key", "default", "dynamic", "meaning"]);
    for key in &keys {
        let dynamic = if key.dynamic { "yes" } else { "no" };
        listing.row(vec![scope(key).into(), key.name.into(), default(key), dynamic.into(), meaning(key)]);
    }
    let mut out = output(arguments.output);
    out.listing(&listing, || Value::Array(keys.iter().map(|key| as_json(key)).collect()))?;
    Ok(out.flush()?)
}

fn scope(key: &Key) -> &'static str {
    match key.scope {
        Scope::Broker => "broker",
        Scope::Topic => "topic",
        Scope::Group => "group",
    }
}

fn name(scope: ScopeArgument) -> &'static str {
    match scope {
        ScopeArgument::Broker => "broker",
        ScopeArgument::Topic => "topic",
        ScopeArgument::Group => "group",
    }
}

fn default(key: &Key) -> String {
    match (key.default, key.broker_default) {
        (_, Some(broker)) => format!("the broker's {broker}"),
        (Some(value), None) => value.to_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn meaning(key: &Key) -> String {
    match key.effect {
        Effect::Honoured => key.doc.to_owned(),
        Effect::Stored(why) => format!("{} Kept and shown only: {why}.", key.doc),
    }
}

fn as_json(key: &Key) -> Value {
    let synonyms: Vec<&str> = key.synonyms.iter().map(|synonym| synonym.name).collect();
    json!({
        "key": key.name,
        "scope": scope(key),
        "default": key.default,
        "broker_default": key.broker_default,
        "synonyms": synonyms,
        "dynamic": key.dynamic,
        "honoured": key.effect == Effect::Honoured,
        "doc": key.doc,
    })
}
