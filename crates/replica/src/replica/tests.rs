//! Scenarios of a node's part in a partition as the metadata moves on.

use super::*;
use crate::fetch::FetchGrant;
use duolog_base::{BrokerEpoch, PartitionEpoch};

const ME: Incarnation = Incarnation { node: NodeId(2), epoch: Some(BrokerEpoch(10)) };

fn state(leader: i32, leader_epoch: i32, partition_epoch: i32) -> PartitionState {
    PartitionState {
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: vec![NodeId(1), NodeId(2)],
        in_sync: vec![NodeId(1), NodeId(2)],
        eligible: Vec::new(),
        min_in_sync: 1,
        unclean_epoch: None,
    }
}

fn log(end: i64) -> LogView {
    LogView { start: Offset(0), durable: Offset(end), end: Offset(end), last_epoch: LeaderEpoch(0) }
}

fn follows(replica: &Replica) -> Option<(NodeId, LeaderEpoch)> {
    match replica.role() {
        Role::Follower(follower) => Some((follower.leader(), follower.epoch())),
        _ => None,
    }
}

#[test]
fn metadata_of_an_earlier_life_is_not_obeyed() {
    assert!(ME.may_act_on(Some(BrokerEpoch(10))));
    assert!(!ME.may_act_on(Some(BrokerEpoch(9))));
    assert!(!ME.may_act_on(None));
    assert!(!Incarnation { epoch: None, ..ME }.may_act_on(None), "not registered yet");
}

#[test]
fn what_was_committed_is_remembered_from_role_to_role() {
    let mut replica = Replica::new(ME, log(0));
    replica.assume(&state(1, 0, 0), log(0), 0);
    assert_eq!(follows(&replica), Some((NodeId(1), LeaderEpoch(0))));
    let grant = FetchGrant { high_watermark: Offset(7), log_start: Offset(0) };
    replica.follower_mut().unwrap().appended(grant, log(9));
    let assumed = replica.assume(&state(2, 1, 1), log(9), 1);
    assert_eq!((assumed.leads, replica.high_watermark()), (Some(LeaderEpoch(1)), Offset(7)));
    let leader = replica.leader_mut().unwrap();
    leader.wait(Offset(9), Ticket(4)).unwrap();
    let assumed = replica.assume(&state(1, 2, 2), log(9), 2);
    assert_eq!(assumed, Assumed { leads: None, resigned: vec![(Ticket(4), AckOutcome::NotLeader)] });
    assert_eq!((follows(&replica), replica.high_watermark()), (Some((NodeId(1), LeaderEpoch(2))), Offset(7)));
}

#[test]
fn an_accepted_proposal_speaks_to_the_leader_that_made_it_only() {
    let mut replica = Replica::new(ME, log(0));
    replica.accepted(&state(2, 1, 1), 0);
    assert!(matches!(replica.role(), Role::Idle), "an answer to an earlier life makes nobody leader");
    replica.assume(&state(2, 1, 1), log(0), 0);
    let alone = PartitionState { in_sync: vec![NodeId(2)], ..state(2, 1, 2) };
    replica.accepted(&PartitionState { leader_epoch: LeaderEpoch(2), ..alone.clone() }, 0);
    assert_eq!(replica.leader_mut().unwrap().in_sync(), [NodeId(1), NodeId(2)]);
    replica.accepted(&alone, 0);
    assert_eq!(replica.leader_mut().unwrap().in_sync(), [NodeId(2)]);
}

#[test]
fn an_older_epoch_changes_nothing() {
    let mut replica = Replica::new(ME, log(0));
    replica.assume(&state(1, 3, 5), log(0), 0);
    assert_eq!(replica.assume(&state(2, 2, 4), log(0), 1), Assumed::default());
    assert_eq!(follows(&replica), Some((NodeId(1), LeaderEpoch(3))));
}

#[test]
fn requests_of_two_epochs_never_have_the_same_number() {
    let mut replica = Replica::new(ME, log(0));
    replica.assume(&state(1, 0, 0), log(0), 0);
    let first = replica.follower_mut().unwrap().next_fetch(log(0)).unwrap();
    replica.assume(&state(1, 1, 1), log(0), 0);
    let second = replica.follower_mut().unwrap().next_fetch(log(0)).unwrap();
    assert!(second.number > first.number);
}

#[test]
fn a_node_becomes_a_replica_and_ceases_to_be_one_within_an_epoch() {
    let mut replica = Replica::new(ME, log(0));
    let without = PartitionState { replicas: vec![NodeId(1)], in_sync: vec![NodeId(1)], ..state(1, 4, 0) };
    replica.assume(&without, log(0), 0);
    assert!(matches!(replica.role(), Role::Idle));
    replica.assume(&state(1, 4, 1), log(0), 0);
    assert!(follows(&replica).is_some());
    replica.assume(&PartitionState { partition_epoch: PartitionEpoch(2), ..without }, log(0), 0);
    assert!(matches!(replica.role(), Role::Idle));
}

#[test]
fn after_an_unclean_election_nothing_before_it_is_owed() {
    let mut replica = Replica::new(ME, log(0));
    replica.assume(&state(1, 0, 0), log(0), 0);
    replica.follower_mut().unwrap().appended(FetchGrant { high_watermark: Offset(7), log_start: Offset(0) }, log(9));
    let unclean = Some(LeaderEpoch(1));
    replica.assume(&PartitionState { unclean_epoch: unclean, ..state(1, 1, 1) }, log(9), 0);
    assert_eq!(replica.high_watermark(), Offset(0));
    replica.follower_mut().unwrap().appended(FetchGrant { high_watermark: Offset(5), log_start: Offset(0) }, log(9));
    replica.assume(&PartitionState { unclean_epoch: unclean, ..state(1, 2, 2) }, log(9), 0);
    assert_eq!(replica.high_watermark(), Offset(5), "only once");
}

#[test]
fn nobody_but_a_leader_answers_a_fetch() {
    let mut replica = Replica::new(ME, log(0));
    replica.assume(&state(1, 0, 0), log(0), 0);
    let request = replica.follower_mut().unwrap().next_fetch(log(0)).unwrap();
    assert_eq!(replica.fetch(&request, log(0), &|_| None, 0), Err(FetchRefusal::NotLeader));
}
