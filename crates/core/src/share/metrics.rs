//! What share groups did, counted for whoever exposes it, over all share-partitions that this node has led.

use super::{Acknowledgement, AcquiredRange};
use crate::broker::Counter;

/// Counted since the start of the process, one a record.
#[derive(Debug, Default)]
pub struct ShareMetrics {
    /// Given to members.
    pub acquired: Counter,
    /// Of these, what somebody had before.
    pub redelivered: Counter,
    /// What members said became of them, by the kinds of [`ShareMetrics::acknowledged`].
    acknowledged: [Counter; KINDS.len()],
    pub dead_letters: Counter,
}

/// Kafka's kinds of acknowledgements, by their numbers.
const KINDS: [&str; 5] = ["gap", "accept", "release", "reject", "renew"];
pub(super) const ACCEPT: i8 = 1;
pub(super) const RENEW: i8 = 4;

impl ShareMetrics {
    /// How many acknowledgements there were of each kind.
    pub fn acknowledged(&self) -> Vec<(&'static str, u64)> {
        KINDS.into_iter().zip(self.acknowledged.iter().map(Counter::get)).collect()
    }

    pub(super) fn count_acquired(&self, acquired: &[AcquiredRange]) {
        for AcquiredRange { first, last, delivery_count } in acquired {
            let count = (last.0 - first.0 + 1) as u64;
            self.acquired.add(count);
            self.redelivered.add(if *delivery_count > 1 { count } else { 0 });
        }
    }

    pub(super) fn count_acknowledged(&self, batches: &[Acknowledgement]) {
        for Acknowledgement { first, last, types } in batches {
            match types[..] {
                [one] => self.count_kind(one, (last.0 - first.0 + 1) as u64),
                _ => types.iter().for_each(|kind| self.count_kind(*kind, 1)),
            }
        }
    }

    pub(super) fn count_kind(&self, kind: i8, count: u64) {
        if let Some(counter) = usize::try_from(kind).ok().and_then(|kind| self.acknowledged.get(kind)) {
            counter.add(count);
        }
    }
}
