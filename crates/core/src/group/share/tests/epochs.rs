//! Members through joins, changes and silence.

use super::*;

#[test]
fn a_member_that_joins_is_told_all_partitions_at_once() {
    let (mut world, image) = (World::new(), image(&[("orders", 3), ("other", 1)]));
    let answer = world.joins("a", &["orders"], &image);
    assert_eq!(answer.assignment.as_ref().map(count), Some(3));
    assert!(answer.uninitialized.is_empty() && answer.member_epoch > 0);
    let next = world.beat("a", answer.member_epoch, None, &image).expect("a heartbeat");
    assert_eq!((next.member_epoch, next.assignment), (answer.member_epoch, None), "nothing has changed");
}

#[test]
fn what_has_no_state_is_not_shared_out_and_named_until_it_has() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    let join = request("a", JOIN_EPOCH, Some(&["orders"]));
    let answer = world.beat_once(&join, &image).expect("a member");
    assert_eq!((answer.assignment.as_ref().map(count), count(&answer.uninitialized)), (Some(0), 2));
    let again = world.beat_once(&request("a", answer.member_epoch, None), &image).expect("a heartbeat");
    assert_eq!((again.assignment, count(&again.uninitialized)), (None, 2), "it is tried again");
    world.initialized(&again.uninitialized);
    let last = world.beat("a", again.member_epoch, None, &image).expect("a heartbeat");
    assert_eq!(last.assignment.as_ref().map(count), Some(2));
}

#[test]
fn members_share_the_partitions_and_then_each_other() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    let first = world.joins("a", &["orders"], &image);
    let second = world.joins("b", &["orders"], &image);
    assert_eq!(second.assignment.as_ref().map(count), Some(1));
    let first = world.beat("a", first.member_epoch, None, &image).expect("a heartbeat");
    assert_eq!(first.assignment.as_ref().map(count), Some(1));
    assert_ne!(first.assignment, second.assignment);
    let third = world.joins("c", &["orders"], &image);
    assert_eq!(third.assignment.as_ref().map(count), Some(1), "with another one");
    assert_eq!(world.leaves("a", &image).map(|answer| answer.member_epoch), Ok(LEAVE_EPOCH));
    assert_eq!(world.leaves("b", &image).map(|answer| answer.member_epoch), Ok(LEAVE_EPOCH));
    let third = world.beat("c", third.member_epoch, None, &image).expect("a heartbeat");
    assert_eq!(third.assignment.as_ref().map(count), Some(2));
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let (mut world, two) = (World::new(), image(&[("orders", 2)]));
    let joined = world.joins("a", &["orders"], &two);
    let three = image(&[("orders", 3)]);
    let lost = world.beat("a", joined.member_epoch, None, &three).expect("a heartbeat");
    assert_eq!(lost.assignment.as_ref().map(count), Some(3));
    let again = world.beat("a", joined.member_epoch, None, &three).expect("it has not heard of the new epoch");
    assert_eq!(again, lost);
    let next = world.beat("a", lost.member_epoch, None, &three).expect("a heartbeat");
    assert_eq!(next.assignment, None);
    let fenced = GroupError::FencedMemberEpoch { asked: 99, current: lost.member_epoch };
    assert_eq!(world.beat("a", 99, None, &three), Err(fenced));
    let rejoined = world.joins("a", &["orders"], &three);
    assert_eq!((rejoined.member_epoch, rejoined.assignment), (lost.member_epoch, lost.assignment), "the same place");
}

