//! Committed offsets: who may commit, what is told, what is forgotten and when.

use super::super::request::{DeleteOffsetsTopic, FetchTopic, ListFilter};
use super::*;
use crate::config::BrokerConfig;
use crate::metadata::{MetadataImage, TopicImage};
use std::collections::BTreeMap;

const DAY_MS: u64 = 24 * 3_600_000;

fn delete(world: &mut World, topic: &str) -> Result<Vec<TopicOutcome>, GroupError> {
    let topics = [DeleteOffsetsTopic { name: topic.into(), partitions: vec![PartitionIndex(0)] }];
    let mut answer = world.ask(|shard, ticket, now, out| shard.delete_offsets(GROUP, &topics, ticket, now, out));
    answer.take().expect("answered at once")
}

fn delete_group(world: &mut World) -> Result<(), GroupError> {
    world.ask(|shard, ticket, _, out| shard.delete(GROUP, ticket, out)).take().expect("answered at once")
}

#[test]
fn a_member_commits_in_its_generation_only() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    assert_eq!(world.commit(&ids[0], generation, "orders", 5), Ok(()));
    assert_eq!(world.committed("orders"), Some(5));
    let stale = GroupError::IllegalGeneration { asked: generation + 1, current: generation };
    assert_eq!(world.commit(&ids[0], generation + 1, "orders", 9), Err(stale));
    assert_eq!(world.commit("who", generation, "orders", 9), Err(GroupError::UnknownMember));
    assert_eq!(world.commit("", -1, "orders", 9), Err(GroupError::UnknownMember), "the group has members");
    assert_eq!(world.committed("orders"), Some(5));
}

#[test]
fn a_member_that_has_no_share_yet_cannot_commit() {
    let mut world = World::new();
    let (id, mut answer) = world.join_dynamic("a", &["orders"]);
    world.advance(3 * DELAY_MS);
    joined(&mut answer);
    assert_eq!(world.commit(&id, 1, "orders", 5), Err(GroupError::RebalanceInProgress));
}

#[test]
fn members_commit_while_their_group_prepares_to_rebalance() {
    let mut world = World::new();
    let (generation, ids) = world.stable(2);
    world.leave(&ids[0], None);
    assert_eq!(world.state(), "PreparingRebalance");
    assert_eq!(world.commit(&ids[1], generation, "orders", 8), Ok(()));
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    world.advance(SESSION_MS as u64 - 1);
    world.commit(&ids[0], generation, "orders", 5).expect("its own");
    world.advance(SESSION_MS as u64 - 1);
    assert_eq!(world.state(), "Stable");
}

#[test]
fn consumers_without_a_group_protocol_store_offsets_under_any_name() {
    let mut world = World::new();
    let unknown = commit_request("m", 3, "orders", 5);
    assert_eq!(world.commit_request(unknown.clone()), Err(GroupError::GroupNotFound));
    let old_client = CommitRequest { knows_group_not_found: false, ..unknown };
    assert!(matches!(world.commit_request(old_client), Err(GroupError::IllegalGeneration { .. })));
    assert_eq!(world.commit("", -1, "orders", 5), Ok(()));
    assert_eq!(world.committed("orders"), Some(5));
    assert_eq!(world.restarted().committed("orders"), Some(5));
}

#[test]
fn long_metadata_is_refused_for_its_partition_only() {
    let mut world = World::new();
    let mut request = commit_request("", -1, "orders", 5);
    let mut long = request.topics[0].partitions[0].clone();
    long.partition = PartitionIndex(1);
    long.metadata = "x".repeat(4_097);
    request.topics[0].partitions.push(long);
    let outcomes = world.commit_request(request).expect("a valid group");
    assert_eq!(outcomes[0].partitions[0].outcome, Ok(()));
    assert!(matches!(outcomes[0].partitions[1].outcome, Err(GroupError::MetadataTooLarge { .. })));
}

#[test]
fn what_was_never_committed_is_told_as_missing() {
    let mut world = World::new();
    world.commit("", -1, "orders", 5).expect("stored");
    for group in [GROUP, "nobody"] {
        let topics = vec![FetchTopic { name: "orders".into(), partitions: vec![PartitionIndex(0), PartitionIndex(1)] }];
        let request = FetchRequest { group_id: group.into(), topics: Some(topics) };
        let found = world.ask(|shard, ticket, _, out| shard.fetch(&request, ticket, out)).take().expect("at once");
        let committed: Vec<_> = found[0].partitions.iter().map(|found| found.committed.is_some()).collect();
        assert_eq!(committed, [group == GROUP, false]);
    }
}

#[test]
fn offsets_outlive_the_last_member_by_the_retention() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    world.commit(&ids[0], generation, "orders", 5).expect("its own");
    for _ in 0..2_000 {
        world.advance(5_000);
        world.heartbeat(&ids[0], generation).expect("alive");
    }
    world.leave(&ids[0], None);
    world.advance(7 * DAY_MS - 1_200_000);
    assert_eq!(world.committed("orders"), Some(5));
    world.advance(2_400_000);
    assert_eq!(world.committed("orders"), None);
    assert_eq!(world.state(), "Dead", "nothing is left of the group");
    assert!(world.restarted().shard.groups.is_empty());
}

