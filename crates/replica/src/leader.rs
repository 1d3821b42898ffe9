//! The leader of a partition: what its followers hold, what is committed, and which in-sync set it asks the controller for.
//!
//! The high watermark is the smallest durable end in the *maximal* in-sync set: the committed set and everybody in a proposal that
//! may still be accepted. It never goes back, and it does not move while fewer than `min.insync.replicas` are in sync. Both together
//! make every member of the controller's in-sync set, and every eligible one (KIP-966), hold all that is committed.

mod in_sync;
mod progress;

pub use in_sync::Proposal;

use crate::acks::{AckOutcome, AckQueue, AckQueueFull, Ticket};
use crate::fetch::{FetchGrant, FetchRefusal, FollowerFetch};
use crate::state::{EpochEnds, Incarnation, LogView, PartitionState, Peer};
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset};
use duolog_log::EpochEnd;
use in_sync::InSync;
use progress::Progress;
use std::collections::BTreeMap;

/// Times that the leader goes by, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationLimits {
    /// A follower that has not been at the leader's end for so long is taken out of the in-sync set (`replica.lag.time.max.ms`).
    pub lag_ms: u64,
    /// A proposal that is not answered for so long is made again.
    pub proposal_retry_ms: u64,
}

/// Too few replicas are in sync to take what must be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_sync} replicas are in sync, {least} are needed")]
pub struct NotEnoughReplicas {
    pub in_sync: usize,
    pub least: usize,
}

#[derive(Debug)]
pub struct Leader {
    me: Incarnation,
    epoch: LeaderEpoch,
    /// End of the log when the epoch began: everything committed before lies below it.
    epoch_start: Offset,
    replicas: Vec<NodeId>,
    in_sync: InSync,
    min_in_sync: usize,
    own: LogView,
    followers: BTreeMap<NodeId, Progress>,
    high_watermark: Offset,
    acks: AckQueue,
}

