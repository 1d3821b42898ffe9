//! A topic's configuration with every key resolved: its own override, else the broker's default.

use super::error::ConfigError;
use super::throttled::ThrottledReplicas;
use super::value::{Values, list, malformed};
use super::{BrokerConfig, Scope, find};
use duolog_log::Layout;
use duolog_log::clean::CleaningPolicy;
use duolog_log::dedicated::SegmentPolicy;
use std::collections::BTreeMap;

/// The key that says how a topic is laid out on disk.
pub const LAYOUT: &str = "duolog.layout";

/// When an append counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// `acks=all` waits for the disk, and nobody reads what is not durable.
    Sync,
    /// `acks=all` waits for the page cache only.
    Async,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// `compression.type`: what batches are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `rocketmq.perm`: what RocketMQ clients may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm(pub i32);

impl Perm {
    pub const READ: i32 = 4;
    pub const WRITE: i32 = 2;
    pub const INHERIT: i32 = 1;

    pub fn may_read(self) -> bool {
        self.0 & Perm::READ != 0
    }

    pub fn may_write(self) -> bool {
        self.0 & Perm::WRITE != 0
    }
}

/// Resolved configuration of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub flush: FlushMode,
    pub compression_type: CompressionType,
    pub timestamp_type: TimestampType,
    /// How far before the broker's clock a CreateTime may lie, in milliseconds; `i64::MAX` for any.
    pub timestamp_before_max_ms: i64,
    /// How far after the broker's clock a CreateTime may lie, in milliseconds; `i64::MAX` for any.
    pub timestamp_after_max_ms: i64,
    /// Largest batch, in bytes as stored.
    pub max_message_bytes: usize,
    /// `retention.ms`; -1 keeps for ever.
    pub retention_ms: i64,
    /// `retention.bytes` a partition; -1 for no limit.
    pub retention_bytes: i64,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    pub min_insync_replicas: i32,
    /// Whether a replica that may lack what is committed may lead, if nobody else can.
    pub unclean_election: bool,
    /// `duolog.layout`; what counts for a partition is what it was created with.
    pub layout: Layout,
    /// How partitions of the dedicated layout are cut into segments.
    pub segments: SegmentPolicy,
    /// When and how a topic with `compact` is cleaned.
    pub cleaning: CleaningPolicy,
    /// Replicas to which this node, as a leader, sends at the rate of its throttle only while they are not in sync.
    pub leader_throttled: ThrottledReplicas,
    /// Replicas for which a node, as a follower, asks at the rate of its throttle only while they are not in sync.
    pub follower_throttled: ThrottledReplicas,
    /// `errors.deadletterqueue.group.enable`: share groups may put their dead letters here.
    pub takes_dead_letters: bool,
    /// `duolog.delay.enable`: headers of records say when they are delivered.
    pub delays: bool,
    pub perm: Perm,
    /// `rocketmq.message.type`.
    pub message_type: String,
    /// `rocketmq.order`.
    pub is_ordered: bool,
}

impl TopicConfig {
    /// The topic's overrides over the broker's defaults.
    pub fn resolve(overrides: &BTreeMap<String, String>, broker: &BrokerConfig) -> Result<TopicConfig, ConfigError> {
        TopicConfig::from_lookup(&|name| match overrides.get(name) {
            Some(value) => value.trim().to_owned(),
            None => broker.topic_default(name).unwrap_or_default(),
        })
    }