#[test]
fn offsets_of_topics_that_members_gave_up_expire_from_their_commit() {
    let mut world = World::new();
    let (generation, ids) = world.stable(1);
    world.commit(&ids[0], generation, "orders", 5).expect("its own");
    world.commit(&ids[0], generation, "given-up", 6).expect("its own");
    for _ in 0..(7 * DAY_MS / 5_000 + 300) {
        world.advance(5_000);
        world.heartbeat(&ids[0], generation).expect("alive");
    }
    assert_eq!(world.committed("orders"), Some(5), "a subscribed topic's offset stays");
    assert_eq!(world.committed("given-up"), None);
}

#[test]
fn offsets_of_simple_consumers_expire_from_their_commit() {
    let mut world = World::new();
    world.commit("", -1, "orders", 5).expect("stored");
    world.advance(4 * DAY_MS);
    world.commit("", -1, "refunds", 6).expect("stored");
    world.advance(4 * DAY_MS);
    assert_eq!((world.committed("orders"), world.committed("refunds")), (None, Some(6)));
    let restarted = world.restarted().committed("refunds");
    assert_eq!(restarted, Some(6));
}

#[test]
fn a_retention_asked_for_by_an_old_client_counts() {
    let mut world = World::new();
    let mut request = commit_request("", -1, "orders", 5);
    request.retention_ms = Some(DAY_MS as i64);
    world.commit_request(request).expect("stored");
    let mut world = world.restarted();
    assert_eq!(world.committed("orders"), Some(5));
    world.advance(DAY_MS + 600_000);
    assert_eq!(world.committed("orders"), None);
}

#[test]
fn offsets_are_deleted_only_for_topics_that_nobody_consumes() {
    let mut world = World::new();
    assert_eq!(delete(&mut world, "orders"), Err(GroupError::GroupNotFound));
    let (generation, ids) = world.stable(1);
    for topic in ["orders", "refunds"] {
        world.commit(&ids[0], generation, topic, 5).expect("its own");
    }
    let subscribed = delete(&mut world, "orders").expect("a valid group");
    assert_eq!(subscribed[0].partitions[0].outcome, Err(GroupError::SubscribedToTopic));
    let free = delete(&mut world, "refunds").expect("a valid group");
    assert_eq!(free[0].partitions[0].outcome, Ok(()));
    assert_eq!((world.committed("orders"), world.committed("refunds")), (Some(5), None));
    assert_eq!(world.restarted().committed("refunds"), None);
}

#[test]
fn groups_without_members_can_be_deleted() {
    let mut world = World::new();
    assert_eq!(delete_group(&mut world), Err(GroupError::GroupNotFound));
    let (generation, ids) = world.stable(1);
    world.commit(&ids[0], generation, "orders", 5).expect("its own");
    assert_eq!(delete_group(&mut world), Err(GroupError::NonEmptyGroup));
    world.leave(&ids[0], None);
    assert_eq!(delete_group(&mut world), Ok(()));
    assert!(world.restarted().shard.groups.is_empty());
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut world = World::new();
    for topic in ["deleted", "created-again", "kept"] {
        world.commit("", -1, topic, 5).expect("stored");
    }
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for (name, id) in [("created-again", TopicId(8)), ("kept", TopicId(7))] {
        image.topics.insert(name.into(), Arc::new(topic_image(name, id)));
    }
    world.ask(|shard, ticket, _, out| shard.forget_deleted_topics(&image, ticket, out)).take().expect("done");
    for mut world in [world.restarted(), world] {
        assert_eq!(world.committed("deleted"), None);
        assert_eq!(world.committed("created-again"), None);
        assert_eq!(world.committed("kept"), Some(5));
    }
}

fn topic_image(name: &str, id: TopicId) -> TopicImage {
    TopicImage {
        id,
        name: name.into(),
        partitions: Vec::new(),
        overrides: BTreeMap::new(),
        config: BrokerConfig::default().topic,
        internal: false,
    }
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    world.stable(1);
    let mut names = |states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filter = ListFilter { states: owned(states), types: owned(types) };
        world.ask(|shard, ticket, _, out| shard.list(&filter, ticket, out)).take().expect("at once").len()
    };
    assert_eq!(names(&[], &[]), 1);
    assert_eq!(names(&["stable"], &["Classic"]), 1);
    assert_eq!(names(&["Empty"], &[]), 0);
    assert_eq!(names(&[], &["consumer"]), 0);
}

#[test]
fn a_description_tells_members_and_shares() {
    let mut world = World::new();
    let (_, ids) = world.stable(1);
    let described = world.ask(|shard, ticket, _, out| shard.describe(GROUP, ticket, out)).take().expect("at once");
    let described = described.expect("it exists");
    assert_eq!((described.state, described.protocol_name.as_str()), ("Stable", "range"));
    let member = &described.members[0];
    assert_eq!(
        (member.member_id.as_str(), member.client_id.as_str(), &member.assignment[..]),
        (ids[0].as_str(), "client-0", &b"0"[..])
    );
}
