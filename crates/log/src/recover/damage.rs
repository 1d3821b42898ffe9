//! Damage below the durable position: telling it from a torn tail, and finding whom it concerns.
//!
//! A position was durable if a later frame says so, or if a later file is sealed. A lost frame whose header is intact names its
//! partition. Otherwise the hole concerns whoever may have had a frame in it: a partition whose later frames go on without a
//! gap did not; one whose offsets jump did; one that has no later frames may have, and is not served on a guess.

use super::Recovery;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use crate::partition::Partition;
use crate::progress::MAX_UNSYNCED_BYTES;
use crate::scan::FrameFile;
use crate::{AppendOrigin, OpenError};
use duolog_base::{OpenMode, PartitionNumber, Position};
use duolog_wire::record::{BatchHeader, verify_crc};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeSet;

/// A log with more holes than this is not opened.
const MAX_HOLES: usize = 64;
/// Larger than any frame a broker accepts by default.
const LARGEST_FRAME_BYTES: u64 = 128 << 20;

/// What is known of the damage so far.
#[derive(Default)]
pub(super) struct Damage {
    holes: Vec<Hole>,
    quarantined: BTreeSet<PartitionNumber>,
}

/// Bytes that should hold frames and do not.
struct Hole {
    /// Partitions that may have lost a frame and have not been seen since.
    suspects: HashSet<PartitionNumber>,
    /// Base and last offset of the lost batch, if the hole held exactly one whose bytes are still sound.
    lost: Option<(i64, i64)>,
}

impl Damage {
    /// A frame with an intact header has lost its body.
    pub fn lost_frame(&mut self, header: &FrameHeader) {
        if matches!(header.kind, FrameKind::Batch | FrameKind::Truncation) {
            self.quarantined.insert(PartitionNumber(header.partition));
        }
    }

    /// A batch lies below the end of its partition.
    pub fn overlap(&mut self, number: PartitionNumber) {
        self.quarantined.insert(number);
    }

    pub fn dropped(&mut self, number: PartitionNumber) {
        self.quarantined.remove(&number);
        for hole in &mut self.holes {
            hole.suspects.remove(&number);
        }
    }

    /// A truncation was found behind the holes. What was lost of the partition is cut off as well, if the log was known that far.
    pub fn truncated(&mut self, number: PartitionNumber, expected: i64, after: &Partition) {
        match after.log_start() == after.next_offset() {
            true => self.dropped(number),
            false => self.seen(number, expected, expected.max(after.next_offset())),
        }
    }

    /// A batch of a partition was found behind the holes.
    pub fn seen(&mut self, number: PartitionNumber, expected: i64, found: i64) {
        if self.holes.is_empty() {
            return;
        }
        let jumped = found > expected;
        if jumped {
            self.quarantined.insert(number);
        }
        for hole in &mut self.holes {
            hole.suspects.remove(&number);
            if jumped && hole.lost == Some((expected, found - 1)) {
                hole.suspects.clear();
            }
        }
    }

    /// Whether a partition has lost a frame, or may have, as far as is known by now.
    pub fn concerns(&self, number: PartitionNumber) -> bool {
        self.quarantined.contains(&number) || self.holes.iter().any(|hole| hole.suspects.contains(&number))
    }

    pub fn was_found(&self) -> bool {
        !self.quarantined.is_empty() || !self.holes.is_empty()
    }

    /// The whole log was read: marks the partitions that must not be served.
    pub fn conclude(&mut self, partitions: &mut HashMap<PartitionNumber, Partition>) -> Vec<PartitionNumber> {
        for hole in self.holes.drain(..) {
            self.quarantined.extend(hole.suspects);
        }
        for number in &self.quarantined {
            tracing::error!(partition = number.0, "partition is quarantined: frames of it are damaged");
            partitions.entry(*number).or_default().set_quarantine();
        }
        let mut all: Vec<_> =
            partitions.iter().filter(|(_, known)| known.quarantine().is_some()).map(|(number, _)| *number).collect();
        all.sort_unstable();
        all
    }
}

