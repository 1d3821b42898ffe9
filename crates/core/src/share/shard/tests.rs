//! The share coordinator's shard, called as the runtime would: what is answered, what is written, and that replay gives the same.

use super::*;
use crate::coordinator::{Record, ticket};
use crate::share::OffsetRange;
use crate::share::state::{Stage, StateBatch, Stored};
use duolog_base::{PartitionIndex, TopicId};
use proptest::prelude::*;
use std::sync::Arc;

const NOW: Now = Now { monotonic_ms: 0, wall: TimestampMs(7) };

fn place(partition: i32) -> SharePartition {
    SharePartition { group: Arc::from("g"), topic: TopicId(5), partition: PartitionIndex(partition) }
}

fn batch(first: i64, last: i64, stage: Stage, delivery_count: i16) -> StateBatch {
    StateBatch::new(OffsetRange { first: Offset(first), last: Offset(last) }, Stored { stage, delivery_count })
}

fn write(start: i64, batches: Vec<StateBatch>) -> Write {
    Write { start, delivery_complete_count: batches.len() as i32, batches }
}

/// A shard and everything it has written.
#[derive(Default)]
struct World {
    shard: ShareShard,
    log: Vec<Record>,
}

impl World {
    fn call<T: Send + 'static>(&mut self, operation: impl FnOnce(&mut ShareShard, Ticket<T>, &mut Output)) -> T {
        let (ticket, mut waiting) = ticket();
        let mut out = Output::default();
        operation(&mut self.shard, ticket, &mut out);
        self.log.extend(out.take_records());
        out.release();
        waiting.take().expect("answered")
    }

    fn initialize(&mut self, state_epoch: i32, start: Option<i64>) -> Result<(), StateError> {
        self.call(|shard, ticket, out| shard.initialize(place(0), state_epoch, start.map(Offset), ticket, NOW, out))
    }

    fn read(&mut self, leader_epoch: i32) -> Result<ShareState, StateError> {
        self.call(|shard, ticket, out| shard.read(&place(0), LeaderEpoch(leader_epoch), ticket, NOW, out))
    }

    fn write(&mut self, state_epoch: i32, leader_epoch: i32, write: Write) -> Result<(), StateError> {
        let by = Writer { state_epoch, leader_epoch };
        self.call(|shard, ticket, out| shard.write(&place(0), by, write, ticket, NOW, out))
    }

    fn summary(&mut self) -> Result<ShareSummary, StateError> {
        self.call(|shard, ticket, out| shard.summary(&place(0), ticket, out))
    }

    fn delete(&mut self) {
        self.call(|shard, ticket, out| shard.delete(&place(0), ticket, out)).unwrap();
    }

    /// The log with the newest record of each key only, as compaction leaves it.
    fn compacted(&self) -> Vec<Record> {
        let is_newest = |(at, record): &(usize, &Record)| self.log[at + 1..].iter().all(|later| later.key != record.key);
        self.log.iter().enumerate().filter(is_newest).map(|(_, record)| record.clone()).collect()
    }

    fn restart(&mut self, is_compacted: bool) {
        let before = std::mem::take(&mut self.shard);
        if is_compacted {
            self.log = self.compacted();
        }
        for Record { key, value } in &self.log {
            self.shard.replay(key, value.as_deref()).unwrap();
        }
        assert_eq!(told(&before), told(&self.shard));
    }
}

/// What a shard can be asked.
fn told(shard: &ShareShard) -> Vec<String> {
    let each = shard.known.iter().map(|(at, known)| {
        let Known { state_epoch, leader_epoch, start, delivery_complete_count, snapshot_epoch, batches, .. } = known;
        let epochs = (state_epoch, leader_epoch, snapshot_epoch);
        format!("{at:?} {epochs:?} {start:?} {delivery_complete_count} {:?}", batches.to_list())
    });
    each.collect()
}

#[test]
fn what_was_not_initialized_is_neither_read_nor_written() {
    let mut world = World::default();
    assert_eq!(world.read(1), Err(StateError::NotInitialized));
    assert_eq!(world.write(1, 1, write(0, Vec::new())), Err(StateError::NotInitialized));
    assert_eq!(world.summary(), Err(StateError::NotInitialized));
    world.delete();
    assert_eq!(world.log, []);
}

