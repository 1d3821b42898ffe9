//! Locks: one client a partition, also after a restart.

use super::super::locks::{LOCK_LIFE_MS, NamedPartition};
use super::super::{GroupError, OffsetsRecord, decode_offsets_record};
use super::{GROUP, World};
use duolog_base::PartitionIndex;

fn orders(index: i32) -> NamedPartition {
    ("orders".to_owned(), PartitionIndex(index))
}

impl World {
    fn lock(&mut self, client: &str, wanted: &[i32]) -> Vec<i32> {
        let wanted = wanted.iter().map(|index| orders(*index)).collect();
        let mut answer = self.ask(|shard, ticket, now, out| shard.lock(GROUP, client, wanted, ticket, now, out));
        let held = answer.take().expect("answered at once").expect("a valid request");
        held.into_iter().map(|(_, index)| index.0).collect()
    }

    fn unlock(&mut self, client: &str, given_back: &[i32]) {
        let given_back: Vec<_> = given_back.iter().map(|index| orders(*index)).collect();
        let mut answer = self.ask(|shard, ticket, _, out| shard.unlock(GROUP, client, &given_back, ticket, out));
        assert_eq!(answer.take(), Some(Ok(())));
    }

    /// Whose the locks are that the log knows of.
    fn recorded(&self) -> Vec<(i32, String)> {
        let mut owners = std::collections::BTreeMap::new();
        for record in &self.records {
            if let OffsetsRecord::Lock { partition, client, .. } =
                decode_offsets_record(&record.key, record.value.as_deref()).expect("its own record")
            {
                match client {
                    Some(client) => owners.insert(partition.0, client.to_owned()),
                    None => owners.remove(&partition.0),
                };
            }
        }
        owners.into_iter().collect()
    }
}

#[test]
fn a_partition_has_one_client_until_it_unlocks_or_falls_silent() {
    let mut world = World::new();
    assert_eq!(world.lock("a", &[0, 1]), [0, 1]);
    assert_eq!(world.lock("b", &[1, 2]), [2]);
    world.unlock("b", &[0]);
    world.unlock("a", &[1]);
    assert_eq!(world.lock("b", &[0, 1]), [1]);
    world.advance(50_000);
    assert_eq!(world.lock("a", &[0]), [0], "renewed");
    world.advance(LOCK_LIFE_MS);
    assert!(world.lock("b", &[0]).is_empty());
    world.advance(1);
    assert_eq!(world.lock("b", &[0]), [0]);
}

#[test]
fn a_new_home_knows_whose_the_locks_are_and_counts_their_life_anew() {
    let mut world = World::new();
    assert_eq!(world.lock("a", &[0, 1]), [0, 1]);
    assert_eq!(world.lock("b", &[2]), [2]);
    world.unlock("b", &[2]);
    world.advance(LOCK_LIFE_MS);
    let mut world = world.restarted();
    assert_eq!(world.lock("b", &[0, 1, 2]), [2]);
    world.advance(LOCK_LIFE_MS);
    assert_eq!(world.lock("a", &[1]), [1], "renewed where it was not taken");
    world.advance(1);
    assert_eq!(world.lock("b", &[0, 1]), [0]);
    let mut world = world.restarted();
    assert_eq!(world.lock("a", &[0, 1]), [1]);
    assert_eq!(world.lock("b", &[0, 1, 2]), [0, 2]);
}

#[test]
fn every_answer_that_says_a_client_holds_something_is_written() {
    let mut world = World::new();
    world.lock("a", &[0, 1]);
    let before = world.records.len();
    world.lock("a", &[0, 1]);
    assert_eq!(world.records.len(), before + 1, "a renewal is one record, however many locks it is of");
    world.lock("b", &[0, 1]);
    assert_eq!(world.records.len(), before + 1);
}

#[test]
fn locks_that_have_died_leave_the_log() {
    let mut world = World::new();
    world.lock("a", &[0]);
    world.advance(30_000);
    world.lock("b", &[1]);
    assert_eq!(world.recorded(), [(0, "a".to_owned()), (1, "b".to_owned())]);
    world.advance(31_000);
    assert_eq!(world.recorded(), [(1, "b".to_owned())]);
    world.advance(30_000);
    assert!(world.recorded().is_empty());
    assert_eq!(world.restarted().lock("c", &[0, 1]), [0, 1]);
}

#[test]
fn names_that_do_not_fit_a_record_are_refused() {
    let mut world = World::new();
    let (long, partition) = ("x".repeat(256), PartitionIndex(0));
    for (group, client, topic) in [(&*long, "a", "t"), (GROUP, &*long, "t"), (GROUP, "a", &*long)] {
        let wanted = vec![(topic.to_owned(), partition)];
        let mut answer = world.ask(|shard, ticket, now, out| shard.lock(group, client, wanted, ticket, now, out));
        assert!(matches!(answer.take(), Some(Err(GroupError::InvalidRequest { .. }))));
    }
    assert!(world.records.is_empty());
}
