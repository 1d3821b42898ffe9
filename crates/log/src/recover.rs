//! Opening: from files to the state they imply.
//!
//! Sealed files are taken from their indexes; every other file is scanned frame by frame from its checkpoint, or from its beginning.
//! Where the scan meets something that is not a frame, it is the end of the log if no later frame says that this position was
//! durable when it was written; otherwise it is damage (see `damage`). Then the recovered prefix is synced, a new generation is begun
//! behind it and synced, and only then is anything called durable.

mod checkpoint;
mod damage;
mod listing;
mod replay;

use crate::checkpoint::Chain;
use crate::files::{log_path, queues_path, remove_if_there};
use crate::format::file_header::{FILE_HEADER_BYTES, FileHeader};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::index::{IndexAbout, IndexKind, IndexProblem};
use crate::format::{FORMAT_VERSION, state};
use crate::index_file::IndexFile;
use crate::partition::Partition;
use crate::recycle::Condemned;
use crate::scan::{Found, FrameFile};
use crate::sealed::{Sealed, SealedFiles, SealedProblem};
use crate::{LogOptions, OpenError, RecoveryReport};
use damage::Damage;
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{Disk, DiskFile, OpenMode, PartitionNumber, Position, TimestampMs};
use hashbrown::HashMap;
use listing::Listing;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// A log that was read, cut and made durable.
pub(crate) struct Recovered {
    pub partitions: HashMap<PartitionNumber, Partition>,
    pub sealed: SealedFiles,
    /// The file to go on writing to, its base, its length and the batches in it.
    pub file: Arc<dyn DiskFile>,
    pub file_base: u64,
    pub file_bytes: u64,
    pub file_entries: usize,
    /// Where the next frame goes; everything before it is durable.
    pub end: u64,
    pub generation: u32,
    pub chain: Chain,
    /// Dead files that may be used again once nobody sees them.
    pub spares: Vec<Condemned>,
    /// Damage was found: what was concluded must be written down before the log is used.
    pub damaged: bool,
    pub report: RecoveryReport,
}

pub(crate) fn recover(disk: &dyn Disk, dir: &Path, options: &LogOptions, now: TimestampMs) -> Result<Recovered, OpenError> {
    // The directory's own name lies in its parent.
    let made = disk.create_dir_all(dir).and_then(|()| dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent)));
    made.map_err(|error| OpenError::Io { path: dir.to_owned(), error })?;
    let listing = Listing::read(disk, dir, options.recycled_files)?;
    let recovery = Recovery {
        disk,
        dir,
        options,
        now,
        bases: listing.bases,
        tidied: listing.tidied,
        checkpoints: listing.checkpoints,
        chain: Chain::default(),
        partitions: HashMap::new(),
        state_from: None,
        trusted: true,
        sealed: Vec::new(),
        generation: 0,
        damage: Damage::default(),
        report: RecoveryReport::default(),
    };
    recovery.run(listing.spares)
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    options: &'a LogOptions,
    now: TimestampMs,
    /// Bases of all files, ascending.
    bases: Vec<u64>,
    /// Those of them that are tidied.
    tidied: BTreeMap<u64, Arc<Sealed>>,
    /// Checkpoints in the directory, and those of them that the active file goes on from.
    checkpoints: Vec<u64>,
    chain: Chain,
    partitions: HashMap<PartitionNumber, Partition>,
    /// The sealed file whose state is to be loaded before anything is scanned.
    state_from: Option<Arc<Sealed>>,
    /// Whether `partitions` was complete where the scan began: false only if the oldest file's index is lost.
    trusted: bool,
    sealed: SealedFiles,
    generation: u32,
    damage: Damage,
    report: RecoveryReport,
}

/// How far a file could be read.
enum FileEnd {
    /// To its very end; the next file follows.
    Full,
    /// The log ends here.
    LogEnd(u64),
}

/// The file to go on with.
struct Active {
    base: u64,
    end: u64,
    file: Arc<dyn DiskFile>,
}

