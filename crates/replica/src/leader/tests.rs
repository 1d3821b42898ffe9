//! Scenarios of a leader with followers: what is committed, who is in sync, who is refused.

use super::*;
use crate::acks::AckOutcome;
use duolog_base::PartitionEpoch;

const ME: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const LIMITS: ReplicationLimits = ReplicationLimits { lag_ms: 1000, proposal_retry_ms: 500 };

fn state(in_sync: &[i32], partition_epoch: i32) -> PartitionState {
    PartitionState {
        leader: ME,
        leader_epoch: LeaderEpoch(5),
        partition_epoch: PartitionEpoch(partition_epoch),
        replicas: vec![ME, TWO, THREE],
        in_sync: in_sync.iter().copied().map(NodeId).collect(),
        eligible: Vec::new(),
        min_in_sync: 2,
        unclean_epoch: None,
    }
}

fn log(durable: i64, end: i64) -> LogView {
    LogView { start: Offset(0), durable: Offset(durable), end: Offset(end), last_epoch: LeaderEpoch(5) }
}

fn leads(in_sync: &[i32], end: i64) -> Leader {
    Leader::new(Incarnation { node: ME, epoch: Some(BrokerEpoch(10)) }, &state(in_sync, 0), log(end, end), Offset(0), 0)
}

fn peers(epoch: u64) -> Vec<Peer> {
    [ME, TWO, THREE].iter().map(|node| Peer { node: *node, epoch: BrokerEpoch(epoch), available: true }).collect()
}

/// The follower holds everything up to `offset`, and `durable` of it for good.
fn asks(node: NodeId, offset: i64, durable: i64) -> FollowerFetch {
    FollowerFetch {
        node,
        broker_epoch: BrokerEpoch(10),
        leader_epoch: LeaderEpoch(5),
        offset: Offset(offset),
        durable: Offset(durable),
        last_epoch: LeaderEpoch(5),
        number: 1,
    }
}

/// Epoch 3 from 0 on, epoch 5 from 10 on, up to 100.
fn epoch_ends(asked: LeaderEpoch) -> Option<EpochEnd> {
    let (epoch, end) = match asked.0 {
        ..3 => (asked.0, 0),
        3..5 => (3, 10),
        _ => (5, 100),
    };
    Some(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) })
}

fn fetch(leader: &mut Leader, request: FollowerFetch, own: LogView, now_ms: u64) -> Result<FetchGrant, FetchRefusal> {
    leader.fetch(&request, own, &epoch_ends, now_ms)
}

fn members(proposal: &Proposal) -> Vec<i32> {
    proposal.in_sync.iter().map(|(node, _)| node.0).collect()
}

#[test]
fn the_high_watermark_is_the_smallest_durable_end_of_those_in_sync() {
    let mut leader = leads(&[1, 2, 3], 0);
    leader.log_advanced(log(8, 10));
    fetch(&mut leader, asks(TWO, 10, 9), log(8, 10), 1).unwrap();
    assert_eq!(leader.high_watermark(), Offset(0), "the third has not been heard of");
    fetch(&mut leader, asks(THREE, 7, 6), log(8, 10), 2).unwrap();
    assert_eq!(leader.high_watermark(), Offset(6));
    fetch(&mut leader, asks(THREE, 10, 10), log(8, 10), 3).unwrap();
    assert_eq!(leader.high_watermark(), Offset(8), "its own end counts as far as it is durable");
    fetch(&mut leader, asks(THREE, 7, 6), log(8, 10), 4).unwrap();
    assert_eq!(leader.high_watermark(), Offset(8), "a request that was overtaken takes nothing back");
}

#[test]
fn nothing_is_committed_while_too_few_are_in_sync() {
    let mut leader = leads(&[1], 5);
    assert_eq!(leader.high_watermark(), Offset(0));
    assert_eq!(leader.check_append(), Err(NotEnoughReplicas { in_sync: 1, least: 2 }));
    leader.update(&PartitionState { min_in_sync: 1, ..state(&[1], 1) }, 0);
    assert_eq!((leader.high_watermark(), leader.check_append()), (Offset(5), Ok(())));
}

#[test]
fn producers_are_answered_when_committed_or_when_too_few_are_left() {
    let mut leader = leads(&[1, 2], 0);
    leader.log_advanced(log(10, 10));
    leader.wait(Offset(5), Ticket(1)).unwrap();
    leader.wait(Offset(10), Ticket(2)).unwrap();
    fetch(&mut leader, asks(TWO, 7, 7), log(10, 10), 1).unwrap();
    assert_eq!(leader.take_answered(), [(Ticket(1), AckOutcome::Committed)]);
    leader.update(&state(&[1], 1), 2);
    assert_eq!(leader.take_answered(), [(Ticket(2), AckOutcome::TooFewInSync)]);
    leader.wait(Offset(10), Ticket(3)).unwrap();
    assert_eq!(leader.take_answered(), [(Ticket(3), AckOutcome::TooFewInSync)]);
    leader.wait(Offset(7), Ticket(4)).unwrap();
    assert_eq!(leader.take_answered(), [(Ticket(4), AckOutcome::Committed)], "what was committed stays so");
    leader.update(&state(&[1, 2], 2), 3);
    leader.wait(Offset(10), Ticket(5)).unwrap();
    assert_eq!(leader.resign(), [(Ticket(5), AckOutcome::NotLeader)]);
}

