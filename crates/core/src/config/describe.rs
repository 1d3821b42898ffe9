//! Configurations as DescribeConfigs shows them: every key, its value, its source, and the values it hides.
//!
//! Protocol-free: the Kafka front end turns [`Source`] and [`Kind`](super::Kind) into Kafka's numbers.

use super::key::{Key, Scope, Source};
use super::table::{KEYS, find};
use super::{BrokerConfig, Kind};
use std::collections::BTreeMap;

/// One key of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub value: Option<String>,
    pub source: Source,
    pub kind: Kind,
    pub read_only: bool,
    pub documentation: &'static str,
    /// Everything the value could come from, the winner first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// A place where a value is set, with the name it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: Source,
}

/// All keys of a topic.
pub fn describe_topic(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let keys = KEYS.iter().filter(|key| key.scope == Scope::Topic);
    keys.map(|key| {
        let own = overrides.get(key.name);
        let own = own.map(|value| ConfigSynonym { name: key.name.to_owned(), value: Some(value.clone()), source: Source::Topic });
        let inherited = match key.broker_default.and_then(|name| find(Scope::Broker, name)) {
            Some(broker_key) => broker_values(broker_key, broker),
            None => default_value(key).into_iter().collect(),
        };
        entry(key, own.into_iter().chain(inherited).collect(), false)
    })
    .collect()
}

/// All keys of a group.
pub fn describe_group(values: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    let keys = KEYS.iter().filter(|key| key.scope == Scope::Group);
    keys.map(|key| {
        let own = values.get(key.name);
        let own = own.map(|value| ConfigSynonym { name: key.name.to_owned(), value: Some(value.clone()), source: Source::Group });
        entry(key, own.into_iter().chain(default_value(key)).collect(), false)
    })
    .collect()
}

/// All keys of a broker.
pub fn describe_broker(broker: &BrokerConfig) -> Vec<ConfigEntry> {
    let keys = KEYS.iter().filter(|key| key.scope == Scope::Broker);
    keys.map(|key| match key.kind {
        Kind::Secret => entry(key, hidden(broker_values(key, broker)), !key.dynamic),
        _ => entry(key, broker_values(key, broker), !key.dynamic),
    })
    .collect()
}

fn entry(key: &'static Key, synonyms: Vec<ConfigSynonym>, read_only: bool) -> ConfigEntry {
    let winner = synonyms.first();
    ConfigEntry {
        name: key.name,
        value: winner.and_then(|winner| winner.value.clone()),
        source: winner.map_or(Source::Default, |winner| winner.source),
        kind: key.kind,
        read_only,
        documentation: key.doc,
        synonyms,
    }
}

fn broker_values(key: &'static Key, broker: &BrokerConfig) -> Vec<ConfigSynonym> {
    let set = broker.values_of(key.name).iter();
    let set = set.map(|set| ConfigSynonym { name: set.name.clone(), value: Some(set.value.clone()), source: set.source });
    set.chain(default_value(key)).collect()
}

/// Where the values come from, without the values.
fn hidden(values: Vec<ConfigSynonym>) -> Vec<ConfigSynonym> {
    values.into_iter().map(|set| ConfigSynonym { value: None, ..set }).collect()
}

fn default_value(key: &'static Key) -> Option<ConfigSynonym> {
    let default = key.default?;
    Some(ConfigSynonym { name: key.name.to_owned(), value: Some(default.to_owned()), source: Source::Default })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, validate_broker_change};

    #[test]
    fn a_topics_entry_lists_its_own_value_the_brokers_and_the_default() {
        let broker = BrokerConfig::from_values(vec![("log.retention.ms".to_owned(), "2000".to_owned(), Source::File)]).unwrap();
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let entries = describe_topic(&overrides, &broker);
        let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
        assert_eq!((entry.value.as_deref(), entry.source), (Some("1000"), Source::Topic));
        let synonyms: Vec<_> =
            entry.synonyms.iter().map(|set| (set.name.as_str(), set.value.as_deref().unwrap(), set.source)).collect();
        assert_eq!(
            synonyms,
            [
                ("retention.ms", "1000", Source::Topic),
                ("log.retention.ms", "2000", Source::File),
                ("log.retention.ms", "604800000", Source::Default),
            ]
        );
    }

    #[test]
    fn the_keys_of_groups_are_fixed_at_start_as_kafkas_are() {
        let entries = describe_broker(&BrokerConfig::default());
        let of_groups = ["group.", "offset.", "offsets."];
        let groups: Vec<_> =
            entries.iter().filter(|entry| of_groups.iter().any(|prefix| entry.name.starts_with(prefix))).collect();
        assert!(groups.len() >= 8, "all of them are listed");
        for entry in groups {
            assert!(entry.read_only, "{}: Kafka 4.4 reconfigures only keys of the newer group kinds", entry.name);
            // One without a value is as large as the cluster allows.
            let change = validate_broker_change(entry.name, entry.value.as_deref().unwrap_or("1"));
            assert_eq!(change, Err(ConfigError::NotDynamic { key: entry.name.to_owned() }));
        }
    }

    #[test]
    fn a_secret_is_set_somewhere_but_not_shown() {
        let set = [("cluster.secret".to_owned(), "do not tell".to_owned(), Source::File)];
        let entries = describe_broker(&BrokerConfig::from_values(set.to_vec()).unwrap());
        let entry = entries.iter().find(|entry| entry.name == "cluster.secret").unwrap();
        assert_eq!((entry.value.as_deref(), entry.source, entry.kind), (None, Source::File, Kind::Secret));
        assert!(!format!("{entries:?}").contains("do not tell"));
    }

    #[test]
    fn a_broker_key_that_needs_a_restart_is_read_only() {
        let entries = describe_broker(&BrokerConfig::default());
        let read_only = |name| entries.iter().find(|entry| entry.name == name).unwrap().read_only;
        assert!(read_only("node.id"));
        assert!(!read_only("log.retention.ms"));
        let rack = entries.iter().find(|entry| entry.name == "broker.rack").unwrap();
        assert_eq!((rack.value.as_deref(), rack.synonyms.len()), (None, 0));
    }
}
