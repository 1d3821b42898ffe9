//! What a node runs with: every broker key typed, and where each value came from.
//!
//! Values set at start are fixed; values set at run time arrive from the metadata image and are laid over them with
//! [`BrokerConfig::with_dynamic`], which makes a new configuration and leaves the old one to those who hold it.

use super::error::ConfigError;
use super::key::{Scope, Source};
use super::value::{Values, canonical, known, malformed};
use super::{TopicConfig, find};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A value as it was set, in the key's own unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetValue {
    pub(super) value: String,
    pub(super) source: Source,
    /// The name it was set under: the key's own or a synonym's.
    pub(super) name: String,
}

/// Resolved configuration of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// All values set for a key, the winner first.
    set: BTreeMap<&'static str, Vec<SetValue>>,
    pub node_id: i32,
    pub rack: Option<String>,
    /// At least one.
    pub data_dirs: Vec<PathBuf>,
    pub listeners: Vec<String>,
    pub advertised_listeners: Vec<String>,
    /// Addresses of other nodes.
    pub cluster_join: Vec<String>,
    pub cluster_secret: Option<String>,
    pub cluster_secret_file: Option<PathBuf>,
    /// Wanted voters of the metadata's quorum.
    pub cluster_voters: usize,
    pub broker_session_timeout_ms: u64,
    pub broker_heartbeat_interval_ms: u64,
    pub replica_lag_max_ms: u64,
    pub controlled_shutdown_timeout_ms: u64,
    /// What this node sends as a leader to throttled replicas that are not in sync, in bytes a second; `None` for no limit.
    pub leader_throttled_rate: Option<u64>,
    /// What this node asks for as a follower of throttled partitions in which it is not in sync, in bytes a second.
    pub follower_throttled_rate: Option<u64>,
    /// Nodes that are to hold nothing.
    pub drained_nodes: Vec<i32>,
    pub balance_leaders: bool,
    pub balance_replicas: bool,
    /// Nodes whose bytes are no further apart are even.
    pub balance_tolerance_bytes: u64,
    pub balance_interval_ms: u64,
    pub http_listen: String,
    /// What RocketMQ's clients know the cluster by.
    pub rocketmq_cluster: String,
    pub rocketmq_broker: String,
    pub rocketmq_max_message_bytes: usize,
    /// In milliseconds, at least one.
    pub rocketmq_delay_levels: Vec<i64>,
    /// How old a half message is when its producers are asked first.
    pub transaction_timeout_ms: i64,
    pub transaction_check_interval_ms: i64,
    pub transaction_check_max: u32,
    /// Whether a half message of which nobody knows anything is dropped after the last question.
    pub transaction_drop_unresolved: bool,
    /// Size of one commit log file, in bytes.
    pub log_file_bytes: u64,
    pub tail_cache_bytes: usize,
    /// Free space below which producers are refused, in bytes.
    pub disk_reserve_bytes: u64,
    /// How names of topics for dead letters of share groups begin.
    pub dead_letter_prefix: String,
    pub auto_create_dead_letter_topics: bool,
    pub auto_create_topics: bool,
    pub delete_topics: bool,
    pub default_partitions: i32,
    pub default_replication_factor: i16,
    pub retention_check_interval_ms: u64,
    /// Whether consumers are sent to replicas in their rack.
    pub reads_by_rack: bool,
    pub offsets_topic_partitions: i32,
    pub share_state_partitions: i32,
    pub offsets_retention_ms: i64,
    pub offsets_retention_check_interval_ms: u64,
    pub offset_metadata_max_bytes: usize,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_max_size: usize,
    pub max_connections: usize,
    pub max_connections_per_ip: usize,
    pub connections_max_idle_ms: u64,
    pub request_max_bytes: usize,
    pub fetch_max_bytes: usize,
    pub fetch_session_slots: usize,
    pub producer_expiration_ms: i64,
    /// What topics run with that set nothing of their own.
    pub topic: Arc<TopicConfig>,
}

impl BrokerConfig {
    /// Resolves values given at start. Of two values for one key the later [`Source`] wins; within one source the
    /// last one given.
    pub fn from_values(values: Vec<(String, String, Source)>) -> Result<BrokerConfig, ConfigError> {
        let mut set: BTreeMap<&'static str, Vec<SetValue>> = BTreeMap::new();
        for (name, value, source) in values {
            let key = known(Scope::Broker, &name)?;
            let value = canonical(key, &name, &value)?;
            set.entry(key.name).or_default().insert(0, SetValue { value, source, name });
        }
        BrokerConfig::from_set(set)
    }

