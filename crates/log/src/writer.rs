//! The writer: takes what is queued, writes it with as few system calls as the files allow, and publishes how far it got.
//!
//! It writes around the page cache: recent batches are served from the tail cache, and copying all that arrives into fresh pages costs
//! several times the CPU of writing it (see `ARCHITECTURE.md`).
//!
//! One at a time (the `writer` lock). Offsets and positions were decided by the append; the writer adds the body's checksum and the
//! durable position to each header, and begins files where the queue says so.

use crate::append::Queued;
use crate::files::log_path;
use crate::format::file_header::FileHeader;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use crate::format::{ALIGNMENT, checksum};
use crate::log::{FullFile, Log, OpenFile};
use crate::pages::Pages;
use crate::zero::page_end;
use crate::{LogFailure, LogOptions, SyncOutcome};
use bytes::Bytes;
use duolog_base::{DIRECT_ALIGNMENT, Disk, DiskFile, OpenMode, PartitionNumber};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the writer owns: buffers that live from write to write, and the file it writes to.
pub(crate) struct Writer {
    /// The file's position in the log.
    base: u64,
    /// For writes around the page cache, in whole pages.
    file: Arc<dyn DiskFile>,
    pages: Pages,
    /// Where in the log the first of the pages lies.
    first_page: u64,
    queue: Vec<Queued>,
    zeros_low: bool,
    partitions: Vec<PartitionNumber>,
    evicted: Vec<Bytes>,
    reached: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// Goes on behind `end` in the file at `base`.
    pub fn open(disk: &dyn Disk, dir: &Path, base: u64, end: u64) -> io::Result<Writer> {
        let path = log_path(dir, base);
        let file = disk.open_direct(&path)?;
        let first_page = end - (end - base) % DIRECT_ALIGNMENT;
        let mut page = vec![0; (end - first_page) as usize];
        disk.open(&path, OpenMode::Read)?.read_exact_at(&mut page, first_page - base)?;
        let mut pages = Pages::new();
        pages.begin(&page);
        Ok(Writer {
            base,
            file,
            pages,
            first_page,
            queue: Vec::new(),
            zeros_low: false,
            partitions: Vec::new(),
            evicted: Vec::new(),
            reached: Vec::new(),
        })
    }

    /// Where in the log the next byte goes.
    fn end(&self) -> u64 {
        self.first_page + self.pages.filled() as u64
    }
}

