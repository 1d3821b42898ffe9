//! Dynamic members: joining, sharing out, dying, leaving.

use super::*;

#[test]
fn a_first_member_is_told_its_id_and_leads_after_the_initial_delay() {
    let mut world = World::new();
    let (id, mut answer) = world.join_dynamic("app", &["orders"]);
    assert!(id.starts_with("app-"));
    world.advance(DELAY_MS - 1);
    assert!(answer.take().is_none(), "the delay is not over");
    world.advance(1);
    let generation = joined(&mut answer);
    assert_eq!((generation.generation, generation.leader.as_str()), (1, id.as_str()));
    assert_eq!(generation.members.len(), 1);
    let share = world.sync(&id, 1, &[(&id, "all")]).take().expect("at once").expect("a share");
    assert_eq!(share.assignment, "all");
    assert_eq!(share.protocol_name.as_deref(), Some("range"));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn late_members_extend_the_initial_delay_and_share_one_generation() {
    let mut world = World::new();
    let (_, mut first) = world.join_dynamic("a", &["orders"]);
    world.advance(DELAY_MS - 100);
    let (_, mut second) = world.join_dynamic("b", &["orders"]);
    world.advance(200);
    assert!(first.take().is_none());
    world.advance(DELAY_MS);
    assert_eq!(joined(&mut first).generation, 1);
    assert_eq!(joined(&mut second).generation, 1);
}

#[test]
fn only_the_leader_sees_the_members() {
    let mut world = World::new();
    let (leader, mut first) = world.join_dynamic("a", &["orders"]);
    let (_, mut second) = world.join_dynamic("b", &["orders"]);
    world.advance(3 * DELAY_MS);
    assert_eq!(joined(&mut first).members.len(), 2);
    let other = joined(&mut second);
    assert_eq!((other.leader, other.members.len()), (leader, 0));
}

#[test]
fn followers_wait_for_the_leader_and_forgotten_members_get_nothing() {
    let mut world = World::new();
    let (leader, mut first) = world.join_dynamic("a", &["orders"]);
    let (other, _second) = world.join_dynamic("b", &["orders"]);
    world.advance(3 * DELAY_MS);
    joined(&mut first);
    let mut waiting = world.sync(&other, 1, &[]);
    assert!(waiting.take().is_none());
    let mut leads = world.sync(&leader, 1, &[(&leader, "everything")]);
    assert_eq!(leads.take().expect("answered").expect("a share").assignment, "everything");
    assert_eq!(waiting.take().expect("answered").expect("a share").assignment, "");
}

#[test]
fn a_dead_member_is_found_out_and_the_others_go_on_without_it() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    world.advance(SESSION_MS as u64 - 1);
    assert_eq!(world.heartbeat(&ids[0], generation), Ok(()));
    world.advance(1);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(&ids[0], generation), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.heartbeat(&ids[1], generation), Err(GroupError::UnknownMember));
    let next = joined(&mut world.rejoin("client-0", &["orders"], &ids[0]));
    assert_eq!((next.generation, next.members.len()), (generation + 1, 1));
}

#[test]
fn a_dead_leader_is_replaced() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    world.advance(SESSION_MS as u64 / 2);
    assert_eq!(world.heartbeat(&ids[1], generation), Ok(()));
    world.advance(SESSION_MS as u64 / 2 + 1);
    let next = joined(&mut world.rejoin("client-1", &["orders"], &ids[1]));
    assert_eq!(next.leader, ids[1]);
}

#[test]
fn a_member_that_leaves_makes_the_others_rebalance_at_once() {
    let mut world = World::new();
    let (generation, ids) = world.stable(3);
    assert_eq!(world.leave(&ids[2], None)[0].outcome, Ok(()));
    assert_eq!(world.leave(&ids[2], None)[0].outcome, Err(GroupError::UnknownMember));
    let mut first = world.rejoin("client-0", &["orders"], &ids[0]);
    assert!(first.take().is_none(), "the other member has not come yet");
    let mut second = world.rejoin("client-1", &["orders"], &ids[1]);
    assert_eq!(joined(&mut first).generation, generation + 1);
    assert_eq!(joined(&mut second).generation, generation + 1);
}