    /// This configuration with what was set at run time: for all nodes, and for this one.
    /// What was there from an earlier call is replaced.
    pub fn with_dynamic(
        &self,
        cluster: &BTreeMap<String, String>,
        node: &BTreeMap<String, String>,
    ) -> Result<BrokerConfig, ConfigError> {
        let mut set = self.set.clone();
        set.values_mut().for_each(|values| values.retain(|value| value.source.is_static()));
        let layers = [(cluster, Source::DynamicCluster), (node, Source::DynamicNode)];
        for (values, source) in layers {
            for (name, value) in values {
                let key = known(Scope::Broker, name)?;
                let value = canonical(key, name, value)?;
                set.entry(key.name).or_default().insert(0, SetValue { value, source, name: name.clone() });
            }
        }
        BrokerConfig::from_set(set)
    }

    fn from_set(mut set: BTreeMap<&'static str, Vec<SetValue>>) -> Result<BrokerConfig, ConfigError> {
        for (name, values) in &mut set {
            let synonyms = known(Scope::Broker, name)?.synonyms;
            // The key's own name wins over its synonyms within one source, as in Kafka.
            let rank = |set: &SetValue| synonyms.iter().position(|synonym| synonym.name == set.name).map_or(0, |at| at + 1);
            values.sort_by(|a, b| b.source.cmp(&a.source).then(rank(a).cmp(&rank(b))));
        }
        set.retain(|_, values| !values.is_empty());
        let lookup = |name: &'static str| effective(&set, name).unwrap_or_default();
        let values = Values { lookup: &lookup };
        let topic = TopicConfig::from_lookup(&|name| topic_default(&set, name).unwrap_or_default())?;
        let retention_minutes: i64 = values.number("offsets.retention.minutes")?;
        let config = BrokerConfig {
            node_id: values.number("node.id")?,
            rack: filled(&values, "broker.rack"),
            data_dirs: words(&values, "data.dir").into_iter().map(PathBuf::from).collect(),
            listeners: words(&values, "listeners"),
            advertised_listeners: words(&values, "advertised.listeners"),
            cluster_join: words(&values, "cluster.join"),
            cluster_secret: filled(&values, "cluster.secret"),
            cluster_secret_file: filled(&values, "cluster.secret.file").map(PathBuf::from),
            cluster_voters: values.number("cluster.voters")?,
            broker_session_timeout_ms: values.number("broker.session.timeout.ms")?,
            broker_heartbeat_interval_ms: values.number("broker.heartbeat.interval.ms")?,
            replica_lag_max_ms: values.number("replica.lag.time.max.ms")?,
            controlled_shutdown_timeout_ms: values.number("controlled.shutdown.timeout.ms")?,
            leader_throttled_rate: rate(&values, "leader.replication.throttled.rate")?,
            follower_throttled_rate: rate(&values, "follower.replication.throttled.rate")?,
            drained_nodes: numbers(&values, "cluster.drained.nodes")?,
            balance_leaders: values.boolean("auto.leader.rebalance.enable")?,
            balance_replicas: values.boolean("cluster.balancer.enable")?,
            balance_tolerance_bytes: values.number("cluster.balancer.tolerance.bytes")?,
            balance_interval_ms: 1000 * values.number::<u64>("leader.imbalance.check.interval.seconds")?,
            http_listen: values.text("http.listen"),
            rocketmq_cluster: values.text("rocketmq.cluster.name"),
            rocketmq_broker: values.text("rocketmq.broker.name"),
            rocketmq_max_message_bytes: values.number("rocketmq.max.message.bytes")?,
            rocketmq_delay_levels: delay_levels(&values)?,
            transaction_timeout_ms: values.number("rocketmq.transaction.timeout.ms")?,
            transaction_check_interval_ms: values.number("rocketmq.transaction.check.interval.ms")?,
            transaction_check_max: values.number("rocketmq.transaction.check.max")?,
            transaction_drop_unresolved: values.text("rocketmq.transaction.unresolved") == "drop",
            log_file_bytes: values.number("log.file.bytes")?,
            tail_cache_bytes: values.number("log.tail.cache.bytes")?,
            disk_reserve_bytes: values.number("log.disk.reserve.bytes")?,
            dead_letter_prefix: values.text("errors.deadletterqueue.topic.name.prefix"),
            auto_create_dead_letter_topics: values.boolean("errors.deadletterqueue.auto.create.topics.enable")?,
            auto_create_topics: values.boolean("auto.create.topics.enable")?,
            delete_topics: values.boolean("delete.topic.enable")?,
            default_partitions: values.number("num.partitions")?,
            default_replication_factor: values.number("default.replication.factor")?,
            retention_check_interval_ms: values.number("log.retention.check.interval.ms")?,
            reads_by_rack: !values.text("replica.selector.class").is_empty(),
            offsets_topic_partitions: values.number("offsets.topic.num.partitions")?,
            share_state_partitions: values.number("share.coordinator.state.topic.num.partitions")?,
            offsets_retention_ms: retention_minutes * 60_000,
            offsets_retention_check_interval_ms: values.number("offsets.retention.check.interval.ms")?,
            offset_metadata_max_bytes: values.number("offset.metadata.max.bytes")?,
            group_initial_rebalance_delay_ms: values.number("group.initial.rebalance.delay.ms")?,
            group_min_session_timeout_ms: values.number("group.min.session.timeout.ms")?,
            group_max_session_timeout_ms: values.number("group.max.session.timeout.ms")?,
            group_max_size: values.number("group.max.size")?,
            max_connections: values.number("max.connections")?,
            max_connections_per_ip: values.number("max.connections.per.ip")?,
            connections_max_idle_ms: values.number("connections.max.idle.ms")?,
            request_max_bytes: values.number("socket.request.max.bytes")?,
            fetch_max_bytes: values.number("fetch.max.bytes")?,
            fetch_session_slots: values.number("max.incremental.fetch.session.cache.slots")?,
            producer_expiration_ms: values.number("producer.id.expiration.ms")?,
            topic: Arc::new(topic),
            set,
        };
        config.consistent()
    }

