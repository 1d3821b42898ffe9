//! What the controller does by itself so that nodes carry as much as each other: when one was added, came back, or is to be emptied.
//!
//! From the image alone, one kind of step at a time, so that each is seen before the next:
//! 1. leaders that are not the preferred ones are, as soon as those are in sync;
//! 2. internal topics that were made for fewer nodes get more replicas ([`super::widen`]);
//! 3. replicas go from drained nodes, and from the node that holds most to the one that holds least, a few at a time; where their numbers
//!    are even, they change places so that bytes are, too ([`super::exchange`]);
//! 4. who is preferred changes from the node that is so most often to the one that is so least, which moves no data.
//!
//! Racks: a move never puts two replicas of a partition on a rack that has fewer of them now. Sizes are not in the metadata: nodes report
//! them ([`super::storage`]), and what is not reported is not looked at.

use super::elections::{Election, partitions_to_elect};
use super::exchange::exchanges;
use super::reassign::Reassignment;
use super::storage::Storage;
use super::widen::{settings, widenings};
use crate::metadata::image::{MetadataImage, NodeImage, PartitionImage, TopicImage};
use crate::metadata::record::MetadataRecord;
use duolog_base::{NodeId, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// How much one step may do.
#[derive(Clone, Copy, Debug)]
pub struct BalanceLimits {
    /// Changes that move no data.
    pub changes: usize,
    /// Partitions whose replicas move at a time.
    pub moving: usize,
    /// Nodes whose bytes are no further apart are even.
    pub least_bytes: u64,
    /// The same, in parts of a hundred of what a node holds on average.
    pub tolerated_percent: u64,
}

/// The next step; nothing if all is even.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Partitions that are to get their preferred leader.
    pub elections: Vec<(String, PartitionIndex)>,
    pub reassignments: Vec<Reassignment>,
    /// Settings that go with them.
    pub settings: Vec<MetadataRecord>,
}

/// Decides the next step. `leaders` and `replicas` say what is to be looked after.
pub fn decide_balance(image: &MetadataImage, leaders: bool, replicas: bool, storage: &Storage, limits: BalanceLimits) -> Balance {
    let mut balance = Balance::default();
    if leaders {
        balance.elections = electable(image, limits.changes);
    }
    if replicas && balance.elections.is_empty() {
        let under_way = partitions(image).filter(|(_, _, partition)| partition.is_moving()).count();
        let moving = limits.moving.saturating_sub(under_way);
        balance.reassignments = widenings(image, moving);
        balance.settings = settings(image);
        if balance.reassignments.is_empty() {
            balance.reassignments = moves(image, moving);
        }
        if balance.reassignments.is_empty() {
            balance.reassignments = exchanges(image, storage, counted(image, target), limits);
        }
    }
    if leaders && balance == Balance::default() {
        balance.reassignments = reorderings(image, limits.changes);
    }
    balance
}

pub(super) type Place<'a> = (&'a TopicImage, PartitionIndex, &'a PartitionImage);

pub(super) fn partitions(image: &MetadataImage) -> impl Iterator<Item = Place<'_>> {
    image.topics.values().flat_map(|topic| {
        let numbered = (0..).map(PartitionIndex).zip(&topic.partitions);
        numbered.map(move |(index, partition)| (&**topic, index, partition))
    })
}

/// Those whose preferred leader is in sync and does not lead.
fn electable(image: &MetadataImage, most: usize) -> Vec<(String, PartitionIndex)> {
    let ready = |(name, index): &(String, PartitionIndex)| {
        let partition = image.topic(name).and_then(|topic| topic.partition(*index));
        partition.is_some_and(|partition| {
            let preferred = partition.replicas.first().copied().unwrap_or(NodeId::NONE);
            partition.in_sync.contains(&preferred) && takes_more(image, preferred)
        })
    };
    partitions_to_elect(image, Election::Preferred).into_iter().filter(ready).take(most).collect()
}

pub(super) fn is_drained(image: &MetadataImage, node: NodeId) -> bool {
    image.config.drained_nodes.contains(&node.0)
}

/// Whether the node is there, and not to be emptied.
pub(super) fn takes_more(image: &MetadataImage, node: NodeId) -> bool {
    image.nodes.get(&node).is_some_and(NodeImage::is_available) && !is_drained(image, node)
}

/// How often each node that takes more is counted.
fn counted(image: &MetadataImage, counts: impl Fn(&PartitionImage) -> Vec<NodeId>) -> BTreeMap<NodeId, usize> {
    let mut loads: BTreeMap<NodeId, usize> =
        image.nodes.keys().filter(|node| takes_more(image, **node)).map(|node| (*node, 0)).collect();
    for (_, _, partition) in partitions(image) {
        for node in counts(partition) {
            if let Some(load) = loads.get_mut(&node) {
                *load += 1;
            }
        }
    }
    loads
}

