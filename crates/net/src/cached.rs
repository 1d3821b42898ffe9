//! What the page cache holds of a file: asked, and read without waiting for the disk.

use duolog_base::DiskFile;
use rustix::io::ReadWriteFlags;
use std::io::IoSliceMut;
use std::ops::Range;

/// Whether the page cache holds the range, so that reading it will not wait for the disk.
pub fn is_cached(file: &dyn DiskFile, range: Range<u64>) -> bool {
    let end = |position| read_cached(file, &mut [0], position) == Some(1);
    // A kernel that does not tell is asked for the ends.
    file.is_cached(range.clone()).unwrap_or_else(|| end(range.end - 1) && end(range.start))
}

/// Reads what the page cache holds without waiting; `None` if it cannot be told.
pub fn read_cached(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> Option<usize> {
    let descriptor = file.descriptor()?;
    rustix::io::preadv2(descriptor, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).ok()
}
