//! The records of the metadata log, as they are stored: stable names, plain values, JSON.
//!
//! A variant or a required field is never renamed or taken away. A new one comes with a higher [`FEATURE_LEVEL`], and
//! is written only once every node of the cluster reads it. The whole image can be written as records too
//! ([`MetadataImage::to_records`](super::MetadataImage::to_records)): a snapshot is nothing else.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Highest level of records this binary reads and writes.
pub const FEATURE_LEVEL: u32 = 1;

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// First record of every cluster.
    Cluster { id: String },
    /// A node registered, or registered again with other properties.
    Node { id: i32, rack: Option<String> },
    /// A node has started: every partition it leads gets a new leader epoch, for its log may have lost an end that was
    /// not durable. One record, however many partitions.
    NodeStarted { id: i32 },
    /// A topic, still without partitions. `id` as Kafka prints it.
    Topic { id: String, name: String, internal: bool, overrides: BTreeMap<String, String> },
    /// Partitions added to a topic, from index `first` on.
    Partitions { topic: String, first: i32, partitions: Vec<PartitionRecord> },
    /// A topic and its partitions are gone for good.
    TopicDeleted { id: String },
    /// Values set (or, if `None`, taken back) on a resource.
    Config { resource: ConfigOwner, changes: BTreeMap<String, Option<String>> },
    /// Producer ids below this one have been given away.
    ProducerIds { next: i64 },
    /// Partition numbers below this one have been given away. In snapshots only: [`MetadataRecord::Partitions`] implies it.
    PartitionNumbers { next: u32 },
}

impl MetadataRecord {
    /// Whether it is needed most when the disk is full: to start at all, or to free space.
    pub fn is_for_a_full_disk(&self) -> bool {
        matches!(self, MetadataRecord::Node { .. } | MetadataRecord::NodeStarted { .. } | MetadataRecord::TopicDeleted { .. })
    }
}

/// One partition, as created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    pub number: u32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// What a [`MetadataRecord::Config`] belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigOwner {
    /// All nodes.
    Cluster,
    Node(i32),
    /// By id, as Kafka prints it.
    Topic(String),
    Group(String),
}

/// What one entry of the log holds: records that take effect together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Feature level the records were written at.
    pub level: u32,
    pub records: Vec<MetadataRecord>,
}

impl Change {
    pub fn new(records: Vec<MetadataRecord>) -> Change {
        Change { level: FEATURE_LEVEL, records }
    }
}