#[test]
fn a_member_that_does_not_come_back_is_left_behind_after_the_rebalance_timeout() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    let mut leader = world.rejoin("client-0", &["orders", "more"], &ids[0]);
    for _ in 0..(REBALANCE_MS / 5_000) - 1 {
        world.advance(5_000);
        assert_eq!(world.heartbeat(&ids[1], generation), Err(GroupError::RebalanceInProgress));
    }
    assert!(leader.take().is_none());
    world.advance(5_000);
    let next = joined(&mut leader);
    assert_eq!((next.generation, next.members.len()), (generation + 1, 1));
}

#[test]
fn a_member_that_joins_but_does_not_sync_is_removed() {
    let mut world = World::new();
    let (leader, mut first) = world.join_dynamic("a", &["orders"]);
    let (silent, _second) = world.join_dynamic("b", &["orders"]);
    world.advance(3 * DELAY_MS);
    joined(&mut first);
    world.sync(&leader, 1, &[(&leader, "1"), (&silent, "2")]).take().expect("answered").expect("a share");
    for _ in 0..REBALANCE_MS / 5_000 {
        world.advance(5_000);
        let _alive = world.heartbeat(&leader, 1);
        let _alive = world.heartbeat(&silent, 1);
    }
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(&silent, 1), Err(GroupError::UnknownMember));
}

#[test]
fn a_rebalance_sends_away_those_who_wait_for_their_share() {
    let mut world = World::new();
    let (_, mut first) = world.join_dynamic("a", &["orders"]);
    let (other, _second) = world.join_dynamic("b", &["orders"]);
    world.advance(3 * DELAY_MS);
    joined(&mut first);
    let mut waiting = world.sync(&other, 1, &[]);
    let (_, _third) = world.join_dynamic("c", &["orders"]);
    assert_eq!(waiting.take().expect("answered"), Err(GroupError::RebalanceInProgress));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn the_protocol_with_most_votes_among_those_all_know_is_chosen() {
    let mut world = World::new();
    let mut answers = Vec::new();
    for (client, names) in [("a", ["sticky", "range"]), ("b", ["range", "sticky"]), ("c", ["range", "sticky"])] {
        let mut request = join_request(client, &["orders"]);
        request.protocols = names.iter().map(|name| protocol(name, &["orders"])).collect();
        request.takes_member_id = false;
        answers.push(world.join(request));
    }
    let mut stranger = join_request("d", &["orders"]);
    stranger.protocols = vec![protocol("unknown", &["orders"])];
    assert_eq!(refusal(&mut world.join(stranger)), GroupError::InconsistentProtocol);
    world.advance(5 * DELAY_MS);
    assert_eq!(joined(&mut answers[0]).protocol_name.as_deref(), Some("range"));
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_same_generation() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    let again = joined(&mut world.rejoin("client-1", &["orders"], &ids[1]));
    assert_eq!(again.generation, generation);
    assert_eq!(world.state(), "Stable");
    let mut changed = world.rejoin("client-1", &["orders", "refunds"], &ids[1]);
    assert!(changed.take().is_none());
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_second_join_of_one_member_supersedes_the_first() {
    let mut world = World::new();
    let (id, mut first) = world.join_dynamic("a", &["orders"]);
    let mut second = world.rejoin("a", &["orders"], &id);
    assert_eq!(refusal(&mut first), GroupError::RebalanceInProgress);
    world.advance(3 * DELAY_MS);
    assert_eq!(joined(&mut second).generation, 1);
}

#[test]
fn ids_that_nobody_comes_back_with_are_forgotten_and_the_group_with_them() {
    let mut world = World::new();
    let answer = world.join(join_request("a", &["orders"])).take().expect("an id at once");
    assert_eq!(world.state(), "Empty");
    world.advance(SESSION_MS as u64);
    assert_eq!(world.state(), "Dead");
    assert_eq!(refusal(&mut world.rejoin("a", &["orders"], &answer.member_id)), GroupError::UnknownMember);
    assert!(world.records.is_empty());
}

#[test]
fn requests_with_impossible_fields_are_refused() {
    let mut world = World::new();
    let mut no_group = join_request("a", &["orders"]);
    no_group.group_id = String::new();
    assert_eq!(refusal(&mut world.join(no_group)), GroupError::InvalidGroupId);
    let mut short = join_request("a", &["orders"]);
    short.session_timeout_ms = 5_999;
    assert!(matches!(refusal(&mut world.join(short)), GroupError::InvalidSessionTimeout { .. }));
    assert_eq!(refusal(&mut world.rejoin("a", &["orders"], "who")), GroupError::UnknownMember);
    let mut no_protocol = join_request("a", &["orders"]);
    no_protocol.protocols.clear();
    assert_eq!(refusal(&mut world.join(no_protocol)), GroupError::InconsistentProtocol);
    assert_eq!(world.state(), "Dead", "no trace is left of a refused group");
}

#[test]
fn stale_generations_and_foreign_protocols_are_refused() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    let stale = GroupError::IllegalGeneration { asked: generation - 1, current: generation };
    assert_eq!(world.heartbeat(&ids[0], generation - 1), Err(stale.clone()));
    assert_eq!(world.sync(&ids[0], generation - 1, &[]).take(), Some(Err(stale)));
    let mut foreign = join_request("a", &["orders"]);
    foreign.protocol_type = "connect".into();
    assert_eq!(refusal(&mut world.join(foreign)), GroupError::InconsistentProtocol);
}

#[test]
fn a_full_group_takes_nobody() {
    let mut world = World::with(GroupSettings { max_size: 2, ..settings() });
    world.stable(2);
    assert_eq!(refusal(&mut world.join(join_request("c", &["orders"]))), GroupError::GroupFull { max: 2 });
    assert_eq!(world.state(), "Stable");
}

#[test]
fn a_restart_keeps_a_stable_group_and_its_sessions_start_anew() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    world.advance(SESSION_MS as u64 - 1);
    let mut world = world.restarted();
    assert_eq!(world.state(), "Stable");
    world.advance(SESSION_MS as u64 - 1);
    assert_eq!(world.heartbeat(&ids[0], generation), Ok(()));
    assert_eq!(world.sync(&ids[1], generation, &[]).take().expect("answered").expect("its share").assignment, "1");
    world.advance(1);
    assert_eq!(world.state(), "PreparingRebalance", "the silent member is gone");
}

