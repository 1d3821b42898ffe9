//! What goes between a follower and its leader, for one partition. Plain values; the wire form is not decided here.

use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use duolog_log::EpochEnd;

/// A follower asks for what comes after its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// The epoch in which the follower follows.
    pub leader_epoch: LeaderEpoch,
    /// End of the follower's log.
    pub offset: Offset,
    /// How much of it counts.
    pub durable: Offset,
    /// Epoch of its last batch; [`LeaderEpoch::NONE`] if it has none. (KIP-595)
    pub last_epoch: LeaderEpoch,
    /// Which request of the follower this is; it comes back with the answer.
    pub number: u64,
}

/// The leader lets the follower read from the offset it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchGrant {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// The leader does not, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchRefusal {
    #[error("this node does not lead the partition")]
    NotLeader,
    #[error("epoch {got} is over, the leader's is {current}")]
    FencedEpoch { current: LeaderEpoch, got: LeaderEpoch },
    #[error("epoch {got} is not known here yet, the leader's is {current}")]
    UnknownEpoch { current: LeaderEpoch, got: LeaderEpoch },
    #[error("node {node} holds no replica of the partition")]
    NotReplica { node: NodeId },
    #[error("node {node} has started again since: its epoch is {current}, not {got}")]
    StaleBrokerEpoch { node: NodeId, current: BrokerEpoch, got: BrokerEpoch },
    /// The logs part before the offset asked for.
    #[error("the logs are the same at most up to the end of epoch {} at {}", .0.epoch, .0.end)]
    Diverging(EpochEnd),
    #[error("offset {asked} is outside {start}..={end}")]
    OutOfRange { asked: Offset, start: Offset, end: Offset },
}
