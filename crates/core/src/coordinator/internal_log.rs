//! The door between coordinators and the internal topic they stand on; a real one and one for tests.

use bytes::{Bytes, BytesMut};
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex};
use std::future::Future;
use std::pin::Pin;

/// Why the internal topic does not do what was asked. All of these may pass: the caller tries again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InternalLogError {
    #[error("the internal topic could not be created: {0}")]
    NoTopic(String),
    #[error("unknown partition")]
    UnknownPartition,
    #[error("this node does not lead the partition")]
    NotLeader,
    #[error("append failed: {0}")]
    Append(String),
    #[error("read failed: {0}")]
    Read(String),
}

/// Resolves when the batch is committed.
pub type AppendFuture = Pin<Box<dyn Future<Output = Result<(), InternalLogError>> + Send>>;

/// What the door's waiting calls give.
pub type LogFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, InternalLogError>> + Send + 'a>>;

/// Whole record batches read from a partition.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub batches: Bytes,
    /// Offset to read next; equals the one asked for when there is nothing more.
    pub next: Offset,
}

/// An internal topic.
pub trait InternalLog: Send + Sync + 'static {
    /// Makes sure that the topic exists, and says how many partitions it has.
    fn ensure(&self) -> LogFuture<'_, i32>;

    /// How many partitions the topic has, 0 if it does not exist.
    fn partitions(&self) -> i32;

    /// The live node that leads the partition, if there is one.
    fn leader(&self, partition: PartitionIndex) -> Option<NodeId>;

    /// The epoch in which this node leads the partition, if it does.
    fn leads(&self, partition: PartitionIndex) -> Option<LeaderEpoch>;

    /// Why nothing can be appended to the partition until somebody makes room, if that is so now. `None` is no promise.
    fn refusal(&self, partition: PartitionIndex) -> Option<InternalLogError>;

    /// Queues a record batch. The order of the calls is the order in the log, whether the futures are awaited or not.
    /// An error is a refusal: nothing was queued, and the same batch may be brought again. It is one if this node does not lead the
    /// partition in that epoch.
    fn append(&self, partition: PartitionIndex, epoch: LeaderEpoch, batch: BytesMut) -> Result<AppendFuture, InternalLogError>;

    /// The first offset of the partition.
    fn start(&self, partition: PartitionIndex) -> Result<Offset, InternalLogError>;

    /// Reads batches from the one that holds `from` on, whether they are committed or not.
    fn read(&self, partition: PartitionIndex, from: Offset) -> LogFuture<'_, Chunk>;

    /// Resolves once everything below `end` is committed.
    fn committed(&self, partition: PartitionIndex, end: Offset) -> LogFuture<'_, ()>;
}