    /// From a function that gives the value of a topic's key.
    pub(super) fn from_lookup(lookup: &dyn Fn(&'static str) -> String) -> Result<TopicConfig, ConfigError> {
        let values = Values { lookup };
        let policy = values.text("cleanup.policy");
        Ok(TopicConfig {
            flush: choose(&values, "flush", &[("sync", FlushMode::Sync), ("async", FlushMode::Async)])?,
            compression_type: choose(
                &values,
                "compression.type",
                &[
                    ("producer", CompressionType::Producer),
                    ("uncompressed", CompressionType::Uncompressed),
                    ("gzip", CompressionType::Gzip),
                    ("snappy", CompressionType::Snappy),
                    ("lz4", CompressionType::Lz4),
                    ("zstd", CompressionType::Zstd),
                ],
            )?,
            timestamp_type: choose(
                &values,
                "message.timestamp.type",
                &[("CreateTime", TimestampType::CreateTime), ("LogAppendTime", TimestampType::LogAppendTime)],
            )?,
            timestamp_before_max_ms: values.number("message.timestamp.before.max.ms")?,
            timestamp_after_max_ms: values.number("message.timestamp.after.max.ms")?,
            max_message_bytes: values.number("max.message.bytes")?,
            retention_ms: values.number("retention.ms")?,
            retention_bytes: values.number("retention.bytes")?,
            delete: list(&policy).any(|word| word == "delete"),
            compact: list(&policy).any(|word| word == "compact"),
            min_insync_replicas: values.number("min.insync.replicas")?,
            unclean_election: values.boolean("unclean.leader.election.enable")?,
            layout: choose(&values, LAYOUT, &[("shared", Layout::Shared), ("dedicated", Layout::Dedicated)])?,
            segments: SegmentPolicy {
                segment_bytes: values.number("segment.bytes")?,
                segment_ms: values.number("segment.ms")?,
                segment_jitter_ms: values.number("segment.jitter.ms")?,
                index_interval_bytes: values.number("index.interval.bytes")?,
                index_bytes: values.number("segment.index.bytes")?,
            },
            cleaning: CleaningPolicy {
                min_dirty_ratio: values.number("min.cleanable.dirty.ratio")?,
                min_compaction_lag_ms: values.number("min.compaction.lag.ms")?,
                max_compaction_lag_ms: values.number("max.compaction.lag.ms")?,
                delete_retention_ms: values.number("delete.retention.ms")?,
            },
            leader_throttled: throttled(&values, "leader.replication.throttled.replicas")?,
            follower_throttled: throttled(&values, "follower.replication.throttled.replicas")?,
            perm: Perm(values.number("rocketmq.perm")?),
            message_type: values.text("rocketmq.message.type"),
            takes_dead_letters: values.boolean("errors.deadletterqueue.group.enable")?,
            delays: values.boolean("duolog.delay.enable")?,
            is_ordered: values.boolean("rocketmq.order")?,
        })
    }
}

impl Default for TopicConfig {
    /// What the table's defaults give.
    fn default() -> Self {
        TopicConfig::clone(&BrokerConfig::default().topic)
    }
}

fn throttled(values: &Values<'_>, name: &'static str) -> Result<ThrottledReplicas, ConfigError> {
    ThrottledReplicas::parse(name, &values.text(name))
}

fn choose<T: Copy>(values: &Values<'_>, name: &'static str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
    let value = values.text(name);
    let found = choices.iter().find(|(word, _)| *word == value.trim());
    found.map(|(_, chosen)| *chosen).ok_or_else(|| {
        let kind = find(Scope::Topic, name).map(|key| key.kind);
        malformed(name, &value, kind.map(super::value::expected).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_topic_takes_its_own_value_else_the_brokers_else_the_tables() {
        let broker = BrokerConfig::from_values(vec![("log.retention.hours".to_owned(), "1".to_owned(), Source::File)]).unwrap();
        let config =
            TopicConfig::resolve(&overrides(&[("flush", "async"), ("cleanup.policy", "compact,delete")]), &broker).unwrap();
        assert_eq!(config.flush, FlushMode::Async);
        assert!(config.compact && config.delete);
        assert_eq!(config.retention_ms, 3_600_000);
        assert_eq!(config.max_message_bytes, 1_048_588);
    }

    #[test]
    fn the_defaults_are_kafkas_with_a_sync_before_the_answer() {
        let config = TopicConfig::default();
        assert_eq!(config.flush, FlushMode::Sync);
        assert_eq!(config.retention_ms, 7 * 24 * 3_600_000);
        assert!(config.delete && !config.compact);
        assert_eq!(config.timestamp_after_max_ms, 3_600_000);
    }
}
