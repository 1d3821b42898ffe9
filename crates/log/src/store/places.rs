//! Which log holds which partition: read by every request without a lock, written when partitions come and go.
//!
//! Partition numbers are given out in order and never used again, so the table is pages of small numbers, two bytes a partition.
//! A new partition writes one of them; a new page copies the list of pages, which is one pointer for 4,096 partitions.

use arc_swap::ArcSwap;
use duolog_base::PartitionNumber;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Data directories a store may have.
pub const MAX_DIRECTORIES: usize = 1024;
/// Partitions a page tells of.
const PAGE_PARTITIONS: usize = 4096;
const NOWHERE: u16 = 0;

/// How a partition's batches are laid out on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// In the commit log of the data directory, among those of all other partitions.
    #[default]
    Shared,
    /// In segment files of its own.
    Dedicated,
}

/// Where a partition is kept: in which data directory of the store, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Counted from 0 in the order in which the store was opened.
    pub directory: usize,
    pub layout: Layout,
}

impl Place {
    /// Where everything is unless somebody asked for something else.
    pub(super) const FIRST: Place = Place { directory: 0, layout: Layout::Shared };

    fn encode(self) -> u16 {
        assert!(self.directory < MAX_DIRECTORIES, "the store has no more directories than it was opened with");
        let layout = match self.layout {
            Layout::Shared => 0,
            Layout::Dedicated => 1,
        };
        1 + ((self.directory as u16) << 1 | layout)
    }

    fn decode(code: u16) -> Option<Place> {
        let bits = code.checked_sub(1)?;
        let layout = if bits & 1 == 0 { Layout::Shared } else { Layout::Dedicated };
        Some(Place { directory: usize::from(bits >> 1), layout })
    }
}

type Page = [AtomicU16; PAGE_PARTITIONS];

/// The table. Readers load the list of pages and one number; writers of a new page take the lock.
pub(super) struct Places {
    pages: ArcSwap<Vec<Option<Arc<Page>>>>,
    /// Held by the one who adds a page.
    growing: Mutex<()>,
}

impl Places {
    pub fn new() -> Places {
        Places { pages: ArcSwap::from_pointee(Vec::new()), growing: Mutex::new(()) }
    }

    pub fn get(&self, partition: PartitionNumber) -> Option<Place> {
        let (page, slot) = slot_of(partition);
        let pages = self.pages.load();
        Place::decode(pages.get(page)?.as_ref()?[slot].load(Ordering::Acquire))
    }

    /// Answers where the partition was before.
    pub fn set(&self, partition: PartitionNumber, place: Place) -> Option<Place> {
        let (page, slot) = slot_of(partition);
        Place::decode(self.page(page)[slot].swap(place.encode(), Ordering::AcqRel))
    }

    pub fn clear(&self, partition: PartitionNumber) {
        let (page, slot) = slot_of(partition);
        if let Some(Some(page)) = self.pages.load().get(page) {
            page[slot].store(NOWHERE, Ordering::Release);
        }
    }

    /// The page, added if it is not there.
    fn page(&self, index: usize) -> Arc<Page> {
        let _growing = self.growing.lock();
        let pages = self.pages.load_full();
        if let Some(Some(page)) = pages.get(index) {
            return page.clone();
        }
        let mut more = pages.as_ref().clone();
        more.resize(more.len().max(index + 1), None);
        let page: Arc<Page> = Arc::new([const { AtomicU16::new(NOWHERE) }; PAGE_PARTITIONS]);
        more[index] = Some(page.clone());
        self.pages.store(Arc::new(more));
        page
    }
}

fn slot_of(partition: PartitionNumber) -> (usize, usize) {
    let number = partition.0 as usize;
    (number / PAGE_PARTITIONS, number % PAGE_PARTITIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_somewhere_is_found_there_until_it_is_gone() {
        let places = Places::new();
        let far = Place { directory: MAX_DIRECTORIES - 1, layout: Layout::Dedicated };
        let near = Place { directory: 1, layout: Layout::Shared };
        let numbers = [0, 1, 4095, 4096, 1 << 20].map(PartitionNumber);
        for number in numbers {
            assert_eq!(places.get(number), None);
            assert_eq!(places.set(number, far), None);
            assert_eq!(places.set(number, near), Some(far));
        }
        assert!(numbers.iter().all(|number| places.get(*number) == Some(near)));
        assert_eq!(places.get(PartitionNumber(2)), None, "a neighbour on the same page");
        places.clear(numbers[3]);
        places.clear(PartitionNumber(u32::MAX));
        assert_eq!((places.get(numbers[3]), places.get(numbers[2])), (None, Some(near)));
    }
}
