//! The in-sync set: as committed, and as it may become.
//!
//! A change is asked for against a version of the partition (its partition epoch), and the controller takes one per version. Until a
//! later version is seen, *any* request made against the present one may still be accepted, the refused and the lost ones
//! included: a copy of it may be under way. So everybody who was in one of them counts until then.

use super::ReplicationLimits;
use crate::state::PartitionState;
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};

/// A leader asks the controller to change the in-sync set. (AlterPartition, KIP-497)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    /// The version that it changes.
    pub partition_epoch: PartitionEpoch,
    /// Each with the incarnation that is meant. (KIP-903)
    pub in_sync: Vec<(NodeId, BrokerEpoch)>,
    /// Which proposal of this leader it is; it comes back with the answer.
    pub number: u64,
}

#[derive(Debug)]
pub(super) struct InSync {
    partition_epoch: PartitionEpoch,
    committed: Vec<NodeId>,
    /// Members of proposals against this version that are not in `committed`.
    offered: Vec<NodeId>,
    /// The proposal that is not answered yet, and when it was made.
    outstanding: Option<(u64, u64)>,
    next_number: u64,
}

impl InSync {
    pub(super) fn new(state: &PartitionState) -> InSync {
        InSync {
            partition_epoch: state.partition_epoch,
            committed: state.in_sync.clone(),
            offered: Vec::new(),
            outstanding: None,
            next_number: 1,
        }
    }

    pub(super) fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    pub(super) fn committed(&self) -> &[NodeId] {
        &self.committed
    }

    /// Everybody who is in the controller's set, or may be by now.
    pub(super) fn maximal(&self) -> impl Iterator<Item = NodeId> + '_ {
        let offered = if planted(Mutant::PendingExpansionIgnored) { &[][..] } else { &self.offered[..] };
        self.committed.iter().chain(offered).copied()
    }

    /// A later version: earlier proposals have lost their point.
    pub(super) fn committed_as(&mut self, state: &PartitionState) {
        self.partition_epoch = state.partition_epoch;
        self.committed.clone_from(&state.in_sync);
        self.offered.clear();
        self.outstanding = None;
    }

    pub(super) fn may_propose(&self, limits: &ReplicationLimits, now_ms: u64) -> bool {
        self.outstanding.is_none_or(|(_, made_ms)| now_ms.saturating_sub(made_ms) >= limits.proposal_retry_ms)
    }

    /// `None` if there is nothing to ask for. The present set is asked for too, if a larger one was before: its acceptance
    /// makes a new version, and settles that the larger one is not to be.
    pub(super) fn propose(
        &mut self,
        leader_epoch: LeaderEpoch,
        members: Vec<(NodeId, BrokerEpoch)>,
        now_ms: u64,
    ) -> Option<Proposal> {
        let nodes: Vec<NodeId> = members.iter().map(|(node, _)| *node).collect();
        let narrows = self.committed.iter().any(|node| !nodes.contains(node));
        let adds: Vec<NodeId> = nodes.into_iter().filter(|node| !self.committed.contains(node)).collect();
        if !narrows && adds.is_empty() && self.offered.is_empty() {
            return None;
        }
        self.offered.extend(adds.iter().filter(|node| !self.offered.contains(node)).copied().collect::<Vec<_>>());
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding = Some((number, now_ms));
        Some(Proposal { leader_epoch, partition_epoch: self.partition_epoch, in_sync: members, number })
    }

    /// The next one may be made.
    pub(super) fn refused(&mut self, number: u64) {
        if self.outstanding.is_some_and(|(outstanding, _)| outstanding == number) {
            self.outstanding = None;
        }
        if planted(Mutant::RefusedProposalForgotten) {
            self.offered.clear();
        }
    }

    /// Takes a set for committed that nobody has confirmed: for a mutant only.
    pub(super) fn believe(&mut self, nodes: &[NodeId]) {
        self.committed = nodes.to_vec();
    }
}
