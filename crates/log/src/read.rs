//! Reading: a plan of memory slices and file ranges for whole batches of one partition.
//!
//! Sealed files are searched without the lock; unsealed entries and the tail cache under it, for at most [`MAX_PLAN_BATCHES`] batches
//! (and [`MAX_LEFT_OUT_BATCHES`] that the reader's tags leave out).
//! Bytes that are only queued come from the tail cache; a file is never read above the written position.

use crate::cuts::Cuts;
use crate::dedicated::RunCheck;
use crate::format::frame::FRAME_HEADER_BYTES;
use crate::format::index::QueueEntry;
use crate::log::{Log, State};
use crate::partition::Partition;
use crate::sealed::{SealedFiles, runs_from};
use crate::{LogEnds, ReadError, ReadLimits, ReadPart, ReadPlan, StoredFrame};
use bytes::{Bytes, BytesMut};
use duolog_base::{DiskFile, Offset, PartitionNumber, Position};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Batches one plan names at most.
const MAX_PLAN_BATCHES: usize = 1024;
/// Batches one plan leaves out at most, so that the lock is not held for long. The reader goes on behind them.
const MAX_LEFT_OUT_BATCHES: usize = 8192;
/// File ranges closer than this are read at once by [`ReadPlan::materialize`].
const NEAR_BYTES: u64 = 16 << 10;
/// The most that one read of [`ReadPlan::materialize`] covers, gaps included, unless a single batch is larger.
const MAX_RANGE_BYTES: u64 = 4 << 20;

impl Log {
    pub fn ends(&self, partition: PartitionNumber) -> Option<LogEnds> {
        let state = self.state.lock();
        Some(state.partitions.get(&partition)?.ends(&state.progress))
    }

    /// Plans a read. Looks only at memory and mapped indexes; no data is read.
    pub fn read(&self, partition: PartitionNumber, from: Offset, limits: ReadLimits) -> Result<ReadPlan, ReadError> {
        let mut planner = Planner::new(from, limits);
        // The list of sealed files that has been searched already. Another search is needed only if it has changed since,
        // because a file was sealed between the search and the lock.
        let mut searched: Option<(Arc<SealedFiles>, Cuts)> = None;
        loop {
            let (sealed, cuts) = {
                let state = self.state.lock();
                let known = readable(&state, partition, from)?;
                if searched.as_ref().is_some_and(|(_, cuts)| cuts != known.cuts()) {
                    // Batches of before and after a truncation do not belong together.
                    (planner, searched) = (Planner::new(from, limits), None);
                }
                let next = planner.plan.next.0;
                let in_sealed = next < known.first_unsealed().unwrap_or(known.next_offset());
                let sealed = self.sealed.load_full();
                if !in_sealed || searched.as_ref().is_some_and(|(before, _)| Arc::ptr_eq(before, &sealed)) {
                    planner.take_unsealed(&state, partition, known);
                    return Ok(planner.plan);
                }
                (sealed, known.cuts().clone())
            };
            if planner.take_sealed(&sealed, &cuts, partition).map_err(|error| self.read_failed(error))?.is_break() {
                return Ok(planner.plan);
            }
            searched = Some((sealed, cuts));
        }
    }
}

impl Log {
    /// The reader is told; a damaged index is rebuilt for the next one.
    pub(crate) fn read_failed(&self, error: io::Error) -> ReadError {
        if error.kind() == io::ErrorKind::InvalidData {
            self.want_repair();
        }
        ReadError::Io(Arc::new(error))
    }
}

/// The partition, if it can be read from this offset.
pub(crate) fn readable(state: &State, partition: PartitionNumber, from: Offset) -> Result<&Partition, ReadError> {
    let known = state.partitions.get(&partition).ok_or(ReadError::UnknownPartition(partition))?;
    if let Some(reason) = known.quarantine() {
        return Err(ReadError::Quarantined(reason.to_owned()));
    }
    let (start, end) = (Offset(known.log_start()), Offset(known.next_offset()));
    if from < start || from > end {
        return Err(ReadError::OutOfRange { asked: from, start, end });
    }
    Ok(known)
}

struct Planner {
    plan: ReadPlan,
    limits: ReadLimits,
    left_out: usize,
}

enum Verdict {
    Take,
    LeaveOut,
    /// The plan is complete without it.
    End,
}

impl Planner {
    fn new(from: Offset, limits: ReadLimits) -> Planner {
        Planner { plan: ReadPlan { next: from, ..ReadPlan::default() }, limits, left_out: 0 }
    }

    fn take_unsealed(&mut self, state: &State, partition: PartitionNumber, known: &Partition) {
        for entry in known.unsealed_from(self.plan.next.0) {
            match self.judge(entry) {
                Verdict::Take => {}
                Verdict::LeaveOut => continue,
                Verdict::End => return,
            }
            let part = match state.tail.find(entry.position) {
                Some(batch) => ReadPart::Memory(batch.clone()),
                None if entry.end_position() > state.progress.written => return,
                None => match state.file_of(entry.position) {
                    Some(file) => ReadPart::File {
                        file: file.handle.clone(),
                        position: entry.position - file.base + FRAME_HEADER_BYTES as u64,
                        bytes: entry.batch_bytes as usize,
                        settled: state.progress.written - file.base,
                        frame: Some(stored_frame(partition, entry)),
                    },
                    None => return,
                },
            };
            if self.add(entry, part).is_break() {
                return;
            }
        }
    }

