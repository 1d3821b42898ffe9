//! A leader changes the in-sync set of its partition. (AlterPartition: KIP-497, KIP-903)
//!
//! Only the leader may, in the present leader epoch, from the version it has seen, and with members whose incarnations are the present
//! ones, live and not about to stop. One change per version is taken; whatever else was sent against it is refused from then on.

use super::membership::Decided;
use super::reassign::finish;
use super::settle::{Rules, is_available, set_in_sync, versioned};
use crate::metadata::error::AlterPartitionError;
use crate::metadata::fold::partition_changed;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use duolog_base::{BrokerEpoch, NodeId, PartitionEpoch, PartitionIndex, TopicId};
use duolog_replica::{Mutant, PartitionState, Proposal, planted};

/// A proposal and who makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartition {
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub topic: TopicId,
    pub index: PartitionIndex,
    pub proposal: Proposal,
}

/// Decides a proposal; the answer is the partition as it will be.
pub fn decide_alter_partition(
    image: &MetadataImage,
    request: &AlterPartition,
) -> Result<Decided<PartitionState>, AlterPartitionError> {
    let (topic, partition) = find(image, request)?;
    check_leader(image, request, partition)?;
    check_members(image, request, partition)?;
    let rules = Rules::of(topic, partition);
    let mut next = partition.clone();
    set_in_sync(&mut next, request.proposal.in_sync.iter().map(|(node, _)| *node).collect(), rules.min_in_sync);
    finish(&mut next, topic, &image.nodes);
    // The same set again makes a version, too: it settles what becomes of earlier proposals.
    let same = PartitionImage { partition_epoch: PartitionEpoch(partition.partition_epoch.0 + 1), ..partition.clone() };
    let next = versioned(partition, next).unwrap_or(same);
    let records = vec![partition_changed(topic.id, request.index, &next)];
    Ok(Decided { answer: topic.partition_state(&next), records })
}

fn find<'a>(
    image: &'a MetadataImage,
    request: &AlterPartition,
) -> Result<(&'a TopicImage, &'a PartitionImage), AlterPartitionError> {
    let topic = image.topic_by_id(request.topic).ok_or(AlterPartitionError::UnknownTopic { id: request.topic })?;
    let partition = topic.partition(request.index).ok_or(AlterPartitionError::UnknownPartition { index: request.index })?;
    Ok((topic, partition))
}

fn check_leader(image: &MetadataImage, request: &AlterPartition, partition: &PartitionImage) -> Result<(), AlterPartitionError> {
    let AlterPartition { node, broker_epoch, proposal, .. } = request;
    if image.broker_epoch(*node) != Some(*broker_epoch) {
        return Err(AlterPartitionError::StaleBrokerEpoch { got: *broker_epoch });
    }
    if partition.leader != *node {
        return Err(AlterPartitionError::NotLeader { leader: partition.leader });
    }
    if partition.leader_epoch != proposal.leader_epoch {
        let (current, got) = (partition.leader_epoch, proposal.leader_epoch);
        return Err(AlterPartitionError::FencedLeaderEpoch { current, got });
    }
    if partition.partition_epoch != proposal.partition_epoch && !planted(Mutant::NoVersionCheck) {
        let (current, got) = (partition.partition_epoch, proposal.partition_epoch);
        return Err(AlterPartitionError::WrongVersion { current, got });
    }
    Ok(())
}

fn check_members(image: &MetadataImage, request: &AlterPartition, partition: &PartitionImage) -> Result<(), AlterPartitionError> {
    let members = &request.proposal.in_sync;
    let repeats = members.iter().enumerate().any(|(at, (node, _))| members[..at].iter().any(|(other, _)| other == node));
    let are_replicas = members.iter().all(|(node, _)| partition.replicas.contains(node));
    if repeats || !are_replicas || members.iter().all(|(node, _)| *node != request.node) {
        return Err(AlterPartitionError::NotReplicas);
    }
    let may_not = |node: NodeId, epoch: BrokerEpoch| {
        let is_present = image.broker_epoch(node) == Some(epoch);
        // A leader that is about to stop goes on until it is relieved.
        !is_present || !(is_available(&image.nodes, node) || node == request.node)
    };
    match members.iter().find(|(node, epoch)| may_not(*node, *epoch)) {
        Some((node, _)) => Err(AlterPartitionError::Ineligible { node: *node }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "alter_partition_tests.rs"]
mod tests;
