//! Filling gaps of the key index from the log, file by file.
//!
//! The frames of a file that was not tidied lie at their positions, so the frames of the gap are read. Those of a tidied file do not:
//! all of it is read if a gap reaches into it, and what comes twice is seen once by a search. A file whose queue index says that
//! no RocketMQ client has sent any of it is not read at all.

use super::KeyIndex;
use super::gaps::Gaps;
use crate::files::{keys_path, remove_if_there};
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::keys::{BLOCK_BYTES, BLOCK_ENTRIES, KeyEntry};
use crate::log::Log;
use crate::scan::{Found, FrameFile};
use crate::sealed::Sealed;
use crate::{LogFailure, TAGS_KNOWN};
use duolog_base::DiskFile;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Frames between two looks at whether the log is being closed.
const FRAMES_BETWEEN_LOOKS: u64 = 1024;

/// What of a gap lies in one file.
struct Piece {
    range: Range<u64>,
    base: u64,
    file: Arc<dyn DiskFile>,
    /// Where, counted as positions, the file's frames of interest lie.
    frames: Range<u64>,
    tidied: bool,
    /// The queue index, if the file is sealed.
    sealed: Option<Arc<Sealed>>,
}

/// Why a piece was not finished.
enum PieceProblem {
    Closing,
    Read(io::Error),
    Write(io::Error),
}

impl Log {
    /// Fills (part of) the oldest gap of the key index; what its thread repeats. Tests call it by hand. False if there is nothing to
    /// do, or nothing that can be done now.
    pub fn rebuild_keys_step(&self) -> Result<bool, LogFailure> {
        let Some(keys) = &self.keys else { return Ok(false) };
        if self.is_closed()? {
            return Ok(false);
        }
        self.drop_damaged_parts(keys)?;
        let Some(piece) = self.next_piece(keys) else { return Ok(false) };
        if self.check_space()? < largest_part(keys) {
            return Ok(false);
        }
        match self.rebuild_piece(keys, &piece) {
            Ok(()) => Ok(true),
            Err(PieceProblem::Closing) => Ok(false),
            Err(PieceProblem::Read(error)) => {
                tracing::error!(base = piece.base, %error, "a file cannot be read for the key index");
                keys.changing.lock().unreadable.push(piece.range.start);
                Ok(true)
            }
            Err(PieceProblem::Write(error)) if error.kind() == io::ErrorKind::StorageFull => Ok(false),
            Err(PieceProblem::Write(error)) => {
                Err(self.fail("write the key index", &keys_path(&self.dir, piece.range.start), error))
            }
        }
    }

    /// What a damaged part covered is a gap from now on.
    fn drop_damaged_parts(&self, keys: &KeyIndex) -> Result<(), LogFailure> {
        let _changing = keys.changing.lock();
        let (damaged, sound): (Vec<_>, Vec<_>) = keys.parts.load().iter().cloned().partition(|part| part.is_damaged());
        if damaged.is_empty() {
            return Ok(());
        }
        for part in &damaged {
            let gaps = Gaps::between(part.range(), sound.iter().map(|part| part.range()));
            let mut memory = keys.memory.lock();
            gaps.iter().for_each(|gap| memory.gaps.add(gap.clone()));
        }
        keys.parts.store(Arc::new(sound));
        for part in damaged {
            let path = keys_path(&self.dir, part.from());
            remove_if_there(self.disk.as_ref(), &path).map_err(|error| self.fail("remove", &path, error))?;
        }
        Ok(())
    }

    /// The oldest piece of a gap that can be read.
    fn next_piece(&self, keys: &KeyIndex) -> Option<Piece> {
        let gaps = keys.memory.lock().gaps.clone();
        let unreadable = keys.changing.lock().unreadable.clone();
        for gap in gaps.iter() {
            let mut from = gap.start;
            while from < gap.end {
                let Some(piece) = self.piece_at(from, gap.end) else { break };
                if !unreadable.contains(&piece.range.start) {
                    return Some(piece);
                }
                from = piece.range.end;
            }
        }
        None
    }

    /// What of `from..upto` lies in the file that holds `from`; `None` if it is not durable yet.
    fn piece_at(&self, from: u64, upto: u64) -> Option<Piece> {
        // A file is sealed before it is no longer open.
        if let Some(open) = self.open_piece(from, upto) {
            return (!open.range.is_empty()).then_some(open);
        }
        let sealed = self.sealed.load_full();
        let file = sealed.get(sealed.partition_point(|file| file.end <= from))?;
        let to = upto.min(file.end);
        let frames = match file.is_tidied() {
            true => file.base..file.base + file.frames_bytes,
            false => from.max(file.base)..to.max(file.base),
        };
        let (base, tidied) = (file.base, file.is_tidied());
        Some(Piece { range: from..to, base, file: file.log.clone(), frames, tidied, sealed: Some(file.clone()) })
    }

