//! The replicated log's entries and the vote, as frames in segments; each call returns when its frame is durable.
//!
//! Entries are kept on disk only; memory holds where each frame lies. Segments are dropped as a whole once a snapshot
//! covers all their entries, so a new segment's first frame repeats what must outlive the old ones.

use super::format::{Entry, EntryId, Frame, Vote};
use super::segment::{FramePlace, Scanned, Segment, segment_name, segment_sequence};
use super::{corrupt, io_error};
use crate::metadata::error::MetadataOpenError;
use duolog_base::{Disk, OpenMode};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The journal of one node.
pub(in crate::metadata) struct Journal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Oldest first; never empty; the last is written to.
    segments: VecDeque<Segment>,
    /// By the index of a frame's first entry.
    places: BTreeMap<u64, EntriesPlace>,
    vote: Option<Vote>,
    purged: Option<EntryId>,
    last: Option<EntryId>,
    /// The last snapshot of another node.
    installing: Option<EntryId>,
    /// All bytes of segments found and frames written since.
    written_bytes: u64,
    /// A segment is followed by a new one when it is longer than this, in bytes.
    segment_bytes: u64,
    /// Set by closing, and by the first failed write: what is on disk is then unknown, and nothing more is written.
    failed: bool,
}

/// A frame of entries.
#[derive(Clone, Copy, Debug)]
struct EntriesPlace {
    sequence: u64,
    frame: FramePlace,
    /// Last of its entries that holds; later ones were truncated.
    last: EntryId,
}

impl Journal {
    /// Reads the journal in `dir`, or begins one. Tidies up what a crash has left.
    pub(in crate::metadata) fn open(disk: Arc<dyn Disk>, dir: PathBuf, segment_bytes: u64) -> Result<Journal, MetadataOpenError> {
        let (mut journal, remains) = Journal::read_files(disk, dir, segment_bytes, OpenMode::Write)?;
        if let Some(unborn) = remains.unborn {
            journal.remove(unborn)?;
        }
        if let Some(torn) = journal.segments.back().filter(|_| remains.torn) {
            torn.cut_torn_end().map_err(|error| io_error(&torn.path, error))?;
        }
        journal.begin_if_empty(remains.next_sequence)?;
        remains.leftover.iter().try_for_each(|sequence| journal.remove(*sequence))?;
        Ok(journal)
    }

    /// Reads the journal in `dir` as [`Journal::open`] does, but changes nothing; it takes no writes.
    pub(in crate::metadata) fn inspect(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<Journal, MetadataOpenError> {
        let (mut journal, _) = Journal::read_files(disk, dir, u64::MAX, OpenMode::Read)?;
        journal.close();
        Ok(journal)
    }

    /// What is wrong with each file for itself. Those that an opening passes over are not looked at.
    pub(in crate::metadata) fn damaged_files(disk: &dyn Disk, dir: &Path) -> io::Result<(usize, Vec<MetadataOpenError>)> {
        let sequences = segment_sequences(&disk.list(dir)?);
        let needed = &sequences[leftover_segments(&sequences)..];
        let scan = |sequence: &u64| Segment::scan(disk, dir, *sequence, Some(sequence) == needed.last(), OpenMode::Read).err();
        Ok((needed.len(), needed.iter().filter_map(scan).collect()))
    }

    fn read_files(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        mode: OpenMode,
    ) -> Result<(Journal, Remains), MetadataOpenError> {
        let names = disk.list(&dir).map_err(|error| io_error(&dir, error))?;
        let sequences = segment_sequences(&names);
        let mut journal = Journal {
            disk,
            dir,
            segments: VecDeque::new(),
            places: BTreeMap::new(),
            vote: None,
            purged: None,
            last: None,
            installing: None,
            written_bytes: 0,
            segment_bytes,
            failed: false,
        };
        let last = sequences.last().copied();
        let (leftover, needed) = sequences.split_at(leftover_segments(&sequences));
        let next_sequence = last.map_or(0, |last| last + 1);
        let mut remains = Remains { unborn: None, torn: false, leftover: leftover.to_vec(), next_sequence };
        for sequence in needed {
            let is_last = Some(*sequence) == last;
            match Segment::scan(&*journal.disk, &journal.dir, *sequence, is_last, if is_last { mode } else { OpenMode::Read })? {
                Scanned::Unborn => remains.unborn = Some(*sequence),
                Scanned::Frames { segment, frames, torn_bytes } => {
                    remains.torn = torn_bytes > 0;
                    journal.take(segment, frames)?;
                }
            }
        }
        journal.check_complete()?;
        Ok((journal, remains))
    }

    fn take(&mut self, segment: Segment, frames: Vec<(Frame, FramePlace)>) -> Result<(), MetadataOpenError> {
        for (frame, place) in frames {
            let replayed = self.replay(segment.sequence, frame, place);
            replayed.map_err(|problem| corrupt(&segment.path, place.position, problem))?;
        }
        self.written_bytes += segment.length;
        self.segments.push_back(segment);
        Ok(())
    }

    fn remove(&self, sequence: u64) -> Result<(), MetadataOpenError> {
        let path = self.dir.join(segment_name(sequence));
        self.disk.remove(&path).map_err(|error| io_error(&path, error))
    }

    fn replay(&mut self, sequence: u64, frame: Frame, place: FramePlace) -> Result<(), &'static str> {
        match frame {
            Frame::Start { vote, purged } => {
                self.vote = vote.or(self.vote);
                if let Some(purged) = purged {
                    self.forget_until(purged);
                }
            }
            Frame::Vote(vote) => self.vote = Some(vote),
            Frame::Entries(entries) => self.note(sequence, &entries, place)?,
            Frame::Truncate { from, kept } => self.cut(from, kept),
            Frame::Purge(id) => self.forget_until(id),
            Frame::Installing(id) => self.installing = Some(id),
        }
        Ok(())
    }

