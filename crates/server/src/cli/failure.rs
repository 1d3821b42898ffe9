//! Why a command ends with exit code 1.

use super::DemoError;
use super::log::ImportProblem;
use crate::client::ClientError;
use crate::serve::ServeError;
use duolog_core::broker::AdoptError;
use duolog_core::metadata::MetadataOpenError;
use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("output: {0}")]
    Output(#[from] io::Error),
    #[error("{path}: {error}")]
    Input { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Log { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Metadata { path: PathBuf, error: Box<MetadataOpenError> },
    #[error(transparent)]
    Import(#[from] ImportProblem),
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    #[error("starting the runtime: {0}")]
    Runtime(io::Error),
    #[error("topic {topic} does not exist")]
    NoTopic { topic: String },
    #[error("topic {topic} has no partition {partition}")]
    NoPartition { topic: String, partition: i32 },
    #[error("line {line}: no key separator {separator:?} in it")]
    NoSeparator { line: u64, separator: String },
    #[error("offset {offset} of {topic}-{partition} is not in the log, which has {start} to {end}")]
    OffsetOutOfRange { topic: String, partition: i32, offset: i64, start: i64, end: i64 },
    #[error("group {group} has active members; stop them first")]
    GroupActive { group: String },
    #[error("group {group} has no dead letters: there is no topic {topic}")]
    NoDeadLetters { group: String, topic: String },
    #[error("the dead letter at offset {offset} of partition {partition} of {topic} is another group's; nothing was discarded")]
    OthersLetter { topic: String, partition: i32, offset: i64 },
    #[error(
        "the dead letter at offset {offset} of partition {partition} does not say where it comes from; name a topic with --to"
    )]
    NoOrigin { partition: i32, offset: i64 },
    #[error(
        "an interrupted redrive was sending {expected} dead letters of partition {partition}, of which {found} are left; it cannot be finished. \
         `duolog group reset-offsets {group}` says where to go on"
    )]
    RedriveBroken { group: String, partition: i32, found: usize, expected: usize },
    #[error("the cluster has no node {node}")]
    NoSuchNode { node: i32 },
    #[error("{topic} has {replicas} replicas a partition, and there are {others} other live nodes")]
    TooFewNodes { topic: String, replicas: usize, others: usize },
    #[error("node {node} holds {replicas} replicas; `duolog cluster drain {node}` moves them to others")]
    HoldsReplicas { node: i32, replicas: usize },
    #[error("node {node} runs at {address}: stop it first")]
    NodeRuns { node: i32, address: String },
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error("{problems} problems found")]
    Problems { problems: u64 },
    /// What was wrong has been printed already, item by item.
    #[error("{failed} of {all} failed")]
    Some { failed: usize, all: usize },
}

impl Failure {
    /// Whether what the user wrote is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Failure::Serve(error) if error.is_usage())
    }

    /// Whether another process has taken the server's place.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self, Failure::Serve(ServeError::Superseded { .. }))
    }

    /// The reader of our output has gone: `duolog ... | head`. Nothing to complain about.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
