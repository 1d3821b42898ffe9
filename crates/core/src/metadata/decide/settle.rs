//! What becomes of a partition when nodes come and go: who stays in sync, who is eligible, who leads. Pure.
//!
//! * Who is not live leaves the in-sync set, and so does who is stopping, as long as one remains.
//! * While fewer than `min.insync.replicas` are in sync nothing is committed, so those who leave then hold all that is: they are *eligible*.
//! * A leader is kept while it may lead. Another one is taken from the in-sync set, else from the eligible ones; from the other replicas only
//!   if the topic allows to lose what is committed. The order of the replicas is the order of preference.
//! * If nobody may lead, the leader stays named: it leads again when it comes back.

use crate::metadata::image::{NodeImage, PartitionImage, TopicImage};
use duolog_base::{LeaderEpoch, NodeId, PartitionEpoch};
use duolog_replica::{Mutant, planted};
use std::collections::BTreeMap;

pub(super) type Nodes = BTreeMap<NodeId, NodeImage>;

/// What a partition of a topic is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub min_in_sync: usize,
    pub unclean: bool,
}

impl Rules {
    pub(super) fn of(topic: &TopicImage, partition: &PartitionImage) -> Rules {
        let unclean = topic.config.unclean_election || planted(Mutant::UncleanElection);
        Rules { min_in_sync: topic.min_in_sync(partition), unclean }
    }
}

/// The partition as it must be; `None` if it is so.
pub(super) fn settle(partition: &PartitionImage, rules: Rules, nodes: &Nodes) -> Option<PartitionImage> {
    let mut settled = partition.clone();
    let stay = remaining(partition, nodes);
    if !stay.is_empty() {
        set_in_sync(&mut settled, stay, rules.min_in_sync);
    }
    let leads = settled.in_sync.contains(&settled.leader) && is_live(nodes, settled.leader);
    if !leads {
        elect(&mut settled, rules, nodes);
    }
    versioned(partition, settled)
}

/// Makes another version of it, if it has changed.
pub(super) fn versioned(before: &PartitionImage, after: PartitionImage) -> Option<PartitionImage> {
    let partition_epoch = PartitionEpoch(before.partition_epoch.0 + 1);
    (after != *before).then_some(PartitionImage { partition_epoch, ..after })
}

/// Those in sync that can stay so; empty if there is none, and so nothing to gain from a change.
fn remaining(partition: &PartitionImage, nodes: &Nodes) -> Vec<NodeId> {
    let those = |fits: fn(&Nodes, NodeId) -> bool| -> Vec<NodeId> {
        partition.in_sync.iter().copied().filter(|node| fits(nodes, *node)).collect()
    };
    let available = those(is_available);
    if available.is_empty() { those(is_live) } else { available }
}

/// Sets the in-sync set, and who is eligible beside it.
pub(super) fn set_in_sync(partition: &mut PartitionImage, in_sync: Vec<NodeId>, min_in_sync: usize) {
    let left: Vec<NodeId> = partition.in_sync.iter().copied().filter(|node| !in_sync.contains(node)).collect();
    partition.eligible.retain(|node| !in_sync.contains(node));
    match in_sync.len() >= min_in_sync && !planted(Mutant::RemovedReplicaStaysEligible) {
        true => partition.eligible.clear(),
        false => partition.eligible.extend(left),
    }
    partition.in_sync = in_sync;
}

fn elect(partition: &mut PartitionImage, rules: Rules, nodes: &Nodes) {
    let first = |among: &[NodeId]| {
        let candidates = partition.replicas.iter().copied().filter(|node| among.contains(node));
        let available = candidates.clone().find(|node| is_available(nodes, *node));
        available.or_else(|| candidates.clone().find(|node| is_live(nodes, *node)))
    };
    if let Some(leader) = first(&partition.in_sync) {
        set_leader(partition, leader);
    } else if let Some(leader) = first(&partition.eligible) {
        set_in_sync(partition, vec![leader], rules.min_in_sync);
        set_leader(partition, leader);
    } else if rules.unclean
        && let Some(leader) = first(&partition.replicas)
    {
        elect_uncleanly(partition, leader);
    }
}

/// What is committed may be lost: from this epoch on nothing before it is owed.
pub(super) fn elect_uncleanly(partition: &mut PartitionImage, leader: NodeId) {
    partition.in_sync = vec![leader];
    partition.eligible.clear();
    set_leader(partition, leader);
    partition.unclean_epoch = Some(partition.leader_epoch);
}

pub(super) fn set_leader(partition: &mut PartitionImage, leader: NodeId) {
    partition.leader = leader;
    partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
}

pub(super) fn is_live(nodes: &Nodes, node: NodeId) -> bool {
    nodes.get(&node).is_some_and(NodeImage::is_live)
}

pub(super) fn is_available(nodes: &Nodes, node: NodeId) -> bool {
    nodes.get(&node).is_some_and(NodeImage::is_available)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