    fn take_sealed(&mut self, files: &SealedFiles, cuts: &Cuts, partition: PartitionNumber) -> io::Result<ControlFlow<()>> {
        for (file, record) in runs_from(files, partition.0, self.plan.next.0, cuts) {
            for entry in file.run_entries(&record, self.plan.next.0)? {
                match self.judge(&entry) {
                    Verdict::Take => {}
                    Verdict::LeaveOut => continue,
                    Verdict::End => return Ok(ControlFlow::Break(())),
                }
                let outside = || io::Error::new(io::ErrorKind::InvalidData, "a queue entry points outside of its file");
                let position = file.batch_at(&entry).ok_or_else(outside)?;
                let (bytes, frame) = (entry.batch_bytes as usize, Some(stored_frame(partition, &entry)));
                let settled = file.frames_bytes;
                let part = ReadPart::File { file: file.log.clone(), position, bytes, settled, frame };
                if self.add(&entry, part).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What the reader's tags say of a batch. One that is left out is behind the reader.
    fn judge(&mut self, entry: &QueueEntry) -> Verdict {
        if self.limits.tags.is_none_or(|tags| tags.may_match(entry.tag_filter)) {
            return Verdict::Take;
        }
        if entry.last_offset() >= self.limits.upto.0 || self.left_out == MAX_LEFT_OUT_BATCHES {
            return Verdict::End;
        }
        self.left_out += 1;
        self.plan.next = Offset(entry.last_offset() + 1);
        Verdict::LeaveOut
    }

    /// Adds a batch, or says that the plan is complete without it.
    fn add(&mut self, entry: &QueueEntry, part: ReadPart) -> ControlFlow<()> {
        let bytes = entry.batch_bytes as usize;
        let first = self.plan.parts.is_empty() && self.limits.at_least_one;
        let full = self.plan.bytes + bytes > self.limits.max_bytes && !first;
        if full || entry.last_offset() >= self.limits.upto.0 || self.plan.parts.len() == MAX_PLAN_BATCHES {
            return ControlFlow::Break(());
        }
        if entry.tag_filter != 0 {
            self.plan.tags.push((self.plan.parts.len() as u32, entry.tag_filter));
        }
        self.plan.parts.push(part);
        self.plan.bytes += bytes;
        self.plan.next = Offset(entry.last_offset() + 1);
        ControlFlow::Continue(())
    }
}

fn stored_frame(partition: PartitionNumber, entry: &QueueEntry) -> StoredFrame {
    StoredFrame { partition, base_offset: Offset(entry.base_offset), position: Position(entry.position) }
}

impl ReadPlan {
    /// Whether nothing of it has to be read from files.
    pub fn is_in_memory(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, ReadPart::Memory(_)))
    }

    /// Copies the whole plan into memory, reading the files and holding what they hold to its checksums. May wait for the disk.
    pub fn materialize(&self) -> Result<Bytes, ReadError> {
        if let [ReadPart::Memory(batch)] = self.parts.as_slice() {
            return Ok(batch.clone());
        }
        if let (Some(check), [ReadPart::File { file, position, bytes, .. }]) = (self.run_check(), self.parts.as_slice()) {
            let copied = read_run(file.as_ref(), *position, *bytes, check);
            return copied.map_err(|error| ReadError::Io(Arc::new(error)));
        }
        let mut out = BytesMut::with_capacity(self.bytes);
        let mut parts = self.parts.as_slice();
        while let [first, rest @ ..] = parts {
            parts = match first {
                ReadPart::Memory(batch) => {
                    out.extend_from_slice(batch);
                    rest
                }
                ReadPart::File { .. } => {
                    let near = near_parts(parts);
                    read_near(&parts[..near], &mut out).map_err(|error| ReadError::Io(Arc::new(error)))?;
                    &parts[near..]
                }
            };
        }
        Ok(out.freeze())
    }
}

fn read_run(file: &dyn DiskFile, position: u64, bytes: usize, check: RunCheck) -> io::Result<Bytes> {
    let mut range = vec![0; bytes];
    file.read_exact_at(&mut range, position)?;
    check.check_copy(&range, file)?;
    Ok(range.into())
}

/// How many parts from the first (a file range) on lie so close together that one read for all is cheaper.
fn near_parts(parts: &[ReadPart]) -> usize {
    let mut count = 0;
    let mut begin = 0;
    let mut end = 0;
    let mut last: Option<&Arc<dyn DiskFile>> = None;
    for part in parts {
        let ReadPart::File { file, position, bytes, .. } = part else { break };
        let part_end = position + *bytes as u64;
        match last {
            None => begin = *position,
            Some(last) => {
                let near = *position >= end && *position - end <= NEAR_BYTES && part_end - begin <= MAX_RANGE_BYTES;
                if !near || !Arc::ptr_eq(last, file) {
                    break;
                }
            }
        }
        last = Some(file);
        end = part_end;
        count += 1;
    }
    count
}

/// Reads file ranges that lie near each other with one call, from the frame in front of the first on.
fn read_near(parts: &[ReadPart], out: &mut BytesMut) -> io::Result<()> {
    let (Some(ReadPart::File { file, position: begin, frame, .. }), Some(ReadPart::File { position, bytes, .. })) =
        (parts.first(), parts.last())
    else {
        return Ok(());
    };
    let begin = begin - frame.map_or(0, |_| FRAME_HEADER_BYTES as u64);
    let mut range = vec![0; (position + *bytes as u64 - begin) as usize];
    file.read_exact_at(&mut range, begin)?;
    for part in parts {
        if let ReadPart::File { position, bytes, frame, .. } = part {
            let at = (position - begin) as usize;
            if let Some(frame) = frame {
                frame.check(&range[at - FRAME_HEADER_BYTES..at + bytes], *bytes)?;
            }
            out.extend_from_slice(&range[at..at + bytes]);
        }
    }
    Ok(())
}
