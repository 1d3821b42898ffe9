//! Replicas move to other nodes. (KIP-455)
//!
//! The new replicas join those that are there; once they are all in sync the superfluous ones go, with the same change of the in-sync set
//! that brought the last one in. Until then it can be taken back: the added ones go, and nothing has happened.

use super::Decision;
use super::placement::{FreeSpace, Placement};
use super::settle::{Nodes, Rules, set_in_sync, set_leader, settle, versioned};
use crate::metadata::error::ReassignError;
use crate::metadata::fold::partition_changed;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use duolog_base::{DirectoryId, NodeId, PartitionIndex};
use duolog_replica::{Mutant, PartitionState, planted};
use hashbrown::HashSet;

/// Where the replicas of a partition are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    pub topic: String,
    pub index: PartitionIndex,
    /// The first is the preferred leader. `None` takes back what is under way.
    pub target: Option<Vec<NodeId>>,
    /// Refused if the partition would have more or fewer replicas than now. (KIP-860)
    pub same_factor: bool,
}

/// Decides reassignments; an answer for each: the partition as it will be.
pub fn decide_reassignments(
    image: &MetadataImage,
    requests: &[Reassignment],
    free: &FreeSpace,
) -> Decision<PartitionState, ReassignError> {
    let mut placement = Placement::new(image, free);
    let mut decision = Decision::new();
    let mut seen = HashSet::new();
    for request in requests {
        let found = image.topic(&request.topic).and_then(|topic| Some((topic, topic.partition(request.index)?)));
        let result = match found {
            None => Err(ReassignError::UnknownPartition),
            // Of several for one partition only the first is taken: the next ones would not see what it does.
            Some(_) if !seen.insert((&request.topic, request.index)) => Err(ReassignError::Repeated),
            Some((topic, partition)) => reassign(image, topic, partition, request, &mut placement).map(|next| {
                let state = topic.partition_state(next.as_ref().unwrap_or(partition));
                decision.records.extend(next.map(|next| partition_changed(topic.id, request.index, &next)));
                state
            }),
        };
        decision.results.push(result);
    }
    decision
}

fn reassign(
    image: &MetadataImage,
    topic: &TopicImage,
    partition: &PartitionImage,
    request: &Reassignment,
    placement: &mut Placement,
) -> Result<Option<PartitionImage>, ReassignError> {
    let original = without(&partition.replicas, &partition.adding);
    let target = match &request.target {
        Some(target) => target.clone(),
        None if !partition.is_moving() => return Err(ReassignError::NotInProgress),
        None => original.clone(),
    };
    check_target(image, &target)?;
    if request.same_factor && request.target.is_some() {
        check_factor(partition, &target)?;
    }
    let mut next = partition.clone();
    let removing = without(&original, &target);
    next.adding = without(&target, &original);
    let replicas: Vec<NodeId> = target.iter().chain(&removing).copied().collect();
    // Those that go at once take what is committed with them: enough must stay of those in sync, and, while they are too few, of them and
    // the eligible ones together. One of them may have lost its disk before anybody knows.
    let stay = |nodes: &[NodeId]| nodes.iter().filter(|node| replicas.contains(node)).count();
    let (in_sync, eligible) = (&partition.in_sync, &partition.eligible);
    for (left, hold) in [(stay(in_sync), in_sync.len()), (stay(in_sync) + stay(eligible), in_sync.len() + eligible.len())] {
        let least = topic.min_in_sync(partition).min(hold);
        if left < least {
            return Err(ReassignError::TooFewInSync { left, least });
        }
    }
    next.removing = removing;
    set_replicas(&mut next, replicas, Rules::of(topic, partition).min_in_sync, Some(placement));
    finish(&mut next, topic, &image.nodes);
    let mut next = settle(&next, Rules::of(topic, &next), &image.nodes).unwrap_or(next);
    forget_removed(partition, &mut next);
    Ok(versioned(partition, PartitionImage { partition_epoch: partition.partition_epoch, ..next }))
}

/// A replica that goes deletes its log. If it comes back within the epoch, a request of before would speak of what it has no more; so
/// its going ends the epoch.
fn forget_removed(before: &PartitionImage, after: &mut PartitionImage) {
    let removes = before.replicas.iter().any(|node| !after.replicas.contains(node));
    if removes && after.leader_epoch == before.leader_epoch && !planted(Mutant::RemovalWithinEpoch) {
        set_leader(after, after.leader);
    }
}

fn check_target(image: &MetadataImage, target: &[NodeId]) -> Result<(), ReassignError> {
    if target.is_empty() {
        return Err(ReassignError::NoReplicas);
    }
    for (at, node) in target.iter().enumerate() {
        if target[..at].contains(node) {
            return Err(ReassignError::RepeatedNode { node: *node });
        }
        if !image.nodes.contains_key(node) {
            return Err(ReassignError::UnknownNode { node: *node });
        }
    }
    Ok(())
}

/// What counts is where a reassignment that is under way leads to.
fn check_factor(partition: &PartitionImage, target: &[NodeId]) -> Result<(), ReassignError> {
    let (from, to) = (without(&partition.replicas, &partition.removing).len(), target.len());
    match from == to {
        true => Ok(()),
        false => Err(ReassignError::OtherFactor { from, to }),
    }
}

fn without(nodes: &[NodeId], others: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().copied().filter(|node| !others.contains(node)).collect()
}

/// Ends a reassignment if all that are to stay are in sync; a leader that is to go hands over to one of them.
pub(super) fn finish(partition: &mut PartitionImage, topic: &TopicImage, nodes: &Nodes) {
    let target = without(&partition.replicas, &partition.removing);
    if !partition.is_moving() || !target.iter().all(|node| partition.in_sync.contains(node)) {
        return;
    }
    let (version, before) = (partition.clone(), Rules::of(topic, partition).min_in_sync);
    (partition.adding, partition.removing) = (Vec::new(), Vec::new());
    set_replicas(partition, target, before, None);
    let rules = Rules::of(topic, partition);
    if let Some(settled) = settle(partition, rules, nodes) {
        *partition = PartitionImage { partition_epoch: partition.partition_epoch, ..settled };
    }
    if rules.min_in_sync < before {
        // Fewer are enough from now on to commit what the eligible ones lack.
        partition.eligible.clear();
    }
    forget_removed(&version, partition);
}

/// Other replicas, each in its directory. Who is a replica no more is neither in sync nor eligible.
fn set_replicas(
    partition: &mut PartitionImage,
    replicas: Vec<NodeId>,
    min_in_sync: usize,
    mut placement: Option<&mut Placement>,
) {
    let directories: Vec<DirectoryId> = replicas
        .iter()
        .map(|node| match partition.replicas.contains(node) {
            true => partition.directory_of(*node).unwrap_or(DirectoryId::NONE),
            false => placement.as_mut().and_then(|placement| placement.place(&[*node]).pop()).unwrap_or(DirectoryId::NONE),
        })
        .collect();
    let named = directories.iter().any(|id| *id != DirectoryId::NONE);
    partition.directories = if named { directories } else { Vec::new() };
    let in_sync: Vec<NodeId> = partition.in_sync.iter().copied().filter(|node| replicas.contains(node)).collect();
    set_in_sync(partition, in_sync, min_in_sync);
    partition.eligible.retain(|node| replicas.contains(node));
    partition.replicas = replicas;
}

#[cfg(test)]
#[path = "reassign_tests.rs"]
mod tests;
