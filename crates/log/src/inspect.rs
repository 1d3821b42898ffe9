//! Looking into a data directory without opening it as a log: for `duolog log dump` and `duolog log verify`.
//!
//! Reads only. May run beside a live server; what is written meanwhile is seen or not.

use crate::files::{FileName, checkpoint_path, log_path, queues_path, read_whole, tidied_path};
use crate::format::FORMAT_VERSION;
use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::index::{IndexKind, IndexProblem, IndexView, QueueEntry};
use crate::format::state;
use crate::keys::verify::damaged_parts;
use crate::scan::{Found, FrameFile};
use crate::sealed::{Sealed, SealedProblem};
use bytes::Bytes;
use duolog_base::{Disk, LeaderEpoch, Offset, OpenMode, PartitionNumber, Position};
use duolog_wire::record::{BatchHeader, verify_crc};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Problems one verification lists; more are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Batch,
    Truncation,
    LogStart,
    Drop,
    GenerationStart,
}

/// A frame as it lies on disk.
#[derive(Clone, Debug)]
pub struct Frame {
    pub file: PathBuf,
    pub position: Position,
    pub kind: Kind,
    pub partition: PartitionNumber,
    /// Base offset of a batch; the new end for a truncation, the new start for a log start.
    pub offset: Offset,
    /// Last offset of a batch; equals `offset` for other kinds.
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub generation: u32,
    /// Everything before it was durable when the frame was written.
    pub durable: Position,
    pub tag_filter: u64,
    /// Whether the payload matches its checksum. The header always does.
    pub intact: bool,
    /// The record batch, for a batch; the state of the partition, for a truncation.
    pub payload: Bytes,
}

/// What the walk over a directory comes across.
#[derive(Clone, Debug)]
pub enum Item {
    Frame(Frame),
    /// Bytes between frames that are not frames.
    Hole {
        file: PathBuf,
        position: Position,
        bytes: u64,
    },
}

/// Walks over all frames in the order they were written.
pub struct Frames {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bases: Vec<u64>,
    tidied: BTreeMap<u64, Arc<Sealed>>,
    /// Files begun so far.
    begun: usize,
    current: Option<(FrameFile, u64)>,
    generation: u32,
    /// The file was sorted: its frames are of any generation.
    sorted: bool,
}

/// All frames below `dir`, the `shared` directory of a data directory.
pub fn frames(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Frames> {
    let tidied = tidied_files(disk.as_ref(), dir)?;
    let bases = log_bases(disk.as_ref(), dir, &tidied)?;
    Ok(Frames { disk, dir: dir.to_owned(), bases, tidied, begun: 0, current: None, generation: 0, sorted: false })
}

/// Where the files of the log begin: those that no tidied file has taken the place of, and the tidied ones.
fn log_bases(disk: &dyn Disk, dir: &Path, tidied: &BTreeMap<u64, Arc<Sealed>>) -> io::Result<Vec<u64>> {
    let mut bases = bases_of(disk, dir, |name| if let FileName::Log(base) = name { Some(base) } else { None })?;
    bases.retain(|base| tidied.range(..=*base).next_back().is_none_or(|(_, file)| file.end <= *base));
    bases.extend(tidied.keys());
    bases.sort_unstable();
    Ok(bases)
}

/// The tidied files, without those that a larger one has taken in. One whose end or index is damaged cannot be walked over.
fn tidied_files(disk: &dyn Disk, dir: &Path) -> io::Result<BTreeMap<u64, Arc<Sealed>>> {
    let mut tidied = BTreeMap::new();
    let mut covered = 0;
    for base in bases_of(disk, dir, |name| if let FileName::Tidied(base) = name { Some(base) } else { None })? {
        if base < covered {
            continue;
        }
        match Sealed::open_tidied(disk, dir, base) {
            Ok(file) => {
                covered = file.end;
                tidied.insert(base, Arc::new(file));
            }
            Err(SealedProblem::Io(error)) => return Err(error),
            Err(SealedProblem::Index(problem)) => tracing::error!(base, problem = problem.describe(), "a tidied file is damaged"),
        }
    }
    Ok(tidied)
}

/// Numbers of the files of one kind, ascending.
fn bases_of(disk: &dyn Disk, dir: &Path, base_of: fn(FileName) -> Option<u64>) -> io::Result<Vec<u64>> {
    let names = disk.list(dir)?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(FileName::parse(name)?)).collect();
    bases.sort_unstable();
    Ok(bases)
}

