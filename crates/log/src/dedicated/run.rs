//! Holding the batches of a segment to the places they have, before a reader gets them.
//!
//! A batch's checksum covers neither its base offset nor its leader epoch, and nothing in front of it does. But batches follow each
//! other: one that begins where the one before ends is the right one, and so is one that the offset index, whose checksum is in the
//! manifest, names: that is every one behind a gap, which compaction leaves. The first of a segment may lie behind a gap and has no entry:
//! the next one must begin behind it. The epochs of a partition are in its
//! manifest, too. Of two that contradict each other neither is served.
//!
//! Only the headers are needed. [`ReadPlan::materialize`] checks what it reads; whoever sends a plan's ranges checks them first.
//!
//! [`ReadPlan::materialize`]: crate::ReadPlan::materialize

use super::format::indexes::OFFSET_ENTRY_BYTES;
use super::growing::MOST_GAP_ENTRIES_BYTES;
use super::segments::Segment;
use crate::partition::EpochStart;
use crate::{ReadPart, ReadPlan};
use duolog_base::{DiskFile, Offset};
use duolog_wire::record::{BatchHeader, HEADER_BYTES};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are asked for at once where batches are small; where they are large, only a header is.
const CHUNK_BYTES: usize = 8 << 10;
/// Batches larger than this are looked at one by one.
const SMALL_BYTES: usize = 2 << 10;

/// What the batches in a range of a segment file must be.
pub struct StoredRun {
    /// Its index names batches, if it is sealed.
    pub(super) segment: Option<Arc<Segment>>,
    /// The first batch begins here, or behind a gap.
    pub(super) first: i64,
    /// Where the segment ends, and the next offset there if it is known.
    pub(super) end_position: u64,
    pub(super) end: Option<i64>,
    pub(super) epochs: Vec<EpochStart>,
}

impl StoredRun {
    fn epoch_at(&self, offset: i64) -> Option<i32> {
        let at = self.epochs.partition_point(|epoch| epoch.start <= offset);
        at.checked_sub(1).map(|at| self.epochs[at].epoch)
    }

    /// Whether the header at a position is of the leader that wrote there. Kafka's old batches have no epoch.
    fn has_its_epoch(&self, header: &BatchHeader) -> bool {
        match self.epoch_at(header.base_offset.0) {
            Some(epoch) => header.leader_epoch.0 == epoch,
            None => header.leader_epoch.0 < 0 || self.epochs.is_empty(),
        }
    }

    /// Whether the index names this batch at a position, or should because it begins behind a gap; `None` if it says nothing.
    pub(super) fn is_named(&self, header: &BatchHeader, position: u64, expected: i64) -> Option<bool> {
        let index = self.segment.as_ref()?.offset_index();
        let entry = index.last_where(|entry| u64::from(entry.position) <= position);
        match entry.filter(|entry| u64::from(entry.position) == position) {
            Some(entry) => Some(entry.offset == header.last_offset().0),
            // The one at the beginning has no entry.
            None => {
                let behind_gap = header.base_offset.0 > expected && position > 0;
                let names_gaps = index.entries() * OFFSET_ENTRY_BYTES < MOST_GAP_ENTRIES_BYTES;
                (behind_gap && names_gaps).then_some(false)
            }
        }
    }
}

/// A walk over the headers of a range. Decides only: whoever has the bytes gives them.
pub struct RunCheck {
    run: Arc<StoredRun>,
    range: Range<u64>,
    /// Where the next header is.
    position: u64,
    /// Where the batch there should begin.
    expected: i64,
    /// A batch behind a gap that is right if the next one begins behind it, and the offset after it.
    pending: Option<u64>,
    /// All batches before this position are right, up to this offset.
    sound: (u64, i64),
    chunk_bytes: usize,
    damaged_at: Option<u64>,
}

impl RunCheck {
    fn new(run: Arc<StoredRun>, range: Range<u64>) -> RunCheck {
        let (position, expected) = (range.start, run.first);
        RunCheck {
            run,
            position,
            expected,
            pending: None,
            sound: (position, expected),
            chunk_bytes: CHUNK_BYTES.min((range.end - range.start) as usize).max(HEADER_BYTES),
            range,
            damaged_at: None,
        }
    }

