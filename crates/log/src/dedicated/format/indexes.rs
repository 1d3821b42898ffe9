//! The two sparse indexes of a segment.
//!
//! ```text
//! offset index (.index), 8 bytes an entry       time index (.timeindex), 12 bytes an entry
//!  at  bytes  field                              at  bytes  field
//!   0    4    offset less the base offset         0    8    timestamp
//!   4    4    position of the batch               8    4    offset less the base offset
//! ```
//! An offset entry names the last offset of the batch that begins at the position. A time entry says that no batch up to the one that
//! ends at the offset has a larger timestamp, and that this one has it. Both ascend strictly.

use super::field;

pub const OFFSET_ENTRY_BYTES: usize = 8;
pub const TIME_ENTRY_BYTES: usize = 12;

/// The batch that ends at `offset` begins at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    pub offset: i64,
    pub position: u32,
}

/// The largest timestamp up to `offset` is `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    pub offset: i64,
}

/// The bytes of an offset index.
#[derive(Clone, Copy, Debug)]
pub struct OffsetIndex<'a> {
    base: i64,
    bytes: &'a [u8],
}

/// The bytes of a time index.
#[derive(Clone, Copy, Debug)]
pub struct TimeIndex<'a> {
    base: i64,
    bytes: &'a [u8],
}

/// Adds an entry. Panics if the offset is not within the reach of the segment: it is rolled before.
pub fn push_offset(base: i64, entry: OffsetEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(&relative(base, entry.offset).to_be_bytes());
    out.extend_from_slice(&entry.position.to_be_bytes());
}

/// Adds an entry; see [`push_offset`].
pub fn push_time(base: i64, entry: TimeEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.timestamp.to_be_bytes());
    out.extend_from_slice(&relative(base, entry.offset).to_be_bytes());
}

fn relative(base: i64, offset: i64) -> i32 {
    i32::try_from(offset - base).expect("a segment is rolled before its offsets exceed 31 bits")
}

impl<'a> OffsetIndex<'a> {
    pub fn new(base: i64, bytes: &'a [u8]) -> OffsetIndex<'a> {
        OffsetIndex { base, bytes }
    }

    pub fn entries(&self) -> usize {
        self.bytes.len() / OFFSET_ENTRY_BYTES
    }

    pub fn get(&self, index: usize) -> Option<OffsetEntry> {
        let at = index.checked_mul(OFFSET_ENTRY_BYTES)?;
        let relative = i32::from_be_bytes(field(self.bytes, at)?);
        let position = u32::from_be_bytes(field(self.bytes, at + 4)?);
        Some(OffsetEntry { offset: self.base.saturating_add(relative.into()), position })
    }

    /// The last entry for which `keep` holds, given that it holds for none behind the first for which it does not.
    pub fn last_where(&self, keep: impl Fn(&OffsetEntry) -> bool) -> Option<OffsetEntry> {
        let count = partition_point(self.entries(), |index| self.get(index).is_some_and(|entry| keep(&entry)));
        self.get(count.checked_sub(1)?)
    }
}

impl<'a> TimeIndex<'a> {
    pub fn new(base: i64, bytes: &'a [u8]) -> TimeIndex<'a> {
        TimeIndex { base, bytes }
    }

    pub fn entries(&self) -> usize {
        self.bytes.len() / TIME_ENTRY_BYTES
    }

    pub fn get(&self, index: usize) -> Option<TimeEntry> {
        let at = index.checked_mul(TIME_ENTRY_BYTES)?;
        let timestamp = i64::from_be_bytes(field(self.bytes, at)?);
        let relative = i32::from_be_bytes(field(self.bytes, at + 8)?);
        Some(TimeEntry { timestamp, offset: self.base.saturating_add(relative.into()) })
    }

    /// See [`OffsetIndex::last_where`].
    pub fn last_where(&self, keep: impl Fn(&TimeEntry) -> bool) -> Option<TimeEntry> {
        let count = partition_point(self.entries(), |index| self.get(index).is_some_and(|entry| keep(&entry)));
        self.get(count.checked_sub(1)?)
    }
}

/// How many of `count` things hold, given that those that hold come first.
fn partition_point(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets() -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, position) in [(1005, 4200), (1010, 8500), (1200, 0x01020304)] {
            push_offset(1000, OffsetEntry { offset, position }, &mut bytes);
        }
        bytes
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let bytes = offsets();
        assert_eq!(bytes[..8], [0, 0, 0, 5, 0, 0, 16, 104]);
        assert_eq!(bytes[16..], [0, 0, 0, 200, 1, 2, 3, 4]);
        let mut bytes = Vec::new();
        push_time(1000, TimeEntry { timestamp: 0x0102_0304_0506_0708, offset: 1003 }, &mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 3]);
        assert_eq!(TimeIndex::new(1000, &bytes).get(0).unwrap().offset, 1003);
    }

    #[test]
    fn the_last_entry_not_above_is_found() {
        let bytes = offsets();
        let index = OffsetIndex::new(1000, &bytes);
        let floor = |offset| index.last_where(|entry| entry.offset <= offset).map(|entry| entry.position);
        assert_eq!([1000, 1004, 1005, 1009, 1010, 1199, 1200, 9999].map(floor), {
            let (a, b, c) = (Some(4200), Some(8500), Some(0x01020304));
            [None, None, a, a, b, b, c, c]
        });
        assert_eq!(OffsetIndex::new(0, &[]).last_where(|_| true), None);
    }
}
