//! Taking over a partition's directory that Apache Kafka wrote, with its offsets: for `duolog log import`.
//!
//! The segments are copied into a root directory that no log has open. Nothing else is needed of what Kafka wrote but the producers
//! as of the first segment, the topic id and the log start: the rest is built anew when the directory is first opened, which
//! checks every batch. The directory gets its name when all of it is durable.

use super::cursor::{Batches, Found};
use super::files::{create, read_if_there, replace};
use super::format::checkpoints::{Offsets, decode_offsets, encode_offsets, encode_partition_metadata};
use super::inspect;
use super::names::{LOG_STARTS, PARTITION_METADATA, PartitionName, SegmentFile};
use duolog_base::{Disk, DiskFile, LeaderEpoch, Offset, OpenMode, TopicId};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes copied at once.
const PORTION_BYTES: usize = 1 << 20;

/// What the partition is to be.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Instead of the name of the directory.
    pub name: Option<PartitionName>,
    /// Instead of the topic id in the directory.
    pub topic_id: Option<TopicId>,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub name: PartitionName,
    pub topic_id: Option<TopicId>,
    pub start: Offset,
    /// Next offset after the last batch.
    pub end: Offset,
    /// The highest of all batches.
    pub leader_epoch: LeaderEpoch,
    /// The highest of all batches and producers; -1 if there is none. A new producer needs a higher one.
    pub last_producer_id: i64,
    pub segments: usize,
    pub batches: u64,
    pub bytes: u64,
    /// Bytes at the very end that were no whole batch and were left out.
    pub torn_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path} is not the directory of a partition: no topic and index in its name, or no segment in it")]
    NotAPartition { path: PathBuf },
    #[error("{path} exists already")]
    Exists { path: PathBuf },
    #[error("{path} is half replaced: let the broker that wrote it start and stop once")]
    Unfinished { path: PathBuf },
    #[error("{path} is damaged at {position}")]
    Damaged { path: PathBuf, position: u64 },
}

/// Copies the partition in `from` into `root`, the dedicated directory of a data directory, where no partition of its name may be.
pub fn import(disk: &dyn Disk, from: &Path, root: &Path, options: ImportOptions) -> Result<Imported, ImportError> {
    let not_a_partition = || ImportError::NotAPartition { path: from.to_owned() };
    let own = from.file_name().and_then(|name| PartitionName::parse(&name.to_string_lossy()));
    let name = options.name.or(own.clone()).ok_or_else(not_a_partition)?;
    let target = root.join(name.to_string());
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| ImportError::Io { path, error }
    };
    if let Some(half) = disk.list(from).map_err(io(from))?.into_iter().find(|name| name.ends_with(".swap")) {
        return Err(ImportError::Unfinished { path: from.join(half) });
    }
    if disk.list(&target).is_ok() {
        return Err(ImportError::Exists { path: target });
    }
    let bases = inspect::segments(disk, from).map_err(io(from))?;
    let first = *bases.first().ok_or_else(not_a_partition)?;
    let topic_id = match options.topic_id {
        Some(id) => Some(id),
        None => inspect::topic_id(disk, from).map_err(io(from))?,
    };
    let unfinished = root.join(format!("{name}.importing"));
    clear(disk, &unfinished).map_err(io(&unfinished))?;
    let start = own.map_or(Ok(0), |own| log_start(disk, from, &own)).map_err(io(from))?;
    let mut imported = Imported {
        name,
        topic_id,
        start: Offset(start.max(first)),
        end: Offset(first),
        leader_epoch: LeaderEpoch(0),
        last_producer_id: known_producer(disk, from).map_err(io(from))?,
        segments: bases.len(),
        batches: 0,
        bytes: 0,
        torn_bytes: 0,
    };
    for base in &bases {
        let is_last = Some(base) == bases.last();
        let copied = copy_segment(disk, from, &unfinished, *base, is_last, &mut imported);
        if copied.is_err() {
            // What cannot be removed now is cleared by the next attempt.
            let _ = clear(disk, &unfinished).and_then(|()| disk.remove_dir(&unfinished));
        }
        copied?;
    }
    imported.start = imported.start.min(imported.end);
    finish(disk, from, &unfinished, first, &imported).map_err(io(&unfinished))?;
    keep_log_start(disk, root, &imported).map_err(io(root))?;
    let named = disk.rename(&unfinished, &target).and_then(|()| disk.sync_dir(root));
    named.map_err(io(&target))?;
    Ok(imported)
}