#[test]
fn epochs_and_incarnations_of_the_past_and_the_future_are_refused() {
    let mut leader = leads(&[1, 2, 3], 0);
    let (current, got) = (LeaderEpoch(5), LeaderEpoch(4));
    let old = FollowerFetch { leader_epoch: got, ..asks(TWO, 0, 0) };
    assert_eq!(fetch(&mut leader, old, log(0, 0), 1), Err(FetchRefusal::FencedEpoch { current, got }));
    let got = LeaderEpoch(6);
    let new = FollowerFetch { leader_epoch: got, ..asks(TWO, 0, 0) };
    assert_eq!(fetch(&mut leader, new, log(0, 0), 1), Err(FetchRefusal::UnknownEpoch { current, got }));
    for node in [NodeId(4), ME] {
        assert_eq!(fetch(&mut leader, asks(node, 0, 0), log(0, 0), 1), Err(FetchRefusal::NotReplica { node }));
    }
    leader.meet(&peers(11));
    let (current, got) = (BrokerEpoch(11), BrokerEpoch(10));
    assert_eq!(
        fetch(&mut leader, asks(TWO, 0, 0), log(0, 0), 1),
        Err(FetchRefusal::StaleBrokerEpoch { node: TWO, current, got })
    );
}

#[test]
fn a_node_that_started_again_holds_nothing_until_it_says_so() {
    let mut leader = leads(&[1, 2], 0);
    fetch(&mut leader, asks(TWO, 10, 10), log(4, 10), 1).unwrap();
    assert_eq!(leader.high_watermark(), Offset(4));
    leader.meet(&peers(11));
    leader.log_advanced(log(10, 10));
    assert_eq!(leader.high_watermark(), Offset(4), "its disk may be empty");
    let again = FollowerFetch { broker_epoch: BrokerEpoch(11), ..asks(TWO, 10, 9) };
    fetch(&mut leader, again, log(10, 10), 2).unwrap();
    assert_eq!(leader.high_watermark(), Offset(9));
}

#[test]
fn a_log_that_parts_from_the_leaders_does_not_count() {
    let mut leader = leads(&[1, 2], 10);
    leader.log_advanced(log(100, 100));
    let of_epoch = |epoch, offset| FollowerFetch { last_epoch: LeaderEpoch(epoch), ..asks(TWO, offset, offset) };
    let parts = |epoch, end| Err(FetchRefusal::Diverging(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) }));
    assert_eq!(fetch(&mut leader, of_epoch(3, 12), log(100, 100), 1), parts(3, 10), "it has more of epoch 3");
    assert_eq!(fetch(&mut leader, of_epoch(4, 8), log(100, 100), 1), parts(3, 10), "there was no epoch 4");
    assert_eq!(fetch(&mut leader, of_epoch(2, 8), log(100, 100), 1), parts(2, 0), "nor an epoch 2");
    assert_eq!(leader.high_watermark(), Offset(0));
    fetch(&mut leader, of_epoch(3, 10), log(100, 100), 2).unwrap();
    assert_eq!(leader.high_watermark(), Offset(10));
}

#[test]
fn an_offset_that_is_not_in_the_log_is_refused() {
    let mut leader = leads(&[1, 2], 0);
    let own = LogView { start: Offset(20), ..log(100, 100) };
    let range = |asked| Err(FetchRefusal::OutOfRange { asked: Offset(asked), start: Offset(20), end: Offset(100) });
    assert_eq!(fetch(&mut leader, asks(TWO, 19, 19), own, 1), range(19));
    let empty = FollowerFetch { last_epoch: LeaderEpoch::NONE, ..asks(TWO, 0, 0) };
    assert_eq!(fetch(&mut leader, empty, own, 1), range(0));
    let ahead = FollowerFetch { last_epoch: LeaderEpoch::NONE, ..asks(TWO, 101, 0) };
    assert_eq!(fetch(&mut leader, ahead, own, 1), range(101));
}

