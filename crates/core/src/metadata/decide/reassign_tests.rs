//! Scenarios of replicas that move.

use super::*;
use crate::config::BrokerConfig;
use crate::metadata::decide::{AlterPartition, NewTopic, decide_alter_partition, decide_create_topics};
use crate::metadata::fold::fold;
use crate::metadata::image::{Membership, NodeDirectory, NodeImage};
use crate::metadata::topic_id::RandomIds;
use duolog_base::BrokerEpoch;
use duolog_replica::Proposal;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Four nodes; a partition on 1, 2 and 3.
fn cluster() -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for id in 1..=4 {
        let membership = Membership { epoch: BrokerEpoch(10), incarnation: String::new(), fenced: false, stopping: false };
        let directories = vec![NodeDirectory { id: DirectoryId(id as u128), path: "/data".into() }];
        let node = NodeImage { id: NodeId(id), rack: None, directories, endpoints: Vec::new(), membership: Some(membership) };
        image.nodes.insert(node.id, node);
    }
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
    let assignment = vec![(PartitionIndex(0), vec![NodeId(1), NodeId(2), NodeId(3)])];
    let topic = NewTopic { configs, assignment, ..NewTopic::with_defaults("t") };
    let decision = decide_create_topics(&image, vec![topic], &RandomIds, &FreeSpace::new());
    fold(&image, &decision.records, 50).unwrap()
}

fn ask(image: &MetadataImage, target: Option<&[i32]>) -> Result<MetadataImage, ReassignError> {
    let target = target.map(|nodes| nodes.iter().copied().map(NodeId).collect());
    let request = Reassignment { topic: "t".to_owned(), index: PartitionIndex(0), target, same_factor: false };
    let mut decision = decide_reassignments(image, &[request], &FreeSpace::new());
    let answer = decision.results.remove(0)?;
    let after = fold(image, &decision.records, image.applied + 1).unwrap();
    assert_eq!(answer, after.topics["t"].partition_state(partition(&after)));
    Ok(after)
}