    fn consistent(self) -> Result<BrokerConfig, ConfigError> {
        if self.data_dirs.is_empty() {
            let expected = "at least one directory".to_owned();
            return Err(ConfigError::Malformed { key: "data.dir".to_owned(), value: String::new(), expected });
        }
        let milliseconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (shortest, longest) = (self.group_min_session_timeout_ms, self.group_max_session_timeout_ms);
        in_order("group.min.session.timeout.ms", shortest.into(), "group.max.session.timeout.ms", longest.into())?;
        let (heartbeat, session) = (self.broker_heartbeat_interval_ms, self.broker_session_timeout_ms);
        in_order("broker.heartbeat.interval.ms", milliseconds(heartbeat), "broker.session.timeout.ms", milliseconds(session))?;
        Ok(self)
    }

    /// All values set for a key, the winner first; empty if it has its default.
    pub(super) fn values_of(&self, name: &str) -> &[SetValue] {
        self.set.get(name).map_or(&[], Vec::as_slice)
    }

    /// A key's value and where it came from; `None` if the key is unknown or unset.
    pub fn value(&self, name: &str) -> Option<(String, Source)> {
        let key = find(Scope::Broker, name)?;
        match self.values_of(key.name).first() {
            Some(set) => Some((set.value.clone(), set.source)),
            None => Some((key.default?.to_owned(), Source::Default)),
        }
    }

    /// What a topic that does not set `name` itself gets.
    pub fn topic_default(&self, name: &str) -> Option<String> {
        topic_default(&self.set, name)
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        match BrokerConfig::from_values(Vec::new()) {
            Ok(config) => config,
            Err(error) => unreachable!("a default of the table is not a value of its key: {error}"),
        }
    }
}

fn effective(set: &BTreeMap<&'static str, Vec<SetValue>>, name: &str) -> Option<String> {
    match set.get(name).and_then(|values| values.first()) {
        Some(set) => Some(set.value.clone()),
        None => find(Scope::Broker, name)?.default.map(str::to_owned),
    }
}

fn topic_default(set: &BTreeMap<&'static str, Vec<SetValue>>, name: &str) -> Option<String> {
    let key = find(Scope::Topic, name)?;
    match key.broker_default {
        Some(broker) => effective(set, broker),
        None => key.default.map(str::to_owned),
    }
}

fn in_order(lower: &'static str, lower_value: i64, upper: &'static str, upper_value: i64) -> Result<(), ConfigError> {
    match lower_value <= upper_value {
        true => Ok(()),
        false => Err(ConfigError::Contradiction { lower, lower_value, upper, upper_value }),
    }
}

/// A text that is not empty.
fn filled(values: &Values<'_>, name: &'static str) -> Option<String> {
    Some(values.text(name)).filter(|text| !text.is_empty())
}

/// A number that need not be given.
fn rate(values: &Values<'_>, name: &'static str) -> Result<Option<u64>, ConfigError> {
    filled(values, name).map(|_| values.number(name)).transpose()
}

