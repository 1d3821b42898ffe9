//! The writer: takes what is queued and writes it with one call for each segment touched.
//!
//! One at a time (the `writer` lock). Offsets, segments and places were decided by the append. What is queued for a partition is
//! written in its order; partitions follow each other in the order of their numbers, since nothing is published before all of
//! it is written. Directories are renamed and made, durably, before anything is written into new ones: a directory without a
//! manifest would be taken for an adopted one after a crash.

use super::append::{NewDirectory, Queued};
use super::files::create;
use super::format::checkpoints::encode_partition_metadata;
use super::log::{DedicatedLog, State};
use super::names::{CLEANER, LOG_STARTS, MANIFEST, PARTITION_METADATA, PartitionName, RECOVERY_POINTS, SegmentFile};
use super::sync::SYNC_ALL_ABOVE;
use crate::{LogFailure, SyncOutcome};
use bytes::Bytes;
use duolog_base::{DiskFile, OpenMode, PartitionNumber};
use hashbrown::HashMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A run of batches of up to this many bytes is copied together before it is written: one long slice is cheaper than many short.
const GATHER_BYTES: usize = 64 << 10;

/// What the writer owns: buffers that live from write to write, and the segment each partition is written to.
#[derive(Default)]
pub(super) struct Writer {
    queue: Vec<Queued>,
    files: HashMap<PartitionNumber, OpenSegment>,
    scratch: Vec<u8>,
    written: Vec<WrittenSegment>,
    new_directories: Vec<PathBuf>,
    evicted: Vec<Bytes>,
    reached: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// The files of a partition are others from now on.
    pub fn forget(&mut self, partition: PartitionNumber) {
        self.files.remove(&partition);
    }
}

#[derive(Clone)]
struct OpenSegment {
    base: i64,
    file: Arc<dyn DiskFile>,
}

/// How far a segment was written.
struct WrittenSegment {
    partition: PartitionNumber,
    base: i64,
    file: Arc<dyn DiskFile>,
    end: u64,
}

