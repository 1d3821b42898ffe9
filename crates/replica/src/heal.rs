//! What becomes of a replica whose log is damaged: it throws its records away and fetches them anew, once nobody counts on them.
//!
//! To throw records away is to lose a disk. As long as the controller takes the replica to be in sync or eligible, it may name it leader,
//! and what it lacks then is lost. So the node asks the controller first to be taken out of both, which ends the leader epoch (and moves
//! the lead, if it has it). In the epochs since then it has asked nobody for anything, so no leader believes it to hold what it once had:
//! now its records may go.

use crate::state::PartitionState;
use duolog_base::{LeaderEpoch, NodeId};

/// A log that does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The newest leader epoch in which the replica may have said what it holds.
    vouched_in: LeaderEpoch,
    /// No leader of the present epoch, nor the controller, takes the replica to hold anything.
    given_up: bool,
}

impl Damage {
    pub(crate) fn found_in(epoch: LeaderEpoch) -> Damage {
        Damage { vouched_in: epoch, given_up: false }
    }

    /// Takes a version of the metadata. Versions come in order.
    pub(crate) fn seen(&mut self, state: &PartitionState, node: NodeId) {
        self.given_up = state.leader_epoch > self.vouched_in && state.leader != node && !state.counts_on(node);
    }

    /// Whether the records may be thrown away. If not, the controller is to be asked to count on them no more.
    pub fn may_begin_anew(&self) -> bool {
        self.given_up
    }
}

#[cfg(test)]
mod tests;
