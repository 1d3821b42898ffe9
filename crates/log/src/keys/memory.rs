//! The keys of the newest positions, in the order of the log: what no part holds yet.
//!
//! Behind a small lock of its own. Whoever searches takes references of the full chunks and looks through them without the lock.

use super::gaps::Gaps;
use crate::format::keys::KeyEntry;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of a chunk, at most.
const CHUNK_ENTRIES: usize = 4096;

/// A key, and where the frame with its message begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedKey {
    pub entry: KeyEntry,
    pub position: u64,
}

type Chunk = Arc<Vec<PlacedKey>>;

pub(super) struct Memory {
    /// All keys of frames at this position or behind it are here.
    from: u64,
    /// Full chunks, oldest first, and the entries in them.
    chunks: VecDeque<Chunk>,
    in_chunks: usize,
    current: Vec<PlacedKey>,
    chunk_entries: usize,
    /// Positions before `from` whose keys are neither here nor in a part.
    pub gaps: Gaps,
}

impl Memory {
    /// For about `wanted` entries between two parts.
    pub fn new(from: u64, gaps: Gaps, wanted: usize) -> Memory {
        let chunk_entries = (wanted / 4).clamp(1, CHUNK_ENTRIES);
        Memory { from, chunks: VecDeque::new(), in_chunks: 0, current: Vec::new(), chunk_entries, gaps }
    }

    pub fn from(&self) -> u64 {
        self.from
    }

    pub fn len(&self) -> usize {
        self.in_chunks + self.current.len()
    }

    /// Takes a key of the newest frame; true if a chunk is full.
    pub fn push(&mut self, key: PlacedKey) -> bool {
        self.current.push(key);
        if self.current.len() < self.chunk_entries {
            return false;
        }
        let full = std::mem::replace(&mut self.current, Vec::with_capacity(self.chunk_entries));
        self.in_chunks += full.len();
        self.chunks.push_back(Arc::new(full));
        true
    }

    /// If there are more than `most`, gives up the older ones: a gap, to be filled from the log later.
    pub fn bound(&mut self, most: usize) {
        if self.len() <= most {
            return;
        }
        let mut kept = self.len();
        let older = self.chunks.iter().take_while(|chunk| {
            kept -= chunk.len();
            kept > most / 2
        });
        let older = older.count();
        let first_kept = self.chunks.get(older).and_then(|chunk| chunk.first()).or(self.current.first());
        if let Some(position) = first_kept.map(|key| key.position) {
            self.gaps.add(self.from..position);
            self.discard_before(position);
        }
    }

    /// Forgets keys before `position`, which somebody else knows now.
    pub fn discard_before(&mut self, position: u64) {
        while self.chunks.front().and_then(|chunk| chunk.last()).is_some_and(|last| last.position < position) {
            self.in_chunks -= self.chunks.pop_front().map_or(0, |chunk| chunk.len());
        }
        let older = |keys: &[PlacedKey]| keys.partition_point(|key| key.position < position);
        match self.chunks.front_mut() {
            Some(front) => {
                let gone = older(front);
                if gone > 0 {
                    *front = Arc::new(front[gone..].to_vec());
                    self.in_chunks -= gone;
                }
            }
            None => {
                self.current.drain(..older(&self.current));
            }
        }
        self.from = self.from.max(position);
    }

    /// The full chunks, oldest first, and what of the newest entries `wanted` likes.
    pub fn copy(&self, wanted: impl Fn(&PlacedKey) -> bool) -> (Vec<Chunk>, Vec<PlacedKey>) {
        (self.chunks.iter().cloned().collect(), self.current.iter().copied().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> PlacedKey {
        PlacedKey { entry: KeyEntry { hash: number, partition: 0, offset: 0 }, position: number / 3 * 8 }
    }

    fn held(memory: &Memory) -> Vec<u64> {
        let (chunks, current) = memory.copy(|_| true);
        let held: Vec<u64> = chunks.iter().flat_map(|chunk| chunk.iter()).chain(&current).map(|key| key.entry.hash).collect();
        assert_eq!(held.len(), memory.len());
        held
    }

    #[test]
    fn what_is_before_a_position_goes_wherever_in_a_chunk_that_is() {
        for before in 0..20 {
            let mut memory = Memory::new(0, Gaps::default(), 16);
            (0..50).for_each(|number| assert_eq!(memory.push(key(number)), number % 4 == 3));
            memory.discard_before(before * 8);
            assert_eq!(held(&memory), (before * 3..50).collect::<Vec<_>>());
            assert_eq!(memory.from(), before * 8);
        }
    }

    #[test]
    fn more_than_is_allowed_becomes_a_gap_between_frames() {
        let mut memory = Memory::new(0, Gaps::default(), 16);
        (0..32).for_each(|number| assert_eq!(memory.push(key(number)), number % 4 == 3));
        memory.bound(32);
        assert_eq!((memory.len(), memory.gaps.is_empty()), (32, true));
        memory.push(key(32));
        memory.bound(32);
        let first = held(&memory)[0];
        assert!((15..=20).contains(&first) && first.is_multiple_of(3), "{first}");
        assert!(memory.gaps.holds(&(0..key(first).position)));
        assert_eq!(memory.from(), key(first).position);
    }
}
