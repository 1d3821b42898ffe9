//! Leaders by request: the preferred one, or any replica at all. (KIP-183, KIP-460)

use super::Decision;
use super::settle::{elect_uncleanly, is_available, is_live, set_leader, versioned};
use crate::metadata::error::ElectLeaderError;
use crate::metadata::fold::partition_changed;
use crate::metadata::image::{MetadataImage, PartitionImage};
use duolog_base::{NodeId, PartitionIndex};

/// Which leader is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first of the replicas, if it is in sync.
    Preferred,
    /// Any replica, if the partition has no live leader: what is committed may be lost.
    Unclean,
}

/// Decides elections; an answer for each: who leads then.
pub fn decide_elections(
    image: &MetadataImage,
    partitions: &[(String, PartitionIndex)],
    election: Election,
) -> Decision<NodeId, ElectLeaderError> {
    let mut decision = Decision::new();
    for (name, index) in partitions {
        let found = image.topic(name).and_then(|topic| Some((topic, topic.partition(*index)?)));
        let result = found.ok_or(ElectLeaderError::UnknownPartition).and_then(|(topic, partition)| {
            let elected = elect(image, partition, election)?;
            let leader = elected.leader;
            decision.records.extend(versioned(partition, elected).map(|next| partition_changed(topic.id, *index, &next)));
            Ok(leader)
        });
        decision.results.push(result);
    }
    decision
}

/// All partitions that have another leader than the one that is wanted.
pub fn partitions_to_elect(image: &MetadataImage, election: Election) -> Vec<(String, PartitionIndex)> {
    let mut found = Vec::new();
    for topic in image.topics.values() {
        for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            if elect(image, partition, election) != Err(ElectLeaderError::NotNeeded) {
                found.push((topic.name.clone(), index));
            }
        }
    }
    found
}

fn elect(image: &MetadataImage, partition: &PartitionImage, election: Election) -> Result<PartitionImage, ElectLeaderError> {
    match election {
        Election::Preferred => elect_preferred(image, partition),
        Election::Unclean => elect_any(image, partition),
    }
}

fn elect_preferred(image: &MetadataImage, partition: &PartitionImage) -> Result<PartitionImage, ElectLeaderError> {
    let node = partition.replicas.first().copied().unwrap_or(NodeId::NONE);
    if partition.leader == node {
        return Err(ElectLeaderError::NotNeeded);
    }
    if !partition.in_sync.contains(&node) || !is_available(&image.nodes, node) {
        return Err(ElectLeaderError::PreferredNotAvailable { node });
    }
    let mut next = partition.clone();
    set_leader(&mut next, node);
    Ok(next)
}

fn elect_any(image: &MetadataImage, partition: &PartitionImage) -> Result<PartitionImage, ElectLeaderError> {
    if partition.in_sync.contains(&partition.leader) && is_live(&image.nodes, partition.leader) {
        return Err(ElectLeaderError::NotNeeded);
    }
    let leader = partition.replicas.iter().copied().find(|node| is_live(&image.nodes, *node));
    let mut next = partition.clone();
    elect_uncleanly(&mut next, leader.ok_or(ElectLeaderError::NobodyAvailable)?);
    Ok(next)
}

#[cfg(test)]
#[path = "elections_tests.rs"]
mod tests;
