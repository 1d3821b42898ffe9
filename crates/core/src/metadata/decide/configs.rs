//! Altering configurations, one resource after another, as a whole or key by key.

use super::Decision;
use crate::config::{
    ConfigError, Key, Kind, LAYOUT, Scope, TopicConfig, find, unknown_key, validate_broker_change, validate_group_values,
    validate_topic_overrides,
};
use crate::metadata::error::AlterConfigError;
use crate::metadata::fold::{fold, partition_changed};
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use crate::metadata::name::check_topic_name;
use crate::metadata::record::{ConfigOwner, MetadataRecord};
use duolog_base::{NodeId, PartitionEpoch, PartitionIndex};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Keys that a namespace of the name server may hold.
const MAX_NAME_SERVER_KEYS: usize = 10_000;
/// Bytes of one of its values with its key.
const MAX_NAME_SERVER_BYTES: usize = 64 << 10;

/// What a configuration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// All nodes: Kafka's broker resource with an empty name.
    Cluster,
    Node(NodeId),
    Topic(String),
    Group(String),
    /// A namespace of RocketMQ's name server: any keys.
    NameServer(String),
}

/// A request for one resource.
#[derive(Clone, Debug)]
pub struct ConfigChange {
    pub resource: ConfigResource,
    pub update: ConfigUpdate,
}

#[derive(Clone, Debug)]
pub enum ConfigUpdate {
    /// These values and no others.
    Replace(BTreeMap<String, Option<String>>),
    /// These keys; the others stay. (KIP-339)
    Incremental(Vec<(String, ConfigOperation)>),
}

/// What to do with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    Set(Option<String>),
    Delete,
    /// Adds words to a list.
    Append(Option<String>),
    /// Takes words off a list.
    Subtract(Option<String>),
}

/// Decides a request to alter configurations.
pub(in crate::metadata) fn decide_configs(image: &MetadataImage, changes: Vec<ConfigChange>) -> Decision<(), AlterConfigError> {
    let mut decision = Decision::new();
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<_> =
        changes.iter().filter(|change| !seen.insert(&change.resource)).map(|change| change.resource.clone()).collect();
    for change in changes {
        let result = match repeated.contains(&change.resource) {
            true => Err(AlterConfigError::Repeated),
            false => alter(image, &change),
        };
        decision.results.push(result.map(|record| decision.records.extend(record)));
    }
    let cleared = cleared_eligible(image, &decision.records);
    decision.records.extend(cleared);
    decision
}

/// Where fewer in-sync replicas are enough from now on, the leader alone may commit what the eligible ones lack: they are so no more.
fn cleared_eligible(image: &MetadataImage, records: &[MetadataRecord]) -> Vec<MetadataRecord> {
    let has_eligible = |topic: &&Arc<TopicImage>| topic.partitions.iter().any(|partition| !partition.eligible.is_empty());
    if records.is_empty() || !image.topics.values().any(|topic| has_eligible(&topic)) {
        return Vec::new();
    }
    // Each change was checked by itself; together they are checked when they are committed.
    let Ok(after) = fold(image, records, image.applied) else { return Vec::new() };
    let mut cleared = Vec::new();
    for topic in after.topics.values().filter(has_eligible) {
        let before = image.topic_by_id(topic.id).map_or(0, |before| before.config.min_insync_replicas);
        for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            if topic.config.min_insync_replicas < before && !partition.eligible.is_empty() {
                let partition_epoch = PartitionEpoch(partition.partition_epoch.0 + 1);
                let changed = PartitionImage { eligible: Vec::new(), partition_epoch, ..partition.clone() };
                cleared.push(partition_changed(topic.id, index, &changed));
            }
        }
    }
    cleared
}