impl Frames {
    fn advance(&mut self) -> io::Result<Option<Item>> {
        loop {
            let Some((mut file, position)) = self.current.take() else {
                match self.begin_file()? {
                    Some(current) => self.current = Some(current),
                    None => return Ok(None),
                }
                continue;
            };
            if position >= file.limit() {
                match self.missing_end(position) {
                    Some(item) => return Ok(Some(item)),
                    None => continue,
                }
            }
            let (item, next) = match file.frame_at(position, self.generation)? {
                Found::Frame(header) => {
                    let payload = Bytes::copy_from_slice(file.payload(&header)?);
                    (self.frame(&header, payload, true), header.end())
                }
                Found::DamagedBody(header) => (self.frame(&header, Bytes::new(), false), header.end()),
                Found::Nothing | Found::Unknown { .. } => match self.hole(&mut file, position)? {
                    Some((item, next)) => (item, next),
                    None => continue,
                },
            };
            self.current = Some((file, next));
            return Ok(Some(item));
        }
    }

    fn begin_file(&mut self) -> io::Result<Option<(FrameFile, u64)>> {
        let Some(base) = self.bases.get(self.begun).copied() else { return Ok(None) };
        self.begun += 1;
        let next_base = self.bases.get(self.begun).copied();
        let mut file = match self.tidied.get(&base) {
            // Its positions are its own: they need not end where the next file begins.
            Some(tidied) => FrameFile::new(tidied.log.clone(), base, Some(base + tidied.frames_bytes))?,
            None => FrameFile::new(self.disk.open(&log_path(&self.dir, base), OpenMode::Read)?, base, next_base)?,
        };
        self.sorted = self.tidied.contains_key(&base);
        match file.header()? {
            Some(header) if header.version > FORMAT_VERSION => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "written by a newer version"));
            }
            Some(header) => self.begins(header.generation),
            None => {}
        }
        Ok(Some((file, base + FILE_HEADER_BYTES as u64)))
    }

    /// What follows is of this generation or a later one, unless it has been sorted.
    fn begins(&mut self, generation: u32) {
        self.generation = if self.sorted { 0 } else { self.generation.max(generation) };
    }

    fn frame(&mut self, header: &FrameHeader, payload: Bytes, intact: bool) -> Item {
        self.begins(header.generation);
        let batch = header.kind == FrameKind::Batch;
        let offset = Offset(header.offset);
        Item::Frame(Frame {
            file: self.path(),
            position: Position(header.position),
            kind: match header.kind {
                FrameKind::Batch => Kind::Batch,
                FrameKind::Truncation => Kind::Truncation,
                FrameKind::LogStart => Kind::LogStart,
                FrameKind::Drop => Kind::Drop,
                FrameKind::GenerationStart => Kind::GenerationStart,
            },
            partition: PartitionNumber(header.partition),
            offset,
            last_offset: if batch { Offset(offset.0.saturating_add(header.last_offset_delta.into())) } else { offset },
            leader_epoch: LeaderEpoch(header.leader_epoch),
            generation: header.generation,
            durable: Position(header.durable),
            tag_filter: header.tag_filter,
            intact,
            payload,
        })
    }

    /// Damage, if the log goes on behind it; otherwise the file's end.
    fn hole(&mut self, file: &mut FrameFile, position: u64) -> io::Result<Option<(Item, u64)>> {
        let next = file.search(position + 1, u64::MAX, self.generation)?.map(|header| (header.position, header.durable));
        let last_file = self.begun == self.bases.len();
        let end = match next {
            // Frames that were written before this position was durable are what a crash left of a torn tail.
            Some((next, durable)) if durable > position || !last_file => next,
            None if !last_file => self.next_base().unwrap_or(file.limit()),
            _ => return Ok(None),
        };
        Ok(Some((Item::Hole { file: self.path(), position: Position(position), bytes: end - position }, end)))
    }

    /// Where the next file begins, if this one must reach to it: a tidied file is shorter than the positions it stands for.
    fn next_base(&self) -> Option<u64> {
        let tidied = self.tidied.contains_key(&self.bases[self.begun - 1]);
        self.bases.get(self.begun).copied().filter(|_| !tidied)
    }

    /// What a file lacks that the next one says was there.
    fn missing_end(&self, position: u64) -> Option<Item> {
        let bytes = self.next_base()?.checked_sub(position).filter(|bytes| *bytes > 0)?;
        Some(Item::Hole { file: self.path(), position: Position(position), bytes })
    }

    fn path(&self) -> PathBuf {
        let base = self.bases[self.begun - 1];
        if self.tidied.contains_key(&base) { tidied_path(&self.dir, base) } else { log_path(&self.dir, base) }
    }
}

