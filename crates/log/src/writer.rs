//! The writer: takes what is queued, writes it with as few system calls as the files allow, and publishes how far it got.
//!
//! One at a time (the `writer` lock). Offsets and positions were decided by the append; the writer adds the body's checksum and the
//! durable position to each header, and begins files where the queue says so.

use crate::append::Queued;
use crate::files::log_path;
use crate::format::checksum;
use crate::format::file_header::FileHeader;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use crate::log::{FullFile, Log, OpenFile};
use crate::zero::page_end;
use crate::{Advance, LogFailure, LogOptions, SyncOutcome};
use bytes::Bytes;
use duolog_base::{DiskFile, OpenMode, PartitionNumber, Position};
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Payloads up to this many bytes are copied together with their headers: one long slice is cheaper to write than many short ones.
const GATHER_BYTES: usize = 4096;
/// Scratch memory kept from one write to the next.
const SCRATCH_KEPT_BYTES: usize = 4 << 20;

/// What the writer owns: buffers that live from write to write, and the file it writes to.
pub(crate) struct Writer {
    base: u64,
    file: Arc<dyn DiskFile>,
    queue: Vec<Queued>,
    gather: Gather,
    zeros_low: bool,
    partitions: Vec<PartitionNumber>,
    evicted: Vec<Bytes>,
    reached: Vec<oneshot::Sender<()>>,
}

/// Frames of one write: headers, small payloads and padding gathered in `scratch`, large payloads by their place in the queue.
#[derive(Default)]
struct Gather {
    scratch: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where in `scratch` the piece begins that is not in `pieces` yet.
    open: usize,
    /// Where in the log the write begins and ends.
    begin: u64,
    end: u64,
}

#[derive(Clone, Copy)]
enum Piece {
    Scratch { bytes: usize },
    Payload { index: usize },
}

impl Writer {
    pub fn new(base: u64, file: Arc<dyn DiskFile>) -> Writer {
        Writer {
            base,
            file,
            queue: Vec::new(),
            gather: Gather::default(),
            zeros_low: false,
            partitions: Vec::new(),
            evicted: Vec::new(),
            reached: Vec::new(),
        }
    }
}