fn partition(image: &MetadataImage) -> &PartitionImage {
    &image.topics["t"].partitions[0]
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn in_sync(image: &MetadataImage, members: &[i32]) -> MetadataImage {
    let (topic, partition) = (&image.topics["t"], partition(image));
    let in_sync = members.iter().map(|node| (NodeId(*node), BrokerEpoch(10))).collect();
    let (leader_epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
    let proposal = Proposal { leader_epoch, partition_epoch, in_sync, number: 1 };
    let (node, broker_epoch, index) = (partition.leader, BrokerEpoch(10), PartitionIndex(0));
    let request = AlterPartition { node, broker_epoch, topic: topic.id, index, proposal };
    fold(image, &decide_alter_partition(image, &request).unwrap().records, image.applied + 1).unwrap()
}

#[test]
fn a_replica_moves_once_the_new_one_is_in_sync() {
    let image = ask(&cluster(), Some(&[4, 2, 3])).unwrap();
    let moving = partition(&image);
    assert_eq!((numbers(&moving.replicas), numbers(&moving.in_sync)), (vec![4, 2, 3, 1], vec![1, 2, 3]));
    assert_eq!((numbers(&moving.adding), numbers(&moving.removing), moving.leader.0), (vec![4], vec![1], 1));
    assert_eq!(moving.directories, [4, 2, 3, 1].map(DirectoryId));
    let image = in_sync(&image, &[1, 2, 3, 4]);
    let moved = partition(&image);
    assert_eq!((numbers(&moved.replicas), numbers(&moved.in_sync)), (vec![4, 2, 3], vec![2, 3, 4]));
    assert_eq!((moved.leader.0, moved.leader_epoch.0), (4, 1), "the leader that went handed over to the preferred one");
    assert_eq!((moved.directories.clone(), moved.adding.len() + moved.removing.len()), ([4, 2, 3].map(DirectoryId).to_vec(), 0));
}

#[test]
fn what_is_under_way_can_be_taken_back() {
    let image = in_sync(&ask(&cluster(), Some(&[4, 2])).unwrap(), &[1, 2, 3]);
    let image = ask(&image, None).unwrap();
    let back = partition(&image);
    assert_eq!((numbers(&back.adding), numbers(&back.removing)), (vec![], vec![]));
    let mut replicas = numbers(&back.replicas);
    replicas.sort_unstable();
    assert_eq!((replicas, back.leader.0), (vec![1, 2, 3], 1));
    assert_eq!(back.leader_epoch.0, 1, "what the fourth said of its log is void");
    assert_eq!(ask(&image, None), Err(ReassignError::NotInProgress));
}

#[test]
fn replicas_that_are_only_taken_away_go_at_once() {
    let image = ask(&cluster(), Some(&[2, 1])).unwrap();
    let moved = partition(&image);
    assert_eq!((numbers(&moved.replicas), numbers(&moved.in_sync), moved.leader.0), (vec![2, 1], vec![1, 2], 1));
    let image = ask(&cluster(), Some(&[3, 2, 1])).unwrap();
    assert_eq!((numbers(&partition(&image).replicas), partition(&image).leader.0), (vec![3, 2, 1], 1), "another order");
}

#[test]
fn as_many_in_sync_as_are_needed_are_not_taken_away() {
    let image = in_sync(&ask(&cluster(), Some(&[4, 3])).unwrap(), &[1, 2]);
    let with = |members: &[i32]| {
        let in_sync = members.iter().copied().map(NodeId).collect();
        let changed = PartitionImage { in_sync, leader: NodeId(members[0]), ..partition(&image).clone() };
        let record = partition_changed(image.topics["t"].id, PartitionIndex(0), &changed);
        fold(&image, &[record], image.applied + 1).unwrap()
    };
    assert_eq!(ask(&with(&[1, 4]), None), Err(ReassignError::TooFewInSync { left: 1, least: 2 }));
    assert_eq!(ask(&with(&[4]), None), Err(ReassignError::TooFewInSync { left: 0, least: 1 }));
    assert!(ask(&with(&[1, 2, 4]), None).is_ok());
    let beside = |in_sync: &[i32], eligible: i32| {
        let image = with(in_sync);
        let changed = PartitionImage { eligible: vec![NodeId(eligible)], ..partition(&image).clone() };
        fold(&image, &[partition_changed(image.topics["t"].id, PartitionIndex(0), &changed)], image.applied + 1).unwrap()
    };
    assert_eq!(ask(&beside(&[1], 4), None), Err(ReassignError::TooFewInSync { left: 1, least: 2 }), "an eligible one counts");
    assert!(ask(&beside(&[1], 2), None).is_ok());
}

#[test]
fn a_target_that_cannot_be_is_refused() {
    let image = cluster();
    assert_eq!(ask(&image, Some(&[])), Err(ReassignError::NoReplicas));
    assert_eq!(ask(&image, Some(&[1, 1])), Err(ReassignError::RepeatedNode { node: NodeId(1) }));
    assert_eq!(ask(&image, Some(&[9])), Err(ReassignError::UnknownNode { node: NodeId(9) }));
    let unknown = Reassignment { topic: "t".to_owned(), index: PartitionIndex(1), target: None, same_factor: false };
    let decision = decide_reassignments(&image, &[unknown], &FreeSpace::new());
    assert_eq!(decision.results, [Err(ReassignError::UnknownPartition)]);
}

#[test]
fn of_two_for_one_partition_the_second_is_refused() {
    let to = |node| Reassignment {
        topic: "t".to_owned(),
        index: PartitionIndex(0),
        target: Some(vec![NodeId(node), NodeId(2), NodeId(3)]),
        same_factor: true,
    };
    let decision = decide_reassignments(&cluster(), &[to(1), to(4)], &FreeSpace::new());
    assert!(decision.results[0].is_ok());
    assert_eq!(decision.results[1], Err(ReassignError::Repeated));
}

#[test]
fn the_number_of_replicas_stays_if_it_must() {
    let ask = |image: &MetadataImage, nodes: &[i32]| {
        let target = Some(nodes.iter().copied().map(NodeId).collect());
        let request = Reassignment { topic: "t".to_owned(), index: PartitionIndex(0), target, same_factor: true };
        decide_reassignments(image, &[request], &FreeSpace::new()).results.remove(0)
    };
    assert_eq!(ask(&cluster(), &[1, 2]), Err(ReassignError::OtherFactor { from: 3, to: 2 }));
    assert!(ask(&cluster(), &[4, 2, 3]).is_ok());
    let under_way = self::ask(&cluster(), Some(&[4, 3])).unwrap();
    assert_eq!(partition(&under_way).replicas.len(), 4);
    assert_eq!(ask(&under_way, &[1, 2, 3]), Err(ReassignError::OtherFactor { from: 2, to: 3 }), "it is to have two");
    assert!(ask(&under_way, &[4, 2]).is_ok());
}
