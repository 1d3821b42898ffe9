//! When a partition is worth cleaning, how far, and which one first. The rules are Kafka's.
//!
//! Called by the keepers of both layouts. A *piece* is what they keep together: a segment, or a partition's share of a file.

use duolog_base::{Offset, TimestampMs};

/// A topic's settings for compaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleaningPolicy {
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: younger records are not touched.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older dirty records make the partition due whatever its ratio.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long tombstones stay once a pass has found them.
    pub delete_retention_ms: i64,
}

impl Default for CleaningPolicy {
    fn default() -> Self {
        CleaningPolicy {
            min_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 24 * 60 * 60 * 1_000,
        }
    }
}

/// How much of a partition is dirty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes below the first dirty offset.
    pub clean_bytes: u64,
    /// Bytes from there up to the first uncleanable offset.
    pub dirty_bytes: u64,
    /// Smallest of the first timestamps of the dirty pieces that are no longer appended to.
    pub oldest_dirty: Option<TimestampMs>,
}

impl Backlog {
    /// Part of the bytes that is dirty, from 0 to 1.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes.saturating_add(self.dirty_bytes) {
            0 => 0.0,
            total => self.dirty_bytes as f64 / total as f64,
        }
    }
}

/// Dirty records that are kept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyPiece {
    pub base_offset: Offset,
    pub largest_timestamp: TimestampMs,
}

/// Where the dirty part begins, given the offset that was remembered. One outside the log means that the log was cut or
/// its start moved: then all of it is dirty.
pub fn first_dirty_offset(remembered: Option<Offset>, log_start: Offset, log_end: Offset) -> Offset {
    remembered.filter(|offset| (log_start..=log_end).contains(offset)).unwrap_or(log_start)
}

/// Where a pass must end: at the last stable offset, at the piece that is still appended to, or at the first of the dirty pieces
/// (given in order) that holds a record younger than the minimum lag. Not below `first_dirty`.
pub fn first_uncleanable_offset(
    first_dirty: Offset,
    last_stable: Offset,
    active_base: Offset,
    dirty: impl IntoIterator<Item = DirtyPiece>,
    policy: &CleaningPolicy,
    now: TimestampMs,
) -> Offset {
    let bound = last_stable.min(active_base);
    let young = match policy.min_compaction_lag_ms {
        lag if lag > 0 => {
            let youngest = now.0.saturating_sub(lag);
            dirty.into_iter().find(|piece| piece.largest_timestamp.0 > youngest).map(|piece| piece.base_offset)
        }
        _ => None,
    };
    young.map_or(bound, |young| bound.min(young)).max(first_dirty)
}

/// Whether a partition is due: its dirty part is large enough, or has waited too long.
pub fn is_cleanable(backlog: &Backlog, policy: &CleaningPolicy, now: TimestampMs) -> bool {
    backlog.dirty_bytes > 0 && (has_waited(backlog, policy, now) || backlog.dirty_ratio() > policy.min_dirty_ratio)
}

fn has_waited(backlog: &Backlog, policy: &CleaningPolicy, now: TimestampMs) -> bool {
    let latest = now.0.saturating_sub(policy.max_compaction_lag_ms.max(0));
    // A timestamp of zero or less says nothing.
    backlog.oldest_dirty.is_some_and(|oldest| oldest.0 > 0 && oldest.0 < latest)
}

/// Index of the due partition with the largest dirty part, the first of equals; `None` if none is due.
pub fn filthiest<'a>(partitions: impl IntoIterator<Item = (&'a Backlog, &'a CleaningPolicy)>, now: TimestampMs) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, (backlog, policy)) in partitions.into_iter().enumerate() {
        let ratio = backlog.dirty_ratio();
        if is_cleanable(backlog, policy, now) && best.is_none_or(|(_, best)| ratio > best) {
            best = Some((index, ratio));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn backlog(clean_bytes: u64, dirty_bytes: u64) -> Backlog {
        Backlog { clean_bytes, dirty_bytes, oldest_dirty: None }
    }

    #[test]
    fn a_partition_is_due_above_the_ratio_only() {
        let policy = CleaningPolicy::default();
        for (clean, dirty, due) in [(0, 0, false), (100, 0, false), (100, 100, false), (100, 101, true), (0, 1, true)] {
            assert_eq!(is_cleanable(&backlog(clean, dirty), &policy, NOW), due, "{clean} clean, {dirty} dirty");
        }
    }

    #[test]
    fn waiting_longer_than_the_maximum_lag_makes_due() {
        let policy = CleaningPolicy { max_compaction_lag_ms: 1_000, ..Default::default() };
        for (oldest, dirty, due) in [(999_000, 1, false), (998_999, 1, true), (998_999, 0, false), (0, 1, false), (-1, 1, false)]
        {
            let backlog = Backlog { oldest_dirty: Some(TimestampMs(oldest)), ..backlog(100, dirty) };
            assert_eq!(is_cleanable(&backlog, &policy, NOW), due, "{oldest}");
        }
    }

    #[test]
    fn a_pass_ends_at_the_nearest_of_its_bounds() {
        let piece =
            |base_offset, timestamp| DirtyPiece { base_offset: Offset(base_offset), largest_timestamp: TimestampMs(timestamp) };
        let dirty = [piece(10, 900_000), piece(20, 999_500), piece(30, 900_000)];
        let bound = |stable, active, lag| {
            let policy = CleaningPolicy { min_compaction_lag_ms: lag, ..Default::default() };
            first_uncleanable_offset(Offset(10), Offset(stable), Offset(active), dirty, &policy, NOW).0
        };
        assert_eq!(bound(100, 40, 0), 40);
        assert_eq!(bound(35, 40, 0), 35);
        assert_eq!(bound(100, 40, 1_000), 20);
        assert_eq!(bound(100, 40, 500), 40);
        assert_eq!(bound(100, 40, i64::MAX), 10);
        assert_eq!(bound(5, 40, 0), 10, "never below the first dirty offset");
    }

    #[test]
    fn a_remembered_offset_outside_the_log_means_all_is_dirty() {
        let first = |remembered: Option<i64>| first_dirty_offset(remembered.map(Offset), Offset(10), Offset(20)).0;
        assert_eq!([first(None), first(Some(9)), first(Some(10)), first(Some(20)), first(Some(21))], [10, 10, 10, 20, 10]);
    }

    #[test]
    fn the_filthiest_due_partition_comes_first() {
        let policy = CleaningPolicy::default();
        let all = [backlog(0, 0), backlog(10, 20), backlog(10, 90), backlog(90, 10), backlog(10, 90)];
        assert_eq!(filthiest(all.iter().map(|one| (one, &policy)), NOW), Some(2));
        assert_eq!(filthiest(all[..1].iter().chain(&all[3..4]).map(|one| (one, &policy)), NOW), None);
    }
}
