//! What was read from a file for one pull and not taken by it: the next pulls of the queue find it here instead of reading again.
//!
//! Batches that are stored do not change; a caller holds what it finds against the partition's present ends.

use bytes::Bytes;
use duolog_base::{Offset, PartitionNumber};
use duolog_net::Blocks;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Regions kept; the oldest goes first. Each is as large as one read.
const REGIONS: usize = 64;
/// Blocks of files kept for the pulls of other queues.
const BLOCKS: usize = 8;

/// Whole batches of a partition, one behind the other and without a gap.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) number: PartitionNumber,
    /// The offset that was read from; the first batch may begin before it.
    pub(crate) first: Offset,
    /// Behind the last batch.
    pub(crate) next: Offset,
    pub(crate) bytes: Bytes,
}

/// The regions of all queues, and the blocks that they are read from.
pub(crate) struct ReadAhead {
    pub(crate) blocks: Arc<Blocks>,
    /// Guards the list; held for a look through it.
    regions: Mutex<VecDeque<Region>>,
}

impl Default for ReadAhead {
    fn default() -> Self {
        ReadAhead { blocks: Arc::new(Blocks::keeping(BLOCKS)), regions: Mutex::default() }
    }
}

impl ReadAhead {
    /// The region that has the batch with this offset.
    pub(crate) fn find(&self, number: PartitionNumber, offset: Offset) -> Option<Region> {
        let regions = self.regions.lock();
        let found = regions.iter().rev().find(|region| region.number == number && region.first <= offset && offset < region.next);
        found.cloned()
    }

    pub(crate) fn keep(&self, region: Region) {
        let mut regions = self.regions.lock();
        // Read once more, by a pull that came meanwhile.
        regions.retain(|old| old.number != region.number || old.next != region.next);
        if regions.len() == REGIONS {
            regions.pop_front();
        }
        regions.push_back(region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(number: u32, first: i64, next: i64) -> Region {
        Region { number: PartitionNumber(number), first: Offset(first), next: Offset(next), bytes: Bytes::new() }
    }

    #[test]
    fn an_offset_is_found_in_its_queue_only_and_the_oldest_region_goes() {
        let ahead = ReadAhead::default();
        ahead.keep(region(1, 10, 20));
        assert_eq!(ahead.find(PartitionNumber(1), Offset(10)).unwrap().next, Offset(20));
        assert!(ahead.find(PartitionNumber(1), Offset(20)).is_none() && ahead.find(PartitionNumber(1), Offset(9)).is_none());
        assert!(ahead.find(PartitionNumber(2), Offset(10)).is_none());
        for number in 0..REGIONS as u32 {
            ahead.keep(region(100 + number, 0, 1));
        }
        assert!(ahead.find(PartitionNumber(1), Offset(10)).is_none());
    }

    #[test]
    fn what_is_read_twice_is_kept_once() {
        let ahead = ReadAhead::default();
        for first in [10, 12, 14] {
            ahead.keep(region(1, first, 20));
        }
        assert_eq!(ahead.regions.lock().len(), 1);
    }
}