#[test]
fn a_state_begins_where_it_is_told_and_again_only_with_a_later_epoch() {
    let mut world = World::default();
    world.initialize(3, None).unwrap();
    assert_eq!(world.summary().unwrap().start_offset, None);
    world.initialize(3, Some(10)).unwrap();
    assert_eq!(world.summary().unwrap().start_offset, None, "that epoch has begun");
    assert_eq!(world.initialize(2, Some(10)), Err(StateError::FencedState));
    world.read(1).unwrap();
    world.write(3, 1, write(5, vec![batch(6, 7, Stage::Acknowledged, 1)])).unwrap();
    world.initialize(4, None).unwrap();
    assert_eq!(world.summary().unwrap().start_offset, Some(Offset(5)), "nothing was said of a start");
    world.initialize(4, Some(20)).unwrap();
    let summary = world.summary().unwrap();
    assert_eq!((summary.start_offset, summary.state_epoch, summary.leader_epoch), (Some(Offset(20)), 4, LeaderEpoch(1)));
    assert_eq!(world.write(3, 1, write(6, Vec::new())), Err(StateError::FencedState));
    assert_eq!(world.read(1).unwrap().batches, []);
    world.restart(false);
    world.restart(true);
}

#[test]
fn a_leader_that_reads_turns_away_those_before_it() {
    let mut world = World::default();
    world.initialize(1, Some(0)).unwrap();
    world.read(4).unwrap();
    assert_eq!(world.write(1, 3, write(1, Vec::new())), Err(StateError::FencedLeader));
    assert_eq!(world.read(3), Err(StateError::FencedLeader));
    world.restart(true);
    assert_eq!(world.write(1, 3, write(1, Vec::new())), Err(StateError::FencedLeader));
    world.write(1, 4, write(1, Vec::new())).unwrap();
    let written = world.log.len();
    world.read(4).unwrap();
    assert_eq!(world.log.len(), written, "the same leader changes nothing");
}

#[test]
fn what_is_deleted_is_gone_and_may_begin_again() {
    let mut world = World::default();
    world.initialize(5, Some(0)).unwrap();
    world.read(1).unwrap();
    world.write(5, 1, write(3, vec![batch(4, 4, Stage::Archived, 5)])).unwrap();
    world.delete();
    world.restart(false);
    assert_eq!(world.summary(), Err(StateError::NotInitialized));
    world.initialize(1, Some(0)).unwrap();
    world.restart(true);
    assert_eq!(world.read(0).unwrap(), ShareState { state_epoch: 1, start: Some(0), batches: Vec::new() });
}

#[test]
fn many_ranges_are_a_snapshot_from_time_to_time() {
    let mut world = World::default();
    world.initialize(1, Some(0)).unwrap();
    world.read(1).unwrap();
    for at in 1..400 {
        world.write(1, 1, write(0, vec![batch(2 * at, 2 * at, Stage::Acknowledged, 1)])).unwrap();
    }
    let is_snapshot = |record: &&Record| record.key.starts_with(&[0, 0]);
    assert!(world.log.iter().filter(is_snapshot).count() > 4);
    let longest = world.log.iter().filter(|record| !is_snapshot(record)).filter_map(|record| Some(record.value.as_ref()?.len()));
    assert!(longest.max().unwrap() < 2_000, "an update holds what was written since the snapshot only");
    world.restart(false);
    world.restart(true);
    assert_eq!(world.read(1).unwrap().batches.len(), 399);
}

#[test]
fn topics_that_are_gone_are_forgotten() {
    let mut world = World::default();
    world.initialize(1, Some(0)).unwrap();
    let image = MetadataImage::default();
    world.call(|shard, ticket, out| shard.forget_deleted_topics(&image, ticket, out));
    assert_eq!(world.shard, ShareShard::default());
    world.restart(false);
}

#[derive(Clone, Debug)]
enum Step {
    Initialize(i32, Option<i64>),
    Delete,
    Read(i32),
    Write(i32, i32, i64, Vec<StateBatch>),
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let batches = (0..40i64, 0..5i64, any::<bool>(), 1..4i16).prop_map(|(first, length, is_done, count)| {
        let stage = if is_done { Stage::Acknowledged } else { Stage::Available };
        batch(first, first + length, stage, count)
    });
    prop_oneof![
        1 => (0..4i32, prop::option::of(0..10i64)).prop_map(|(epoch, start)| Step::Initialize(epoch, start)),
        1 => Just(Step::Delete),
        2 => (0..4i32).prop_map(Step::Read),
        8 => (0..4i32, 0..4i32, 0..30i64, prop::collection::vec(batches, 0..4))
            .prop_map(|(state, leader, start, batches)| Step::Write(state, leader, start, batches)),
        2 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn replay_gives_what_was_told_whatever_was_compacted(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::default();
        let _ = world.initialize(1, None);
        for step in steps {
            match step {
                Step::Initialize(epoch, start) => drop(world.initialize(epoch, start)),
                Step::Delete => world.delete(),
                Step::Read(epoch) => drop(world.read(epoch)),
                Step::Write(state, leader, start, batches) => drop(world.write(state, leader, write(start, batches))),
                Step::Restart(is_compacted) => world.restart(is_compacted),
            }
        }
        world.restart(true);
    }

    #[test]
    fn any_bytes_are_replayed_or_refused(key: Vec<u8>, value: Option<Vec<u8>>) {
        let _ = ShareShard::default().replay(&key, value.as_deref());
    }
}
