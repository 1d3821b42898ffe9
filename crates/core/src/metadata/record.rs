//! The records of the metadata log, as they are stored: stable names, plain values, JSON.
//!
//! A variant or a required field is never renamed or taken away. A new one comes with a higher [`FEATURE_LEVEL`], and
//! is written only once every node of the cluster reads it. The whole image can be written as records too
//! ([`MetadataImage::to_records`](super::MetadataImage::to_records)): a snapshot is nothing else.

use duolog_log::Layout;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Highest level of records this binary reads and writes.
///
/// 1: the first. 2: data directories of nodes and partitions, layouts. 3: the name server's configuration, topic names with `%`.
/// 4: membership of nodes, changes of partitions. 5: listeners of nodes, nodes that are gone for good.
pub const FEATURE_LEVEL: u32 = 5;

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// First record of every cluster.
    Cluster { id: String },
    /// A node registered, or registered again with other properties.
    Node {
        id: i32,
        rack: Option<String>,
        /// Since level 2.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        directories: Vec<DirectoryRecord>,
        /// Since level 5.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        endpoints: Vec<EndpointRecord>,
    },
    /// A node has started: every partition it leads gets a new leader epoch, for its log may have lost an end that was
    /// not durable. One record, however many partitions.
    NodeStarted { id: i32 },
    /// A life of a node begins, or it is fenced, let in again, or about to stop. With a new epoch every partition it leads gets a new
    /// leader epoch, as by [`MetadataRecord::NodeStarted`]. Since level 4.
    Membership { id: i32, epoch: u64, incarnation: String, fenced: bool, stopping: bool },
    /// A node is gone for good, and what was configured for it. Since level 5.
    NodeRemoved { id: i32 },
    /// A topic, still without partitions. `id` as Kafka prints it.
    Topic { id: String, name: String, internal: bool, overrides: BTreeMap<String, String> },
    /// Partitions added to a topic, from index `first` on.
    Partitions { topic: String, first: i32, partitions: Vec<PartitionRecord> },
    /// A partition as it is from now on: another leader, in-sync set or replicas. Since level 4.
    PartitionChanged { topic: String, index: i32, partition: PartitionRecord },
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
        matches!(
            self,
            MetadataRecord::Node { .. }
                | MetadataRecord::NodeStarted { .. }
                | MetadataRecord::Membership { .. }
                | MetadataRecord::PartitionChanged { .. }
                | MetadataRecord::TopicDeleted { .. }
        )
    }
}

/// One partition, as created or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    pub number: u32,
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    /// Since level 2: the data directory of each replica, in the order of the replicas, as [`DirectoryId`](duolog_base::DirectoryId)
    /// prints; empty if no replica has been given one. (KIP-858)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<String>,
    /// Since level 2.
    #[serde(default, skip_serializing_if = "LayoutRecord::is_shared")]
    pub layout: LayoutRecord,
    /// This and what follows since level 4.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partition_epoch: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub eligible: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<i32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_epoch: Option<i32>,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// A data directory of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryRecord {
    pub id: String,
    /// Where it was when the node registered: for people.
    pub path: String,
}

/// A listener of a node, as clients or other nodes reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    pub name: String,
    pub scheme: String,
    pub host: String,
    pub port: u16,
}

/// How a partition is laid out on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayoutRecord {
    #[default]
    Shared,
    Dedicated,
}

impl LayoutRecord {
    fn is_shared(&self) -> bool {
        *self == LayoutRecord::Shared
    }
}

impl From<Layout> for LayoutRecord {
    fn from(layout: Layout) -> LayoutRecord {
        match layout {
            Layout::Shared => LayoutRecord::Shared,
            Layout::Dedicated => LayoutRecord::Dedicated,
        }
    }
}

impl From<LayoutRecord> for Layout {
    fn from(layout: LayoutRecord) -> Layout {
        match layout {
            LayoutRecord::Shared => Layout::Shared,
            LayoutRecord::Dedicated => Layout::Dedicated,
        }
    }
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
    /// A namespace of RocketMQ's name server. Since level 3.
    NameServer(String),
}

/// What one entry of the log holds: records that take effect together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Feature level the records were written at.
    pub level: u32,
    pub records: Vec<MetadataRecord>,
    /// [`MetadataImage::applied`](super::MetadataImage::applied) of the image they were decided on. If another change came in between, they
    /// have no effect, on any node. Versions that do not know this run on one node only, where nothing comes in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