impl Log {
    /// Writes what is queued, once; what the writer thread repeats. Tests call it by hand.
    pub fn write_step(&self) -> Result<SyncOutcome, LogFailure> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let durable = {
            let mut state = self.state.lock();
            state.progress.check()?;
            if state.queue.is_empty() {
                return Ok(SyncOutcome::Idle);
            }
            std::mem::swap(&mut state.queue, &mut writer.queue);
            state.progress.durable
        };
        let written_bytes = self.write_queue(writer, durable)?;
        self.publish_written(writer, written_bytes);
        Ok(SyncOutcome::Progressed)
    }

    /// Writes the queue the writer has taken; answers the payload bytes in it.
    fn write_queue(&self, writer: &mut Writer, durable: u64) -> Result<usize, LogFailure> {
        let mut payload_bytes = 0;
        let mut queue = std::mem::take(&mut writer.queue);
        for queued in queue.drain(..) {
            match queued {
                Queued::Frame { mut header, payload } => {
                    header.durable = durable;
                    header.body_crc = checksum(&payload);
                    payload_bytes += payload.len();
                    if header.kind == FrameKind::Batch {
                        writer.partitions.push(PartitionNumber(header.partition));
                    }
                    self.lay_out_frame(writer, &header, &payload)?;
                }
                Queued::NextFile { base, state } => {
                    self.write_pages(writer)?;
                    self.begin_file(writer, base, state)?;
                }
            }
        }
        self.write_pages(writer)?;
        writer.queue = queue;
        Ok(payload_bytes)
    }

    fn lay_out_frame(&self, writer: &mut Writer, header: &FrameHeader, payload: &[u8]) -> Result<(), LogFailure> {
        assert_eq!(writer.end(), header.position, "frames follow each other without a gap");
        let padding = (frame_bytes(payload.len()) as usize) - FRAME_HEADER_BYTES - payload.len();
        for mut part in [&header.encode()[..], payload, &[0; ALIGNMENT as usize][..padding]] {
            while !part.is_empty() {
                let taken = writer.pages.put(part);
                part = &part[taken..];
                if writer.pages.is_full() {
                    self.write_pages(writer)?;
                }
            }
        }
        Ok(())
    }

    /// Writes what is laid out, with zeros to the end of the last page: there is nothing behind it yet.
    fn write_pages(&self, writer: &mut Writer) -> Result<(), LogFailure> {
        let bytes = writer.pages.unwritten();
        if bytes == 0 {
            return Ok(());
        }
        let (position, end) = (writer.first_page - writer.base, writer.end() - writer.base);
        {
            let LogOptions { file_bytes, zero_ahead_bytes, .. } = self.options;
            let mut fill = self.fill.lock();
            while fill.is_in_the_way(writer.base, page_end(end)) {
                self.fill_signal.wait(&mut fill);
            }
            writer.zeros_low |= fill.pass(writer.base, end, file_bytes, zero_ahead_bytes);
        }
        self.counters.writes.add(1);
        self.counters.written_bytes.add(bytes as u64);
        let written = writer.file.write_at(&[writer.pages.padded()], position);
        written.map_err(|error| self.fail("write", &log_path(&self.dir, writer.base), error))?;
        writer.first_page += writer.pages.keep_last() as u64;
        Ok(())
    }

    fn begin_file(&self, writer: &mut Writer, base: u64, state_at_end: Vec<u8>) -> Result<(), LogFailure> {
        let path = log_path(&self.dir, base);
        let (spare, generation) = {
            let mut state = self.state.lock();
            (state.spares.pop(), state.generation)
        };
        let header = FileHeader::new(generation, base).encode();
        let begin = || {
            let file = match &spare {
                Some(spare) => {
                    self.disk.rename(spare, &path)?;
                    self.disk.open(&path, OpenMode::Write)?
                }
                None => self.disk.open(&path, OpenMode::CreateNew)?,
            };
            let present_bytes = file.length()?;
            file.write_at(&[IoSlice::new(&header)], 0)?;
            self.disk.sync_dir(&self.dir)?;
            io::Result::Ok((file, self.disk.open_direct(&path)?, present_bytes))
        };
        let (file, direct, present_bytes) = begin().map_err(|error| self.fail("begin", &path, error))?;
        self.fill.lock().begin(base, file.clone(), present_bytes);
        let mut state = self.state.lock();
        if let Some(last) = state.files.back_mut() {
            last.full = Some(FullFile { end: base, state: Arc::new(state_at_end) });
        }
        state.files.push_back(OpenFile { base, generation, handle: file.clone(), full: None });
        drop(state);
        self.counters.rolls.add(1);
        writer.base = base;
        writer.file = direct;
        writer.first_page = base;
        writer.pages.begin(&header);
        Ok(())
    }

    fn publish_written(&self, writer: &mut Writer, payload_bytes: usize) {
        let end = writer.end();
        writer.partitions.sort_unstable();
        writer.partitions.dedup();
        let house = {
            let mut state = self.state.lock();
            state.progress.wrote(end, payload_bytes, &writer.partitions, &mut writer.reached);
            state.tail.evict(end, &mut writer.evicted);
            let rolled = state.files.front().is_some_and(|file| file.full.is_some());
            state.progress.house_wanted |= rolled || std::mem::take(&mut writer.zeros_low);
            state.progress.house_wanted
        };
        if house {
            self.shell.wake_house();
        }
        self.shell.wrote(&writer.partitions, &mut writer.reached);
        writer.partitions.clear();
        writer.evicted.clear();
    }
}
