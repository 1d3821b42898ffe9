//! A node gives up what it holds of a partition, because its log is damaged, and will begin anew.
//!
//! It is treated as if its disk were lost: it is neither in sync nor eligible any more, and leads no more. But it lives and can be asked, so
//! what is committed is not put at stake: another replica has to be in sync, and available. The leader epoch ends in any case: what the
//! leader was told by this replica speaks of records that it will not have.

use super::Decision;
use super::settle::{Rules, is_available, set_leader, settle, versioned};
use crate::metadata::error::GiveUpError;
use crate::metadata::fold::partition_changed;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use hashbrown::HashSet;

/// The replica that is given up, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub topic: TopicId,
    pub index: PartitionIndex,
    /// The epoch in which the node knows the partition. In a later one it may have begun anew.
    pub leader_epoch: LeaderEpoch,
}

/// Decides for several replicas; an answer for each: the partition's next leader epoch.
pub fn decide_giving_up(image: &MetadataImage, requests: &[GivenUp]) -> Decision<LeaderEpoch, GiveUpError> {
    let mut decision = Decision::new();
    let mut seen = HashSet::new();
    for request in requests {
        let result = match seen.insert((request.topic, request.index)) {
            true => give_up(image, request),
            false => Err(GiveUpError::Repeated),
        };
        decision.results.push(result.map(|(topic, next)| {
            let epoch = next.leader_epoch;
            decision.records.push(partition_changed(topic.id, request.index, &next));
            epoch
        }));
    }
    decision
}

fn give_up<'a>(image: &'a MetadataImage, request: &GivenUp) -> Result<(&'a TopicImage, PartitionImage), GiveUpError> {
    let topic = image.topic_by_id(request.topic).ok_or(GiveUpError::UnknownPartition)?;
    let partition = topic.partition(request.index).ok_or(GiveUpError::UnknownPartition)?;
    let GivenUp { node, broker_epoch, leader_epoch, .. } = *request;
    if image.broker_epoch(node) != Some(broker_epoch) {
        return Err(GiveUpError::StaleBrokerEpoch { got: broker_epoch });
    }
    if !partition.replicas.contains(&node) {
        return Err(GiveUpError::NotReplica { node });
    }
    if partition.leader_epoch != leader_epoch {
        return Err(GiveUpError::FencedLeaderEpoch { current: partition.leader_epoch, got: leader_epoch });
    }
    if !partition.in_sync.iter().any(|other| *other != node && is_available(&image.nodes, *other)) {
        return Err(GiveUpError::NobodyElse);
    }
    let mut next = partition.clone();
    next.in_sync.retain(|member| *member != node);
    next.eligible.retain(|member| *member != node);
    let next = settle(&next, Rules::of(topic, partition), &image.nodes).unwrap_or(next);
    let mut next = PartitionImage { partition_epoch: partition.partition_epoch, ..next };
    if next.leader_epoch == partition.leader_epoch {
        let leader = next.leader;
        set_leader(&mut next, leader);
    }
    Ok((topic, versioned(partition, next).expect("the leader epoch is another one")))
}

#[cfg(test)]
#[path = "give_up_tests.rs"]
mod tests;