    /// Begins a journal where there is none. If segments were lost, what they said is found missing by the snapshot's check.
    fn begin_if_empty(&mut self, sequence: u64) -> Result<(), MetadataOpenError> {
        if self.segments.is_empty() {
            let first = Frame::Start { vote: self.vote, purged: self.purged };
            let segment = Segment::create(&*self.disk, &self.dir, sequence, &first);
            self.segments.push_back(segment.map_err(|error| io_error(&self.dir, error))?);
        }
        Ok(())
    }

    /// The entries must follow on what was purged without a gap.
    fn check_complete(&self) -> Result<(), MetadataOpenError> {
        let mut expected = self.purged.map_or(0, |id| id.index + 1);
        for (first, place) in &self.places {
            if *first > expected {
                return Err(corrupt(&self.dir, *first, "entries before this index are missing"));
            }
            expected = place.last.index + 1;
        }
        Ok(())
    }

    pub(in crate::metadata) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(in crate::metadata) fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// The last entry, or the last purged one if there is none after it.
    pub(in crate::metadata) fn last(&self) -> Option<EntryId> {
        self.last.or(self.purged)
    }

    /// The last entry of the newest snapshot that came from another node: it may reach further than the entries.
    pub(in crate::metadata) fn installing(&self) -> Option<EntryId> {
        self.installing
    }

    /// To be called before such a snapshot is put in place.
    pub(in crate::metadata) fn begin_installing(&mut self, id: EntryId) -> io::Result<()> {
        self.write(&Frame::Installing(id))?;
        self.installing = Some(id);
        Ok(())
    }

    /// Bytes found at opening and written since; never falls.
    pub(in crate::metadata) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Refuses every later write.
    pub(in crate::metadata) fn close(&mut self) {
        self.failed = true;
    }

