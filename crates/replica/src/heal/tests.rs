//! Scenarios of replicas whose logs are damaged.

use crate::{FetchGrant, FetchRefusal, FollowerStep, Incarnation, LogView, PartitionState, Replica, Role};
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch};
use duolog_log::EpochEnd;

const ME: Incarnation = Incarnation { node: NodeId(2), epoch: Some(BrokerEpoch(10)) };

fn state(leader: i32, leader_epoch: i32, in_sync: &[i32], eligible: &[i32]) -> PartitionState {
    let nodes = |nodes: &[i32]| nodes.iter().copied().map(NodeId).collect();
    PartitionState {
        leader: NodeId(leader),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch: PartitionEpoch(leader_epoch),
        replicas: nodes(&[1, 2, 3]),
        in_sync: nodes(in_sync),
        eligible: nodes(eligible),
        min_in_sync: 2,
        unclean_epoch: None,
    }
}

fn log(end: i64) -> LogView {
    let last_epoch = if end == 0 { LeaderEpoch::NONE } else { LeaderEpoch(0) };
    LogView { start: Offset(0), durable: Offset(end), end: Offset(end), last_epoch }
}

fn may_begin_anew(replica: &Replica) -> bool {
    replica.damage().expect("it is damaged").may_begin_anew()
}

#[test]
fn nothing_is_thrown_away_while_the_controller_counts_on_it() {
    let mut replica = Replica::new(ME, log(9));
    replica.assume(&state(1, 4, &[1, 2, 3], &[]), log(9), 0);
    replica.found_damaged();
    assert!(!may_begin_anew(&replica));
    replica.assume(&state(3, 5, &[2, 3], &[]), log(9), 0);
    assert!(!may_begin_anew(&replica), "it may be named leader");
    replica.assume(&state(3, 6, &[3], &[2]), log(9), 0);
    assert!(!may_begin_anew(&replica), "it may be, if the other one is gone");
    replica.assume(&state(3, 7, &[3], &[]), log(9), 0);
    assert!(may_begin_anew(&replica));
    replica.assume(&state(2, 8, &[2], &[]), log(9), 0);
    assert!(!may_begin_anew(&replica), "it was elected uncleanly: there is nothing better than what it has");
}

#[test]
fn nothing_is_thrown_away_in_an_epoch_in_which_the_leader_was_told_of_it() {
    let mut replica = Replica::new(ME, log(9));
    let out_of_sync = state(1, 4, &[1, 3], &[]);
    replica.assume(&out_of_sync, log(9), 0);
    replica.follower_mut().unwrap().next_fetch(log(9)).expect("it asks, and so says what it has");
    replica.found_damaged();
    replica.assume(&PartitionState { partition_epoch: PartitionEpoch(5), ..out_of_sync }, log(9), 0);
    assert!(!may_begin_anew(&replica), "it could join on the strength of what it said");
    replica.assume(&state(1, 5, &[1, 3], &[]), log(9), 0);
    assert!(may_begin_anew(&replica));
}

#[test]
fn damage_that_is_found_again_is_the_same() {
    let mut replica = Replica::new(ME, log(9));
    replica.assume(&state(1, 4, &[1, 2, 3], &[]), log(9), 0);
    replica.found_damaged();
    replica.assume(&state(1, 5, &[1, 3], &[]), log(9), 0);
    replica.found_damaged();
    assert!(may_begin_anew(&replica));
}

#[test]
fn a_replica_that_began_anew_takes_what_was_committed_from_the_leader() {
    let mut replica = Replica::new(ME, log(9));
    replica.assume(&state(1, 4, &[1, 2, 3], &[]), log(9), 0);
    let follower = replica.follower_mut().unwrap();
    let earlier = follower.next_fetch(log(9)).unwrap();
    follower.appended(FetchGrant { high_watermark: Offset(9), log_start: Offset(0) }, log(9));
    replica.found_damaged();
    replica.assume(&state(1, 5, &[1, 3], &[]), log(9), 0);
    replica.began_anew(log(0));
    assert_eq!((replica.damage(), replica.high_watermark()), (None, Offset(0)), "it holds none of it");
    let follower = replica.follower_mut().unwrap();
    let grant = FetchGrant { high_watermark: Offset(12), log_start: Offset(0) };
    assert_eq!(follower.answered(&earlier, Ok(grant), log(0), &|_| None), FollowerStep::Ignore);
    let fetch = follower.next_fetch(log(0)).unwrap();
    assert_eq!((fetch.offset, fetch.durable, fetch.last_epoch), (Offset(0), Offset(0), LeaderEpoch::NONE));
    let diverging = Err(FetchRefusal::Diverging(EpochEnd { epoch: LeaderEpoch(0), end: Offset(0) }));
    let step = follower.answered(&fetch, diverging, log(0), &|_| None);
    assert_eq!(step, FollowerStep::Cut { to: Offset(0) }, "nothing that it knew keeps it from being cut");
}

#[test]
fn a_leader_keeps_what_it_has_until_another_one_leads() {
    let mut replica = Replica::new(ME, log(9));
    replica.assume(&state(2, 4, &[1, 2], &[]), log(9), 0);
    replica.found_damaged();
    replica.assume(&state(2, 5, &[2], &[]), log(9), 0);
    assert!(!may_begin_anew(&replica));
    let assumed = replica.assume(&state(1, 6, &[1], &[]), log(9), 0);
    assert_eq!(assumed.leads, None);
    assert!(matches!(replica.role(), Role::Follower(_)) && may_begin_anew(&replica));
}