impl Iterator for Frames {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            // What follows cannot be found.
            self.begun = self.bases.len();
            self.current = None;
        }
        item.transpose()
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub position: Option<Position>,
    pub partition: Option<PartitionNumber>,
    pub problem: &'static str,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    pub files: usize,
    pub frames: u64,
    pub batches: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Queue entries of sealed indexes and checkpoints compared with the frames.
    pub entries: u64,
    /// The newest leader that wrote to each partition that was not dropped.
    pub epochs: BTreeMap<PartitionNumber, LeaderEpoch>,
    /// The first [`MAX_PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    pub problem_count: u64,
}

/// Reads everything below `dir` and compares frames, batches, indexes and checkpoints with their checksums and each other.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<VerifyReport> {
    let tidied = tidied_files(disk.as_ref(), dir)?;
    let bases = log_bases(disk.as_ref(), dir, &tidied)?;
    let mut verifier =
        Verifier { report: VerifyReport { files: bases.len(), ..VerifyReport::default() }, entries: BTreeMap::new() };
    let mut ends: BTreeMap<u32, i64> = BTreeMap::new();
    let mut hidden = hidden_cuts(&tidied).into_iter().peekable();
    for item in frames(disk.clone(), dir)? {
        match item? {
            Item::Hole { file, position, .. } => verifier.problem(&file, Some(position), None, "bytes that are not frames"),
            Item::Frame(frame) => {
                verifier.report.frames += 1;
                while let Some((_, partition, end)) = hidden.next_if(|(base, ..)| *base <= frame.position.0) {
                    ends.entry(partition).and_modify(|known| *known = end.min(*known));
                }
                match frame.kind {
                    Kind::Batch => verifier.batch(&frame, &mut ends),
                    Kind::Truncation => verifier.truncation(&frame, &mut ends),
                    Kind::LogStart => {
                        let end = ends.entry(frame.partition.0).or_default();
                        *end = (*end).max(frame.offset.0);
                    }
                    Kind::Drop => {
                        ends.remove(&frame.partition.0);
                        verifier.report.epochs.remove(&frame.partition);
                    }
                    Kind::GenerationStart => {}
                }
            }
        }
    }
    for base in &bases {
        let path = if tidied.contains_key(base) { tidied_path(dir, *base) } else { log_path(dir, *base) };
        let mut file = FrameFile::new(disk.open(&path, OpenMode::Read)?, *base, None)?;
        if file.header()?.is_none_or(|header| header.base != *base) {
            verifier.problem(&path, Some(Position(*base)), None, "file header is damaged");
        }
    }
    for base in bases_of(disk.as_ref(), dir, |name| if let FileName::Tidied(base) = name { Some(base) } else { None })? {
        let path = tidied_path(dir, base);
        match tidied.get(&base) {
            Some(file) => {
                verifier.tidied(&path, file);
                if bases.iter().find(|next| **next > base) != Some(&file.end) {
                    verifier.problem(&path, None, None, "the file that follows is missing");
                }
            }
            None if tidied.values().any(|file| file.base < base && base < file.end) => {}
            None => verifier.problem(&path, None, None, "end or index is damaged"),
        }
    }
    for base in bases.iter().filter(|base| !tidied.contains_key(base)) {
        verifier.index(disk.as_ref(), &queues_path(dir, *base), IndexKind::Sealed, *base)?;
    }
    for from in bases_of(disk.as_ref(), dir, |name| if let FileName::Checkpoint(from) = name { Some(from) } else { None })? {
        verifier.index(disk.as_ref(), &checkpoint_path(dir, from), IndexKind::Checkpoint, from)?;
    }
    for (path, problem) in damaged_parts(disk.as_ref(), dir)? {
        verifier.problem(&path, None, None, problem);
    }
    Ok(verifier.report)
}

/// Truncations of which only the state in a tidied file tells: the base of the file, the partition and its end.
fn hidden_cuts(tidied: &BTreeMap<u64, Arc<Sealed>>) -> Vec<(u64, u32, i64)> {
    let mut hidden = Vec::new();
    for (base, file) in tidied {
        for (partition, known) in state::decode(file.index().state()).unwrap_or_default() {
            let inside = known.cuts().as_slice().iter().filter(|cut| (*base..file.end).contains(&cut.position));
            hidden.extend(inside.map(|cut| (*base, partition, cut.end)));
        }
    }
    hidden
}

