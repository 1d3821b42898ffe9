//! Scenarios of nodes that give up what they hold.

use super::*;
use crate::config::BrokerConfig;
use crate::metadata::decide::{FreeSpace, NewTopic, decide_create_topics};
use crate::metadata::fold::fold;
use crate::metadata::image::{Membership, NodeImage};
use crate::metadata::record::MetadataRecord;
use crate::metadata::topic_id::RandomIds;
use std::collections::BTreeMap;
use std::sync::Arc;

fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
    fold(image, records, image.applied + 1).unwrap()
}

fn node(id: i32, fenced: bool) -> NodeImage {
    let membership = Membership { epoch: BrokerEpoch(id as u64), incarnation: id.to_string(), fenced, stopping: false };
    NodeImage { id: NodeId(id), rack: None, directories: Vec::new(), endpoints: Vec::new(), membership: Some(membership) }
}

/// Three live nodes whose epochs are their ids, and a topic with one partition that needs two in sync.
fn cluster() -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for id in 1..=3 {
        image.nodes.insert(NodeId(id), node(id, false));
    }
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
    let topic = NewTopic { partitions: 1, replication_factor: 3, configs, ..NewTopic::with_defaults("t") };
    let decision = decide_create_topics(&image, vec![topic], &RandomIds, &FreeSpace::new());
    applied(&image, &decision.records)
}

fn partition(image: &MetadataImage) -> &PartitionImage {
    &image.topics["t"].partitions[0]
}

/// The cluster with the partition led by node 1 in epoch 5.
fn with(in_sync: &[i32], eligible: &[i32]) -> MetadataImage {
    let image = cluster();
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let changed = PartitionImage {
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(5),
        replicas: nodes(&[1, 2, 3]),
        in_sync: nodes(in_sync),
        eligible: nodes(eligible),
        ..partition(&image).clone()
    };
    applied(&image, &[partition_changed(image.topics["t"].id, PartitionIndex(0), &changed)])
}

fn asked(image: &MetadataImage, id: i32) -> GivenUp {
    GivenUp {
        node: NodeId(id),
        broker_epoch: BrokerEpoch(id as u64),
        topic: image.topics["t"].id,
        index: PartitionIndex(0),
        leader_epoch: partition(image).leader_epoch,
    }
}

/// Leader, leader epoch, in sync, eligible.
fn given_up(image: &MetadataImage, id: i32) -> Result<(i32, i32, Vec<i32>, Vec<i32>), GiveUpError> {
    let mut decision = decide_giving_up(image, &[asked(image, id)]);
    let epoch = decision.results.pop().unwrap()?;
    let after = applied(image, &decision.records);
    let next = partition(&after);
    assert_eq!((next.leader_epoch, next.partition_epoch.0), (epoch, partition(image).partition_epoch.0 + 1));
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    Ok((next.leader.0, next.leader_epoch.0, numbers(&next.in_sync), numbers(&next.eligible)))
}

#[test]
fn a_follower_is_counted_on_no_more_and_the_epoch_ends() {
    assert_eq!(given_up(&with(&[1, 2, 3], &[]), 2), Ok((1, 6, vec![1, 3], vec![])));
    assert_eq!(given_up(&with(&[1, 2], &[]), 2), Ok((1, 6, vec![1], vec![])), "it does not become eligible");
    assert_eq!(given_up(&with(&[1], &[2]), 2), Ok((1, 6, vec![1], vec![])), "nor does it stay so");
    assert_eq!(given_up(&with(&[1, 3], &[]), 2), Ok((1, 6, vec![1, 3], vec![])), "its leader may have been told what it had");
}

#[test]
fn a_leader_is_followed_by_one_that_is_in_sync() {
    assert_eq!(given_up(&with(&[1, 2, 3], &[]), 1), Ok((2, 6, vec![2, 3], vec![])));
    assert_eq!(given_up(&with(&[1, 3], &[]), 1), Ok((3, 6, vec![3], vec![])));
}

#[test]
fn the_last_one_in_sync_is_not_given_up() {
    assert_eq!(given_up(&with(&[1], &[]), 1), Err(GiveUpError::NobodyElse));
    assert_eq!(given_up(&with(&[1], &[2]), 1), Err(GiveUpError::NobodyElse));
    let mut image = with(&[1, 2], &[]);
    image.nodes.insert(NodeId(2), node(2, true));
    assert_eq!(given_up(&image, 1), Err(GiveUpError::NobodyElse), "nobody knows what has become of the other one's disk");
}

#[test]
fn who_speaks_of_another_time_is_refused() {
    let image = with(&[1, 2, 3], &[]);
    let ask = |request: GivenUp| decide_giving_up(&image, &[request]).results.pop().unwrap();
    let (current, got) = (LeaderEpoch(5), LeaderEpoch(4));
    let early = GivenUp { leader_epoch: got, ..asked(&image, 2) };
    assert_eq!(ask(early), Err(GiveUpError::FencedLeaderEpoch { current, got }));
    let other_life = GivenUp { broker_epoch: BrokerEpoch(1), ..asked(&image, 2) };
    assert_eq!(ask(other_life), Err(GiveUpError::StaleBrokerEpoch { got: BrokerEpoch(1) }));
    let nowhere = GivenUp { index: PartitionIndex(1), ..asked(&image, 2) };
    assert_eq!(ask(nowhere), Err(GiveUpError::UnknownPartition));
    let twice = decide_giving_up(&image, &[asked(&image, 2), asked(&image, 3)]);
    assert_eq!((twice.results, twice.records.len()), (vec![Ok(LeaderEpoch(6)), Err(GiveUpError::Repeated)], 1));
}
