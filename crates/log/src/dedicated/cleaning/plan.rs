//! What is due, and which segments are written anew together. Decisions only.

use crate::clean::{Backlog, CleaningPolicy, DirtyPiece, PassBounds, first_dirty_offset, first_uncleanable_offset};
use crate::dedicated::SegmentPolicy;
use crate::dedicated::format::indexes::TIME_ENTRY_BYTES;
use crate::dedicated::format::manifest::SegmentRecord;
use crate::dedicated::partition::Dedicated;
use duolog_base::{Offset, TimestampMs};
use std::collections::VecDeque;

/// How much of a partition is dirty and what a pass over it would cover; `None` if there is nothing.
pub fn assess(
    known: &Dedicated,
    policy: &CleaningPolicy,
    remembered: Option<Offset>,
    now: TimestampMs,
) -> Option<(Backlog, PassBounds)> {
    let (log_start, end) = (Offset(known.log.log_start()), Offset(known.sealed_end));
    let first_dirty = first_dirty_offset(remembered, log_start, end);
    let alive = || known.sealed.iter().filter(|segment| segment.end > log_start.0);
    let is_dirty = |segment: &&SegmentRecord| segment.end > first_dirty.0;
    let pieces = alive().filter(is_dirty).map(|segment| DirtyPiece {
        base_offset: Offset(segment.base).max(first_dirty),
        largest_timestamp: TimestampMs(segment.max_timestamp),
    });
    let last_stable = Offset(known.transactions.first_open().unwrap_or(i64::MAX).min(known.log.stable_end()));
    let first_uncleanable = first_uncleanable_offset(first_dirty, last_stable, end, pieces, policy, now);
    let cleanable = |segment: &&SegmentRecord| is_dirty(segment) && segment.base < first_uncleanable.0;
    let backlog = Backlog {
        clean_bytes: alive().filter(|segment| !is_dirty(segment)).map(|segment| segment.bytes).sum(),
        dirty_bytes: alive().filter(cleanable).map(|segment| segment.bytes).sum(),
        oldest_dirty: alive().filter(cleanable).map(|segment| TimestampMs(segment.first_timestamp)).min(),
    };
    let bounds = PassBounds { first_dirty, first_uncleanable, now };
    (first_dirty < first_uncleanable).then_some((backlog, bounds))
}

/// Cuts segments into groups, each of which becomes one segment: within `segment.bytes`, `segment.index.bytes` and the reach of
/// the indexes.
pub fn group(segments: impl IntoIterator<Item = SegmentRecord>, policy: &SegmentPolicy) -> VecDeque<Vec<SegmentRecord>> {
    let mut groups: VecDeque<Vec<SegmentRecord>> = VecDeque::new();
    for segment in segments {
        match groups.back_mut().filter(|group| fits(group, &segment, policy)) {
            Some(group) => group.push(segment),
            None => groups.push_back(vec![segment]),
        }
    }
    groups
}

fn fits(group: &[SegmentRecord], segment: &SegmentRecord, policy: &SegmentPolicy) -> bool {
    let bytes = group.iter().map(|segment| segment.bytes).sum::<u64>() + segment.bytes;
    // The larger of the two indexes has at most so many entries.
    let entries = bytes / u64::from(policy.index_interval_bytes.max(1)) + 1;
    let reach = group.first().map_or(0, |first| segment.end - first.base);
    bytes <= policy.segment_bytes.min(i32::MAX as u64)
        && entries * TIME_ENTRY_BYTES as u64 <= policy.index_bytes.into()
        && i32::try_from(reach).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, end: i64, bytes: u64) -> SegmentRecord {
        let (offset_crc, time_crc, transaction_crc) = (0, 0, None);
        let (first_timestamp, max_timestamp, max_timestamp_offset) = (1, 1, base);
        SegmentRecord {
            base,
            end,
            bytes,
            first_timestamp,
            max_timestamp,
            max_timestamp_offset,
            offset_crc,
            time_crc,
            transaction_crc,
        }
    }

    fn bases(segments: &[SegmentRecord], policy: &SegmentPolicy) -> Vec<Vec<i64>> {
        let groups = group(segments.iter().copied(), policy);
        groups.iter().map(|group| group.iter().map(|segment| segment.base).collect()).collect()
    }

    #[test]
    fn a_group_ends_where_any_limit_is_reached() {
        let policy = SegmentPolicy { segment_bytes: 1000, index_interval_bytes: 100, ..SegmentPolicy::default() };
        let small = [segment(0, 10, 400), segment(10, 20, 600), segment(20, 30, 1), segment(30, 40, 2000), segment(40, 50, 1)];
        assert_eq!(bases(&small, &policy), [vec![0, 10], vec![20], vec![30], vec![40]]);
        let indexes = SegmentPolicy { index_bytes: 6 * TIME_ENTRY_BYTES as u32, ..policy };
        assert_eq!(bases(&small, &indexes), [vec![0], vec![10], vec![20], vec![30], vec![40]]);
        let far = [segment(0, 10, 1), segment(i64::from(i32::MAX) - 5, i64::from(i32::MAX), 1), segment(1 << 31, 1 << 32, 1)];
        assert_eq!(bases(&far, &policy), [vec![0, i64::from(i32::MAX) - 5], vec![1 << 31]]);
    }
}
