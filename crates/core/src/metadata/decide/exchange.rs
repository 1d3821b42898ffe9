//! Replicas that change places so that nodes hold about equally many bytes, where they hold equally many replicas already.
//!
//! A replica of the fuller node goes for a smaller one of the emptier node, or for none if the fuller one also holds more of them.
//! An exchange brings two nodes closer that are further apart than the tolerance: by a part of it that is worth the move, and with no more
//! than half of the gap left the other way round. None makes the numbers of replicas less even. So the sum of the squares falls with
//! each one, and it comes to rest. Only replicas whose sizes are known are touched.

use super::balance::{BalanceLimits, Place, fits, is_drained, is_whole, partitions};
use super::reassign::Reassignment;
use super::storage::{Held, Storage};
use crate::metadata::image::{MetadataImage, NodeImage};
use duolog_base::{NodeId, PartitionNumber};
use std::collections::{BTreeMap, BTreeSet};

/// An exchange that moves less than this part of the tolerance is not worth it.
const LEAST_PART: u64 = 4;

/// What changes places between two nodes.
struct Exchange<'a> {
    from: NodeId,
    to: NodeId,
    given: Place<'a>,
    taken: Option<Place<'a>>,
    /// By so much the one gets less and the other more.
    shift: u64,
}

/// The exchanges to do now. `counts` are the nodes that take more, with the replicas that each will have.
pub(super) fn exchanges(
    image: &MetadataImage,
    storage: &Storage,
    mut counts: BTreeMap<NodeId, usize>,
    limits: BalanceLimits,
) -> Vec<Reassignment> {
    let is_missing = |node: &NodeImage| !node.is_available() && !is_drained(image, node.id);
    let moves = partitions(image).any(|(_, _, partition)| partition.is_moving());
    // Who is missing may be back in a moment, with all that it has.
    if moves || counts.len() < 2 || image.nodes.values().any(is_missing) {
        return Vec::new();
    }
    let nodes: Vec<NodeId> = counts.keys().copied().collect();
    let Some(held) = storage.held(image, &nodes) else { return Vec::new() };
    let mut bytes: BTreeMap<NodeId, u64> = held.iter().map(|(node, held)| (*node, held.bytes)).collect();
    let mean = bytes.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes)) / nodes.len() as u64;
    let tolerance = limits.least_bytes.max(mean / 100 * limits.tolerated_percent);
    let mut moved = BTreeSet::new();
    let mut reassignments = Vec::new();
    // Both halves of an exchange go together.
    while reassignments.len() + 2 <= limits.moving {
        let Some(exchange) = next_exchange(image, &held, &bytes, &counts, tolerance, &moved) else { break };
        let Exchange { from, to, given, taken, shift } = exchange;
        reassignments.push(replace(given, from, to));
        moved.insert(given.2.number);
        if let Some(taken) = taken {
            reassignments.push(replace(taken, to, from));
            moved.insert(taken.2.number);
        } else {
            counts.entry(from).and_modify(|count| *count -= 1);
            counts.entry(to).and_modify(|count| *count += 1);
        }
        bytes.entry(from).and_modify(|bytes| *bytes -= shift);
        bytes.entry(to).and_modify(|bytes| *bytes += shift);
    }
    reassignments
}

fn replace((topic, index, partition): Place<'_>, from: NodeId, to: NodeId) -> Reassignment {
    let target = partition.replicas.iter().map(|node| if *node == from { to } else { *node }).collect();
    Reassignment { topic: topic.name.clone(), index, target: Some(target), same_factor: true }
}

/// The fullest node gives to any other one, else any other one to the emptiest.
fn next_exchange<'a>(
    image: &'a MetadataImage,
    held: &BTreeMap<NodeId, Held>,
    bytes: &BTreeMap<NodeId, u64>,
    counts: &BTreeMap<NodeId, usize>,
    tolerance: u64,
    moved: &BTreeSet<PartitionNumber>,
) -> Option<Exchange<'a>> {
    let mut emptiest: Vec<NodeId> = bytes.keys().copied().collect();
    emptiest.sort_by_key(|node| bytes[node]);
    let least = (tolerance / LEAST_PART).max(1);
    let (first, last) = (*emptiest.first()?, *emptiest.last()?);
    let gives = emptiest.iter().map(|to| (last, *to));
    let takes = emptiest.iter().rev().map(|from| (*from, first));
    gives.chain(takes).find_map(|(from, to)| {
        let gap = bytes[&from].saturating_sub(bytes[&to]);
        let alone = counts[&from] > counts[&to];
        (gap > tolerance).then(|| best(image, held, (from, to), (gap, least), alone, moved)).flatten()
    })
}

/// The exchange that makes the two most even. It moves `least` bytes or more. `alone` says whether a replica may go for none.
fn best<'a>(
    image: &'a MetadataImage,
    held: &BTreeMap<NodeId, Held>,
    (from, to): (NodeId, NodeId),
    (gap, least): (u64, u64),
    alone: bool,
    moved: &BTreeSet<PartitionNumber>,
) -> Option<Exchange<'a>> {
    let given = movable(image, &held[&from], (from, to), moved);
    let taken = movable(image, &held[&to], (to, from), moved);
    let mut best: Option<(u64, u64, Exchange<'a>)> = None;
    for (size, place) in given {
        // What should come back for it, and its neighbours by size.
        let wanted = size.saturating_sub(gap / 2);
        let at = taken.partition_point(|(other, _)| *other < wanted);
        let near = taken.iter().skip(at.saturating_sub(1)).take(2);
        let choices = near.map(|(other, taken)| (*other, Some(*taken))).chain(alone.then_some((0, None)));
        for (other, taken) in choices {
            let shift = size.saturating_sub(other);
            let (off, carried) = (shift.abs_diff(gap / 2), size.saturating_add(other));
            let better = best.as_ref().is_none_or(|(best_off, best_carried, _)| (off, carried) < (*best_off, *best_carried));
            if better && shift >= least && shift <= gap - gap / 4 {
                best = Some((off, carried, Exchange { from, to, given: place, taken, shift }));
            }
        }
    }
    best.map(|(_, _, exchange)| exchange)
}

/// The replicas of a node that may go to another one, the smallest first.
fn movable<'a>(
    image: &'a MetadataImage,
    held: &Held,
    (from, to): (NodeId, NodeId),
    moved: &BTreeSet<PartitionNumber>,
) -> Vec<(u64, Place<'a>)> {
    let movable = |place: Place<'a>| {
        let (_, _, partition) = place;
        let goes = partition.replicas.contains(&from) && is_whole(partition) && fits(image, partition, from, to);
        let size = held.listed.get(&partition.number).filter(|_| goes && !moved.contains(&partition.number))?;
        Some((*size, place))
    };
    let mut found: Vec<(u64, Place<'a>)> = partitions(image).filter_map(movable).collect();
    found.sort_by_key(|(size, (_, _, partition))| (*size, partition.number));
    found
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