impl Log {
    /// Writes what is queued, once (one `pwritev`); what the writer thread repeats. Tests call it by hand.
    pub fn write_step(&self) -> Result<SyncOutcome, LogFailure> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let durable = {
            let mut state = self.state.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.queue.is_empty() {
                return Ok(SyncOutcome::Idle);
            }
            std::mem::swap(&mut state.queue, &mut writer.queue);
            state.durable
        };
        let written_bytes = self.write_queue(writer, durable)?;
        self.publish_written(writer, written_bytes);
        Ok(SyncOutcome::Progressed)
    }

    /// Writes the queue the writer has taken; answers the payload bytes in it.
    fn write_queue(&self, writer: &mut Writer, durable: u64) -> Result<usize, LogFailure> {
        let mut payload_bytes = 0;
        for index in 0..writer.queue.len() {
            match &mut writer.queue[index] {
                Queued::Frame { header, payload } => {
                    header.durable = durable;
                    header.body_crc = checksum(payload);
                    payload_bytes += payload.len();
                    if header.kind == FrameKind::Batch {
                        writer.partitions.push(PartitionNumber(header.partition));
                    }
                    writer.gather.add(index, header, payload);
                }
                Queued::NextFile { base, state } => {
                    let (base, state) = (*base, std::mem::take(state));
                    self.write_gathered(writer)?;
                    self.begin_file(writer, base, state)?;
                }
            }
        }
        self.write_gathered(writer)?;
        Ok(payload_bytes)
    }

    fn write_gathered(&self, writer: &mut Writer) -> Result<(), LogFailure> {
        let gather = &mut writer.gather;
        if gather.is_empty() {
            return Ok(());
        }
        let LogOptions { file_bytes, zero_ahead_bytes, .. } = self.options;
        let end = gather.end - writer.base;
        // What is ahead is zero already, but not in the page cache: a page written in part would be read first.
        let padding = page_end(end).min(file_bytes.max(end)) - end;
        gather.pad(padding as usize);
        {
            let mut fill = self.fill.lock();
            while fill.is_in_the_way(writer.base, end + padding) {
                self.fill_signal.wait(&mut fill);
            }
            writer.zeros_low |= fill.pass(writer.base, end, file_bytes, zero_ahead_bytes);
        }
        let slices = gather.slices(&writer.queue);
        self.counters.writes.add(1);
        self.counters.written_bytes.add(gather.end - gather.begin);
        let written = writer.file.write_at(&slices, gather.begin - writer.base);
        gather.clear();
        written.map_err(|error| self.fail("write", &log_path(&self.dir, writer.base), error))
    }

    fn begin_file(&self, writer: &mut Writer, base: u64, state_at_end: Vec<u8>) -> Result<(), LogFailure> {
        let path = log_path(&self.dir, base);
        let (spare, generation) = {
            let mut state = self.state.lock();
            (state.spares.pop(), state.generation)
        };
        let begin = || -> io::Result<(Arc<dyn DiskFile>, u64)> {
            let file = match &spare {
                Some(spare) => {
                    self.disk.rename(spare, &path)?;
                    self.disk.open(&path, OpenMode::Write)?
                }
                None => self.disk.open(&path, OpenMode::CreateNew)?,
            };
            let present_bytes = file.length()?;
            file.write_at(&[IoSlice::new(&FileHeader::new(generation, base).encode())], 0)?;
            self.disk.sync_dir(&self.dir)?;
            Ok((file, present_bytes))
        };
        let (file, present_bytes) = begin().map_err(|error| self.fail("begin", &path, error))?;
        self.fill.lock().begin(base, file.clone(), present_bytes);
        let mut state = self.state.lock();
        if let Some(last) = state.files.back_mut() {
            last.full = Some(FullFile { end: base, state: Arc::new(state_at_end) });
        }
        state.files.push_back(OpenFile { base, generation, handle: file.clone(), full: None });
        drop(state);
        self.counters.rolls.add(1);
        writer.base = base;
        writer.file = file;
        Ok(())
    }

    fn publish_written(&self, writer: &mut Writer, payload_bytes: usize) {
        let end = writer.gather.end;
        writer.partitions.sort_unstable();
        writer.partitions.dedup();
        let house = {
            let mut state = self.state.lock();
            assert!(end >= state.written, "the writer only goes forward");
            state.written = end;
            state.queued_bytes -= payload_bytes;
            state.tail.evict(end, &mut writer.evicted);
            state.unsynced.extend_from_slice(&writer.partitions);
            state.written_waiters.take_reached(Position(end), &mut writer.reached);
            let rolled = state.files.front().is_some_and(|file| file.full.is_some());
            state.house_wanted |= rolled || std::mem::take(&mut writer.zeros_low);
            state.house_wanted
        };
        self.syncer_signal.notify_one();
        if house {
            self.house_signal.notify_one();
        }
        if !writer.partitions.is_empty() {
            self.observer.advanced(&writer.partitions, Advance::Written);
        }
        for waiter in writer.reached.drain(..) {
            // Whoever gave up waiting needs no answer.
            let _ = waiter.send(());
        }
        writer.partitions.clear();
        writer.evicted.clear();
        writer.queue.clear();
    }
}

impl Gather {
    fn add(&mut self, index: usize, header: &FrameHeader, payload: &Bytes) {
        if self.is_empty() {
            self.begin = header.position;
        } else {
            assert_eq!(self.end, header.position, "frames follow each other without a gap");
        }
        self.end = header.position + frame_bytes(payload.len());
        self.scratch.extend_from_slice(&header.encode());
        if payload.len() <= GATHER_BYTES {
            self.scratch.extend_from_slice(payload);
        } else {
            self.close_piece();
            self.pieces.push(Piece::Payload { index });
        }
        let padding = (self.end - header.position) as usize - FRAME_HEADER_BYTES - payload.len();
        self.scratch.resize(self.scratch.len() + padding, 0);
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.scratch.is_empty()
    }

    /// Ends the write with so many zeros, which the next write overwrites.
    fn pad(&mut self, bytes: usize) {
        self.scratch.resize(self.scratch.len() + bytes, 0);
        self.close_piece();
    }

    fn close_piece(&mut self) {
        let bytes = self.scratch.len() - self.open;
        if bytes > 0 {
            self.pieces.push(Piece::Scratch { bytes });
            self.open = self.scratch.len();
        }
    }

    fn slices<'a>(&'a self, queue: &'a [Queued]) -> Vec<IoSlice<'a>> {
        let mut rest = self.scratch.as_slice();
        let mut slice_of = |piece: &Piece| match *piece {
            Piece::Scratch { bytes } => {
                let (piece, after) = rest.split_at(bytes);
                rest = after;
                IoSlice::new(piece)
            }
            Piece::Payload { index } => match &queue[index] {
                Queued::Frame { payload, .. } => IoSlice::new(payload),
                Queued::NextFile { .. } => unreachable!("only frames have payloads"),
            },
        };
        self.pieces.iter().map(&mut slice_of).collect()
    }

    /// Forgets the pieces; `end` stays, as the place the next write begins at.
    fn clear(&mut self) {
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT_BYTES);
        self.pieces.clear();
        self.open = 0;
    }
}