/// The record for one resource; `None` if nothing changes.
fn alter(image: &MetadataImage, change: &ConfigChange) -> Result<Option<MetadataRecord>, AlterConfigError> {
    let (scope, owner, current) = owner(image, &change.resource)?;
    let wanted = match &change.update {
        ConfigUpdate::Replace(values) => replace(values)?,
        ConfigUpdate::Incremental(operations) => increment(image, scope, &current, operations)?,
    };
    let changes = difference(&current, &wanted);
    match scope {
        Some(Scope::Topic) => {
            // What an older version let in stays until it is touched.
            validate_topic_overrides(&changes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect())?;
            let (before, after) = (TopicConfig::resolve(&current, &image.config)?, TopicConfig::resolve(&wanted, &image.config)?);
            if before.layout != after.layout {
                return Err(ConfigError::Fixed { key: LAYOUT }.into());
            }
        }
        Some(Scope::Broker) => check_broker(image, &change.resource, &changes, &wanted)?,
        Some(Scope::Group) => validate_group_values(&wanted)?,
        None => check_name_server(&change.resource, &wanted)?,
    }
    match changes.is_empty() {
        true => Ok(None),
        false => Ok(Some(MetadataRecord::Config { resource: owner, changes })),
    }
}

type Owner = (Option<Scope>, ConfigOwner, BTreeMap<String, String>);

/// Which keys a resource takes (`None`: none at all), its name in the log, and its values now.
fn owner(image: &MetadataImage, resource: &ConfigResource) -> Result<Owner, AlterConfigError> {
    let here = NodeId(image.config.node_id);
    match resource {
        ConfigResource::Cluster => Ok((Some(Scope::Broker), ConfigOwner::Cluster, image.cluster_config.clone())),
        ConfigResource::Node(asked) if *asked != here => Err(AlterConfigError::OtherNode { asked: *asked, here }),
        ConfigResource::Node(id) => {
            let values = image.node_config.get(id).cloned().unwrap_or_default();
            Ok((Some(Scope::Broker), ConfigOwner::Node(id.0), values))
        }
        ConfigResource::Topic(name) => {
            let Some(topic) = image.topic(name) else {
                check_topic_name(name).map_err(|problem| AlterConfigError::InvalidName { problem })?;
                return Err(AlterConfigError::UnknownTopic { name: name.clone() });
            };
            Ok((Some(Scope::Topic), ConfigOwner::Topic(topic.id.to_string()), topic.overrides.clone()))
        }
        ConfigResource::Group(name) if name.is_empty() => Err(AlterConfigError::EmptyGroup),
        ConfigResource::Group(name) => {
            let values = image.group_config.get(name).cloned().unwrap_or_default();
            Ok((Some(Scope::Group), ConfigOwner::Group(name.clone()), values))
        }
        ConfigResource::NameServer(namespace) => {
            let values = image.name_server.get(namespace).cloned().unwrap_or_default();
            Ok((None, ConfigOwner::NameServer(namespace.clone()), values))
        }
    }
}

fn replace(values: &BTreeMap<String, Option<String>>) -> Result<BTreeMap<String, String>, ConfigError> {
    let value = |(key, value): (&String, &Option<String>)| match value {
        Some(value) => Ok((key.clone(), value.clone())),
        None => Err(ConfigError::NoValue { key: key.clone() }),
    };
    values.iter().map(value).collect()
}

fn increment(
    image: &MetadataImage,
    scope: Option<Scope>,
    current: &BTreeMap<String, String>,
    operations: &[(String, ConfigOperation)],
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut wanted = current.clone();
    let mut seen = BTreeSet::new();
    for (name, operation) in operations {
        if !seen.insert(name) {
            return Err(ConfigError::Repeated { key: name.clone() });
        }
        // What is not there is deleted: Kafka's tools clear keys on the mere chance that they are set.
        let scope = scope.filter(|_| *operation != ConfigOperation::Delete);
        let key = scope.map(|scope| find(scope, name).ok_or_else(|| unknown_key(name))).transpose()?;
        let value = match operation {
            ConfigOperation::Delete => None,
            ConfigOperation::Set(value) => Some(given(name, value)?.to_owned()),
            ConfigOperation::Append(value) => {
                let mut words = present_words(image, key, name, current)?;
                let added = words_of(given(name, value)?);
                words.extend(added.into_iter().filter(|word| !words.contains(word)).collect::<Vec<_>>());
                Some(words.join(","))
            }
            ConfigOperation::Subtract(value) => {
                let removed = words_of(given(name, value)?);
                let words = present_words(image, key, name, current)?;
                Some(words.into_iter().filter(|word| !removed.contains(word)).collect::<Vec<_>>().join(","))
            }
        };
        match value {
            Some(value) => wanted.insert(name.clone(), value),
            None => wanted.remove(name),
        };
    }
    Ok(wanted)
}