    fn open_piece(&self, from: u64, upto: u64) -> Option<Piece> {
        let state = self.state.lock();
        let file = state.file_of(from)?;
        let end = file.full.as_ref().map_or(u64::MAX, |full| full.end);
        let range = from..end.min(upto).min(state.progress.durable);
        Some(Piece { frames: range.clone(), range, base: file.base, file: file.handle.clone(), tidied: false, sealed: None })
    }

    fn rebuild_piece(&self, keys: &KeyIndex, piece: &Piece) -> Result<(), PieceProblem> {
        let mut range = piece.range.clone();
        let mut found = Vec::new();
        if !piece.sealed.as_ref().is_some_and(|sealed| has_no_keys(sealed)) {
            let mut frames =
                FrameFile::new(piece.file.clone(), piece.base, Some(piece.frames.end)).map_err(PieceProblem::Read)?;
            let first = piece.base + FILE_HEADER_BYTES as u64;
            let mut walk = Walk { position: piece.frames.start.max(first), generation: 0, tidied: piece.tidied };
            let mut looked = 0;
            while let Some(header) = walk.next(&mut frames).map_err(PieceProblem::Read)? {
                looked += 1;
                if looked % FRAMES_BETWEEN_LOOKS == 0 && self.is_closed().unwrap_or(true) {
                    return Err(PieceProblem::Closing);
                }
                if header.kind == FrameKind::Batch && header.tag_filter & TAGS_KNOWN != 0 {
                    let batch = frames.payload(&header).map_err(PieceProblem::Read)?;
                    let (partition, offset) = (header.partition, header.offset);
                    let mut take = |delta: i32, hash| found.push(KeyEntry { hash, partition, offset: offset + i64::from(delta) });
                    (keys.options.extractor)(batch, &mut take);
                }
                // How far the parts of a tidied file reach says nothing of what is in them, except for the last one: if it is
                // missing, all of the file is read again.
                let behind = if piece.tidied { range.start + 1 } else { header.end() };
                if found.len() >= keys.options.in_memory && behind < range.end {
                    self.write_rebuilt(keys, range.start..behind, std::mem::take(&mut found))?;
                    range.start = behind;
                }
            }
            self.counters.key_scan_bytes.add(frames.read_bytes);
        }
        self.write_rebuilt(keys, range, found)
    }

    /// Writes a part of what was found, unless the housekeeping has filled the gap meanwhile.
    fn write_rebuilt(&self, keys: &KeyIndex, range: Range<u64>, found: Vec<KeyEntry>) -> Result<(), PieceProblem> {
        let _changing = keys.changing.lock();
        if !keys.memory.lock().gaps.holds(&range) {
            return Ok(());
        }
        keys.write_part(self.disk.as_ref(), &self.dir, range, found).map_err(PieceProblem::Write)?;
        self.counters.key_parts.add(1);
        Ok(())
    }
}

/// The intact frames of a file, one after the other.
struct Walk {
    position: u64,
    generation: u32,
    tidied: bool,
}

impl Walk {
    fn next(&mut self, frames: &mut FrameFile) -> io::Result<Option<FrameHeader>> {
        while self.position < frames.limit() {
            match frames.frame_at(self.position, self.generation)? {
                Found::Frame(header) => {
                    self.position = header.end();
                    if !self.tidied {
                        self.generation = header.generation;
                    }
                    return Ok(Some(header));
                }
                // Damage: the partitions of what is lost are not served.
                Found::DamagedBody(header) => self.position = header.end(),
                Found::Nothing | Found::Unknown { .. } => {
                    match frames.search(self.position + 1, frames.limit(), self.generation)? {
                        Some(next) => self.position = next.position,
                        None => return Ok(None),
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Whether the queue index of a file says that none of its batches has keys.
fn has_no_keys(file: &Sealed) -> bool {
    let Ok(index) = file.intact_index() else { return false };
    let mut entries = index.records().flat_map(|record| index.run(&record).starting_at(i64::MIN));
    !entries.any(|entry| entry.tag_filter & TAGS_KNOWN != 0)
}

fn largest_part(keys: &KeyIndex) -> u64 {
    ((1 + keys.options.in_memory.div_ceil(BLOCK_ENTRIES)) * BLOCK_BYTES) as u64
}