fn numbers(values: &Values<'_>, name: &'static str) -> Result<Vec<i32>, ConfigError> {
    let number = |word: &String| word.parse().map_err(|_| malformed(name, word, "whole numbers".to_owned()));
    words(values, name).iter().map(number).collect()
}

fn delay_levels(values: &Values<'_>) -> Result<Vec<i64>, ConfigError> {
    const NAME: &str = "rocketmq.delay.levels";
    let text = values.text(NAME);
    let level = |word: &str| {
        let (number, unit) = word.split_at_checked(word.len().checked_sub(1)?)?;
        let unit_ms = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.parse::<u32>().ok().map(|number| i64::from(number) * unit_ms)
    };
    let levels: Option<Vec<i64>> = text.split_ascii_whitespace().map(level).collect();
    let expected = || "numbers with a unit, like 1s 5m 2h, with blanks between them".to_owned();
    levels.filter(|levels| !levels.is_empty()).ok_or_else(|| malformed(NAME, &text, expected()))
}

fn words(values: &Values<'_>, name: &'static str) -> Vec<String> {
    super::value::list(&values.text(name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(values: &[(&str, &str, Source)]) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::from_values(
            values.iter().map(|(name, value, source)| (name.to_string(), value.to_string(), *source)).collect(),
        )
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file_whatever_the_order() {
        let config = given(&[
            ("num.partitions", "7", Source::Flag),
            ("num.partitions", "3", Source::File),
            ("num.partitions", "5", Source::Environment),
        ])
        .unwrap();
        assert_eq!(config.default_partitions, 7);
        assert_eq!(config.value("num.partitions"), Some(("7".to_owned(), Source::Flag)));
        assert_eq!(config.value("node.id"), Some(("1".to_owned(), Source::Default)));
    }

    #[test]
    fn a_synonym_counts_in_its_own_unit_and_yields_to_the_keys_own_name() {
        assert_eq!(given(&[("log.retention.minutes", "2", Source::File)]).unwrap().topic.retention_ms, 120_000);
        assert_eq!(given(&[("log.retention.hours", "-1", Source::File)]).unwrap().topic.retention_ms, -1);
        let both = given(&[("log.retention.ms", "5", Source::File), ("log.retention.hours", "1", Source::File)]).unwrap();
        assert_eq!(both.topic.retention_ms, 5);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let error = given(&[("num.partitons", "3", Source::File)]).unwrap_err();
        assert_eq!(error, ConfigError::Unknown { key: "num.partitons".to_owned(), nearest: Some("num.partitions") });
        assert_eq!(error.to_string(), "unknown configuration key num.partitons; did you mean num.partitions?");
    }

    #[test]
    fn a_malformed_value_is_refused_with_what_was_expected() {
        let error = given(&[("num.partitions", "many", Source::Flag)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid value \"many\" for configuration num.partitions: expected a whole number of at least 1"
        );
        assert!(matches!(given(&[("flush", "sometimes", Source::Flag)]), Err(ConfigError::Malformed { .. })));
        assert!(matches!(
            given(&[("log.retention.hours", "9223372036854775807", Source::Flag)]),
            Err(ConfigError::Malformed { .. })
        ));
    }

    #[test]
    fn data_directories_are_a_list_of_at_least_one() {
        let config = given(&[("data.dir", "/a, /b", Source::Flag)]).unwrap();
        assert_eq!(config.data_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert!(matches!(given(&[("data.dir", " ", Source::Flag)]), Err(ConfigError::Malformed { .. })));
    }

    #[test]
    fn a_shortest_session_above_the_longest_is_refused() {
        let error = given(&[("group.min.session.timeout.ms", "2000000", Source::File)]).unwrap_err();
        assert!(matches!(error, ConfigError::Contradiction { lower_value: 2_000_000, .. }));
    }

    #[test]
    fn run_time_values_lie_over_static_ones_and_go_away_again() {
        let start = given(&[("log.retention.ms", "1000", Source::File)]).unwrap();
        let cluster = BTreeMap::from([("log.retention.ms".to_owned(), "2000".to_owned())]);
        let node = BTreeMap::from([("log.retention.ms".to_owned(), "3000".to_owned())]);
        let both = start.with_dynamic(&cluster, &node).unwrap();
        assert_eq!(both.topic.retention_ms, 3000);
        let cluster_only = both.with_dynamic(&cluster, &BTreeMap::new()).unwrap();
        assert_eq!(cluster_only.value("log.retention.ms"), Some(("2000".to_owned(), Source::DynamicCluster)));
        assert_eq!(cluster_only.with_dynamic(&BTreeMap::new(), &BTreeMap::new()).unwrap(), start);
    }
}
