//! Scenarios of leaders by request.

use super::*;
use crate::config::BrokerConfig;
use crate::metadata::decide::{FreeSpace, NewTopic, decide_create_topics};
use crate::metadata::fold::fold;
use crate::metadata::image::{Membership, NodeImage};
use crate::metadata::topic_id::RandomIds;
use duolog_base::{BrokerEpoch, LeaderEpoch};
use std::sync::Arc;

/// Two nodes, both hold the partition.
fn cluster(change: impl Fn(&mut PartitionImage), fenced: &[i32]) -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for id in 1..=2 {
        let membership = Membership { epoch: BrokerEpoch(10), incarnation: String::new(), fenced: false, stopping: false };
        let node = NodeImage {
            id: NodeId(id),
            rack: None,
            directories: Vec::new(),
            endpoints: Vec::new(),
            membership: Some(membership),
        };
        image.nodes.insert(node.id, node);
    }
    let topic = NewTopic { partitions: 1, replication_factor: 2, ..NewTopic::with_defaults("t") };
    let decision = decide_create_topics(&image, vec![topic], &RandomIds, &FreeSpace::new());
    let mut image = fold(&image, &decision.records, 50).unwrap();
    let mut partition = image.topics["t"].partitions[0].clone();
    change(&mut partition);
    image = fold(&image, &[partition_changed(image.topics["t"].id, PartitionIndex(0), &partition)], 51).unwrap();
    for id in fenced {
        image.nodes.get_mut(&NodeId(*id)).unwrap().membership.as_mut().unwrap().fenced = true;
    }
    image
}

fn elect(image: &MetadataImage, election: Election) -> Result<PartitionImage, ElectLeaderError> {
    let mut decision = decide_elections(image, &[("t".to_owned(), PartitionIndex(0))], election);
    let leader = decision.results.remove(0)?;
    let after = fold(image, &decision.records, 52).unwrap().topics["t"].partitions[0].clone();
    assert_eq!(after.leader, leader);
    Ok(after)
}

#[test]
fn the_preferred_leader_leads_again() {
    let moved = |partition: &mut PartitionImage| partition.leader = NodeId(2);
    let elected = elect(&cluster(moved, &[]), Election::Preferred).unwrap();
    assert_eq!((elected.leader, elected.leader_epoch, elected.unclean_epoch), (NodeId(1), LeaderEpoch(1), None));
    assert_eq!(elect(&cluster(|_| {}, &[]), Election::Preferred), Err(ElectLeaderError::NotNeeded));
    let refused = Err(ElectLeaderError::PreferredNotAvailable { node: NodeId(1) });
    assert_eq!(elect(&cluster(moved, &[1]), Election::Preferred), refused);
    let behind = |partition: &mut PartitionImage| (partition.leader, partition.in_sync) = (NodeId(2), vec![NodeId(2)]);
    assert_eq!(elect(&cluster(behind, &[]), Election::Preferred), refused);
}

#[test]
fn any_replica_leads_only_if_there_is_no_leader() {
    let alone = |partition: &mut PartitionImage| partition.in_sync = vec![NodeId(1)];
    assert_eq!(elect(&cluster(alone, &[]), Election::Unclean), Err(ElectLeaderError::NotNeeded));
    assert_eq!(elect(&cluster(alone, &[1, 2]), Election::Unclean), Err(ElectLeaderError::NobodyAvailable));
    let elected = elect(&cluster(alone, &[1]), Election::Unclean).unwrap();
    assert_eq!((elected.leader, elected.in_sync), (NodeId(2), vec![NodeId(2)]));
    assert_eq!(elected.unclean_epoch, Some(LeaderEpoch(1)));
}

#[test]
fn an_unknown_partition_is_refused() {
    let decision = decide_elections(&cluster(|_| {}, &[]), &[("u".to_owned(), PartitionIndex(0))], Election::Preferred);
    assert_eq!(decision.results, [Err(ElectLeaderError::UnknownPartition)]);
}

#[test]
fn partitions_with_the_wanted_leader_are_not_looked_for() {
    let moved = cluster(|partition| partition.leader = NodeId(2), &[1]);
    assert_eq!(partitions_to_elect(&moved, Election::Preferred), [("t".to_owned(), PartitionIndex(0))]);
    assert_eq!(partitions_to_elect(&moved, Election::Unclean), []);
    assert_eq!(partitions_to_elect(&cluster(|_| {}, &[]), Election::Preferred), []);
    assert_eq!(partitions_to_elect(&cluster(|_| {}, &[1]), Election::Unclean), [("t".to_owned(), PartitionIndex(0))]);
}
