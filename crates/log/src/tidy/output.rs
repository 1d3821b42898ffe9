//! A tidied file while it is written.

use crate::files::{remove_if_there, tidied_path, unfinished_tidied_path};
use crate::format::file_header::FileHeader;
use crate::format::frame::{FrameHeader, frame_bytes};
use crate::format::tidied::TidiedEnd;
use duolog_base::{Disk, DiskFile, OpenMode};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The file under its unfinished name.
pub struct Output {
    unfinished: PathBuf,
    finished: PathBuf,
    file: Arc<dyn DiskFile>,
    base: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer belongs.
    buffer_at: u64,
}

impl Output {
    pub fn create(disk: &dyn Disk, dir: &Path, base: u64, generation: u32) -> io::Result<Output> {
        let unfinished = unfinished_tidied_path(dir, base);
        remove_if_there(disk, &unfinished)?;
        let file = disk.open(&unfinished, OpenMode::CreateNew)?;
        let buffer = FileHeader::new(generation, base).encode().to_vec();
        Ok(Output { unfinished, finished: tidied_path(dir, base), file, base, buffer, buffer_at: 0 })
    }

    /// Where the next frame goes, as a position.
    pub fn position(&self) -> u64 {
        self.base + self.bytes()
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.buffer_at + self.buffer.len() as u64
    }

    pub fn push(&mut self, header: &FrameHeader, batch: &[u8]) -> io::Result<()> {
        let end = self.buffer.len() + frame_bytes(batch.len()) as usize;
        self.buffer.extend_from_slice(&header.encode());
        self.buffer.extend_from_slice(batch);
        self.buffer.resize(end, 0);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Frames as they are.
    pub fn push_bytes(&mut self, frames: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(frames);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&[IoSlice::new(&self.buffer)], self.buffer_at)?;
        self.buffer_at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes what was pushed so far durable, so that the end does not come with a burst, and leaves the page cache to others.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()?;
        self.file.evict().map(|_| ())
    }

    /// Completes the file with its index and gives it its name, durably.
    pub fn publish(mut self, disk: &dyn Disk, dir: &Path, index: &[Vec<u8>]) -> io::Result<()> {
        let index_at = self.bytes();
        self.flush()?;
        let end = TidiedEnd::new(index_at).encode();
        let mut slices: Vec<IoSlice<'_>> = index.iter().map(|section| IoSlice::new(section)).collect();
        slices.push(IoSlice::new(&end));
        self.file.write_at(&slices, index_at)?;
        self.file.sync_data()?;
        self.file.evict()?;
        disk.rename(&self.unfinished, &self.finished)?;
        disk.sync_dir(dir)
    }

    /// Gives up.
    pub fn abandon(self, disk: &dyn Disk) -> io::Result<()> {
        remove_if_there(disk, &self.unfinished)
    }
}
