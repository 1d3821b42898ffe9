//! Ranges of files that are to be sent, and how they get into memory: at once from the page cache, or on the blocking pool.

use crate::cold::{BLOCK_BYTES, Place};
use bytes::Bytes;
use duolog_base::DiskFile;
use rustix::io::ReadWriteFlags;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads at a time on the blocking pool that go through the page cache, all connections together.
const POOL_READS: usize = 16;

static POOL_READ_PERMITS: Semaphore = Semaphore::const_new(POOL_READS);

/// Bytes of a file that are to be sent.
pub(crate) struct FileRange {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
    /// Found not to be in the page cache, and to be read by the block.
    pub(crate) cold: bool,
}

impl FileRange {
    pub(crate) fn end(&self) -> u64 {
        self.place.position + self.bytes as u64
    }

    /// The first so many bytes, or fewer, within one block.
    pub(crate) fn portion(&self, most: usize) -> usize {
        let block = BLOCK_BYTES - self.place.position % BLOCK_BYTES;
        self.bytes.min(most).min(block as usize)
    }

    pub(crate) fn advance(&mut self, by: usize) {
        self.place.position += by as u64;
        self.bytes -= by;
    }

    pub(crate) fn is_of(&self, file: &Arc<dyn DiskFile>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(&self.place.file))
    }

    pub(crate) fn block(&self) -> u64 {
        self.place.position / BLOCK_BYTES
    }
}

/// Whether the page cache holds the range, so that reading it will not wait for the disk.
pub(crate) fn is_cached(file: &dyn DiskFile, range: Range<u64>) -> bool {
    let end = |position| read_cached(file, &mut [0], position) == Some(1);
    // A kernel that does not tell is asked for the ends.
    file.is_cached(range.clone()).unwrap_or_else(|| end(range.end - 1) && end(range.start))
}

/// Reads what the page cache holds without waiting; `None` if it cannot be told.
fn read_cached(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> Option<usize> {
    let descriptor = file.descriptor()?;
    rustix::io::preadv2(descriptor, &mut [IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT).ok()
}

/// Copies a range that should be in the page cache.
pub(crate) async fn copy_cached(file: &Arc<dyn DiskFile>, range: Range<u64>) -> io::Result<Bytes> {
    let mut copy = vec![0; (range.end - range.start) as usize];
    match read_cached(&**file, &mut copy, range.start) == Some(copy.len()) {
        true => Ok(copy.into()),
        false => copy_by_pool(file, range).await,
    }
}

/// Copies a range on the blocking pool.
pub(crate) async fn copy_by_pool(file: &Arc<dyn DiskFile>, range: Range<u64>) -> io::Result<Bytes> {
    let _permit = POOL_READ_PERMITS.acquire().await.map_err(io::Error::other)?;
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut copy = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut copy, range.start).map(|()| copy)
    });
    Ok(reading.await.map_err(io::Error::other)??.into())
}