impl Leader {
    /// Begins to lead in the epoch of `state`. `high_watermark` is what this node knew of it before.
    pub(crate) fn new(me: Incarnation, state: &PartitionState, log: LogView, high_watermark: Offset, now_ms: u64) -> Leader {
        let mut leader = Leader {
            me,
            epoch: state.leader_epoch,
            epoch_start: log.end,
            replicas: Vec::new(),
            in_sync: InSync::new(state),
            min_in_sync: state.min_in_sync,
            own: log,
            followers: BTreeMap::new(),
            high_watermark: high_watermark.max(log.start),
            acks: AckQueue::default(),
        };
        leader.set_replicas(state, now_ms);
        leader.advance();
        leader
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Everything below is committed: durable on the whole in-sync set.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether all that was committed before this epoch is known to be. (KIP-207)
    pub fn is_settled(&self) -> bool {
        self.high_watermark >= self.epoch_start
    }

    /// The in-sync set as the metadata has it.
    pub fn in_sync(&self) -> &[NodeId] {
        self.in_sync.committed()
    }

    /// The followers, each with how much of its log counts, if it has fetched in this epoch.
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, Option<Offset>)> + '_ {
        self.followers.iter().map(|(node, progress)| (*node, progress.durable()))
    }

    /// Takes a newer version of the partition in the same leader epoch.
    pub(crate) fn update(&mut self, state: &PartitionState, now_ms: u64) {
        assert_eq!(state.leader_epoch, self.epoch, "another epoch is another leader");
        if state.partition_epoch < self.in_sync.partition_epoch() {
            return;
        }
        self.min_in_sync = state.min_in_sync;
        if state.partition_epoch > self.in_sync.partition_epoch() {
            self.in_sync.committed_as(state);
            self.set_replicas(state, now_ms);
        }
        self.advance();
        if self.is_below_minimum() {
            self.acks.fail_all(AckOutcome::TooFewInSync);
        }
    }

    fn set_replicas(&mut self, state: &PartitionState, now_ms: u64) {
        self.replicas.clone_from(&state.replicas);
        self.followers.retain(|node, _| state.replicas.contains(node));
        for node in state.replicas.iter().filter(|node| **node != self.me.node) {
            // Who is in sync is given its time from now on.
            self.followers.entry(*node).or_insert_with(|| Progress::new(now_ms));
        }
    }

    /// This node's log has grown, or more of it counts.
    pub fn log_advanced(&mut self, log: LogView) {
        self.own = log;
        self.advance();
    }

    /// A follower asks for more. If it is granted, what the follower holds counts from now on.
    pub fn fetch(
        &mut self,
        request: &FollowerFetch,
        log: LogView,
        epoch_ends: EpochEnds,
        now_ms: u64,
    ) -> Result<FetchGrant, FetchRefusal> {
        self.own = log;
        self.check_epoch(request.leader_epoch)?;
        let node = request.node;
        let leads_itself = node == self.me.node;
        let progress = self.followers.get_mut(&node).filter(|_| !leads_itself).ok_or(FetchRefusal::NotReplica { node })?;
        progress.meet(node, request.broker_epoch)?;
        let sound = check_log(request, log, epoch_ends);
        if sound.is_ok() || planted(Mutant::DivergingFetchCounted) {
            progress.reached(request.durable, log.end, now_ms);
            self.advance();
        }
        sound.map(|()| FetchGrant { high_watermark: self.high_watermark, log_start: log.start })
    }

    fn check_epoch(&self, got: LeaderEpoch) -> Result<(), FetchRefusal> {
        let current = self.epoch;
        match got.cmp(&current) {
            std::cmp::Ordering::Less => Err(FetchRefusal::FencedEpoch { current, got }),
            std::cmp::Ordering::Greater => Err(FetchRefusal::UnknownEpoch { current, got }),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    /// What the metadata says of the nodes now: earlier incarnations of them are not listened to any more.
    pub fn meet(&mut self, peers: &[Peer]) {
        for peer in peers {
            if let Some(progress) = self.followers.get_mut(&peer.node) {
                // Older than what its own fetch said: the metadata is behind.
                let _ = progress.meet(peer.node, peer.epoch);
            }
        }
    }

    /// Whether a producer that wants its records committed may append.
    pub fn check_append(&self) -> Result<(), NotEnoughReplicas> {
        match self.is_below_minimum() {
            true => Err(NotEnoughReplicas { in_sync: self.in_sync().len(), least: self.min_in_sync }),
            false => Ok(()),
        }
    }

    /// A producer waits until everything below `end` is committed.
    pub fn wait(&mut self, end: Offset, ticket: Ticket) -> Result<(), AckQueueFull> {
        self.acks.wait(end, ticket)?;
        self.acks.committed(self.high_watermark);
        if self.is_below_minimum() {
            self.acks.fail_all(AckOutcome::TooFewInSync);
        }
        Ok(())
    }

    /// The producers that are to be answered now.
    pub fn take_answered(&mut self) -> Vec<(Ticket, AckOutcome)> {
        self.acks.take_answered()
    }

    /// Leads no more. Returns what the producers that still wait are to be told.
    pub(crate) fn resign(mut self) -> Vec<(Ticket, AckOutcome)> {
        self.acks.fail_all(AckOutcome::NotLeader);
        self.acks.take_answered()
    }

    fn is_below_minimum(&self) -> bool {
        self.in_sync().len() < self.min_in_sync
    }

    fn advance(&mut self) {
        if self.is_below_minimum() && !planted(Mutant::HighWatermarkBelowMinInSync) {
            return;
        }
        let own = if planted(Mutant::LeaderCountsUnsynced) { self.own.end } else { self.own.durable };
        let held = |node: NodeId| match node == self.me.node {
            true => Some(own),
            false => self.followers.get(&node).and_then(Progress::durable),
        };
        // One whose end is not known in this epoch holds the high watermark where it is.
        let ends: Option<Vec<Offset>> = self.in_sync.maximal().map(held).collect();
        let Some(least) = ends.and_then(|ends| ends.into_iter().min()) else { return };
        if least > self.high_watermark {
            self.high_watermark = least;
            self.acks.committed(least);
        }
    }

    /// The change of the in-sync set to ask the controller for now, if any. It counts as possibly accepted from here on.
    pub fn propose(&mut self, peers: &[Peer], limits: &ReplicationLimits, now_ms: u64) -> Option<Proposal> {
        if !self.in_sync.may_propose(limits, now_ms) {
            return None;
        }
        let epochs = |node: NodeId| self.known_epoch(node, peers);
        let keeps = |node: &NodeId| *node == self.me.node || self.keeps_up(*node, peers, limits, now_ms);
        let mut wanted: Vec<NodeId> = self.in_sync().iter().copied().filter(keeps).collect();
        let joins = |node: &NodeId| !self.in_sync().contains(node) && self.may_join(*node, peers, limits, now_ms);
        wanted.extend(self.replicas.iter().copied().filter(joins));
        let members: Option<Vec<(NodeId, BrokerEpoch)>> = wanted.iter().map(|node| Some((*node, epochs(*node)?))).collect();
        let proposal = self.in_sync.propose(self.epoch, members?, now_ms);
        if proposal.is_some() && planted(Mutant::OptimisticShrink) {
            self.in_sync.believe(&wanted);
            self.advance();
        }
        proposal
    }

    /// The controller refused: for certain, but not for certain every copy of it that is still under way.
    pub fn refused(&mut self, number: u64) {
        self.in_sync.refused(number);
        self.advance();
    }

    /// The incarnation this leader knows: of followers the one that fetched.
    fn known_epoch(&self, node: NodeId, peers: &[Peer]) -> Option<BrokerEpoch> {
        if node == self.me.node {
            return self.me.epoch;
        }
        let fetched = self.followers.get(&node).and_then(Progress::broker_epoch);
        fetched.or_else(|| peers.iter().find(|peer| peer.node == node).map(|peer| peer.epoch))
    }

    fn is_available(&self, node: NodeId, peers: &[Peer]) -> bool {
        let known = self.followers.get(&node).and_then(Progress::broker_epoch);
        peers.iter().any(|peer| peer.node == node && peer.available && known.is_none_or(|known| known == peer.epoch))
    }

    fn keeps_up(&self, node: NodeId, peers: &[Peer], limits: &ReplicationLimits, now_ms: u64) -> bool {
        let follower = self.followers.get(&node);
        self.is_available(node, peers) && follower.is_some_and(|follower| !follower.is_behind(limits.lag_ms, now_ms))
    }

    /// A follower joins when it holds all that is committed: the high watermark of this epoch, and whatever was committed before it.
    fn may_join(&self, node: NodeId, peers: &[Peer], limits: &ReplicationLimits, now_ms: u64) -> bool {
        let Some(durable) = self.followers.get(&node).and_then(Progress::durable) else { return false };
        let holds_committed = durable >= self.high_watermark || planted(Mutant::JoinBelowHighWatermark);
        let holds_before = durable >= self.epoch_start || planted(Mutant::NoEpochStartCheck);
        self.keeps_up(node, peers, limits, now_ms) && holds_committed && holds_before
    }
}

/// Whether the follower's log is a prefix of the leader's.
fn check_log(request: &FollowerFetch, log: LogView, epoch_ends: EpochEnds) -> Result<(), FetchRefusal> {
    let out_of_range = FetchRefusal::OutOfRange { asked: request.offset, start: log.start, end: log.end };
    if request.offset < log.start {
        return Err(out_of_range);
    }
    if request.last_epoch != LeaderEpoch::NONE {
        // A log without any epoch is empty.
        let known = epoch_ends(request.last_epoch).unwrap_or(EpochEnd { epoch: request.last_epoch, end: log.end });
        if known.epoch < request.last_epoch || known.end < request.offset {
            return Err(FetchRefusal::Diverging(known));
        }
    }
    match request.offset > log.end {
        true => Err(out_of_range),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