struct Verifier {
    report: VerifyReport,
    /// What the frames imply, by partition and position.
    entries: BTreeMap<(u32, u64), QueueEntry>,
}

impl Verifier {
    fn problem(&mut self, file: &Path, position: Option<Position>, partition: Option<PartitionNumber>, problem: &'static str) {
        self.report.problem_count += 1;
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem { file: file.to_owned(), position, partition, problem });
        }
    }

    fn batch(&mut self, frame: &Frame, ends: &mut BTreeMap<u32, i64>) {
        let (position, partition) = (Some(frame.position), Some(frame.partition));
        self.report.batches += 1;
        self.report.bytes += frame.payload.len() as u64;
        if !frame.intact {
            return self.problem(&frame.file, position, partition, "payload does not match its checksum");
        }
        let epoch = self.report.epochs.entry(frame.partition).or_insert(frame.leader_epoch);
        *epoch = (*epoch).max(frame.leader_epoch);
        let end = ends.entry(frame.partition.0).or_default();
        let overlaps = frame.offset.0 < *end;
        *end = frame.last_offset.0.saturating_add(1);
        if overlaps {
            self.problem(&frame.file, position, partition, "offsets overlap those before");
        }
        let Ok(header) = BatchHeader::parse(&frame.payload) else {
            return self.problem(&frame.file, position, partition, "payload is not a record batch");
        };
        if verify_crc(&frame.payload).is_err() {
            self.problem(&frame.file, position, partition, "record batch does not match its own checksum");
        }
        if header.base_offset != frame.offset
            || header.last_offset() != frame.last_offset
            || header.leader_epoch != frame.leader_epoch
        {
            self.problem(&frame.file, position, partition, "frame and record batch disagree");
        }
        let entry = QueueEntry {
            base_offset: frame.offset.0,
            position: frame.position.0,
            max_timestamp: header.max_timestamp.0,
            tag_filter: frame.tag_filter,
            batch_bytes: frame.payload.len() as u32,
            last_offset_delta: header.last_offset_delta as u32,
        };
        self.entries.insert((frame.partition.0, frame.position.0), entry);
    }

    fn truncation(&mut self, frame: &Frame, ends: &mut BTreeMap<u32, i64>) {
        let (position, partition) = (Some(frame.position), Some(frame.partition));
        ends.insert(frame.partition.0, frame.offset.0);
        let state = state::decode(&frame.payload).filter(|states| states.len() == 1).and_then(|mut states| states.pop());
        let right = state.is_some_and(|(number, after)| number == frame.partition.0 && after.next_offset() == frame.offset.0);
        match frame.intact {
            false => self.problem(&frame.file, position, partition, "payload does not match its checksum"),
            true if !right => self.problem(&frame.file, position, partition, "payload is not the state of its partition"),
            true => {}
        }
    }

    fn index(&mut self, disk: &dyn Disk, path: &Path, kind: IndexKind, base: u64) -> io::Result<()> {
        let file = match disk.open(path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        let bytes = read_whole(file.as_ref())?;
        let checked = IndexView::check(&bytes, kind).and_then(|view| match view.entries_are_intact() {
            true if view.header.base != base => Err(IndexProblem::Header),
            true if state::decode(view.state()).is_none() => Err(IndexProblem::State),
            true => Ok(view),
            false => Err(IndexProblem::Entries),
        });
        match checked {
            Ok(view) => self.compare(path, &view),
            Err(problem) => self.problem(path, None, None, problem.describe()),
        }
        Ok(())
    }

    fn tidied(&mut self, path: &Path, file: &Sealed) {
        match file.intact_index() {
            Ok(view) if state::decode(view.state()).is_some() => self.compare(path, &view),
            Ok(_) => self.problem(path, None, None, IndexProblem::State.describe()),
            Err(_) => self.problem(path, None, None, IndexProblem::Entries.describe()),
        }
    }

    /// Every entry must be implied by a frame. (The reverse need not hold: partitions may be dropped before the index is written.)
    fn compare(&mut self, path: &Path, view: &IndexView<'_>) {
        for record in view.records() {
            for entry in view.run(&record).starting_at(i64::MIN) {
                self.report.entries += 1;
                if self.entries.get(&(record.partition, entry.position)) != Some(&entry) {
                    let partition = Some(PartitionNumber(record.partition));
                    self.problem(path, Some(Position(entry.position)), partition, "queue entry does not match a frame");
                }
            }
        }
    }
}