impl Recovery<'_> {
    fn run(mut self, spares: Vec<Condemned>) -> Result<Recovered, OpenError> {
        self.report.files = self.bases.len();
        let active = self.read_files()?;
        self.load_state()?;
        let damaged = self.damage.was_found();
        let quarantined = self.damage.conclude(&mut self.partitions);
        self.report.quarantined = quarantined;
        let end = active.as_ref().map_or_else(|| self.sealed.last().map_or(0, |last| last.end), |active| active.end);
        let active = match active {
            Some(active) => active,
            None => self.create_file(end)?,
        };
        self.remove_stale_checkpoints()?;
        let end = self.begin_generation(&active)?;
        self.chain.end = self.chain.end.max(active.base);
        let path = log_path(self.dir, active.base);
        let file_bytes = active.file.length().map_err(|error| OpenError::Io { path, error })?;
        let file_entries = self.partitions.values().map(|partition| partition.unsealed().len()).sum();
        Ok(Recovered {
            partitions: self.partitions,
            sealed: self.sealed,
            file: active.file,
            file_base: active.base,
            file_bytes,
            file_entries,
            end,
            generation: self.generation,
            chain: self.chain,
            spares,
            damaged,
            report: self.report,
        })
    }

    /// Takes file after file; answers the one to go on with, or `None` if a new one is to be made.
    fn read_files(&mut self) -> Result<Option<Active>, OpenError> {
        for index in 0..self.bases.len() {
            let base = self.bases[index];
            let next_base = self.bases.get(index + 1).copied();
            if let Some(sealed) = self.open_sealed(base, next_base)? {
                self.generation = self.generation.max(sealed.generation);
                self.state_from = Some(sealed.clone());
                self.sealed.push(sealed);
                continue;
            }
            self.load_state()?;
            self.trusted &= index > 0 || base == 0;
            let file = self.disk.open(&log_path(self.dir, base), OpenMode::Write).map_err(|error| self.io_error(base, error))?;
            // What a sync has failed to write may be in the cache and nowhere else.
            file.sync_data().and_then(|()| file.evict()).map_err(|error| self.io_error(base, error))?;
            match self.read_file(index, file.clone())? {
                FileEnd::Full => {
                    self.seal(base, next_base, file.as_ref())?;
                    self.chain = Chain::default();
                }
                FileEnd::LogEnd(end) => {
                    self.remove_files_after(index, end > base)?;
                    return Ok((end > base).then_some(Active { base, end, file }));
                }
            }
        }
        Ok(None)
    }

    /// The sealed index of a file, if it has a usable one.
    fn open_sealed(&self, base: u64, next_base: Option<u64>) -> Result<Option<Arc<Sealed>>, OpenError> {
        let path = queues_path(self.dir, base);
        let opened = match self.tidied.get(&base) {
            Some(tidied) => Ok(Some(tidied.clone())),
            None => Sealed::open(self.disk, self.dir, base, None).map(|sealed| sealed.map(Arc::new)),
        };
        match opened {
            Ok(Some(sealed)) if next_base.is_some_and(|next| next != sealed.end) => Err(OpenError::Corrupt {
                path: if sealed.is_tidied() { sealed.path(self.dir) } else { path },
                position: Position(sealed.end),
                problem: "the commit log file that follows is missing",
            }),
            Ok(sealed) => Ok(sealed),
            Err(SealedProblem::Io(error)) => Err(OpenError::Io { path, error }),
            Err(SealedProblem::Index(IndexProblem::NewerVersion(found))) => {
                Err(OpenError::NewerFormat { path, found, supported: FORMAT_VERSION })
            }
            Err(SealedProblem::Index(problem)) => {
                tracing::warn!(path = %path.display(), problem = problem.describe(), "queue index is rebuilt from its log file");
                Ok(None)
            }
        }
    }

    /// Loads the state of the newest sealed file, if it is not loaded yet.
    fn load_state(&mut self) -> Result<(), OpenError> {
        let Some(sealed) = self.state_from.take() else { return Ok(()) };
        let path = queues_path(self.dir, sealed.base);
        let corrupt = OpenError::Corrupt { path, position: Position(sealed.end), problem: "the state section is lost" };
        // A file that was rebuilt may have lost its state.
        let decoded = state::decode(sealed.index().state());
        let partitions = decoded.filter(|known| known.len() as u32 == sealed.index().header.partitions).ok_or(corrupt)?;
        self.partitions = partitions.into_iter().map(|(number, partition)| (PartitionNumber(number), partition)).collect();
        self.trusted = true;
        Ok(())
    }

    /// Reads one file that is not sealed.
    fn read_file(&mut self, index: usize, file: Arc<dyn DiskFile>) -> Result<FileEnd, OpenError> {
        let base = self.bases[index];
        let next_base = self.bases.get(index + 1).copied();
        let mut frames = FrameFile::new(file, base, next_base).map_err(|error| self.io_error(base, error))?;
        let mut position = base + FILE_HEADER_BYTES as u64;
        match frames.header().map_err(|error| self.io_error(base, error))? {
            Some(header) if header.version > FORMAT_VERSION => {
                let path = log_path(self.dir, base);
                return Err(OpenError::NewerFormat { path, found: header.version, supported: FORMAT_VERSION });
            }
            Some(header) if header.base == base => self.generation = self.generation.max(header.generation),
            _ if self.was_durable(index, &mut frames, base)? || self.has_checkpoint(base)? => {
                tracing::error!(base, "the header of a commit log file is damaged; its frames are not");
            }
            _ => return Ok(FileEnd::LogEnd(base)),
        }
        if let Some(end) = self.load_checkpoint(base)? {
            if end > frames.limit() {
                tracing::error!(base, end, found = frames.limit(), "a commit log file is shorter than its checkpoint says");
            }
            position = end;
            self.report.clean_shutdown = true;
        }
        let scanned_from = position;
        let end = self.scan(index, &mut frames, position)?;
        self.report.scanned_bytes += match end {
            FileEnd::Full => frames.limit().saturating_sub(scanned_from),
            FileEnd::LogEnd(end) => end.saturating_sub(scanned_from),
        };
        Ok(end)
    }

    /// Takes the frames of a file from `position` on.
    fn scan(&mut self, index: usize, frames: &mut FrameFile, mut position: u64) -> Result<FileEnd, OpenError> {
        let base = self.bases[index];
        let next_base = self.bases.get(index + 1).copied();
        loop {
            if Some(position) == next_base {
                return Ok(FileEnd::Full);
            }
            match frames.frame_at(position, self.generation).map_err(|error| self.io_error(base, error))? {
                Found::Frame(header) => {
                    let payload = frames.payload(&header).map_err(|error| self.io_error(base, error))?;
                    self.replay(&header, payload)?;
                    self.report.scanned_frames += 1;
                    self.report.clean_shutdown = false;
                    position = header.end();
                }
                Found::Unknown { .. } => {
                    let problem = "a frame of a kind that this version does not know";
                    return Err(OpenError::Corrupt { path: log_path(self.dir, base), position: Position(position), problem });
                }
                Found::DamagedBody(header) if self.was_durable(index, frames, position)? => {
                    self.damage.lost_frame(&header);
                    position = header.end();
                }
                Found::Nothing if self.was_durable(index, frames, position)? => match self.skip_hole(frames, position)? {
                    Some(next) => position = next,
                    None => return Ok(FileEnd::Full),
                },
                Found::DamagedBody(header) => {
                    self.report.torn_bytes += header.end() - position;
                    return Ok(FileEnd::LogEnd(position));
                }
                Found::Nothing => return Ok(FileEnd::LogEnd(position)),
            }
        }
    }

    /// Seals a file that was read to its end, as the housekeeping would have.
    fn seal(&mut self, base: u64, next_base: Option<u64>, file: &dyn DiskFile) -> Result<(), OpenError> {
        let end = next_base.expect("only a file that has a successor is full");
        file.sync_data().map_err(|error| self.io_error(base, error))?;
        let mut numbers: Vec<PartitionNumber> = self.partitions.keys().copied().collect();
        numbers.sort_unstable();
        let path = queues_path(self.dir, base);
        let io_error = |error| OpenError::Io { path: path.clone(), error };
        let mut index = IndexFile::create(self.disk, &path, numbers.len()).map_err(io_error)?;
        let mut section = Vec::new();
        for number in numbers {
            let partition = &self.partitions[&number];
            index.begin(number.0, partition.next_offset());
            partition.unsealed().iter().for_each(|entry| index.push(entry));
            // This file will not be scanned again, so the suspicion must be kept with it. What turns out to be unfounded is
            // overruled by the checkpoint that ends an opening which found damage.
            match self.damage.concerns(number) {
                true => state::encode_partition(&mut section, number.0, &partition.clone().quarantined()),
                false => state::encode_partition(&mut section, number.0, partition),
            }
        }
        let about = IndexAbout { kind: IndexKind::Sealed, generation: self.generation, base, end };
        index.finish(self.dir, about, &section).map_err(io_error)?;
        let Some(sealed) = self.open_sealed(base, next_base)? else {
            return Err(OpenError::Corrupt {
                path,
                position: Position(base),
                problem: "an index just written does not read back",
            });
        };
        self.partitions.values_mut().for_each(|partition| drop(partition.seal_before(end)));
        self.sealed.push(sealed);
        Ok(())
    }

    /// Removes the files behind the end of the log, newest first; the file at `index` too unless it is kept.
    fn remove_files_after(&mut self, index: usize, keep: bool) -> Result<(), OpenError> {
        let first = if keep { index + 1 } else { index };
        for at in (first..self.bases.len()).rev() {
            let path = log_path(self.dir, self.bases[at]);
            let gone = || -> io::Result<()> {
                remove_if_there(self.disk, &queues_path(self.dir, self.bases[at]))?;
                self.disk.remove(&path)?;
                self.disk.sync_dir(self.dir)
            };
            gone().map_err(|error| OpenError::Io { path: path.clone(), error })?;
        }
        self.bases.truncate(first);
        Ok(())
    }

    fn create_file(&mut self, base: u64) -> Result<Active, OpenError> {
        let path = log_path(self.dir, base);
        let generation = self.next_generation()?;
        let create = || -> io::Result<Arc<dyn DiskFile>> {
            let file = self.disk.open(&path, OpenMode::CreateNew)?;
            file.write_at(&[IoSlice::new(&FileHeader::new(generation, base).encode())], 0)?;
            Ok(file)
        };
        let file = create().map_err(|error| OpenError::Io { path: path.clone(), error })?;
        self.bases.push(base);
        Ok(Active { base, end: base + FILE_HEADER_BYTES as u64, file })
    }

    /// The generation that this opening begins. Nobody opens a log four billion times: a number at the end of its range was not ours.
    fn next_generation(&self) -> Result<u32, OpenError> {
        let path = self.dir.to_owned();
        let problem = "its generation is the last that there can be";
        self.generation.checked_add(1).ok_or(OpenError::Corrupt { path, position: Position(0), problem })
    }

    /// Makes the recovered prefix durable, then a frame that begins a new generation behind it; answers the end.
    fn begin_generation(&mut self, active: &Active) -> Result<u64, OpenError> {
        let header = FrameHeader {
            kind: FrameKind::GenerationStart,
            encoding: 0,
            position: active.end,
            tag_filter: 0,
            offset: 0,
            generation: self.next_generation()?,
            partition: 0,
            payload_bytes: 0,
            leader_epoch: 0,
            last_offset_delta: 0,
            durable: active.end,
            body_crc: crate::format::checksum(&[]),
        };
        let sync = || match planted(Mutant::RecoveredPrefixUnsynced) {
            true => Ok(()),
            false => active.file.sync_data(),
        };
        let write = || -> io::Result<()> {
            sync()?;
            self.disk.sync_dir(self.dir)?;
            active.file.write_at(&[IoSlice::new(&header.encode())], active.end - active.base)?;
            sync()
        };
        write().map_err(|error| self.io_error(active.base, error))?;
        self.generation = header.generation;
        Ok(header.end())
    }

    fn io_error(&self, base: u64, error: io::Error) -> OpenError {
        OpenError::Io { path: log_path(self.dir, base), error }
    }
}
