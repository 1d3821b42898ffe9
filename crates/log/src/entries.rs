//! The queue entries of one partition that are held in memory, in order of offset and position.
//!
//! They lie in chunks that never move: the first ones are small, so that a partition with few batches costs little, and none is
//! large, so that a partition with many leaves little of its memory unused and grows without being copied. Chunks are given back
//! from the front. A search halves the chunks, then the chunk.

use crate::format::index::QueueEntry;
use std::collections::VecDeque;

/// Entries of the first chunk; each one after it has room for twice as many as the one before.
const LEAST_CHUNK: usize = 4;
const MOST_CHUNK: usize = 32;

#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Chunks that are full (the first may have lost entries at its front), none empty.
    full: VecDeque<Chunk>,
    /// The chunk that takes what comes next; empty only if there are no entries at all.
    last: Vec<QueueEntry>,
}

/// Entries that are given back together.
#[derive(Clone, Debug)]
pub struct Chunk {
    entries: Vec<QueueEntry>,
    batch_bytes: u64,
}

/// What was given up: its memory, to be freed where it is dropped, and the bytes of its batches.
#[derive(Debug, Default)]
pub struct GivenUp {
    pub batch_bytes: u64,
    _chunks: Vec<Chunk>,
}

/// Where an entry is: the number of its chunk, and its place in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize, usize);

impl Entries {
    pub fn push(&mut self, entry: QueueEntry) {
        if self.last.len() == self.last.capacity() {
            let room = (2 * self.last.capacity()).clamp(LEAST_CHUNK, MOST_CHUNK);
            let entries = std::mem::replace(&mut self.last, Vec::with_capacity(room));
            if !entries.is_empty() {
                let batch_bytes = batch_bytes(&entries);
                self.full.push_back(Chunk { entries, batch_bytes });
            }
        }
        self.last.push(entry);
    }

    pub fn len(&self) -> usize {
        self.full.iter().map(|chunk| chunk.entries.len()).sum::<usize>() + self.last.len()
    }

    pub fn first(&self) -> Option<&QueueEntry> {
        self.chunk(0).first()
    }

    pub fn last(&self) -> Option<&QueueEntry> {
        self.last.last()
    }

    pub fn iter(&self) -> impl Iterator<Item = &QueueEntry> {
        self.starting_at(Place(0, 0))
    }

    /// The entries from the first that is not `before` what is looked for. All that are before it come first.
    pub fn after(&self, before: impl Fn(&QueueEntry) -> bool) -> impl Iterator<Item = &QueueEntry> {
        self.starting_at(self.search(before))
    }

    /// The last entry that is `before` what is looked for. All that are before it come first.
    pub fn last_before(&self, before: impl Fn(&QueueEntry) -> bool) -> Option<&QueueEntry> {
        match self.search(before) {
            Place(0, 0) => None,
            Place(chunk, 0) => self.chunk(chunk - 1).last(),
            Place(chunk, at) => self.chunk(chunk).get(at - 1),
        }
    }

    /// Gives up those that are `before` something. All that are before it come first.
    pub fn give_up(&mut self, before: impl Fn(&QueueEntry) -> bool) -> GivenUp {
        let Place(chunk, at) = self.search(before);
        let mut chunks: Vec<Chunk> = self.full.drain(..chunk).collect();
        let mut bytes: u64 = chunks.iter().map(|chunk| chunk.batch_bytes).sum();
        match self.full.front_mut() {
            Some(front) => {
                let part: u64 = front.entries.drain(..at).map(|entry| u64::from(entry.batch_bytes)).sum();
                front.batch_bytes -= part;
                bytes += part;
            }
            None => {
                bytes += self.last.drain(..at).map(|entry| u64::from(entry.batch_bytes)).sum::<u64>();
                self.full = VecDeque::new();
                if self.last.is_empty() {
                    chunks.push(Chunk { entries: std::mem::take(&mut self.last), batch_bytes: 0 });
                }
            }
        }
        GivenUp { batch_bytes: bytes, _chunks: chunks }
    }

    /// Takes away those that are not `before` something. All that are before it come first.
    pub fn cut(&mut self, before: impl Fn(&QueueEntry) -> bool) -> Vec<QueueEntry> {
        let Place(chunk, at) = self.search(before);
        let gone = self.starting_at(Place(chunk, at)).copied().collect();
        if let Some(cut) = self.full.drain(chunk..).next() {
            self.last = cut.entries;
        }
        self.last.truncate(at);
        if self.last.is_empty() {
            self.last = self.full.pop_back().map_or_else(Vec::new, |chunk| chunk.entries);
        }
        gone
    }

