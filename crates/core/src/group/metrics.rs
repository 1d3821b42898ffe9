//! What groups did, counted for whoever exposes it, and a census of the groups there are.

use super::shard::GroupShard;
use super::state::State;
use crate::broker::Counter;

/// Counted since the start of the process, over all shards.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    /// Generations made.
    pub rebalances: Counter,
    /// Members thrown out because nothing was heard of them.
    pub expired_sessions: Counter,
    /// Offsets committed, one a partition.
    pub committed_offsets: Counter,
    /// Offsets forgotten because nobody needed them.
    pub expired_offsets: Counter,
}

/// The groups of some partitions at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCensus {
    pub empty: u64,
    pub preparing: u64,
    pub completing: u64,
    pub stable: u64,
    pub members: u64,
    /// Partitions counted; those that are being replayed are not among them.
    pub partitions: u64,
}

impl GroupCensus {
    /// How many groups are in each state, by Kafka's names.
    pub fn by_state(&self) -> [(&'static str, u64); 4] {
        [
            (State::Empty.name(), self.empty),
            (State::PreparingRebalance.name(), self.preparing),
            (State::CompletingRebalance.name(), self.completing),
            (State::Stable.name(), self.stable),
        ]
    }

    pub(super) fn add(&mut self, other: GroupCensus) {
        self.empty += other.empty;
        self.preparing += other.preparing;
        self.completing += other.completing;
        self.stable += other.stable;
        self.members += other.members;
        self.partitions += other.partitions;
    }
}

impl GroupShard {
    pub(super) fn census(&self) -> GroupCensus {
        let mut census = GroupCensus { partitions: 1, ..GroupCensus::default() };
        for group in self.groups.values() {
            census.members += group.members.len() as u64;
            match group.state {
                State::Empty => census.empty += 1,
                State::PreparingRebalance => census.preparing += 1,
                State::CompletingRebalance => census.completing += 1,
                State::Stable => census.stable += 1,
            }
        }
        self.share_count(&mut census);
        census
    }
}