/// Where the partition's replicas will be.
pub(super) fn target(partition: &PartitionImage) -> Vec<NodeId> {
    partition.replicas.iter().copied().filter(|node| !partition.removing.contains(node)).collect()
}

/// Whether all replicas are there and stay, so that one may go.
pub(super) fn is_whole(partition: &PartitionImage) -> bool {
    !partition.is_moving() && partition.replicas.iter().all(|node| partition.in_sync.contains(node))
}

fn moves(image: &MetadataImage, most: usize) -> Vec<Reassignment> {
    let mut loads = counted(image, target);
    let mut moved = BTreeSet::new();
    let mut moves = Vec::new();
    while moves.len() < most {
        let Some((topic, index, from, to)) = next_move(image, &loads, &moved) else { break };
        let partition = &topic.partitions[index.0 as usize];
        let target = partition.replicas.iter().map(|node| if *node == from { to } else { *node }).collect();
        moves.push(Reassignment { topic: topic.name.clone(), index, target: Some(target), same_factor: true });
        moved.insert((topic.id, index));
        *loads.entry(to).or_default() += 1;
        if let Some(load) = loads.get_mut(&from) {
            *load -= 1;
        }
    }
    moves
}

/// A replica that is to go, and where to: from a drained node, else from the fullest node that has one another node can take.
fn next_move<'a>(
    image: &'a MetadataImage,
    loads: &BTreeMap<NodeId, usize>,
    moved: &BTreeSet<(TopicId, PartitionIndex)>,
) -> Option<(&'a TopicImage, PartitionIndex, NodeId, NodeId)> {
    let mut emptiest: Vec<NodeId> = loads.keys().copied().collect();
    emptiest.sort_by_key(|node| loads[node]);
    let drained = image.nodes.keys().copied().filter(|node| is_drained(image, *node)).map(|node| (node, None));
    let fullest = emptiest.iter().rev().map(|node| (*node, Some(loads[node])));
    for (from, load) in drained.chain(fullest) {
        let worthwhile = |to: &&NodeId| load.is_none_or(|load| load >= loads[*to] + 2);
        let takers: Vec<NodeId> = emptiest.iter().filter(worthwhile).copied().collect();
        for (topic, index, partition) in partitions(image) {
            if !partition.replicas.contains(&from) || !is_whole(partition) || moved.contains(&(topic.id, index)) {
                continue;
            }
            if let Some(to) = takers.iter().find(|to| fits(image, partition, from, **to)) {
                return Some((topic, index, from, *to));
            }
        }
    }
    None
}

/// Whether the replica may go there: nobody is there twice, and racks are shared no more than now.
pub(super) fn fits(image: &MetadataImage, partition: &PartitionImage, from: NodeId, to: NodeId) -> bool {
    let rack = |node: NodeId| image.nodes.get(&node).and_then(|node| node.rack.as_deref());
    let shared = |node: NodeId| {
        let others = partition.replicas.iter().filter(|other| **other != from);
        others.filter(|other| rack(node).is_some() && rack(**other) == rack(node)).count()
    };
    !partition.replicas.contains(&to) && shared(to) <= shared(from)
}

/// The same replicas in another order: another one is preferred.
fn reorderings(image: &MetadataImage, most: usize) -> Vec<Reassignment> {
    let mut loads = counted(image, |partition| partition.replicas.first().copied().into_iter().collect());
    let mut reorderings = Vec::new();
    for (topic, index, partition) in partitions(image).filter(|(_, _, partition)| is_whole(partition)) {
        let Some((first, others)) = partition.replicas.split_first() else { continue };
        let least = others.iter().filter(|node| loads.contains_key(*node)).min_by_key(|node| loads[*node]);
        let Some(least) = least.copied().filter(|_| reorderings.len() < most) else { continue };
        // A drained node is preferred to nobody.
        if loads.get(first).is_some_and(|load| *load < loads[&least] + 2) {
            continue;
        }
        let rest = partition.replicas.iter().copied().filter(|node| *node != least);
        let target = std::iter::once(least).chain(rest).collect();
        reorderings.push(Reassignment { topic: topic.name.clone(), index, target: Some(target), same_factor: true });
        *loads.entry(least).or_default() += 1;
        if let Some(load) = loads.get_mut(first) {
            *load -= 1;
        }
    }
    reorderings
}

#[cfg(test)]
#[path = "balance_tests.rs"]
pub(super) mod tests;
