//! What the decisions are made from: the partition as the metadata has it, the other nodes, and the ends of the log. Plain values.

use duolog_base::mutant::{Mutant, planted};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use duolog_log::EpochEnd;

/// A partition as the metadata has it, as far as replication goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// [`NodeId::NONE`] while it has none.
    pub leader: NodeId,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    pub replicas: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
    /// Not in sync, but taken to hold all that is committed: the controller may name one of them leader. (KIP-966)
    pub eligible: Vec<NodeId>,
    /// In-sync replicas without which nothing is committed: `min.insync.replicas`, but no more than there are replicas. (KIP-966)
    pub min_in_sync: usize,
    /// The newest leader epoch that began with an unclean election: what was committed before it may be gone.
    pub unclean_epoch: Option<LeaderEpoch>,
}

impl PartitionState {
    /// Whether the controller takes the node to hold what is committed.
    pub fn counts_on(&self, node: NodeId) -> bool {
        self.in_sync.contains(&node) || self.eligible.contains(&node)
    }
}

/// Another node as the metadata has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeId,
    pub epoch: BrokerEpoch,
    /// Neither fenced nor stopping.
    pub available: bool,
}

/// The ends of a partition's log on this node, all taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogView {
    pub start: Offset,
    /// The end that counts for the high watermark: the durable one, or the written one of a topic with `flush=async`.
    pub durable: Offset,
    pub end: Offset,
    /// Epoch of the last batch; [`LeaderEpoch::NONE`] if there is none.
    pub last_epoch: LeaderEpoch,
}

/// Looks up in the log the newest epoch not above the one asked, and where it ends: at the log's end if it is the newest. If all are
/// above it, the one asked itself, ended where the first begins. `None` if the log has none.
pub type EpochEnds<'a> = &'a dyn Fn(LeaderEpoch) -> Option<EpochEnd>;

/// Who this process is: a node, and once it is registered its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    pub node: NodeId,
    /// `None` until the controller has answered the registration; the first answer counts for the whole life of the process.
    pub epoch: Option<BrokerEpoch>,
}

impl Incarnation {
    /// Whether metadata in which this node is registered with `registered` may be obeyed. What is older speaks to an earlier life of
    /// the node: it may name it leader of what it has lost, or make it follow a leader that was deposed long ago.
    pub fn may_act_on(&self, registered: Option<BrokerEpoch>) -> bool {
        if planted(Mutant::NoRegistrationGate) {
            return true;
        }
        self.epoch.is_some() && registered == self.epoch
    }
}
