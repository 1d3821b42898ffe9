//! The cluster as of one point of the metadata log: immutable, cheap to share, replaced as a whole.
//!
//! Look-ups are by name (what clients send), by id (newer clients) and by partition number (the log). A new image
//! shares every topic that did not change with the old one, by pointer: comparing with `Arc::ptr_eq` tells what changed.

use crate::config::{BrokerConfig, ShareGroupConfig, TopicConfig};
use duolog_base::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, PartitionNumber, TopicId};
use duolog_log::Layout;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// One partition as the controller knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionImage {
    pub number: PartitionNumber,
    /// Stays the same while its node is fenced and nobody else may lead; [`NodeId::NONE`] if not even it may.
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes of everything here.
    pub partition_epoch: PartitionEpoch,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
    /// Not in sync, but holding all that is committed, since fewer than `min.insync.replicas` have been in sync since they were. (KIP-966)
    pub eligible: Vec<NodeId>,
    /// Of the replicas: those that a reassignment adds, and those it takes away once the others are in sync. (KIP-455)
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// The newest leader epoch that began with an unclean election.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// The data directory of each replica, in the order of the replicas; empty if none has been given one.
    pub directories: Vec<DirectoryId>,
    pub layout: Layout,
}

impl PartitionImage {
    /// Whether a reassignment is under way.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The data directory that holds the node's replica; `None` if the record does not say, which means the one with the metadata.
    pub fn directory_of(&self, node: NodeId) -> Option<DirectoryId> {
        let replica = self.replicas.iter().position(|replica| *replica == node)?;
        self.directories.get(replica).copied().filter(|id| *id != DirectoryId::NONE)
    }
}

/// One topic with its partitions and its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: String,
    /// Indexed by [`PartitionIndex`].
    pub partitions: Vec<PartitionImage>,
    /// What was set on the topic itself, as given.
    pub overrides: BTreeMap<String, String>,
    /// The overrides resolved over the broker's defaults.
    pub config: Arc<TopicConfig>,
    /// Written by coordinators, not by clients: `__consumer_offsets` and its like.
    pub internal: bool,
}

/// One registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    pub id: NodeId,
    pub rack: Option<String>,
    /// In the order in which the node names them; the first one also holds its metadata.
    pub directories: Vec<NodeDirectory>,
    /// Where it is reached; empty of a node alone, which clients find at the address they dialled.
    pub endpoints: Vec<Endpoint>,
    /// `None` for one that has not registered as a member of a cluster yet: it is taken for live.
    pub membership: Option<Membership>,
}

/// The present life of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub epoch: BrokerEpoch,
    /// What the process calls itself, so that it is not registered twice.
    pub incarnation: String,
    /// The controller has not heard of it for too long, or not enough yet: it leads nothing that another one can lead.
    pub fenced: bool,
    /// It is about to stop, and leads nothing that another one can lead.
    pub stopping: bool,
}

/// A listener of a node, as clients or other nodes reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name: clients of a listener are sent to listeners of the same name on other nodes.
    pub name: String,
    /// What is spoken there, as listeners are configured: `kafka`, `rocketmq`, `namesrv`, `grpc` or `peer`.
    pub scheme: String,
    pub host: String,
    pub port: u16,
}

impl NodeImage {
    /// The endpoint for clients that came to a listener of this name; if the node has none of that name, its first of the scheme.
    pub fn endpoint(&self, scheme: &str, name: &str) -> Option<&Endpoint> {
        let of_scheme = || self.endpoints.iter().filter(|endpoint| endpoint.scheme == scheme);
        of_scheme().find(|endpoint| endpoint.name == name).or_else(|| of_scheme().next())
    }
}

/// A data directory of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDirectory {
    pub id: DirectoryId,
    /// Where it was when the node registered.
    pub path: PathBuf,
}

/// The whole cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    /// 22 characters of URL-safe base64, as Kafka's cluster ids.
    pub cluster_id: String,
    /// Index of the last metadata record folded in; also Kafka's metadata offset.
    pub applied: u64,
    /// The Raft leader.
    pub controller: NodeId,
    pub nodes: BTreeMap<NodeId, NodeImage>,
    /// By name. Names are shared, so that a new image costs no copies of them.
    pub topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    pub topic_names: HashMap<TopicId, Arc<str>>,
    /// What this node runs with: its configuration at start with the dynamic one laid over it.
    pub config: Arc<BrokerConfig>,
    /// Dynamic configuration of all nodes (Kafka's default broker resource ""), as given.
    pub cluster_config: BTreeMap<String, String>,
    /// Dynamic configuration of one node, as given.
    pub node_config: BTreeMap<NodeId, BTreeMap<String, String>>,
    /// Group configurations (Kafka's GROUP resource), as given.
    pub group_config: BTreeMap<String, BTreeMap<String, String>>,
    /// What RocketMQ's name server keeps: values by namespace and key.
    pub name_server: BTreeMap<String, BTreeMap<String, String>>,
    pub next_partition_number: u32,
    pub next_producer_id: i64,
}

impl MetadataImage {
    /// The cluster before its first record, as seen by a node that runs with `config`.
    pub fn empty(config: Arc<BrokerConfig>) -> MetadataImage {
        MetadataImage { controller: NodeId(config.node_id), config, ..MetadataImage::default() }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_names.get(&id)?)
    }

    /// How a share group is configured.
    pub fn share_config(&self, group: &str) -> ShareGroupConfig {
        let own = self.group_config.get(group);
        // What is stored was checked when it was set.
        own.and_then(|own| ShareGroupConfig::resolve(own).ok()).unwrap_or_default()
    }
}

impl TopicImage {
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }
}
