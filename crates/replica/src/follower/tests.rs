//! Scenarios of a follower: one request at a time, cuts by epoch, what is committed stays.

use super::*;
use duolog_base::BrokerEpoch;

const EPOCH: LeaderEpoch = LeaderEpoch(5);

fn follows(high_watermark: i64) -> Follower {
    let me = Incarnation { node: NodeId(2), epoch: Some(BrokerEpoch(10)) };
    Follower::new(me, NodeId(1), EPOCH, Offset(high_watermark), 1)
}

fn log(end: i64, last_epoch: i32) -> LogView {
    LogView { start: Offset(0), durable: Offset(end - 1), end: Offset(end), last_epoch: LeaderEpoch(last_epoch) }
}

/// Epoch 2 from 0 on, epoch 4 from 10 on, up to 30.
fn epoch_ends(asked: LeaderEpoch) -> Option<EpochEnd> {
    let (epoch, end) = match asked.0 {
        ..2 => (asked.0, 0),
        2..4 => (2, 10),
        _ => (4, 30),
    };
    Some(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) })
}

fn parts(epoch: i32, end: i64) -> Result<FetchGrant, FetchRefusal> {
    Err(FetchRefusal::Diverging(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) }))
}

fn asks_and_gets(follower: &mut Follower, answer: Result<FetchGrant, FetchRefusal>) -> FollowerStep {
    let request = follower.next_fetch(log(30, 4)).unwrap();
    follower.answered(&request, answer, log(30, 4), &epoch_ends)
}

#[test]
fn only_the_answer_that_is_awaited_counts() {
    let mut follower = follows(0);
    let grant = Ok(FetchGrant { high_watermark: Offset(9), log_start: Offset(0) });
    let first = follower.next_fetch(log(5, 4)).unwrap();
    assert_eq!((first.offset, first.durable, first.last_epoch), (Offset(5), Offset(4), LeaderEpoch(4)));
    assert_eq!(follower.next_fetch(log(5, 4)), None);
    let mut answered = |request: &FollowerFetch| follower.answered(request, grant, log(5, 4), &epoch_ends);
    let of_an_old_epoch = FollowerFetch { leader_epoch: LeaderEpoch(4), ..first.clone() };
    let of_an_old_life = FollowerFetch { broker_epoch: BrokerEpoch(9), ..first.clone() };
    let of_another_time = FollowerFetch { number: first.number + 1, ..first.clone() };
    for other in [of_an_old_epoch, of_an_old_life, of_another_time] {
        assert_eq!(answered(&other), FollowerStep::Ignore);
    }
    assert_eq!(answered(&first), FollowerStep::Append);
    assert_eq!(answered(&first), FollowerStep::Ignore, "a second time");
    let second = follower.next_fetch(log(6, 4)).unwrap();
    follower.give_up(first.number);
    assert_eq!(follower.next_fetch(log(6, 4)), None, "another one was given up");
    follower.give_up(second.number);
    let third = follower.next_fetch(log(6, 4)).unwrap();
    let late = follower.answered(&second, grant, log(6, 4), &epoch_ends);
    assert_eq!((late, third.number > second.number), (FollowerStep::Ignore, true));
}

#[test]
fn the_high_watermark_is_taken_over_as_far_as_the_log_reaches() {
    let mut follower = follows(3);
    for (told, end, known) in [(2, 5, 3), (9, 5, 5), (9, 12, 9), (4, 12, 9)] {
        follower.appended(FetchGrant { high_watermark: Offset(told), log_start: Offset(0) }, log(end, 4));
        assert_eq!(follower.high_watermark(), Offset(known));
    }
}

#[test]
fn a_log_is_cut_to_where_the_epoch_ends_in_both() {
    let cut = |answer| asks_and_gets(&mut follows(0), answer);
    assert_eq!(cut(parts(4, 20)), FollowerStep::Cut { to: Offset(20) }, "the leader has less of the epoch");
    assert_eq!(cut(parts(2, 15)), FollowerStep::Cut { to: Offset(10) }, "the follower has less of the epoch");
    assert_eq!(cut(parts(3, 15)), FollowerStep::Cut { to: Offset(10) }, "the follower never saw the epoch");
    assert_eq!(cut(parts(1, 40)), FollowerStep::Cut { to: Offset(0) }, "they have nothing in common");
}

#[test]
fn what_is_committed_is_not_cut() {
    let step = asks_and_gets(&mut follows(21), parts(4, 20));
    assert_eq!(step, FollowerStep::Quarantine { committed: Offset(21), cut: Offset(20) });
}

#[test]
fn a_leader_whose_log_begins_later_is_followed_from_there() {
    let range = |start| Err(FetchRefusal::OutOfRange { asked: Offset(30), start: Offset(start), end: Offset(90) });
    assert_eq!(asks_and_gets(&mut follows(0), range(50)), FollowerStep::Restart { at: Offset(50) });
    assert_eq!(asks_and_gets(&mut follows(0), range(30)), FollowerStep::WaitForMetadata);
    assert_eq!(asks_and_gets(&mut follows(0), Err(FetchRefusal::NotLeader)), FollowerStep::WaitForMetadata);
}
