//! Why the controller refuses, one enum an operation, and why the metadata log cannot be opened or written.

use super::fold::FoldError;
use super::name::NameProblem;
use crate::config::ConfigError;
use duolog_base::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId};
use duolog_log::dedicated::import::ImportError;
use std::io;
use std::path::PathBuf;

/// The metadata log cannot take a change now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("the metadata log has stopped")]
    Stopped,
    #[error("{free_bytes} bytes of disk are free, and a change of the metadata needs {needed_bytes}")]
    DiskFull { free_bytes: u64, needed_bytes: u64 },
    /// Nothing was done.
    #[error("no controller could be reached")]
    NotController,
    /// It may have been done.
    #[error("the controllers did not answer in time")]
    TimedOut,
}

/// Replicas that cannot be placed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentProblem {
    #[error("partitions must be numbered from {first} without a gap, but {missing} is missing")]
    Gap { first: i32, missing: i32 },
    #[error("partition {partition} is assigned more than once")]
    RepeatedPartition { partition: i32 },
    #[error("partition {partition} has no replicas")]
    NoReplicas { partition: i32 },
    #[error("partition {partition} names node {node} more than once")]
    RepeatedNode { partition: i32, node: NodeId },
    #[error("partition {partition} names node {node}, which is not registered")]
    UnknownNode { partition: i32, node: NodeId },
    #[error("partition {partition} has {found} replicas where others have {expected}")]
    UnevenReplicas { partition: i32, found: usize, expected: usize },
    #[error("{added} partitions are to be added, but {assigned} are assigned")]
    WrongCount { added: usize, assigned: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicError {
    #[error("topic name {problem}")]
    InvalidName { problem: NameProblem },
    #[error("topic {name} would collide with topic {existing}: '.' and '_' count as the same in metric names")]
    Collision { name: String, existing: String },
    #[error("topic {name} exists already")]
    Exists { name: String },
    #[error("topic {name} is named more than once in the request")]
    Repeated { name: String },
    #[error("{count} is no number of partitions: it must be above 0, or -1 for the default")]
    InvalidPartitions { count: i32 },
    #[error("{partitions} new partitions in one request are above the limit of {limit}")]
    TooManyPartitions { partitions: usize, limit: usize },
    #[error("{factor} is no replication factor: it must be above 0, or -1 for the default")]
    InvalidReplicationFactor { factor: i16 },
    #[error("a replication factor of {factor} cannot be reached with {nodes} registered nodes")]
    TooFewNodes { factor: i16, nodes: usize },
    #[error("partitions and replication factor must be -1 where replicas are assigned by hand")]
    AssignmentAndCount,
    #[error("{0}")]
    Assignment(#[from] AssignmentProblem),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why topics with files of their own were not taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptTopicsError {
    #[error("a topic with id {id} exists already")]
    KnownId { id: TopicId },
    #[error(transparent)]
    Refused(#[from] CreateTopicError),
    #[error(transparent)]
    Files(#[from] ImportError),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    #[error("no topic named {name}")]
    UnknownName { name: String },
    #[error("no topic with id {id}")]
    UnknownId { id: TopicId },
    #[error("topics cannot be deleted: delete.topic.enable is false")]
    Disabled,
    #[error("topic {name} is kept by the server itself and cannot be deleted")]
    Internal { name: String },
    #[error("the same topic is named more than once in the request")]
    Repeated,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    #[error("no topic named {name}")]
    UnknownTopic { name: String },
    #[error("topic {name} is named more than once in the request")]
    Repeated { name: String },
    #[error("topic {name} is kept by the server itself and its partitions cannot be changed")]
    Internal { name: String },
    #[error("topic {name} has {have} partitions, and {asked} would not be more")]
    NoIncrease { name: String, have: usize, asked: i32 },
    #[error("{partitions} new partitions in one request are above the limit of {limit}")]
    TooManyPartitions { partitions: usize, limit: usize },
    #[error("{0}")]
    Assignment(#[from] AssignmentProblem),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterConfigError {
    #[error("no topic named {name}")]
    UnknownTopic { name: String },
    #[error("topic name {problem}")]
    InvalidName { problem: NameProblem },
    #[error("node {asked} cannot be configured by node {here}")]
    OtherNode { asked: NodeId, here: NodeId },
    #[error("the resource is named more than once in the request")]
    Repeated,
    #[error("a group's id must not be empty")]
    EmptyGroup,
    #[error("more than {keys} keys or {bytes} bytes")]
    TooLarge { keys: usize, bytes: usize },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateProducerIdsError {
    #[error("all producer ids have been given away")]
    Exhausted,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the metadata cannot be opened. The process cannot run without it.
#[derive(Debug, thiserror::Error)]
pub enum MetadataOpenError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: written by a newer version (format {found}, this binary reads up to {supported})")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    #[error("records of level {found} were written by a newer version, this binary reads up to {supported}")]
    NewerRecords { found: u32, supported: u32 },
    #[error("{path} at byte {position}: {problem}")]
    Corrupt { path: PathBuf, position: u64, problem: &'static str },
    #[error("a metadata record does not fit: {0}")]
    Fold(#[from] FoldError),
    #[error("{dir} belongs to node {found}, but this node's id is {expected}")]
    OtherNode { dir: PathBuf, found: NodeId, expected: NodeId },
    #[error(
        "data directory {id}, last seen at {path}, is missing: it holds {partitions} partitions; name it among the data directories, or put it back"
    )]
    MissingDirectory { id: DirectoryId, path: PathBuf, partitions: usize },
    #[error("Raft: {0}")]
    Raft(String),
    #[error(
        "this node is part of a cluster, whose metadata is kept by {}: it is started with a peer:// listener, and cannot run alone",
        named(voters)
    )]
    NotAlone { voters: Vec<NodeId> },
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
    names.join(", ")
}

/// The voters of the metadata's quorum are not changed as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeVotersError {
    #[error("node {node} does not follow the metadata")]
    UnknownNode { node: NodeId },
    #[error("node {node} is the only voter")]
    LastVoter { node: NodeId },
    #[error("this node runs alone")]
    Alone,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A node's registration or heartbeat is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("node {node} is registered by another process that is alive")]
    Duplicate { node: NodeId },
    #[error("node {node} is not registered")]
    Unregistered { node: NodeId },
    #[error("node {node} has started again since: its epoch is {current}, not {got}")]
    StaleEpoch { node: NodeId, current: BrokerEpoch, got: BrokerEpoch },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A node is not taken off the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnregisterError {
    #[error("node {node} is not registered")]
    Unregistered { node: NodeId },
    #[error("node {node} is running: stop it first")]
    Live { node: NodeId },
    #[error("node {node} holds replicas of {partitions} partitions: move them to others first")]
    HoldsReplicas { node: NodeId, partitions: usize },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A leader's change of an in-sync set is refused. (KIP-497, KIP-903)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterPartitionError {
    #[error("no topic with id {id}")]
    UnknownTopic { id: TopicId },
    #[error("the topic has no partition {index}")]
    UnknownPartition { index: PartitionIndex },
    #[error("the node's epoch is not {got}")]
    StaleBrokerEpoch { got: BrokerEpoch },
    #[error("node {leader} leads the partition")]
    NotLeader { leader: NodeId },
    #[error("leader epoch {got} is not the present one, {current}")]
    FencedLeaderEpoch { current: LeaderEpoch, got: LeaderEpoch },
    #[error("version {got} of the partition is not the present one, {current}")]
    WrongVersion { current: PartitionEpoch, got: PartitionEpoch },
    #[error("an in-sync set consists of replicas, each named once, the leader among them")]
    NotReplicas,
    #[error("node {node} may not be in sync: it is fenced, about to stop, or has started again")]
    Ineligible { node: NodeId },
    #[error("the partition is named more than once in the request")]
    Repeated,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A replica whose log is damaged is not given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpError {
    #[error("no such topic or partition")]
    UnknownPartition,
    #[error("the node's epoch is not {got}")]
    StaleBrokerEpoch { got: BrokerEpoch },
    #[error("node {node} holds no replica of the partition")]
    NotReplica { node: NodeId },
    #[error("leader epoch {got} is not the present one, {current}")]
    FencedLeaderEpoch { current: LeaderEpoch, got: LeaderEpoch },
    #[error("no other replica is in sync and available")]
    NobodyElse,
    #[error("the partition is named more than once in the request")]
    Repeated,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A leader is not elected as asked. (KIP-183, KIP-460)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectLeaderError {
    #[error("no such topic or partition")]
    UnknownPartition,
    #[error("the partition has the leader that was asked for")]
    NotNeeded,
    #[error("the preferred leader, node {node}, is not in sync or not available")]
    PreferredNotAvailable { node: NodeId },
    #[error("no replica is available")]
    NobodyAvailable,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Replicas are not reassigned as asked. (KIP-455)
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    #[error("no such topic or partition")]
    UnknownPartition,
    #[error("the partition is named more than once in the request")]
    Repeated,
    #[error("no reassignment is in progress")]
    NotInProgress,
    #[error("a partition needs at least one replica")]
    NoReplicas,
    #[error("the number of replicas would change from {from} to {to}")]
    OtherFactor { from: usize, to: usize },
    #[error("{left} of the replicas that stay are in sync, {least} are needed")]
    TooFewInSync { left: usize, least: usize },
    #[error("node {node} is named more than once")]
    RepeatedNode { node: NodeId },
    #[error("node {node} is not registered")]
    UnknownNode { node: NodeId },
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
