//! Scenarios of a leader that changes its in-sync set.

use super::*;
use crate::config::BrokerConfig;
use crate::metadata::fold::{fold, partition_changed};
use crate::metadata::image::{Membership, NodeImage};
use crate::metadata::record::MetadataRecord;
use duolog_base::LeaderEpoch;
use std::collections::BTreeMap;
use std::sync::Arc;

const TOPIC: TopicId = TopicId(7);

/// Node n has epoch 10 n. Node 1 leads in epoch 4, version 5; node 2 is in sync, too.
fn cluster() -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for id in 1..=4 {
        let membership =
            Membership { epoch: BrokerEpoch(id as u64 * 10), incarnation: String::new(), fenced: false, stopping: false };
        let node = NodeImage {
            id: NodeId(id),
            rack: None,
            directories: Vec::new(),
            endpoints: Vec::new(),
            membership: Some(membership),
        };
        image.nodes.insert(node.id, node);
    }
    let overrides = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
    let topic = MetadataRecord::Topic { id: TOPIC.to_string(), name: "t".to_owned(), internal: false, overrides };
    let partitions = vec![crate::metadata::PartitionRecord::default()];
    let partitions = MetadataRecord::Partitions { topic: TOPIC.to_string(), first: 0, partitions };
    let partition = PartitionImage {
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(5),
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        in_sync: vec![NodeId(1), NodeId(2)],
        ..PartitionImage::default()
    };
    fold(&image, &[topic, partitions, partition_changed(TOPIC, PartitionIndex(0), &partition)], 50).unwrap()
}

fn request(members: &[(i32, u64)]) -> AlterPartition {
    let in_sync = members.iter().map(|(node, epoch)| (NodeId(*node), BrokerEpoch(*epoch))).collect();
    let proposal = Proposal { leader_epoch: LeaderEpoch(4), partition_epoch: PartitionEpoch(5), in_sync, number: 1 };
    AlterPartition { node: NodeId(1), broker_epoch: BrokerEpoch(10), topic: TOPIC, index: PartitionIndex(0), proposal }
}

fn refusal(request: AlterPartition) -> AlterPartitionError {
    decide_alter_partition(&cluster(), &request).unwrap_err()
}

fn after(image: &MetadataImage, request: &AlterPartition) -> MetadataImage {
    let decided = decide_alter_partition(image, request).unwrap();
    let after = fold(image, &decided.records, image.applied + 1).unwrap();
    let topic = &after.topics["t"];
    assert_eq!(decided.answer, topic.partition_state(&topic.partitions[0]));
    after
}

fn sets(image: &MetadataImage) -> (Vec<i32>, Vec<i32>) {
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let partition = &image.topics["t"].partitions[0];
    (numbers(&partition.in_sync), numbers(&partition.eligible))
}

#[test]
fn a_set_grows_and_shrinks_and_who_leaves_below_the_minimum_is_eligible() {
    let grown = after(&cluster(), &request(&[(1, 10), (2, 20), (3, 30)]));
    assert_eq!(sets(&grown), (vec![1, 2, 3], vec![]));
    assert_eq!(grown.topics["t"].partitions[0].leader_epoch, LeaderEpoch(4), "the leader stays");
    let alone = after(&cluster(), &request(&[(1, 10)]));
    assert_eq!(sets(&alone), (vec![1], vec![2]));
}

#[test]
fn one_change_per_version_is_taken() {
    let image = after(&cluster(), &request(&[(1, 10), (2, 20), (3, 30)]));
    let (current, got) = (PartitionEpoch(6), PartitionEpoch(5));
    let refused = decide_alter_partition(&image, &request(&[(1, 10)])).unwrap_err();
    assert_eq!(refused, AlterPartitionError::WrongVersion { current, got });
}

#[test]
fn the_same_set_again_makes_a_version() {
    let image = after(&cluster(), &request(&[(1, 10), (2, 20)]));
    assert_eq!((sets(&image).0, image.topics["t"].partitions[0].partition_epoch), (vec![1, 2], PartitionEpoch(6)));
}

#[test]
fn only_the_present_leader_is_heard() {
    let good = request(&[(1, 10), (2, 20)]);
    assert_eq!(
        refusal(AlterPartition { broker_epoch: BrokerEpoch(9), ..good.clone() }),
        AlterPartitionError::StaleBrokerEpoch { got: BrokerEpoch(9) }
    );
    let other = AlterPartition { node: NodeId(2), broker_epoch: BrokerEpoch(20), ..good.clone() };
    assert_eq!(refusal(other), AlterPartitionError::NotLeader { leader: NodeId(1) });
    let mut old = good.clone();
    old.proposal.leader_epoch = LeaderEpoch(3);
    let (current, got) = (LeaderEpoch(4), LeaderEpoch(3));
    assert_eq!(refusal(old), AlterPartitionError::FencedLeaderEpoch { current, got });
    let elsewhere = AlterPartition { topic: TopicId(8), ..good.clone() };
    assert_eq!(refusal(elsewhere), AlterPartitionError::UnknownTopic { id: TopicId(8) });
    let index = PartitionIndex(1);
    assert_eq!(refusal(AlterPartition { index, ..good }), AlterPartitionError::UnknownPartition { index });
}

#[test]
fn members_must_be_replicas_in_their_present_life() {
    for members in [&[(1, 10), (4, 40)][..], &[(2, 20)], &[(1, 10), (2, 20), (2, 20)], &[]] {
        assert_eq!(refusal(request(members)), AlterPartitionError::NotReplicas);
    }
    let stale = refusal(request(&[(1, 10), (2, 20), (3, 29)]));
    assert_eq!(stale, AlterPartitionError::Ineligible { node: NodeId(3) });
    for (fenced, stopping) in [(true, false), (false, true)] {
        let mut image = cluster();
        let node = image.nodes.get_mut(&NodeId(3)).unwrap();
        let membership = node.membership.as_mut().unwrap();
        (membership.fenced, membership.stopping) = (fenced, stopping);
        let refused = decide_alter_partition(&image, &request(&[(1, 10), (2, 20), (3, 30)])).unwrap_err();
        assert_eq!(refused, AlterPartitionError::Ineligible { node: NodeId(3) });
    }
}