#[test]
fn the_last_member_leaves_an_empty_group_that_survives_a_restart() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    world.leave(&ids[0], None);
    assert_eq!(world.state(), "Empty");
    let mut world = world.restarted();
    assert_eq!(world.state(), "Empty");
    let (_, mut answer) = world.join_dynamic("late", &["orders"]);
    world.advance(3 * DELAY_MS);
    assert_eq!(joined(&mut answer).generation, generation + 2, "generations never repeat");
}

#[test]
fn shares_too_large_to_be_written_down_are_an_error_to_their_group_only() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    let before = world.records.len();
    let mut waiting: Vec<_> = ids.iter().map(|id| world.rejoin("client", &["orders", "more"], id)).collect();
    let next = joined(&mut waiting[0]).generation;
    assert_eq!(next, generation + 1);
    let huge = "x".repeat(200_000);
    let mut follower = world.sync(&ids[1], next, &[]);
    let mut leader = world.sync(&ids[0], next, &[(&ids[0], &huge), (&ids[1], "1")]);
    for answer in [&mut follower, &mut leader] {
        let refusal = answer.take().expect("answered").expect_err("too large");
        assert!(matches!(refusal, GroupError::RecordTooLarge { bytes: 200_000.., max: 100_000 }), "{refusal}");
    }
    assert_eq!(world.records.len(), before, "nothing is written");
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.heartbeat(&ids[0], next), Err(GroupError::RebalanceInProgress));
    // The next generation shares out less.
    let mut waiting: Vec<_> = ids.iter().map(|id| world.rejoin("client", &["orders", "more"], id)).collect();
    let joined = joined(&mut waiting[0]);
    world.share_out(&joined.leader, joined.generation, &ids);
    assert!(world.restarted().heartbeat(&ids[0], joined.generation).is_ok());
}