    /// The bytes that are needed next, if any: some headers at least.
    pub fn wants(&self) -> Option<Range<u64>> {
        let done = self.position >= self.range.end && (self.pending.is_none() || self.position >= self.run.end_position);
        if done || self.damaged_at.is_some() {
            return None;
        }
        Some(self.position..(self.position + self.chunk_bytes as u64).min(self.run.end_position.max(self.position)))
    }

    /// Takes the bytes that were wanted, or more.
    pub fn take(&mut self, bytes: &[u8]) {
        let begin = self.position;
        let mut any = false;
        while let Some(wanted) = self.wants() {
            let at = (wanted.start - begin) as usize;
            let Some(header) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) else {
                if !any {
                    self.damaged(self.position);
                }
                return;
            };
            any = true;
            match BatchHeader::parse_prefix(header) {
                Ok(header) => self.header(&header),
                Err(_) => self.damaged(self.position),
            }
        }
    }

    fn header(&mut self, header: &BatchHeader) {
        let (position, next) = (self.position, header.next_offset().0);
        let behind = position + header.total_bytes() as u64;
        if header.base_offset.0 < self.expected {
            return self.damaged(self.pending.unwrap_or(position));
        }
        if self.pending.take().is_some() {
            self.sound = (position, self.expected);
        }
        if position >= self.range.end {
            // It was looked at for the sake of the one before.
            return;
        }
        let named = self.run.is_named(header, position, self.expected);
        let at_end = behind >= self.run.end_position;
        let fits = behind <= self.range.end
            && self.run.has_its_epoch(header)
            && named != Some(false)
            && self.run.end.is_none_or(|end| if at_end { next == end } else { next <= end });
        if !fits {
            return self.damaged(position);
        }
        let certain = header.base_offset.0 == self.expected || named.is_some() || at_end;
        (self.position, self.expected) = (behind, next);
        match certain {
            true => self.sound = (behind, next),
            false => self.pending = Some(position),
        }
        self.chunk_bytes = if header.total_bytes() > SMALL_BYTES { HEADER_BYTES } else { CHUNK_BYTES };
    }

    fn damaged(&mut self, at: u64) {
        self.damaged_at = Some(at);
    }

    /// Whether a batch is there that may not be served.
    fn problem(&self) -> Option<io::Error> {
        let position = self.damaged_at?;
        let text = format!("a segment is damaged: at position {position} there is not the batch that was stored there");
        Some(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Checks a copy of the range; where more is needed, it is read from the file.
    pub(crate) fn check_copy(mut self, copy: &[u8], file: &dyn DiskFile) -> io::Result<()> {
        self.take(copy);
        while let Some(wanted) = self.wants() {
            let mut bytes = vec![0; (wanted.end - wanted.start) as usize];
            let read = file.read_at(&mut bytes, wanted.start)?;
            self.take(&bytes[..read]);
        }
        self.problem().map_or(Ok(()), Err)
    }
}

impl ReadPlan {
    /// The check of a plan whose only part is a range of a segment file.
    pub fn run_check(&self) -> Option<RunCheck> {
        let (Some(run), [ReadPart::File { position, bytes, .. }]) = (&self.run, self.parts.as_slice()) else { return None };
        Some(RunCheck::new(run.clone(), *position..position + *bytes as u64))
    }

    /// Leaves out what was not found to be right. What is wrong behind it is told, and is an error if nothing is left.
    pub fn keep_checked(&mut self, check: &RunCheck) -> io::Result<Option<io::Error>> {
        let [ReadPart::File { position, bytes, .. }] = self.parts.as_mut_slice() else { unreachable!("it was made of one part") };
        let (end, next) = check.sound;
        let (kept, problem) = ((end - *position) as usize, check.problem());
        if kept == 0 {
            return Err(problem.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        }
        if kept < *bytes {
            (*bytes, self.bytes, self.next) = (kept, kept, Offset(next));
        }
        Ok(problem)
    }
}
