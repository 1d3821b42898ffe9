//! What is stored of one share-partition, and how writes of it come together.
//!
//! Of one state epoch, everything only moves forward: the start offset never goes back, a record that is done with stays so, a delivery
//! count never shrinks. So the order in which writes arrive, and how often, does not matter, and a write of which nobody knows whether it
//! arrived is simply sent again.

use super::ranges::{OffsetRange, Ranges};
use duolog_base::{LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

/// How far a record has come, as Kafka numbers it. (KIP-932)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// To be delivered (again).
    Available,
    Acknowledged,
    /// Given up, and on its way to the dead letters. (KIP-1191)
    Archiving,
    /// Rejected, delivered too often, or not there.
    Archived,
}

impl Stage {
    /// Kafka's number; 1 is a record that is acquired, which is never stored.
    pub fn number(self) -> i8 {
        match self {
            Stage::Available => 0,
            Stage::Acknowledged => 2,
            Stage::Archiving => 3,
            Stage::Archived => 4,
        }
    }

    pub fn from_number(number: i8) -> Option<Stage> {
        match number {
            0 | 1 => Some(Stage::Available),
            2 => Some(Stage::Acknowledged),
            3 => Some(Stage::Archiving),
            4 => Some(Stage::Archived),
            _ => None,
        }
    }

    pub fn is_done(self) -> bool {
        matches!(self, Stage::Acknowledged | Stage::Archived)
    }

    /// How late in the life of a record it comes.
    fn rank(self) -> u8 {
        match self {
            Stage::Available => 0,
            Stage::Archiving => 1,
            Stage::Acknowledged | Stage::Archived => 2,
        }
    }
}

/// What is stored of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub stage: Stage,
    pub delivery_count: i16,
}

impl Stored {
    /// Whether this comes after `other` in the life of a record.
    fn is_beyond(self, other: Stored) -> bool {
        (self.stage.rank(), self.delivery_count) > (other.stage.rank(), other.delivery_count) && !other.stage.is_done()
    }
}

/// The records of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateBatch {
    #[serde(rename = "f")]
    first: i64,
    #[serde(rename = "l")]
    last: i64,
    #[serde(rename = "s")]
    stage: Stage,
    #[serde(rename = "c")]
    delivery_count: i16,
}

impl StateBatch {
    pub fn new(range: OffsetRange, stored: Stored) -> StateBatch {
        let Stored { stage, delivery_count } = stored;
        StateBatch { first: range.first.0, last: range.last.0, stage, delivery_count }
    }

    /// `None` if it is not a range.
    pub fn range(&self) -> Option<OffsetRange> {
        let range = OffsetRange { first: Offset(self.first), last: Offset(self.last) };
        (self.first >= 0 && self.first <= self.last && self.last < i64::MAX).then_some(range)
    }

    pub fn stored(&self) -> Stored {
        Stored { stage: self.stage, delivery_count: self.delivery_count }
    }
}

/// What a leader stores at a time: everything it has changed since the write before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Where the share-partition starts.
    pub start: i64,
    /// Records behind the start that are done with.
    pub delivery_complete_count: i32,
    pub batches: Vec<StateBatch>,
}

/// Stored records behind the start of a share-partition. One that is not there was not delivered yet, as far as anybody has written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches(Ranges<Stored>);

impl Batches {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in what was written, as far as it is not behind what is known already.
    pub fn merge(&mut self, start: Offset, batches: &[StateBatch]) {
        for batch in batches {
            let Some(OffsetRange { first, last }) = batch.range() else { continue };
            let first = first.max(start);
            if first > last {
                continue;
            }
            let new = batch.stored();
            self.0.update(OffsetRange { first, last }, |known| match known {
                Some(known) if !new.is_beyond(*known) => *known,
                _ => new,
            });
        }
        self.0.remove_below(start);
    }

    pub fn to_list(&self) -> Vec<StateBatch> {
        self.0.iter().map(|(range, stored)| StateBatch::new(range, *stored)).collect()
    }
}

/// All that is stored of a share-partition, as its leader begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareState {
    pub state_epoch: i32,
    /// `None` until a leader has found out where the group begins.
    pub start: Option<i64>,
    pub batches: Vec<StateBatch>,
}

/// What is stored, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareSummary {
    /// Everything below is done with. `None` if nothing was fetched yet.
    pub start_offset: Option<Offset>,
    /// Of the last leader that asked for the state.
    pub leader_epoch: LeaderEpoch,
    pub state_epoch: i32,
    /// Records behind the start offset that are done with; -1 if nobody has said.
    pub delivery_complete_count: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch() -> impl Strategy<Value = StateBatch> {
        let stage = prop_oneof![Just(Stage::Available), Just(Stage::Archiving), Just(Stage::Acknowledged)];
        (0..20i64, 0..6i64, stage, 1..4i16).prop_map(|(first, length, stage, delivery_count)| StateBatch {
            first,
            last: first + length,
            stage,
            delivery_count: if stage.is_done() { 1 } else { delivery_count },
        })
    }

    proptest! {
        #[test]
        fn writes_come_to_the_same_in_any_order_and_more_than_once(
            batches in prop::collection::vec(batch(), 0..8),
            start in 0..10i64,
            order in any::<prop::sample::Index>(),
        ) {
            let mut once = Batches::default();
            once.merge(Offset(start), &batches);
            let mut turned = batches.clone();
            turned.rotate_left(order.index(batches.len().max(1)).min(batches.len()));
            turned.reverse();
            turned.extend(batches.iter().copied());
            let mut again = Batches::default();
            turned.iter().for_each(|batch| again.merge(Offset(0), &[*batch]));
            again.merge(Offset(start), &[]);
            prop_assert_eq!(once, again);
        }
    }

    #[test]
    fn what_is_done_stays_done_and_counts_do_not_shrink() {
        let of = |stage, delivery_count| StateBatch { first: 0, last: 9, stage, delivery_count };
        let mut batches = Batches::default();
        batches.merge(Offset(0), &[of(Stage::Available, 3), of(Stage::Available, 2)]);
        assert_eq!(batches.to_list(), [of(Stage::Available, 3)]);
        batches.merge(Offset(0), &[of(Stage::Archived, 1), of(Stage::Acknowledged, 5), of(Stage::Available, 9)]);
        assert_eq!(batches.to_list(), [of(Stage::Archived, 1)]);
    }

    #[test]
    fn numbers_are_those_of_kafka() {
        for stage in [Stage::Available, Stage::Acknowledged, Stage::Archiving, Stage::Archived] {
            assert_eq!(Stage::from_number(stage.number()), Some(stage));
        }
        assert_eq!(Stage::from_number(5), None);
    }
}