impl DedicatedLog {
    /// Writes what is queued, once; what the writer thread repeats. Tests call it by hand.
    pub fn write_step(&self) -> Result<SyncOutcome, LogFailure> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let target = {
            let mut state = self.state.lock();
            state.progress.check()?;
            if state.queue.is_empty() {
                return Ok(SyncOutcome::Idle);
            }
            std::mem::swap(&mut state.queue, &mut writer.queue);
            state.next
        };
        self.drop_directories(writer)?;
        self.make_directories(writer)?;
        // Stable: the order within a partition stays.
        writer.queue.sort_by_key(Queued::partition);
        let payload_bytes = self.write_queue(writer)?;
        self.publish_written(writer, target, payload_bytes);
        Ok(SyncOutcome::Progressed)
    }

    /// Renames the directories of dropped partitions, durably.
    fn drop_directories(&self, writer: &mut Writer) -> Result<(), LogFailure> {
        let Writer { queue, files, .. } = writer;
        let dropped: Vec<(PartitionNumber, Arc<PartitionName>)> = queue
            .iter()
            .filter_map(|queued| match queued {
                Queued::Drop { partition, name } => Some((*partition, name.clone())),
                _ => None,
            })
            .collect();
        if dropped.is_empty() {
            return Ok(());
        }
        self.forget_checkpoints(&dropped)?;
        for (partition, name) in &dropped {
            files.remove(partition);
            let (from, to) = (self.directory(name), self.dir.join(name.removed(Some(*partition))));
            match self.disk.rename(&from, &to) {
                Ok(()) => self.state.lock().removed.push(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.fail("rename", &from, error)),
            }
        }
        self.disk.sync_dir(&self.dir).map_err(|error| self.fail("sync", &self.dir, error))?;
        let mut state = self.state.lock();
        state.progress.house_wanted = true;
        dropped.iter().for_each(|(partition, _)| state.dirty.forget(*partition));
        Ok(())
    }

    /// Takes partitions out of the checkpoints, durably: the next one of the same name must not inherit from them.
    fn forget_checkpoints(&self, dropped: &[(PartitionNumber, Arc<PartitionName>)]) -> Result<(), LogFailure> {
        let mut checkpoints = self.checkpoints.lock();
        let checkpoints = &mut *checkpoints;
        let all = [
            (&mut checkpoints.starts, LOG_STARTS),
            (&mut checkpoints.recovery_points, RECOVERY_POINTS),
            (&mut checkpoints.cleaned, CLEANER),
        ];
        for (offsets, file) in all {
            let before = offsets.len();
            dropped.iter().for_each(|(_, name)| _ = offsets.remove(name.as_ref()));
            if offsets.len() != before {
                self.write_offsets(file, offsets)?;
            }
        }
        Ok(())
    }

    /// Makes the directories of partitions that are written to for the first time, each with its manifest, durably.
    fn make_directories(&self, writer: &mut Writer) -> Result<(), LogFailure> {
        writer.new_directories.clear();
        let mut files: Vec<(PathBuf, Arc<dyn DiskFile>)> = Vec::new();
        for queued in &mut writer.queue {
            if let Queued::Segment { directory, .. } = queued
                && let Some(directory) = directory.take()
            {
                let path = self.directory(&directory.name);
                let made = self.make_directory(&path, &directory);
                files.push((path.clone(), made.map_err(|error| self.fail("make", &path, error))?));
                writer.new_directories.push(path);
            }
        }
        if files.len() > SYNC_ALL_ABOVE {
            return self.disk.sync_all(&self.dir).map_err(|error| self.fail("sync", &self.dir, error));
        }
        for (path, file) in &files {
            let synced = file.sync_data().and_then(|()| self.disk.sync_dir(path));
            synced.map_err(|error| self.fail("sync", path, error))?;
        }
        match files.is_empty() {
            true => Ok(()),
            false => self.disk.sync_dir(&self.dir).map_err(|error| self.fail("sync", &self.dir, error)),
        }
    }

    fn make_directory(&self, path: &Path, directory: &NewDirectory) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_dir_all(path)?;
        let metadata = encode_partition_metadata(directory.manifest.topic_id);
        create(self.disk.as_ref(), &path.join(PARTITION_METADATA), &metadata)?;
        create(self.disk.as_ref(), &path.join(MANIFEST), &directory.manifest.encode())
    }

    /// Writes the queue, which is ordered by partition; answers the payload bytes in it.
    fn write_queue(&self, writer: &mut Writer) -> Result<usize, LogFailure> {
        let Writer { queue, files, scratch, written, .. } = writer;
        let mut payload_bytes = 0;
        let mut rest = queue.as_slice();
        while let [first, after @ ..] = rest {
            let Queued::Batch { partition, base, at, .. } = first else {
                if let Queued::Segment { partition, base, .. } = first {
                    self.begin_segment_file(files, *partition, *base)?;
                }
                rest = after;
                continue;
            };
            let run = run_length(rest, *partition, *base);
            let (batches, after) = rest.split_at(run);
            rest = after;
            let bytes: usize = batches.iter().map(payload_of).map(Bytes::len).sum();
            payload_bytes += bytes;
            // A partition that was dropped meanwhile needs no bytes any more.
            let Some(segment) = self.segment_file(files, *partition, *base)? else { continue };
            self.counters.writes.add(1);
            self.counters.written_bytes.add(bytes as u64);
            write_run(segment.file.as_ref(), batches, bytes, *at, scratch)
                .map_err(|error| self.fail("write", &self.segment_path(*partition, *base), error))?;
            let (partition, base, end) = (*partition, *base, at + bytes as u64);
            written.push(WrittenSegment { partition, base, file: segment.file, end });
        }
        Ok(payload_bytes)
    }

    /// Creates the log file of a segment.
    fn begin_segment_file(
        &self,
        files: &mut HashMap<PartitionNumber, OpenSegment>,
        partition: PartitionNumber,
        base: i64,
    ) -> Result<(), LogFailure> {
        let Some(dir) = self.partition_directory(partition) else { return Ok(()) };
        let path = SegmentFile::Log.path(&dir, base);
        let file = self.disk.open(&path, OpenMode::CreateNew).map_err(|error| self.fail("begin", &path, error))?;
        files.insert(partition, OpenSegment { base, file });
        self.counters.rolls.add(u64::from(base > 0));
        self.state.lock().dirty.add_directory(partition, dir);
        Ok(())
    }

    /// The open file of the segment a partition is written to; `None` if the partition is gone.
    fn segment_file(
        &self,
        files: &mut HashMap<PartitionNumber, OpenSegment>,
        partition: PartitionNumber,
        base: i64,
    ) -> Result<Option<OpenSegment>, LogFailure> {
        if let Some(open) = files.get(&partition).filter(|open| open.base == base) {
            return Ok(Some(open.clone()));
        }
        let Some(dir) = self.partition_directory(partition) else { return Ok(None) };
        let path = SegmentFile::Log.path(&dir, base);
        let file = self.disk.open(&path, OpenMode::Write).map_err(|error| self.fail("open", &path, error))?;
        let open = OpenSegment { base, file };
        files.insert(partition, open.clone());
        Ok(Some(open))
    }

    fn partition_directory(&self, partition: PartitionNumber) -> Option<PathBuf> {
        let name = self.state.lock().partitions.get(&partition)?.name.clone();
        Some(self.directory(&name))
    }

    fn segment_path(&self, partition: PartitionNumber, base: i64) -> PathBuf {
        SegmentFile::Log.path(&self.partition_directory(partition).unwrap_or_else(|| self.dir.clone()), base)
    }

    fn publish_written(&self, writer: &mut Writer, target: u64, payload_bytes: usize) {
        let mut partitions: Vec<PartitionNumber> = writer.written.iter().map(|segment| segment.partition).collect();
        partitions.dedup();
        let house = {
            let mut state = self.state.lock();
            let State { partitions: known, dirty, .. } = &mut *state;
            for WrittenSegment { partition, base, file, end } in writer.written.drain(..) {
                let Some(segment) = known.get_mut(&partition).and_then(|known| known.unsealed_mut(base)) else { continue };
                segment.written = end;
                segment.file.get_or_insert_with(|| file.clone());
                dirty.add_file(partition, base, file);
            }
            for queued in writer.queue.drain(..) {
                if let Queued::LogStart { partition, name, start } = queued {
                    dirty.add_start(partition, name, start);
                }
            }
            state.progress.wrote(target, payload_bytes, &partitions, &mut writer.reached);
            state.tail.evict(target, &mut writer.evicted);
            state.progress.house_wanted
        };
        if house {
            self.shell.wake_house();
        }
        self.shell.wrote(&partitions, &mut writer.reached);
        writer.evicted.clear();
    }
}

/// How many of the items from the first on are batches that follow each other in one segment.
fn run_length(queue: &[Queued], of: PartitionNumber, in_segment: i64) -> usize {
    let belongs =
        |queued: &&Queued| matches!(queued, Queued::Batch { partition, base, .. } if *partition == of && *base == in_segment);
    queue.iter().take_while(belongs).count()
}

fn payload_of(queued: &Queued) -> &Bytes {
    match queued {
        Queued::Batch { payload, .. } => payload,
        _ => unreachable!("a run is made of batches"),
    }
}

fn write_run(file: &dyn DiskFile, batches: &[Queued], bytes: usize, at: u64, scratch: &mut Vec<u8>) -> io::Result<()> {
    if batches.len() > 1 && bytes <= GATHER_BYTES {
        scratch.clear();
        batches.iter().for_each(|batch| scratch.extend_from_slice(payload_of(batch)));
        return file.write_at(&[IoSlice::new(scratch)], at);
    }
    let slices: Vec<IoSlice<'_>> = batches.iter().map(|batch| IoSlice::new(payload_of(batch))).collect();
    file.write_at(&slices, at)
}