fn given<'a>(key: &str, value: &'a Option<String>) -> Result<&'a str, ConfigError> {
    value.as_deref().ok_or_else(|| ConfigError::NoValue { key: key.to_owned() })
}

/// The list a key holds now: its own, or what it falls back to.
fn present_words(
    image: &MetadataImage,
    key: Option<&Key>,
    name: &str,
    current: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let Some(key) = key.filter(|key| matches!(key.kind, Kind::List(_))) else {
        return Err(ConfigError::NotAList { key: name.to_owned() });
    };
    let fallback = match key.scope {
        Scope::Broker => image.config.value(key.name).map(|(value, _)| value),
        Scope::Topic => image.config.topic_default(key.name),
        Scope::Group => key.default.map(str::to_owned),
    };
    Ok(words_of(&current.get(key.name).cloned().or(fallback).unwrap_or_default()))
}

fn words_of(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What to set and what to take back, to get from one to the other.
fn difference(from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
    let set =
        to.iter().filter(|(key, value)| from.get(*key) != Some(value)).map(|(key, value)| (key.clone(), Some(value.clone())));
    let unset = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), None));
    set.chain(unset).collect()
}

/// Keys of the name server mean something to clients only; they are bounded, since every node holds them in memory.
fn check_name_server(resource: &ConfigResource, wanted: &BTreeMap<String, String>) -> Result<(), AlterConfigError> {
    let namespace = match resource {
        ConfigResource::NameServer(namespace) => namespace.len(),
        _ => 0,
    };
    let longest = wanted.iter().map(|(key, value)| key.len().max(namespace) + value.len()).max().unwrap_or(0);
    if wanted.len() > MAX_NAME_SERVER_KEYS || longest > MAX_NAME_SERVER_BYTES {
        return Err(AlterConfigError::TooLarge { keys: MAX_NAME_SERVER_KEYS, bytes: MAX_NAME_SERVER_BYTES });
    }
    Ok(())
}

