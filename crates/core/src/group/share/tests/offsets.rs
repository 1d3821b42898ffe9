//! What administrators may do to the states of a group, and when.

use super::*;
use crate::group::share::SharePartitions;
use duolog_base::PartitionIndex;

impl World {
    fn partitions(&mut self, to_change: bool) -> Result<SharePartitions, GroupError> {
        let asked = self.ask(|shard, ticket, _, out| shard.share_partitions(GROUP, to_change, ticket, out));
        let mut asked = asked;
        asked.take().expect("answered at once")
    }

    fn delete_share(&mut self) -> Result<(), GroupError> {
        self.ask(|shard, ticket, _, out| shard.share_delete(GROUP, ticket, out)).take().expect("answered at once")
    }
}

#[test]
fn states_change_only_while_nobody_is_there() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    assert_eq!(world.partitions(false), Err(GroupError::GroupNotFound));
    world.joins("a", &["orders"], &image);
    assert_eq!(world.partitions(false).map(|known| count(&known.initialized)), Ok(2));
    assert_eq!(world.partitions(true), Err(GroupError::NonEmptyGroup));
    assert_eq!(world.delete_share(), Err(GroupError::NonEmptyGroup));
    world.leaves("a", &image).expect("it was a member");
    assert_eq!(world.partitions(true).map(|known| count(&known.all())), Ok(2));
    assert_eq!(world.delete_share(), Ok(()));
    assert_eq!(world.delete_share(), Err(GroupError::GroupNotFound));
    assert_eq!(world.restarted().partitions(false), Err(GroupError::GroupNotFound), "nothing comes back");
}

#[test]
fn an_initialization_that_was_cut_short_is_deleted_with_its_group() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    world.beat_once(&request("a", JOIN_EPOCH, Some(&["orders"])), &image).expect("a member");
    let mut world = world.restarted();
    world.leaves("a", &image).expect("it is a member");
    let known = world.partitions(true).expect("nobody is there");
    assert_eq!((count(&known.initialized), count(&known.all())), (0, 2));
    assert_eq!(known.names[&TopicId(1)], "orders");
}

#[test]
fn offsets_are_set_in_a_new_epoch_also_of_a_group_that_is_not_there_yet() {
    let (mut world, image) = (World::new(), image(&[("orders", 2)]));
    let one: ShareAssignment = [(TopicId(1), [PartitionIndex(1)].into())].into();
    let names = BTreeMap::from([(TopicId(1), "orders".to_owned())]);
    let begin = |world: &mut World| {
        let mut epoch = world.ask(|shard, ticket, _, out| shard.share_begin_alter(GROUP, &one, &names, ticket, out));
        epoch.take().expect("answered at once")
    };
    assert_eq!(begin(&mut world), Ok(1));
    assert_eq!(begin(&mut world), Ok(2));
    world.initialized(&one);
    assert_eq!(world.restarted().partitions(false).map(|known| known.initialized), Ok(one.clone()));
    let joined = world.joins("a", &["orders"], &image);
    assert!(joined.member_epoch > 2);
    assert_eq!(begin(&mut world), Err(GroupError::NonEmptyGroup));
    world.leaves("a", &image).expect("it is a member");
    let mut forgotten = world.ask(|shard, ticket, _, out| shard.share_forget(GROUP, &[TopicId(1)], ticket, out));
    assert_eq!(forgotten.take(), Some(Ok(())));
    assert_eq!(world.restarted().partitions(false).map(|known| count(&known.all())), Ok(0));
}
