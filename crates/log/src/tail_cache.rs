//! Recent batches in memory, as the very bytes that arrived, found by their position in the log.
//!
//! Bounded by bytes, except that a batch stays until it is written: until then the cache is the only place it can be read from.

use bytes::Bytes;
use std::collections::VecDeque;

#[derive(Debug)]
pub struct TailCache {
    /// Ascending in position.
    batches: VecDeque<CachedBatch>,
    bytes: usize,
    limit_bytes: usize,
}

#[derive(Debug)]
struct CachedBatch {
    position: u64,
    /// What keeping this batch costs; the first batch of a request carries what the request's buffer holds beside the batches.
    cost: usize,
    batch: Bytes,
}

impl TailCache {
    pub fn new(limit_bytes: usize) -> TailCache {
        TailCache { batches: VecDeque::new(), bytes: 0, limit_bytes }
    }

    /// What the batches cost.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the batch whose frame begins at `position`, which is above all others.
    pub fn push(&mut self, position: u64, batch: Bytes, cost: usize) {
        debug_assert!(self.batches.back().is_none_or(|last| last.position < position), "positions ascend");
        self.bytes += cost;
        self.batches.push_back(CachedBatch { position, cost, batch });
    }

    pub fn find(&self, position: u64) -> Option<&Bytes> {
        // Most readers are at the very end.
        match self.batches.back() {
            Some(last) if last.position == position => return Some(&last.batch),
            Some(last) if last.position > position => {}
            _ => return None,
        }
        let at = self.batches.binary_search_by_key(&position, |cached| cached.position).ok()?;
        Some(&self.batches[at].batch)
    }

    /// Moves what is written and over the limit into `evicted`, to be freed outside of the lock.
    pub fn evict(&mut self, written: u64, evicted: &mut Vec<Bytes>) {
        while self.bytes > self.limit_bytes && self.batches.front().is_some_and(|first| first.position < written) {
            if let Some(first) = self.batches.pop_front() {
                self.bytes -= first.cost;
                evicted.push(first.batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_stays_until_it_is_written_then_goes_when_the_limit_says_so() {
        let mut cache = TailCache::new(10);
        for position in [0, 100, 200] {
            cache.push(position, Bytes::from_static(b"12345678"), 8);
        }
        let mut evicted = Vec::new();
        cache.evict(0, &mut evicted);
        assert_eq!(evicted.len(), 0);
        cache.evict(150, &mut evicted);
        assert_eq!(evicted.len(), 2);
        assert!(cache.find(100).is_none());
        assert_eq!(cache.find(200).unwrap(), "12345678");
        assert!(cache.find(204).is_none());
    }
}
