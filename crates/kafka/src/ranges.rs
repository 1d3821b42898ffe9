//! Ranges of files that are to be sent, and how they get into memory: at once from the page cache, or on the blocking pool.

use crate::damage;
use bytes::Bytes;
use duolog_base::{DIRECT_ALIGNMENT, DiskFile};
use duolog_log::{ReadPart, StoredFrame};
use duolog_net::{BLOCK_BYTES, Place, read_cached};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Reads at a time on the blocking pool that are not of whole blocks, all connections together.
const POOL_READS: usize = 16;

static POOL_READ_PERMITS: Semaphore = Semaphore::const_new(POOL_READS);

/// Why what was to be sent is not. All but the first leave an answer that had begun unfinished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("{file} cannot be read at {position}: {error}")]
    Unreadable { file: PathBuf, position: u64, error: io::Error },
    /// See [`crate::damage`].
    #[error("a batch is damaged")]
    Damaged,
}

impl SendError {
    /// For an error of reading a file.
    pub(crate) fn unreadable(file: &dyn DiskFile, position: u64) -> impl FnOnce(io::Error) -> SendError {
        move |error| SendError::Unreadable { file: damage::path_of(file), position, error }
    }
}

/// Bytes of a file that are to be sent.
pub(crate) struct FileRange {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
    /// Found not to be in the page cache, and to be read by the block.
    pub(crate) cold: bool,
    /// The frame that the range is the batch of, until it is found to be that.
    pub(crate) unchecked: Option<StoredFrame>,
}

impl FileRange {
    /// `None` for a part in memory.
    pub(crate) fn of(part: &ReadPart) -> Option<FileRange> {
        let ReadPart::File { file, position, bytes, settled, frame } = part else { return None };
        let place = Place { file: file.clone(), position: *position, settled: *settled };
        Some(FileRange { place, bytes: *bytes, cold: false, unchecked: *frame })
    }

    /// Where the frame begins that is to be checked, or else the range.
    pub(crate) fn start_position(&self) -> u64 {
        let header = self.unchecked.map_or(0, |_| StoredFrame::HEADER_BYTES);
        self.place.position.saturating_sub(header as u64)
    }

    /// What must be known for a check: so many bytes from there on, in one block or two.
    pub(crate) fn start(&self) -> (Place, usize) {
        let place = Place { position: self.start_position(), ..self.place.clone() };
        (place, self.unchecked.map_or(0, |_| StoredFrame::checked_bytes(self.bytes)))
    }

    /// Whether the range may be sent, by the beginning of its frame.
    pub(crate) fn is_sound(&mut self, start: &[u8]) -> bool {
        let sound = self.unchecked.is_none_or(|frame| frame.check(start, self.bytes).is_ok());
        if sound {
            self.unchecked = None;
        }
        sound
    }

    /// Like [`FileRange::is_sound`]; an error, which is remembered, if it may not.
    pub(crate) fn check(&mut self, start: &[u8]) -> Result<(), SendError> {
        if let Some(frame) = self.unchecked {
            frame.check(start, self.bytes).map_err(|error| {
                damage::found(self, frame, &error);
                SendError::Damaged
            })?;
            self.unchecked = None;
        }
        Ok(())
    }

    /// Checks the range by a copy of its file from this position on that holds all of it.
    pub(crate) fn check_copy(&mut self, copy: &[u8], from: u64) -> Result<(), SendError> {
        let (place, bytes) = self.start();
        let at = place.position.checked_sub(from).map(|at| at as usize);
        let start = at.and_then(|at| copy.get(at..at + bytes)).unwrap_or_default();
        self.check(start)
    }

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

/// Copies a range on the blocking pool and leaves the page cache as it is.
pub(crate) async fn copy_around_cache(file: &Arc<dyn DiskFile>, range: Range<u64>) -> io::Result<Bytes> {
    let _permit = POOL_READ_PERMITS.acquire().await.map_err(io::Error::other)?;
    let file = file.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let aligned = range.start / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT..range.end.next_multiple_of(DIRECT_ALIGNMENT);
        let bytes = (aligned.end - aligned.start) as usize;
        let mut memory = vec![0; bytes + DIRECT_ALIGNMENT as usize];
        let skip = memory.as_ptr().align_offset(DIRECT_ALIGNMENT as usize);
        let read = file.read_direct_at(&mut memory[skip..skip + bytes], aligned.start)?;
        let (from, end) = ((range.start - aligned.start) as usize, (range.end - aligned.start) as usize);
        let copy = memory[skip..skip + read].get(from..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(copy))
    });
    reading.await.map_err(io::Error::other)?
}
