//! Memory in which the writer lays out what it writes next: whole pages, the first of which may begin with bytes written before.
//!
//! Writes around the page cache want aligned memory and whole pages. So the last page of a write, filled up with zeros, is kept and
//! written once more with what follows. Owned by the writer.

use duolog_base::DIRECT_ALIGNMENT;
use std::io::IoSlice;

const PAGE_BYTES: usize = DIRECT_ALIGNMENT as usize;
/// The most that one write takes.
const CAPACITY_BYTES: usize = 1 << 20;

pub(crate) struct Pages {
    /// Holds the pages from `skip` on; never grows, so that they stay where they are.
    memory: Vec<u8>,
    skip: usize,
    /// Bytes laid out.
    filled: usize,
    /// How many of them have been written.
    written: usize,
}

impl Pages {
    pub fn new() -> Pages {
        let memory = vec![0; CAPACITY_BYTES + PAGE_BYTES];
        let skip = memory.as_ptr().align_offset(PAGE_BYTES);
        assert!(skip <= PAGE_BYTES, "the memory holds an aligned run of pages");
        Pages { memory, skip, filled: 0, written: 0 }
    }

    /// Begins anew behind these bytes of a page, which are on disk already.
    pub fn begin(&mut self, page: &[u8]) {
        assert!(page.len() < PAGE_BYTES, "what is kept is less than a page");
        self.bytes_mut()[..page.len()].copy_from_slice(page);
        (self.filled, self.written) = (page.len(), page.len());
    }

    /// Lays out as many of the bytes as there is room for; answers how many.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(CAPACITY_BYTES - self.filled);
        let at = self.filled;
        self.bytes_mut()[at..at + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        count
    }

    pub fn is_full(&self) -> bool {
        self.filled == CAPACITY_BYTES
    }

    /// Bytes laid out since the last write.
    pub fn unwritten(&self) -> usize {
        self.filled - self.written
    }

    /// How far from the beginning of the first page the bytes reach.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// All pages, the last one filled up with zeros.
    pub fn padded(&mut self) -> IoSlice<'_> {
        let (from, end) = (self.filled, self.filled.next_multiple_of(PAGE_BYTES));
        self.bytes_mut()[from..end].fill(0);
        IoSlice::new(&self.memory[self.skip..self.skip + end])
    }

    /// Everything is written: keeps the bytes of the last page if it is not full. Answers how many bytes of pages are done with.
    pub fn keep_last(&mut self) -> usize {
        let done = self.filled - self.filled % PAGE_BYTES;
        let filled = self.filled;
        self.bytes_mut().copy_within(done..filled, 0);
        self.filled -= done;
        self.written = self.filled;
        done
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.skip..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_is_written_again_with_what_follows() {
        let mut pages = Pages::new();
        pages.begin(&[1; 64]);
        assert_eq!(pages.unwritten(), 0);
        assert_eq!(pages.put(&[2; PAGE_BYTES]), PAGE_BYTES);
        assert_eq!(pages.unwritten(), PAGE_BYTES);
        let first = pages.padded().to_vec();
        assert_eq!(
            (first.len(), first[63], first[64], first[PAGE_BYTES + 63], first[PAGE_BYTES + 64]),
            (2 * PAGE_BYTES, 1, 2, 2, 0)
        );
        assert_eq!(pages.keep_last(), PAGE_BYTES);
        pages.put(&[3]);
        let second = pages.padded().to_vec();
        assert_eq!((second.len(), second[63], second[64], second[65]), (PAGE_BYTES, 2, 3, 0));
        assert!(pages.padded().as_ptr().align_offset(PAGE_BYTES) == 0);
    }

    #[test]
    fn more_than_there_is_room_for_is_taken_in_parts() {
        let mut pages = Pages::new();
        let bytes = vec![7; CAPACITY_BYTES + 10];
        assert_eq!(pages.put(&bytes), CAPACITY_BYTES);
        assert!(pages.is_full());
        assert_eq!((pages.keep_last(), pages.filled()), (CAPACITY_BYTES, 0));
    }
}
