//! The timers that wait, by time: a few bytes each, since what they deliver stays in the log.
//!
//! Time is divided into buckets of [`BUCKET_MS`]; within one a timer is a single number, its milliseconds in front of its offset. So a timer
//! costs about 15 bytes in a well-filled bucket, and the nearest is found at once.

use duolog_base::{Offset, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

/// Bits of the time that are kept with the timer.
const TIME_BITS: u32 = 20;
/// Length of a bucket in milliseconds, about 17 minutes.
const BUCKET_MS: i64 = 1 << TIME_BITS;
/// Bits of the offset: a partition that takes 10,000 timers a second has enough for 55 years.
const OFFSET_BITS: u32 = u64::BITS - TIME_BITS;

/// When something is delivered, and where it lies in the partition of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    pub at: TimestampMs,
    pub offset: Offset,
}

#[derive(Debug, Default)]
pub struct Pending {
    /// By the number of the bucket; none is empty.
    buckets: BTreeMap<i64, BTreeSet<u64>>,
    count: usize,
}

/// The bucket and the number there; `None` for an offset that no partition of timers reaches.
fn pack(timer: Timer) -> Option<(i64, u64)> {
    let within = timer.at.0.rem_euclid(BUCKET_MS) as u64;
    let packed = within << OFFSET_BITS | timer.offset.0 as u64;
    (0..1 << OFFSET_BITS).contains(&timer.offset.0).then_some((timer.at.0.div_euclid(BUCKET_MS), packed))
}

fn unpack(bucket: i64, packed: u64) -> Timer {
    let at = bucket * BUCKET_MS + (packed >> OFFSET_BITS) as i64;
    Timer { at: TimestampMs(at), offset: Offset((packed & ((1 << OFFSET_BITS) - 1)) as i64) }
}

impl Pending {
    pub fn insert(&mut self, timer: Timer) {
        let (bucket, packed) = pack(timer).expect("a partition of timers is shorter than 2^44 records");
        self.count += usize::from(self.buckets.entry(bucket).or_default().insert(packed));
    }

    /// Whether it was there.
    pub fn remove(&mut self, timer: Timer) -> bool {
        let Some((bucket, packed)) = pack(timer) else { return false };
        let Some(timers) = self.buckets.get_mut(&bucket) else { return false };
        let removed = timers.remove(&packed);
        if timers.is_empty() {
            self.buckets.remove(&bucket);
        }
        self.count -= usize::from(removed);
        removed
    }

    pub fn contains(&self, timer: Timer) -> bool {
        let found = |(bucket, packed)| self.buckets.get(&bucket).is_some_and(|timers| timers.contains(&packed));
        pack(timer).is_some_and(found)
    }

    /// In the order of their times.
    pub fn iter(&self) -> impl Iterator<Item = Timer> + '_ {
        self.buckets.iter().flat_map(|(bucket, timers)| timers.iter().map(|packed| unpack(*bucket, *packed)))
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timer(at: i64, offset: i64) -> Timer {
        Timer { at: TimestampMs(at), offset: Offset(offset) }
    }

    /// What a tree of words takes at most, node by node: a leaf has room for eleven and is at least five full, but for the only one; inner
    /// nodes have twelve pointers more. Both have a pointer to their parent and two counts.
    fn most_bytes(pending: &Pending) -> usize {
        const LEAF: usize = 11 * 8 + 8 + 4 + 4;
        const INNER: usize = LEAF + 12 * 8;
        let tree = |count: usize| (count / 5).max(1) * LEAF + count / 30 * INNER;
        let words: usize = pending.buckets.values().map(|timers| tree(timers.len())).sum();
        words + pending.buckets.len() * 2 * (size_of::<i64>() + size_of::<BTreeSet<u64>>())
    }

    #[test]
    fn a_million_far_timers_take_few_bytes_each() {
        const COUNT: i64 = 1_000_000;
        let month_ms = 30 * 86_400_000;
        let mut pending = Pending::default();
        for number in 0..COUNT {
            pending.insert(timer(1_700_000_000_000 + number * 7_919 % COUNT * (month_ms / COUNT), number));
        }
        assert_eq!(pending.len() as i64, COUNT);
        let most = most_bytes(&pending) as f64 / COUNT as f64;
        assert!(most < 32.0, "{most} bytes a timer in the worst tree; 16 in one that is filled as usual");
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_the_order_of_time(
            changes in prop::collection::vec((any::<bool>(), -3_000_000i64..3_000_000, 0i64..50), 0..200)
        ) {
            let (mut pending, mut model) = (Pending::default(), BTreeSet::new());
            for (insert, at, offset) in changes {
                let timer = timer(at / 100_000 * 100_000, offset);
                match insert {
                    true => { pending.insert(timer); model.insert(timer); }
                    false => prop_assert_eq!(pending.remove(timer), model.remove(&timer)),
                }
                prop_assert_eq!(pending.contains(timer), model.contains(&timer));
            }
            prop_assert_eq!(pending.len(), model.len());
            prop_assert_eq!(pending.iter().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
            prop_assert!(pending.buckets.values().all(|timers| !timers.is_empty()));
        }
    }
}