/// The highest producer id in the snapshots; -1 if there is none.
fn known_producer(disk: &dyn Disk, from: &Path) -> io::Result<i64> {
    let snapshots = inspect::snapshots(disk, from)?;
    Ok(snapshots.iter().filter_map(|(_, known)| known.as_ref()).flatten().map(|known| known.id).max().unwrap_or(-1))
}

/// Makes an empty directory, whatever an interrupted import left there.
fn clear(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    disk.list(dir)?.iter().try_for_each(|name| disk.remove(&dir.join(name)))
}

/// The log start of the partition as the checkpoint beside its directory says it.
fn log_start(disk: &dyn Disk, from: &Path, name: &PartitionName) -> io::Result<i64> {
    let Some(root) = from.parent() else { return Ok(0) };
    let starts = read_if_there(disk, &root.join(LOG_STARTS))?.and_then(|bytes| decode_offsets(&bytes));
    Ok(starts.and_then(|starts| starts.get(name).copied()).unwrap_or(0))
}

fn copy_segment(
    disk: &dyn Disk,
    from: &Path,
    to: &Path,
    base: i64,
    is_last: bool,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let path = SegmentFile::Log.path(from, base);
    let failed = |error| ImportError::Io { path: path.clone(), error };
    let file = disk.open(&path, OpenMode::Read).map_err(failed)?;
    let mut batches = Batches::new(file.clone()).map_err(failed)?;
    loop {
        let position = batches.position;
        match batches.next(imported.end.max(Offset(base))).map_err(failed)? {
            Found::Batch(header, _) => {
                imported.end = header.next_offset();
                imported.leader_epoch = imported.leader_epoch.max(header.leader_epoch);
                imported.last_producer_id = imported.last_producer_id.max(header.producer_id.0);
                imported.batches += 1;
            }
            Found::End => break,
            // What was being written when the broker stopped.
            Found::Damage if is_last => {
                imported.torn_bytes = batches.length() - position;
                break;
            }
            Found::Damage => return Err(ImportError::Damaged { path, position }),
        }
    }
    imported.bytes += batches.position;
    let copied = create(disk, &SegmentFile::Log.path(to, base), &[]).and_then(|copy| {
        copy_bytes(file.as_ref(), &copy, batches.position)?;
        copy.sync_data()
    });
    copied.map_err(failed)
}

fn copy_bytes(from: &dyn DiskFile, to: &Arc<dyn DiskFile>, bytes: u64) -> io::Result<()> {
    let mut portion = vec![0; PORTION_BYTES];
    let mut position = 0;
    while position < bytes {
        let count = PORTION_BYTES.min((bytes - position) as usize);
        from.read_exact_at(&mut portion[..count], position)?;
        to.write_at(&[IoSlice::new(&portion[..count])], position)?;
        position += count as u64;
    }
    Ok(())
}

/// Adds what else is kept, and makes all of it durable.
fn finish(disk: &dyn Disk, from: &Path, dir: &Path, first: i64, imported: &Imported) -> io::Result<()> {
    if let Some(id) = imported.topic_id {
        create(disk, &dir.join(PARTITION_METADATA), &encode_partition_metadata(id))?.sync_data()?;
    }
    if let Some(bytes) = read_if_there(disk, &SegmentFile::Snapshot.path(from, first))? {
        create(disk, &SegmentFile::Snapshot.path(dir, first), &bytes)?.sync_data()?;
    }
    disk.sync_dir(dir)
}

/// Notes the log start where the log looks for it when it is opened.
fn keep_log_start(disk: &dyn Disk, root: &Path, imported: &Imported) -> io::Result<()> {
    let path = root.join(LOG_STARTS);
    let mut starts: Offsets = read_if_there(disk, &path)?.and_then(|bytes| decode_offsets(&bytes)).unwrap_or_default();
    starts.insert(imported.name.clone(), imported.start.0);
    replace(disk, &path, &encode_offsets(&starts))?;
    disk.sync_dir(root)
}
