//! Static members (KIP-345): restarts that nobody notices, and instances that are fenced.

use super::*;

fn static_join(client: &str, instance: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance.into()), ..join_request(client, &["orders"]) }
}

/// A stable group of static members "i-0", "i-1", ...; ids in that order, the leader first.
fn stable_statics(world: &mut World, size: usize) -> (i32, Vec<String>) {
    let mut answers: Vec<_> = (0..size).map(|at| world.join(static_join("app", &format!("i-{at}")))).collect();
    world.advance(2 * DELAY_MS);
    let answers: Vec<JoinAnswer> = answers.iter_mut().map(|answer| answer.take().expect("joined")).collect();
    let generation = answers[0].outcome.clone().expect("joined");
    let ids: Vec<String> = answers.into_iter().map(|answer| answer.member_id).collect();
    assert_eq!(generation.leader, ids[0]);
    world.share_out(&ids[0], generation.generation, &ids);
    (generation.generation, ids)
}

#[test]
fn a_follower_that_restarts_gets_its_share_back_without_a_rebalance() {
    let mut world = World::new();
    let (generation, ids) = stable_statics(&mut world, 2);
    let answer = world.join(static_join("app", "i-1")).take().expect("at once");
    let new_id = answer.member_id.clone();
    let back = answer.outcome.expect("its place");
    assert_ne!(new_id, ids[1]);
    assert_eq!((back.generation, back.leader.as_str(), back.skip_assignment), (generation, ids[0].as_str(), false));
    assert_eq!(world.state(), "Stable");
    let share = world.sync(&new_id, generation, &[]).take().expect("at once").expect("its share");
    assert_eq!(share.assignment, "1");
    let world = world.restarted();
    let group = world.shard.groups.get(GROUP).expect("kept");
    assert_eq!(group.static_member("i-1").map(AsRef::as_ref), Some(new_id.as_str()), "the new id is written down");
}

#[test]
fn a_leader_that_restarts_leads_without_sharing_out_again() {
    let mut world = World::new();
    let (generation, _) = stable_statics(&mut world, 2);
    let answer = world.join(static_join("app", "i-0")).take().expect("at once");
    let back = answer.outcome.expect("its place");
    assert_eq!((back.generation, &back.leader), (generation, &answer.member_id));
    assert!(back.skip_assignment);
    assert_eq!(back.members.len(), 2);
}

#[test]
fn a_leader_that_cannot_skip_the_assignment_is_told_that_it_follows() {
    let mut world = World::new();
    let (generation, ids) = stable_statics(&mut world, 2);
    let request = JoinRequest { can_skip_assignment: false, ..static_join("app", "i-0") };
    let back = world.join(request).take().expect("at once").outcome.expect("its place");
    assert_eq!((back.generation, &back.leader), (generation, &ids[0]));
    assert!(back.members.is_empty());
}

#[test]
fn the_replaced_instance_is_fenced_wherever_it_turns_up() {
    let mut world = World::new();
    let (generation, ids) = stable_statics(&mut world, 2);
    world.join(static_join("app", "i-1")).take().expect("at once");
    let heartbeat =
        HeartbeatRequest { group_id: GROUP.into(), generation, member_id: ids[1].clone(), instance_id: Some("i-1".into()) };
    let mut answer = world.ask(|shard, ticket, now, out| shard.heartbeat(heartbeat, ticket, now, out));
    assert_eq!(answer.take(), Some(Err(GroupError::FencedInstance)));
    let mut rejoin = static_join("app", "i-1");
    rejoin.member_id = ids[1].clone();
    assert_eq!(refusal(&mut world.join(rejoin)), GroupError::FencedInstance);
    let mut commit = commit_request(&ids[1], generation, "orders", 5);
    commit.instance_id = Some("i-1".into());
    assert_eq!(world.commit_request(commit), Err(GroupError::FencedInstance));
}

#[test]
fn an_instance_that_waits_to_join_is_fenced_by_its_successor() {
    let mut world = World::new();
    let mut first = world.join(static_join("app", "i-0"));
    let mut second = world.join(static_join("app", "i-0"));
    assert_eq!(refusal(&mut first), GroupError::FencedInstance);
    world.advance(3 * DELAY_MS);
    assert_eq!(joined(&mut second).generation, 1);
}

#[test]
fn a_restarted_member_with_another_protocol_makes_the_group_rebalance() {
    let mut world = World::new();
    let mut only = static_join("app", "i-0");
    only.protocols = vec![protocol("range", &["orders"]), protocol("sticky", &["orders"])];
    let mut answer = world.join(only.clone());
    world.advance(3 * DELAY_MS);
    let id = answer.take().expect("joined").member_id;
    world.share_out(&id, 1, std::slice::from_ref(&id));
    only.protocols.remove(0);
    let mut back = world.join(only);
    let next = joined(&mut back);
    assert_eq!((next.generation, next.protocol_name.as_deref()), (2, Some("sticky")));
}

#[test]
fn a_restarted_member_too_large_to_be_written_down_makes_the_group_rebalance() {
    let mut world = World::new();
    let (generation, _) = stable_statics(&mut world, 1);
    let before = world.records.len();
    let mut back = static_join("app", "i-0");
    let huge = "t".repeat(10_000);
    back.protocols = vec![protocol("range", &[huge.as_str(); 20])];
    let mut answer = world.join(back);
    let next = joined(&mut answer);
    assert_eq!((next.generation, next.members.len()), (generation + 1, 1));
    let refusal = world.sync(&next.leader, next.generation, &[]).take().expect("answered").expect_err("too large");
    assert!(matches!(refusal, GroupError::RecordTooLarge { .. }), "{refusal}");
    assert_eq!(world.records.len(), before, "nothing is written");
}

#[test]
fn static_members_keep_their_place_through_a_rebalance_they_miss() {
    let mut world = World::new();
    let (generation, ids) = stable_statics(&mut world, 2);
    let mut rejoin = static_join("app", "i-0");
    rejoin.member_id = ids[0].clone();
    rejoin.protocols = vec![protocol("range", &["orders", "refunds"])];
    let mut leader = world.join(rejoin);
    for _ in 0..REBALANCE_MS / 5_000 {
        world.advance(5_000);
        let _alive = world.heartbeat(&ids[1], generation);
    }
    let next = joined(&mut leader);
    assert_eq!((next.generation, next.members.len()), (generation + 1, 2));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut world = World::new();
    stable_statics(&mut world, 2);
    assert_eq!(world.leave("", Some("i-9"))[0].outcome, Err(GroupError::UnknownMember));
    assert_eq!(world.leave("", Some("i-1"))[0].outcome, Ok(()));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_rebalance_that_a_silent_static_member_gives_no_time_does_not_spin() {
    let mut world = World::new();
    let mut first = world.join(static_join("app", "i-0"));
    let hasty = JoinRequest { rebalance_timeout_ms: 0, ..static_join("app", "i-1") };
    let mut second = world.join(hasty);
    world.advance(2 * DELAY_MS);
    let ids = [first.take().expect("joined").member_id, second.take().expect("joined").member_id];
    world.share_out(&ids[0], 1, &ids);
    world.leave("", Some("i-0"));
    let (before, step_ms) = (world.now().monotonic_ms, 5_000);
    world.advance(step_ms);
    assert_eq!(world.now().monotonic_ms, before + step_ms);
    assert_eq!(world.state(), "PreparingRebalance", "the silent member keeps its place until its session ends");
}
