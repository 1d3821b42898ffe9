//! Scenarios of nodes that come and go: who is in sync, who is eligible, who leads.

use super::*;
use crate::metadata::image::Membership;
use duolog_base::BrokerEpoch;

const RULES: Rules = Rules { min_in_sync: 2, unclean: false };

pub(super) fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn ids(numbers: &[i32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn partition(leader: i32, in_sync: &[i32], eligible: &[i32]) -> PartitionImage {
    PartitionImage {
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(9),
        replicas: ids(&[1, 2, 3]),
        in_sync: ids(in_sync),
        eligible: ids(eligible),
        ..PartitionImage::default()
    }
}

/// Three nodes, these of them fenced and those about to stop.
fn nodes(fenced: &[i32], stopping: &[i32]) -> Nodes {
    let node = |id: i32| {
        let (fenced, stopping) = (fenced.contains(&id), stopping.contains(&id));
        let membership = Membership { epoch: BrokerEpoch(1), incarnation: String::new(), fenced, stopping };
        NodeImage { id: NodeId(id), rack: None, directories: Vec::new(), endpoints: Vec::new(), membership: Some(membership) }
    };
    (1..=3).map(|id| (NodeId(id), node(id))).collect()
}

/// Leader, leader epoch, in sync, eligible; `None` if nothing changes.
fn settled(partition: &PartitionImage, rules: Rules, nodes: &Nodes) -> Option<(i32, i32, Vec<i32>, Vec<i32>)> {
    let next = settle(partition, rules, nodes)?;
    assert_eq!(next.partition_epoch.0, partition.partition_epoch.0 + 1);
    Some((next.leader.0, next.leader_epoch.0, numbers(&next.in_sync), numbers(&next.eligible)))
}

#[test]
fn a_follower_that_is_fenced_leaves_and_the_leader_stays() {
    assert_eq!(settled(&partition(1, &[1, 2, 3], &[]), RULES, &nodes(&[3], &[])), Some((1, 4, vec![1, 2], vec![])));
    assert_eq!(settled(&partition(1, &[1, 2], &[]), RULES, &nodes(&[3], &[])), None, "it was not in sync");
}

#[test]
fn the_next_in_sync_replica_takes_over_in_a_new_epoch() {
    assert_eq!(settled(&partition(1, &[1, 3, 2], &[]), RULES, &nodes(&[1], &[])), Some((2, 5, vec![3, 2], vec![])));
}

#[test]
fn who_leaves_below_the_minimum_is_eligible() {
    assert_eq!(settled(&partition(1, &[1, 2], &[]), RULES, &nodes(&[1, 3], &[])), Some((2, 5, vec![2], vec![1])));
    let alone = partition(2, &[2], &[1]);
    assert_eq!(settled(&alone, RULES, &nodes(&[1, 2, 3], &[])), None, "the last one stays named");
    assert_eq!(settled(&alone, RULES, &nodes(&[2, 3], &[])), Some((1, 5, vec![1], vec![2])), "the eligible one came back first");
    assert_eq!(settled(&alone, RULES, &nodes(&[1, 2], &[])), None, "the third may lack what is committed");
}

#[test]
fn nobody_is_eligible_where_a_leader_alone_may_commit() {
    let rules = Rules { min_in_sync: 1, unclean: false };
    assert_eq!(settled(&partition(1, &[1, 2], &[]), rules, &nodes(&[1, 3], &[])), Some((2, 5, vec![2], vec![])));
    assert_eq!(settled(&partition(2, &[2], &[]), rules, &nodes(&[2, 3], &[])), None);
}

#[test]
fn enough_in_sync_replicas_end_eligibility() {
    let mut next = partition(1, &[1], &[2, 3]);
    set_in_sync(&mut next, ids(&[1, 3]), 2);
    assert_eq!((numbers(&next.in_sync), numbers(&next.eligible)), (vec![1, 3], vec![]));
}

#[test]
fn an_unclean_election_is_remembered() {
    let rules = Rules { min_in_sync: 1, unclean: true };
    let next = settle(&partition(2, &[2], &[]), rules, &nodes(&[2, 1], &[])).unwrap();
    assert_eq!((next.leader, next.unclean_epoch), (NodeId(3), Some(LeaderEpoch(5))));
    assert_eq!(settle(&partition(2, &[2], &[]), rules, &nodes(&[1, 2, 3], &[])), None);
}

#[test]
fn who_is_about_to_stop_hands_over_if_there_is_somebody() {
    assert_eq!(settled(&partition(1, &[1, 2, 3], &[]), RULES, &nodes(&[], &[1])), Some((2, 5, vec![2, 3], vec![])));
    assert_eq!(settled(&partition(1, &[1], &[]), RULES, &nodes(&[2, 3], &[1])), None, "it leads to the end");
    assert_eq!(settled(&partition(1, &[1, 2], &[]), RULES, &nodes(&[1], &[2])), Some((2, 5, vec![2], vec![1])));
}

#[test]
fn a_partition_without_a_leader_waits_for_who_may_lead() {
    let none = PartitionImage { leader: NodeId::NONE, ..partition(1, &[], &[2]) };
    assert_eq!(settled(&none, RULES, &nodes(&[2], &[])), None);
    assert_eq!(settled(&none, RULES, &nodes(&[], &[])), Some((2, 5, vec![2], vec![])));
}