    pub(in crate::metadata) fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.write(&Frame::Vote(vote))?;
        self.vote = Some(vote);
        Ok(())
    }

    pub(in crate::metadata) fn append(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let frame = Frame::Entries(entries);
        let (sequence, place) = self.write(&frame)?;
        let Frame::Entries(entries) = frame else { unreachable!("it was made two lines above") };
        self.note(sequence, &entries, place).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))
    }

    /// Makes entries from `from` on void.
    pub(in crate::metadata) fn truncate(&mut self, from: u64) -> io::Result<()> {
        let kept = self.entry_before(from)?;
        self.write(&Frame::Truncate { from, kept })?;
        self.cut(from, kept);
        Ok(())
    }

    /// Forgets entries up to `id`, and removes the segments that hold no others.
    pub(in crate::metadata) fn purge(&mut self, id: EntryId) -> io::Result<()> {
        self.write(&Frame::Purge(id))?;
        self.forget_until(id);
        let needed = self.places.values().map(|place| place.sequence).min();
        let active = self.segments.back().map(|segment| segment.sequence);
        let oldest_needed = needed.or(active).unwrap_or(0);
        let mut removed = false;
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.sequence < oldest_needed) {
            if let Some(segment) = self.segments.pop_front() {
                self.disk.remove(&segment.path)?;
                removed = true;
            }
        }
        match removed {
            true => self.disk.sync_dir(&self.dir),
            false => Ok(()),
        }
    }

    /// Entries with these indexes, as far as there are any.
    pub(in crate::metadata) fn read(&self, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let first = self.places.range(..=from).next_back().map_or(from, |(first, _)| *first);
        for (_, place) in self.places.range(first..to.max(first)) {
            let upto = to.min(place.last.index + 1);
            found.extend(self.entries_at(place)?.into_iter().filter(|entry| (from..upto).contains(&entry.id.index)));
        }
        let purged = self.purged.map_or(0, |id| id.index + 1);
        found.retain(|entry| entry.id.index >= purged);
        Ok(found)
    }

    fn entries_at(&self, place: &EntriesPlace) -> io::Result<Vec<Entry>> {
        let segment = self.segments.iter().find(|segment| segment.sequence == place.sequence);
        let frame = segment.map(|segment| segment.read(place.frame)).transpose()?;
        match frame {
            Some(Frame::Entries(entries)) => Ok(entries),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of entries is missing")),
        }
    }

    /// Writes one frame, in a new segment if the present one is full.
    fn write(&mut self, frame: &Frame) -> io::Result<(u64, FramePlace)> {
        if self.failed {
            return Err(io::Error::other("the metadata journal is closed, or has stopped after a failed write"));
        }
        let written = self.write_frame(frame);
        self.failed = written.is_err();
        written
    }

    fn write_frame(&mut self, frame: &Frame) -> io::Result<(u64, FramePlace)> {
        let full = self.segments.back().map(|segment| (segment.sequence, segment.length >= self.segment_bytes));
        if let Some((sequence, true)) = full {
            let first = Frame::Start { vote: self.vote, purged: self.purged };
            let segment = Segment::create(&*self.disk, &self.dir, sequence + 1, &first)?;
            self.segments.push_back(segment);
        }
        let Some(segment) = self.segments.back_mut() else { unreachable!("a journal has a segment from open on") };
        let place = segment.append(frame)?;
        self.written_bytes += place.length;
        Ok((segment.sequence, place))
    }

    /// Takes note of a frame of entries.
    fn note(&mut self, sequence: u64, entries: &[Entry], frame: FramePlace) -> Result<(), &'static str> {
        let consecutive = entries.windows(2).all(|pair| pair[1].id.index == pair[0].id.index + 1);
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Err("a frame without entries") };
        // Where earlier segments are gone, what they held is in a snapshot: nothing to follow on is not a gap.
        if !consecutive || self.last.is_some_and(|before| before.index + 1 != first.id.index) {
            return Err("entries do not follow on each other");
        }
        self.places.insert(first.id.index, EntriesPlace { sequence, frame, last: last.id });
        self.last = Some(last.id);
        Ok(())
    }

    fn entry_before(&self, from: u64) -> io::Result<Option<EntryId>> {
        let Some(before) = from.checked_sub(1) else { return Ok(None) };
        Ok(self.read(before, from)?.first().map(|entry| entry.id))
    }

    fn cut(&mut self, from: u64, kept: Option<EntryId>) {
        self.places.split_off(&from);
        if let (Some(mut place), Some(kept)) = (self.places.last_entry(), kept) {
            place.get_mut().last = kept;
        }
        self.last = kept;
    }

    fn forget_until(&mut self, id: EntryId) {
        self.purged = Some(id);
        self.places.retain(|_, place| place.last.index > id.index);
        if self.last.is_some_and(|last| last.index <= id.index) {
            self.last = None;
        }
    }
}

/// What an opening tidies up.
struct Remains {
    /// The newest segment, if it was being created when the crash came.
    unborn: Option<u64>,
    /// The last write was not finished.
    torn: bool,
    /// Segments that were being removed.
    leftover: Vec<u64>,
    next_sequence: u64,
}

/// The numbers of the segments in a directory, ascending.
fn segment_sequences(names: &[String]) -> Vec<u64> {
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment_sequence(name)).collect();
    sequences.sort_unstable();
    sequences
}

/// How many segments lie before a gap: they were being removed when the crash came.
fn leftover_segments(sequences: &[u64]) -> usize {
    let gap = sequences.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
    gap.map_or(0, |before| before + 1)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