#[test]
fn subscriptions_partitions_and_topics_come_and_go() {
    let (mut world, before) = (World::new(), image(&[("orders", 1), ("bills", 1)]));
    let a = world.joins("a", &["orders"], &before);
    let b = world.beat("a", a.member_epoch, Some(&["orders", "bills", "missing"]), &before).expect("a heartbeat");
    assert_eq!(b.assignment.as_ref().map(count), Some(2));
    let grown = image(&[("orders", 4), ("bills", 1), ("missing", 1)]);
    let c = world.beat("a", b.member_epoch, None, &grown).expect("a heartbeat");
    assert_eq!(c.assignment.as_ref().map(count), Some(6));
    // "bills" is another topic now.
    let mut other = image(&[("orders", 4), ("another", 1), ("missing", 1), ("bills", 2)]);
    other.topics.remove("another");
    other.topic_names.remove(&TopicId(2));
    let mut told = world.ask(|shard, ticket, _, out| shard.forget_deleted_topics(&other, ticket, out));
    assert_eq!(told.take(), Some(()));
    let d = world.beat("a", c.member_epoch, None, &other).expect("a heartbeat");
    let share = d.assignment.expect("a new share");
    assert_eq!(share.iter().map(|(topic, partitions)| (topic.0, partitions.len())).collect::<Vec<_>>(), [(1, 4), (3, 1), (4, 2)]);
}

#[test]
fn a_silent_member_is_thrown_out_and_its_share_goes_to_others() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    let a = world.joins("a", &["orders"], &image);
    world.advance(SESSION_MS / 2);
    let b = world.joins("b", &["orders"], &image);
    world.advance(SESSION_MS / 2 + 1);
    assert_eq!(world.beat("a", a.member_epoch, None, &image), Err(GroupError::UnknownMember));
    let b = world.beat("b", b.member_epoch, None, &image).expect("a heartbeat");
    assert_eq!(b.assignment.as_ref().map(count), Some(2));
    world.advance(10 * SESSION_MS);
    assert_eq!(world.described().expect("it is there").state, "Empty");
}

#[test]
fn a_group_survives_a_restart_with_its_members() {
    let (mut world, image) = (World::new(), image(&[("orders", 3)]));
    let a = world.joins("a", &["orders"], &image);
    let b = world.joins("b", &["orders"], &image);
    let a = world.beat("a", a.member_epoch, None, &image).expect("a heartbeat");
    let described = world.described();
    let mut restarted = world.restarted();
    assert_eq!(restarted.described(), described);
    for (member, epoch) in [("a", a.member_epoch), ("b", b.member_epoch)] {
        let answer = restarted.beat(member, epoch, None, &image).expect("a heartbeat");
        assert_eq!((answer.member_epoch, answer.assignment), (epoch, None), "nothing has changed for {member}");
    }
    restarted.advance(SESSION_MS + 1);
    assert_eq!(restarted.described().expect("it is there").members, [], "sessions run after a restart, too");
    assert_eq!(restarted.restarted().described().expect("it is there").members, []);
}

#[test]
fn heartbeats_that_make_no_sense_are_refused() {
    let (mut world, image) = (World::new(), image(&[("orders", 1)]));
    for (member, epoch, topics) in
        [("", 0, Some(&["orders"][..])), ("a", 0, None), ("a", 0, Some(&[][..])), ("a", -2, Some(&["orders"][..]))]
    {
        let answer = world.beat(member, epoch, topics, &image);
        assert!(matches!(answer, Err(GroupError::InvalidRequest { .. })), "{member:?} {epoch} {topics:?}: {answer:?}");
    }
    assert_eq!(world.beat("a", 1, None, &image), Err(GroupError::GroupNotFound));
    assert_eq!(world.leaves("a", &image), Err(GroupError::GroupNotFound));
    world.joins("a", &["orders"], &image);
    assert_eq!(world.beat("b", 1, None, &image), Err(GroupError::UnknownMember));
    assert_eq!(world.leaves("b", &image), Err(GroupError::UnknownMember));
    for at in 1..super::super::MAX_MEMBERS {
        world.joins(&format!("m{at}"), &["orders"], &image);
    }
    let full = GroupError::GroupFull { max: super::super::MAX_MEMBERS };
    assert_eq!(world.beat("late", JOIN_EPOCH, Some(&["orders"]), &image), Err(full));
}