impl Recovery<'_> {
    /// Whether `position`, in the file at `index`, was durable once: then what is missing there is damage.
    pub(super) fn was_durable(&mut self, index: usize, frames: &mut FrameFile, position: u64) -> Result<bool, OpenError> {
        let base = self.bases[index];
        let queue_bytes = self.options.queue_limit_bytes(AppendOrigin::Internal) as u64;
        let upto = position.saturating_add(MAX_UNSYNCED_BYTES + queue_bytes + 2 * LARGEST_FRAME_BYTES);
        if self.evidence(frames, position, position + 1, upto).map_err(|error| self.io_error(base, error))? {
            return Ok(true);
        }
        for later in index + 1..self.bases.len() {
            let base = self.bases[later];
            if self.open_sealed(base, self.bases.get(later + 1).copied())?.is_some() {
                return Ok(true);
            }
            let path = crate::files::log_path(self.dir, base);
            let file = self.disk.open(&path, OpenMode::Read).map_err(|error| self.io_error(base, error))?;
            let next_base = self.bases.get(later + 1).copied();
            let mut frames = FrameFile::new(file, base, next_base).map_err(|error| self.io_error(base, error))?;
            if self.evidence(&mut frames, position, base, upto.max(base)).map_err(|error| self.io_error(base, error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a frame of the file between `from` and `upto` says that `position` was durable. Counts the torn bytes if not.
    fn evidence(&mut self, frames: &mut FrameFile, position: u64, from: u64, upto: u64) -> std::io::Result<bool> {
        let (mut from, mut torn_bytes) = (from, 0);
        while let Some(header) = frames.search(from, upto, self.generation)? {
            if header.durable > position {
                return Ok(true);
            }
            torn_bytes += header.end() - header.position;
            from = header.end();
        }
        self.report.torn_bytes += torn_bytes;
        Ok(false)
    }

    /// Goes on behind damage: the position of the next frame in this file, or `None` if it has no more.
    pub(super) fn skip_hole(&mut self, frames: &mut FrameFile, position: u64) -> Result<Option<u64>, OpenError> {
        let base = self.bases.iter().rev().copied().find(|base| *base <= position).unwrap_or(0);
        let next = frames.search(position + 1, u64::MAX, self.generation).map_err(|error| self.io_error(base, error))?;
        // A file that was cut short has lost what reached to the next one.
        let next_base = self.bases.iter().copied().find(|base| *base > position);
        let end = next.map_or(next_base.unwrap_or(frames.limit()), |header| header.position);
        tracing::error!(position, bytes = end - position, "the commit log is damaged");
        if self.damage.holes.len() == MAX_HOLES {
            let problem = "damaged in too many places";
            return Err(OpenError::Corrupt {
                path: crate::files::log_path(self.dir, base),
                position: Position(position),
                problem,
            });
        }
        // No batch fits into the bytes of one header: a control frame was lost, which implies no data.
        if end - position > FRAME_HEADER_BYTES as u64 {
            let lost = lost_batch(frames, position, end).map_err(|error| self.io_error(base, error))?;
            let may_be_it = |known: &Partition| lost.is_none_or(|(base_offset, _)| known.next_offset() == base_offset);
            let suspects = self.partitions.iter().filter(|(_, known)| may_be_it(known)).map(|(number, _)| *number).collect();
            self.damage.holes.push(Hole { suspects, lost });
        }
        Ok(next.map(|header| header.position))
    }
}

/// Base and last offset of the batch in a hole that is exactly one frame with a damaged header. An intact header is that of a frame
/// which belongs elsewhere, and so does its batch.
fn lost_batch(frames: &mut FrameFile, position: u64, end: u64) -> std::io::Result<Option<(i64, i64)>> {
    let header = frames.bytes(position, FRAME_HEADER_BYTES)?;
    if header.and_then(|bytes| bytes.first_chunk()).is_some_and(|bytes| FrameHeader::decode(bytes).is_ok()) {
        return Ok(None);
    }
    let payload_at = position + FRAME_HEADER_BYTES as u64;
    let Some(bytes) = frames.bytes(payload_at, (end - payload_at) as usize)? else { return Ok(None) };
    let Ok(header) = BatchHeader::parse(bytes) else { return Ok(None) };
    if frame_bytes(header.total_bytes()) != end - position || verify_crc(bytes).is_err() {
        return Ok(None);
    }
    Ok(Some((header.base_offset.0, header.last_offset().0)))
}
