//! Records that are given up and become dead letters: which they are, and that one has arrived. (KIP-1191)
//!
//! Until it has, the record is in flight: it holds the start where it is, those of its key behind it, and a place within the limit.

use super::{Delivery, OffsetRange, Partition, Progress, one};
use duolog_base::Offset;

/// Why a record is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was delivered as often as it may be.
    Attempts,
    /// A member has rejected it.
    Rejected,
}

/// A record that is to become a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burial {
    pub offset: Offset,
    pub deliveries: i16,
    /// `None` if an earlier leader has given it up.
    pub reason: Option<Reason>,
}

impl Partition {
    pub fn has_archiving(&self) -> bool {
        self.archiving > 0
    }

    /// The first so many records that are to become dead letters.
    pub fn burials(&self, most: usize) -> Vec<Burial> {
        if self.archiving == 0 {
            return Vec::new();
        }
        let archiving = self.deliveries.iter().filter_map(|(range, delivery)| match delivery.progress {
            Progress::Archiving { reason } => Some((range, delivery.count, reason)),
            _ => None,
        });
        let each = archiving.flat_map(|(OffsetRange { first, last }, deliveries, reason)| {
            (first.0..=last.0).map(move |at| Burial { offset: Offset(at), deliveries, reason })
        });
        each.take(most).collect()
    }

    /// The record is among the dead letters.
    pub fn buried(&mut self, offset: Offset) {
        let is_archiving = |delivery: &&Delivery| matches!(delivery.progress, Progress::Archiving { .. });
        let Some(count) = self.delivery(offset).filter(is_archiving).map(|delivery| delivery.count) else { return };
        self.put(one(offset), Delivery { progress: Progress::Archived, count });
        self.unwritten.set(one(offset), ());
        self.advance();
    }

    pub(super) fn archiving_within(&self, range: OffsetRange) -> i64 {
        if self.archiving == 0 {
            return 0;
        }
        let is_archiving = |delivery: &Delivery| matches!(delivery.progress, Progress::Archiving { .. });
        self.deliveries.within(range).filter(|(_, delivery)| is_archiving(delivery)).map(|(part, _)| part.count()).sum()
    }
}