impl Change {
    pub fn new(records: Vec<MetadataRecord>) -> Change {
        Change { level: FEATURE_LEVEL, records, base: None }
    }

    /// The change, if nothing has changed since the image with this `applied`.
    pub fn decided_on(self, applied: u64) -> Change {
        Change { base: Some(applied), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> MetadataRecord {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn records_of_the_first_level_are_read_and_written_as_they_were() {
        let node = r#"{"Node":{"id":1,"rack":null}}"#;
        let partition = r#"{"number":7,"leader":1,"leader_epoch":0,"replicas":[1],"in_sync":[1]}"#;
        let partitions = format!(r#"{{"Partitions":{{"topic":"AAAAAAAAAAAAAAAAAAAAAQ","first":0,"partitions":[{partition}]}}}}"#);
        for text in [node, &partitions] {
            assert_eq!(serde_json::to_string(&read(text)).unwrap(), text);
        }
    }

    #[test]
    fn the_stored_form_of_directories_stays_as_it_is() {
        let node = r#"{"Node":{"id":1,"rack":null,"directories":[{"id":"AAAAAAAAAAAAAAAAAAAAAg","path":"/a"}]}}"#;
        let directories = vec![DirectoryRecord { id: "AAAAAAAAAAAAAAAAAAAAAg".to_owned(), path: "/a".to_owned() }];
        let record = MetadataRecord::Node { id: 1, rack: None, directories, endpoints: Vec::new() };
        assert_eq!((read(node), serde_json::to_string(&record).unwrap()), (record, node.to_owned()));
        let partition = PartitionRecord {
            replicas: vec![1],
            directories: vec!["AAAAAAAAAAAAAAAAAAAAAg".to_owned()],
            layout: LayoutRecord::Dedicated,
            ..PartitionRecord::default()
        };
        let text = r#"{"number":0,"leader":0,"leader_epoch":0,"replicas":[1],"in_sync":[],"directories":["AAAAAAAAAAAAAAAAAAAAAg"],"layout":"Dedicated"}"#;
        assert_eq!(serde_json::to_string(&partition).unwrap(), text);
        assert_eq!(serde_json::from_str::<PartitionRecord>(text).unwrap(), partition);
    }

    #[test]
    fn the_stored_form_of_endpoints_stays_as_it_is() {
        let text = r#"{"Node":{"id":1,"rack":null,"endpoints":[{"name":"outside","scheme":"kafka","host":"h","port":9092}]}}"#;
        let endpoint =
            EndpointRecord { name: "outside".to_owned(), scheme: "kafka".to_owned(), host: "h".to_owned(), port: 9092 };
        let record = MetadataRecord::Node { id: 1, rack: None, directories: Vec::new(), endpoints: vec![endpoint] };
        assert_eq!((read(text), serde_json::to_string(&record).unwrap()), (record, text.to_owned()));
    }

    #[test]
    fn the_stored_form_of_a_node_that_is_gone_stays_as_it_is() {
        let text = r#"{"NodeRemoved":{"id":7}}"#;
        let record = MetadataRecord::NodeRemoved { id: 7 };
        assert_eq!((read(text), serde_json::to_string(&record).unwrap()), (record, text.to_owned()));
    }

    #[test]
    fn the_stored_form_of_members_and_changes_stays_as_it_is() {
        let text = r#"{"Membership":{"id":1,"epoch":7,"incarnation":"i","fenced":true,"stopping":false}}"#;
        let record = MetadataRecord::Membership { id: 1, epoch: 7, incarnation: "i".to_owned(), fenced: true, stopping: false };
        assert_eq!((read(text), serde_json::to_string(&record).unwrap()), (record, text.to_owned()));
        let partition = PartitionRecord {
            replicas: vec![1, 2],
            partition_epoch: 3,
            eligible: vec![2],
            adding: vec![2],
            removing: vec![1],
            unclean_epoch: Some(0),
            ..PartitionRecord::default()
        };
        let text = concat!(
            r#"{"PartitionChanged":{"topic":"t","index":4,"partition":{"number":0,"leader":0,"leader_epoch":0,"replicas":[1,2],"#,
            r#""in_sync":[],"partition_epoch":3,"eligible":[2],"adding":[2],"removing":[1],"unclean_epoch":0}}}"#
        );
        let record = MetadataRecord::PartitionChanged { topic: "t".to_owned(), index: 4, partition };
        assert_eq!((read(text), serde_json::to_string(&record).unwrap()), (record, text.to_owned()));
    }
}