/// Refuses keys that need a restart, and values with which a node could not run.
fn check_broker(
    image: &MetadataImage,
    resource: &ConfigResource,
    changes: &BTreeMap<String, Option<String>>,
    wanted: &BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (name, value) in changes {
        if let Some(value) = value {
            validate_broker_change(name, value)?;
        }
    }
    let none = BTreeMap::new();
    let own = image.node_config.get(&NodeId(image.config.node_id)).unwrap_or(&none);
    let (cluster, node) = match resource {
        ConfigResource::Cluster => (wanted, own),
        _ => (&image.cluster_config, wanted),
    };
    image.config.with_dynamic(cluster, node).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;
    use crate::metadata::decide::{NewTopic, decide_create_topics};
    use crate::metadata::topic_id::RandomIds;

    fn image() -> MetadataImage {
        let image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
        let image =
            fold(&image, &[MetadataRecord::Node { id: 1, rack: None, directories: Vec::new(), endpoints: Vec::new() }], 1)
                .unwrap();
        let decision = decide_create_topics(&image, vec![NewTopic::with_defaults("t")], &RandomIds, &Default::default());
        fold(&image, &decision.records, 2).unwrap()
    }

    fn ask(image: &MetadataImage, resource: ConfigResource, update: ConfigUpdate) -> Result<MetadataImage, AlterConfigError> {
        let mut decision = decide_configs(image, vec![ConfigChange { resource, update }]);
        decision.results.remove(0)?;
        Ok(fold(image, &decision.records, image.applied + 1).unwrap())
    }

    fn one(key: &str, operation: ConfigOperation) -> ConfigUpdate {
        ConfigUpdate::Incremental(vec![(key.to_owned(), operation)])
    }

    fn set(key: &str, value: &str) -> ConfigUpdate {
        one(key, ConfigOperation::Set(Some(value.to_owned())))
    }

    fn topic() -> ConfigResource {
        ConfigResource::Topic("t".to_owned())
    }

    #[test]
    fn an_increment_leaves_other_keys_and_a_replacement_does_not() {
        let image = ask(&image(), topic(), set("retention.ms", "5")).unwrap();
        let image = ask(&image, topic(), set("flush", "async")).unwrap();
        assert_eq!(image.topics["t"].overrides.len(), 2);
        let values = BTreeMap::from([("retention.bytes".to_owned(), Some("7".to_owned()))]);
        let image = ask(&image, topic(), ConfigUpdate::Replace(values)).unwrap();
        assert_eq!(image.topics["t"].overrides, BTreeMap::from([("retention.bytes".to_owned(), "7".to_owned())]));
        let image = ask(&image, topic(), one("retention.bytes", ConfigOperation::Delete)).unwrap();
        assert_eq!(image.topics["t"].config.retention_bytes, -1);
    }

    #[test]
    fn a_lower_minimum_takes_back_who_is_eligible() {
        let image = ask(&image(), topic(), set("min.insync.replicas", "2")).unwrap();
        let partition = PartitionImage { eligible: vec![NodeId(2)], ..image.topics["t"].partitions[0].clone() };
        let record = partition_changed(image.topics["t"].id, PartitionIndex(0), &partition);
        let image = fold(&image, &[record], image.applied + 1).unwrap();
        let eligible = |image: &MetadataImage| image.topics["t"].partitions[0].eligible.clone();
        let higher = ask(&image, topic(), set("min.insync.replicas", "3")).unwrap();
        assert_eq!(eligible(&higher), [NodeId(2)]);
        let lower = ask(&image, topic(), one("min.insync.replicas", ConfigOperation::Delete)).unwrap();
        assert_eq!(eligible(&lower), []);
    }

    #[test]
    fn lists_grow_from_their_default_and_shrink() {
        let image = ask(&image(), topic(), one("cleanup.policy", ConfigOperation::Append(Some("compact".to_owned())))).unwrap();
        assert_eq!(image.topics["t"].overrides["cleanup.policy"], "delete,compact");
        let image = ask(&image, topic(), one("cleanup.policy", ConfigOperation::Subtract(Some("delete".to_owned())))).unwrap();
        assert!(image.topics["t"].config.compact && !image.topics["t"].config.delete);
        let wrong = one("retention.ms", ConfigOperation::Append(Some("1".to_owned())));
        assert_eq!(
            ask(&image, topic(), wrong).unwrap_err(),
            AlterConfigError::Config(ConfigError::NotAList { key: "retention.ms".to_owned() })
        );
    }

    #[test]
    fn deleting_a_key_that_nobody_knows_changes_nothing() {
        let image = image();
        for resource in [topic(), ConfigResource::Cluster] {
            let change =
                ConfigChange { resource, update: one("replica.alter.log.dirs.io.max.bytes.per.second", ConfigOperation::Delete) };
            let decision = decide_configs(&image, vec![change]);
            assert_eq!((decision.results, decision.records), (vec![Ok(())], Vec::new()));
        }
    }

    #[test]
    fn a_change_that_cannot_be_taken_is_refused() {
        let image = image();
        let refused = |resource, update| ask(&image, resource, update).unwrap_err();
        let unknown = refused(topic(), set("retention.msec", "5"));
        assert!(matches!(unknown, AlterConfigError::Config(ConfigError::Unknown { nearest: Some(_), .. })));
        let malformed = refused(topic(), set("retention.ms", "soon"));
        assert!(matches!(malformed, AlterConfigError::Config(ConfigError::Malformed { .. })));
        let missing = refused(ConfigResource::Topic("x".to_owned()), set("retention.ms", "5"));
        assert_eq!(missing, AlterConfigError::UnknownTopic { name: "x".to_owned() });
        let fixed = refused(ConfigResource::Cluster, set("node.id", "5"));
        assert_eq!(fixed, AlterConfigError::Config(ConfigError::NotDynamic { key: "node.id".to_owned() }));
        let elsewhere = refused(ConfigResource::Node(NodeId(2)), set("log.retention.ms", "5"));
        assert_eq!(elsewhere, AlterConfigError::OtherNode { asked: NodeId(2), here: NodeId(1) });
        let twice = ConfigUpdate::Incremental(vec![
            ("flush".to_owned(), ConfigOperation::Delete),
            ("flush".to_owned(), ConfigOperation::Delete),
        ]);
        assert_eq!(refused(topic(), twice), AlterConfigError::Config(ConfigError::Repeated { key: "flush".to_owned() }));
        let group = refused(ConfigResource::Group("g".to_owned()), set("rocketmq.retry.queue", "5"));
        assert!(matches!(group, AlterConfigError::Config(ConfigError::Unknown { .. })));
    }

    #[test]
    fn a_group_takes_its_own_keys_and_is_forgotten_with_the_last() {
        let group = || ConfigResource::Group("g".to_owned());
        let image = ask(&image(), group(), set("rocketmq.retry.max.times", "3")).unwrap();
        assert_eq!(image.group_config["g"]["rocketmq.retry.max.times"], "3");
        let malformed = ask(&image, group(), set("rocketmq.retry.queues", "many")).unwrap_err();
        assert!(matches!(malformed, AlterConfigError::Config(ConfigError::Malformed { .. })));
        let image = ask(&image, group(), one("rocketmq.retry.max.times", ConfigOperation::Delete)).unwrap();
        assert!(image.group_config.is_empty());
    }

    #[test]
    fn the_name_server_takes_any_key_up_to_a_size_and_survives_a_snapshot() {
        let orders = || ConfigResource::NameServer("ORDER_TOPIC_CONFIG".to_owned());
        let image = ask(&image(), orders(), set("orders", "duolog:8")).unwrap();
        assert_eq!(image.name_server["ORDER_TOPIC_CONFIG"]["orders"], "duolog:8");
        let empty = MetadataImage::empty(Arc::new(BrokerConfig::default()));
        assert_eq!(fold(&empty, &image.to_records(), 9).unwrap().name_server, image.name_server);
        let large = ask(&image, orders(), set("x", &"y".repeat(MAX_NAME_SERVER_BYTES))).unwrap_err();
        assert!(matches!(large, AlterConfigError::TooLarge { .. }));
    }

    #[test]
    fn the_layout_can_be_named_again_but_not_changed() {
        let changed = ask(&image(), topic(), set("duolog.layout", "dedicated")).unwrap_err();
        assert_eq!(changed, AlterConfigError::Config(ConfigError::Fixed { key: "duolog.layout" }));
        let image = ask(&image(), topic(), set("duolog.layout", "shared")).unwrap();
        assert!(ask(&image, topic(), ConfigUpdate::Replace(BTreeMap::new())).is_ok(), "shared is what it is without");
    }

    #[test]
    fn a_run_time_default_reaches_topics_and_a_nodes_own_wins() {
        let image = ask(&image(), ConfigResource::Cluster, set("log.retention.hours", "1")).unwrap();
        assert_eq!(image.topics["t"].config.retention_ms, 3_600_000);
        let image = ask(&image, ConfigResource::Node(NodeId(1)), set("log.retention.ms", "5")).unwrap();
        assert_eq!(image.topics["t"].config.retention_ms, 5);
    }

    #[test]
    fn a_resource_named_twice_is_refused_both_times() {
        let change = || ConfigChange { resource: topic(), update: set("retention.ms", "5") };
        let decision = decide_configs(&image(), vec![change(), change()]);
        assert_eq!(decision.results, [Err(AlterConfigError::Repeated), Err(AlterConfigError::Repeated)]);
        assert!(decision.records.is_empty());
    }
}