    fn search(&self, before: impl Fn(&QueueEntry) -> bool) -> Place {
        // Most searches end where entries were added last.
        let chunk = match self.last.first() {
            Some(first) if before(first) => self.full.len(),
            _ => self.full.partition_point(|chunk| chunk.entries.last().is_some_and(&before)),
        };
        Place(chunk, self.chunk(chunk).partition_point(before))
    }

    fn starting_at(&self, Place(chunk, at): Place) -> impl Iterator<Item = &QueueEntry> {
        let rest = (chunk + 1..=self.full.len()).flat_map(|chunk| self.chunk(chunk));
        self.chunk(chunk)[at..].iter().chain(rest)
    }

    /// The entries of a full chunk, or behind them those of the last.
    fn chunk(&self, at: usize) -> &[QueueEntry] {
        self.full.get(at).map_or(&self.last, |chunk| &chunk.entries)
    }
}

fn batch_bytes(entries: &[QueueEntry]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.batch_bytes)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: i64) -> QueueEntry {
        QueueEntry {
            base_offset: offset,
            position: 100 * offset as u64,
            max_timestamp: 0,
            tag_filter: 0,
            batch_bytes: 10,
            last_offset_delta: 0,
        }
    }

    fn entries(count: i64) -> Entries {
        let mut entries = Entries::default();
        (0..count).for_each(|offset| entries.push(entry(offset)));
        entries
    }

    fn offsets<'a>(entries: impl Iterator<Item = &'a QueueEntry>) -> Vec<i64> {
        entries.map(|entry| entry.base_offset).collect()
    }

    #[test]
    fn entries_are_found_in_every_chunk() {
        for count in [0, 1, 3, 4, 5, 12, 13, 60, 61, 300] {
            let entries = entries(count);
            assert_eq!(entries.len() as i64, count);
            for offset in 0..=count {
                assert_eq!(offsets(entries.after(|entry| entry.base_offset < offset)), (offset..count).collect::<Vec<_>>());
                let before = entries.last_before(|entry| entry.base_offset < offset).map(|entry| entry.base_offset);
                assert_eq!(before, offset.checked_sub(1).filter(|before| *before >= 0));
            }
        }
    }

    #[test]
    fn what_is_given_up_goes_from_the_front_and_is_counted() {
        for count in [1, 4, 5, 60, 300] {
            for left in 0..=count {
                let mut entries = entries(count);
                let given_up = entries.give_up(|entry| entry.base_offset < count - left);
                assert_eq!(given_up.batch_bytes, 10 * (count - left) as u64);
                assert_eq!(entries.give_up(|entry| entry.base_offset < count - left).batch_bytes, 0);
                assert_eq!(entries.first().map(|entry| entry.base_offset), (left > 0).then_some(count - left));
                (count..count + 40).for_each(|offset| entries.push(entry(offset)));
                assert_eq!(offsets(entries.iter()), (count - left..count + 40).collect::<Vec<_>>());
                let rest = entries.give_up(|_| true);
                assert_eq!((rest.batch_bytes, entries.len(), entries.last()), (10 * (left + 40) as u64, 0, None));
            }
        }
    }

    #[test]
    fn what_is_cut_goes_from_the_back_and_more_can_follow() {
        for count in [1, 4, 5, 12, 13, 60, 300] {
            for kept in 0..=count {
                let mut entries = entries(count);
                let gone = entries.cut(|entry| entry.base_offset < kept);
                assert_eq!(offsets(gone.iter()), (kept..count).collect::<Vec<_>>());
                assert_eq!(entries.last().map(|entry| entry.base_offset), kept.checked_sub(1).filter(|last| *last >= 0));
                (kept..kept + 40).for_each(|offset| entries.push(entry(offset)));
                assert_eq!(offsets(entries.iter()), (0..kept + 40).collect::<Vec<_>>());
                assert_eq!(entries.give_up(|_| true).batch_bytes, 10 * (kept + 40) as u64);
            }
        }
    }

    #[test]
    fn memory_follows_the_number_of_entries() {
        let room = |entries: &Entries| {
            entries.full.iter().map(|chunk| chunk.entries.capacity()).sum::<usize>() + entries.last.capacity()
        };
        assert_eq!(room(&Entries::default()), 0);
        assert_eq!(room(&entries(1)), LEAST_CHUNK);
        assert!(room(&entries(1000)) < 1000 + MOST_CHUNK);
        let mut all = entries(1000);
        drop(all.give_up(|_| true));
        assert_eq!(room(&all), 0, "a partition without entries holds no memory for them");
    }
}
