//! A segment that is not sealed: how far it reaches, and its indexes, which grow in memory until it is.
//!
//! Plain state: fed with every batch in order, when it is appended and when recovery finds it. An index entry is made by Kafka's
//! rule, before the batch that follows more than an interval of bytes without one.

use super::SegmentPolicy;
use super::format::checksum;
use super::format::indexes::{OFFSET_ENTRY_BYTES, OffsetEntry, OffsetIndex, TIME_ENTRY_BYTES, TimeEntry, TimeIndex};
use super::format::indexes::{push_offset, push_time};
use super::format::manifest::SegmentRecord;
use super::format::transactions::{AbortedTransaction, push_aborted};
use duolog_base::TimestampMs;
use duolog_wire::record::BatchHeader;

/// A batch behind a gap, which compaction leaves, has an entry of its own as long as the index has fewer bytes than this: nothing else
/// would tell its offset, which the batch's checksum does not cover.
pub const MOST_GAP_ENTRIES_BYTES: usize = 4 << 20;
/// No batch has a timestamp.
pub const NO_TIMESTAMP: i64 = -1;

#[derive(Clone, Debug)]
pub struct Growing {
    pub base: i64,
    /// Next offset after its last batch.
    pub end: i64,
    pub bytes: u64,
    pub offsets: Vec<u8>,
    pub times: Vec<u8>,
    pub aborted: Vec<u8>,
    first_timestamp: i64,
    pub max_timestamp: i64,
    max_timestamp_offset: i64,
    bytes_since_entry: u64,
    /// When it was begun, or opened after a restart: its age if its batches have no timestamps.
    created: TimestampMs,
}

impl Growing {
    pub fn new(base: i64, created: TimestampMs) -> Growing {
        Growing {
            base,
            end: base,
            bytes: 0,
            offsets: Vec::new(),
            times: Vec::new(),
            aborted: Vec::new(),
            first_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_offset: base,
            bytes_since_entry: 0,
            created,
        }
    }

    /// A segment that goes on from what the manifest and its index files say.
    pub fn restored(record: &SegmentRecord, offsets: Vec<u8>, times: Vec<u8>, aborted: Vec<u8>, created: TimestampMs) -> Growing {
        let last_entry = OffsetIndex::new(record.base, &offsets).last_where(|_| true);
        Growing {
            bytes_since_entry: record.bytes - last_entry.map_or(0, |last| u64::from(last.position)).min(record.bytes),
            base: record.base,
            end: record.end,
            bytes: record.bytes,
            offsets,
            times,
            aborted,
            first_timestamp: record.first_timestamp,
            max_timestamp: record.max_timestamp,
            max_timestamp_offset: record.max_timestamp_offset,
            created,
        }
    }

    pub fn take(&mut self, header: &BatchHeader, interval_bytes: u32) {
        let (last_offset, bytes) = (header.last_offset().0, header.total_bytes() as u64);
        if self.bytes == 0 {
            self.first_timestamp = header.max_timestamp.0;
        }
        // What compaction has emptied has no record with its timestamp: Kafka's tools would miss it.
        if header.record_count > 0 && header.max_timestamp.0 > self.max_timestamp {
            self.max_timestamp = header.max_timestamp.0;
            self.max_timestamp_offset = last_offset;
        }
        let behind_gap = self.bytes > 0 && header.base_offset.0 > self.end && self.offsets.len() < MOST_GAP_ENTRIES_BYTES;
        if self.bytes_since_entry > interval_bytes.into() || behind_gap {
            let position = u32::try_from(self.bytes).expect("a segment is rolled before its positions exceed 31 bits");
            push_offset(self.base, OffsetEntry { offset: last_offset, position }, &mut self.offsets);
            self.index_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += bytes;
        self.bytes += bytes;
        self.end = last_offset + 1;
    }

    pub fn take_aborted(&mut self, aborted: AbortedTransaction) {
        push_aborted(aborted, &mut self.aborted);
    }

    fn index_time(&mut self) {
        let times = self.time_index();
        let last = times.entries().checked_sub(1).and_then(|last| times.get(last));
        if self.max_timestamp > last.map_or(NO_TIMESTAMP, |last| last.timestamp) {
            let entry = TimeEntry { timestamp: self.max_timestamp, offset: self.max_timestamp_offset };
            push_time(self.base, entry, &mut self.times);
        }
    }

    /// Completes the time index: the last entry of a segment tells its largest timestamp.
    pub fn finish(&mut self) {
        self.index_time();
    }

    /// Whether the batch must go to a new segment.
    pub fn must_roll(
        &self,
        header: &BatchHeader,
        last_offset: i64,
        policy: &SegmentPolicy,
        jitter_ms: i64,
        now: TimestampMs,
    ) -> bool {
        if self.bytes == 0 {
            return i32::try_from(last_offset - self.base).is_err();
        }
        let waited = match self.first_timestamp {
            NO_TIMESTAMP => now.0.saturating_sub(self.created.0),
            first => header.max_timestamp.0.saturating_sub(first),
        };
        // The last entry of the time index is kept for the end.
        let index_bytes = policy.index_bytes as usize;
        self.bytes + header.total_bytes() as u64 > policy.segment_bytes.min(i32::MAX as u64)
            || waited > policy.segment_ms - jitter_ms
            || self.offsets.len() + OFFSET_ENTRY_BYTES > index_bytes
            || self.times.len() + 2 * TIME_ENTRY_BYTES > index_bytes
            || i32::try_from(last_offset - self.base).is_err()
    }

    pub fn offset_index(&self) -> OffsetIndex<'_> {
        OffsetIndex::new(self.base, &self.offsets)
    }

    pub fn time_index(&self) -> TimeIndex<'_> {
        TimeIndex::new(self.base, &self.times)
    }

    pub fn record(&self) -> SegmentRecord {
        SegmentRecord {
            offset_crc: checksum(&self.offsets),
            time_crc: checksum(&self.times),
            transaction_crc: (!self.aborted.is_empty()).then(|| checksum(&self.aborted)),
            ..self.bounds()
        }
    }

    /// The record without the checksums, which take time.
    pub fn bounds(&self) -> SegmentRecord {
        SegmentRecord {
            base: self.base,
            end: self.end,
            bytes: self.bytes,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            max_timestamp_offset: self.max_timestamp_offset,
            offset_crc: 0,
            time_crc: 0,
            transaction_crc: None,
        }
    }
}