#[test]
fn a_follower_joins_when_it_holds_all_that_may_be_committed() {
    let mut leader = leads(&[1, 2], 10);
    leader.log_advanced(log(20, 20));
    fetch(&mut leader, asks(TWO, 20, 20), log(20, 20), 1).unwrap();
    let below_start = FollowerFetch { last_epoch: LeaderEpoch(3), ..asks(THREE, 9, 9) };
    fetch(&mut leader, below_start, log(20, 20), 1).unwrap();
    assert_eq!(leader.propose(&peers(10), &LIMITS, 2), None, "it lacks what was committed before this epoch");
    fetch(&mut leader, asks(THREE, 20, 19), log(20, 20), 3).unwrap();
    assert_eq!(leader.propose(&peers(10), &LIMITS, 4), None, "it lacks what is committed");
    fetch(&mut leader, asks(THREE, 20, 20), log(20, 20), 5).unwrap();
    let mut again = peers(10);
    again[2].epoch = BrokerEpoch(11);
    assert_eq!(leader.propose(&again, &LIMITS, 6), None, "its node has started again");
    let proposal = leader.propose(&peers(10), &LIMITS, 7).unwrap();
    assert_eq!((members(&proposal), proposal.partition_epoch), (vec![1, 2, 3], PartitionEpoch(0)));
    assert_eq!(leader.propose(&peers(10), &LIMITS, 8), None, "one at a time");
}

#[test]
fn a_proposed_member_counts_until_a_later_version_settles_it() {
    let mut leader = leads(&[1, 2], 0);
    fetch(&mut leader, asks(THREE, 0, 0), log(0, 0), 1).unwrap();
    let proposal = leader.propose(&peers(10), &LIMITS, 2).unwrap();
    leader.log_advanced(log(10, 10));
    fetch(&mut leader, asks(TWO, 10, 10), log(10, 10), 3).unwrap();
    assert_eq!(leader.high_watermark(), Offset(0));
    leader.refused(proposal.number);
    assert_eq!(leader.high_watermark(), Offset(0), "a copy of it may still be accepted");
    fetch(&mut leader, asks(TWO, 10, 10), log(10, 10), 1499).unwrap();
    // The third falls behind; the leader asks for the set it has, to make a new version.
    let settle = leader.propose(&peers(10), &LIMITS, 1500);
    assert_eq!(settle.map(|proposal| members(&proposal)), Some(vec![1, 2]));
    leader.update(&state(&[1, 2], 1), 1501);
    assert_eq!(leader.high_watermark(), Offset(10));
}

#[test]
fn a_member_that_falls_behind_counts_until_it_is_taken_out() {
    let mut leader = leads(&[1, 2, 3], 0);
    for (now_ms, end) in [(100, 0), (900, 5), (1500, 10)] {
        leader.log_advanced(log(end, end));
        fetch(&mut leader, asks(TWO, end, end), log(end, end), now_ms).unwrap();
    }
    fetch(&mut leader, asks(THREE, 4, 4), log(10, 10), 1500).unwrap();
    let proposal = leader.propose(&peers(10), &LIMITS, 1600).unwrap();
    assert_eq!((members(&proposal), leader.high_watermark()), (vec![1, 2], Offset(4)));
    assert!(leader.propose(&peers(10), &LIMITS, 2000).is_none());
    assert!(leader.propose(&peers(10), &LIMITS, 2100).is_some(), "the answer may be lost");
    leader.update(&state(&[1, 2], 1), 2200);
    assert_eq!(leader.high_watermark(), Offset(10));
    leader.update(&state(&[1, 2, 3], 0), 2300);
    assert_eq!(leader.in_sync(), [ME, TWO], "an older version changes nothing");
}

#[test]
fn a_follower_that_runs_one_request_behind_under_load_keeps_up() {
    let mut leader = leads(&[1, 2, 3], 0);
    for step in 1..=40 {
        let own = log(step * 2, step * 2);
        fetch(&mut leader, asks(TWO, step * 2 - 2, step * 2 - 2), own, step as u64 * 100).unwrap();
        fetch(&mut leader, asks(THREE, step * 2, step * 2), own, step as u64 * 100).unwrap();
    }
    assert_eq!(leader.propose(&peers(10), &LIMITS, 4000), None);
    let fenced: Vec<_> = peers(10).into_iter().map(|peer| Peer { available: peer.node != THREE, ..peer }).collect();
    assert_eq!(members(&leader.propose(&fenced, &LIMITS, 4000).unwrap()), [1, 2], "a fenced node is out at once");
}

#[test]
fn a_set_whose_size_is_the_minimum_only_in_a_proposal_commits_nothing() {
    let mut leader = leads(&[1], 0);
    leader.log_advanced(log(10, 10));
    fetch(&mut leader, asks(TWO, 10, 10), log(10, 10), 1).unwrap();
    assert!(leader.propose(&peers(10), &LIMITS, 2).is_some());
    fetch(&mut leader, asks(TWO, 10, 10), log(10, 10), 3).unwrap();
    assert_eq!(leader.high_watermark(), Offset(0), "an eligible replica may lack it");
    leader.update(&state(&[1, 2], 1), 4);
    assert_eq!(leader.high_watermark(), Offset(10));
}
