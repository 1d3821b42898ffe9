//! One id is one kind of group.

use super::*;
use crate::group::tests::{commit_request, join_request};

#[test]
fn a_share_group_is_no_classic_group() {
    let (mut world, image) = (World::new(), image(&[("orders", 1)]));
    world.joins("a", &["orders"], &image);
    let mut join = join_request("client", &["orders"]);
    join.group_id = GROUP.into();
    let refused = world.join(join).take().expect("answered at once");
    assert_eq!(refused.outcome, Err(GroupError::InconsistentProtocol));
    let mut commit = commit_request("", -1, "orders", 7);
    commit.group_id = GROUP.into();
    assert_eq!(world.commit_request(commit), Err(GroupError::GroupNotFound));
    let mut deleted = world.ask(|shard, ticket, _, out| shard.delete(GROUP, ticket, out));
    assert_eq!(deleted.take(), Some(Err(GroupError::GroupNotFound)));
}

#[test]
fn a_classic_group_is_no_share_group() {
    let (mut world, image) = (World::new(), image(&[("orders", 1)]));
    let mut commit = commit_request("", -1, "orders", 7);
    commit.group_id = GROUP.into();
    world.commit_request(commit).expect("a group that stores offsets");
    assert_eq!(world.beat("a", JOIN_EPOCH, Some(&["orders"]), &image), Err(GroupError::GroupNotFound));
    assert_eq!(world.described(), Err(GroupError::GroupNotFound));
}

#[test]
fn share_groups_are_listed_as_such() {
    let (mut world, image) = (World::new(), image(&[("orders", 1)]));
    world.joins("a", &["orders"], &image);
    let mut commit = commit_request("", -1, "orders", 7);
    commit.group_id = "classic-one".into();
    world.commit_request(commit).expect("a group that stores offsets");
    let of_type = |kind: &str| ListFilter { types: vec![kind.to_owned()], states: Vec::new() };
    assert_eq!(world.listed(of_type("Share")), [(GROUP.to_owned(), "share", "Stable")]);
    assert_eq!(world.listed(of_type("classic")), [("classic-one".to_owned(), "classic", "Empty")]);
    assert_eq!(world.listed(ListFilter::default()).len(), 2);
    assert_eq!(world.listed(ListFilter { states: vec!["empty".to_owned()], types: vec!["share".to_owned()] }), []);
}
