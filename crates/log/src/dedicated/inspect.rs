//! Looking into a partition's directory without opening it: for `duolog log dump` and `duolog log verify`. It may be one of ours or one
//! that Apache Kafka wrote.
//!
//! Reads only. May run beside a live server; what is written meanwhile is seen or not.

use super::cursor::{Batches, Found};
use super::files::read_if_there;
use super::format::checkpoints::{decode_epochs, decode_partition_metadata};
use super::format::indexes::{OffsetIndex, TimeIndex};
use super::format::manifest::{Manifest, SegmentRecord};
use super::format::snapshot::{self, ProducerEntry};
use super::format::transactions::{AbortedTransaction, decode_aborted};
use super::format::{checksum, manifest::ManifestProblem};
use super::names::{EPOCHS, MANIFEST, PARTITION_METADATA, PartitionName, SegmentFile};
use bytes::Bytes;
use duolog_base::{Disk, LeaderEpoch, Offset, OpenMode, TimestampMs, TopicId};
use duolog_wire::record::BatchHeader;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Problems one verification lists; more are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// What the walk over a partition comes across.
#[derive(Clone, Debug)]
pub enum Item {
    Batch {
        file: PathBuf,
        position: u64,
        header: BatchHeader,
        /// The whole batch.
        bytes: Bytes,
    },
    /// The rest of a segment is not intact batches: damage, or a torn end.
    Damage { file: PathBuf, position: u64, bytes: u64 },
}

/// Partitions below a root directory of ours or a log directory of Kafka's.
pub fn partitions(disk: &dyn Disk, root: &Path) -> io::Result<Vec<PartitionName>> {
    let mut names: Vec<PartitionName> = disk.list(root)?.iter().filter_map(|name| PartitionName::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// The topic id in a partition's directory, if it has one.
pub fn topic_id(disk: &dyn Disk, dir: &Path) -> io::Result<Option<TopicId>> {
    let bytes = read_if_there(disk, &dir.join(PARTITION_METADATA))?;
    Ok(bytes.and_then(|bytes| decode_partition_metadata(&bytes)))
}

/// Base offsets of the segments in a directory, ascending.
pub fn segments(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<i64>> {
    let bases = offsets_of(disk, dir, SegmentFile::Log)?;
    Ok(bases)
}

fn offsets_of(disk: &dyn Disk, dir: &Path, wanted: SegmentFile) -> io::Result<Vec<i64>> {
    let names = disk.list(dir)?;
    let found = names.iter().filter_map(|name| SegmentFile::parse(name)).filter(|(kind, _)| *kind == wanted);
    let mut offsets: Vec<i64> = found.map(|(_, offset)| offset).collect();
    offsets.sort_unstable();
    Ok(offsets)
}

/// The offset index of a segment: offsets, and where the batches that hold them begin. What was only allotted is left out.
pub fn offset_entries(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<Vec<(Offset, u64)>> {
    let bytes = read_if_there(disk, &SegmentFile::OffsetIndex.path(dir, base))?.unwrap_or_default();
    let index = OffsetIndex::new(base, &bytes);
    let entries = (0..index.entries()).filter_map(|at| index.get(at)).take_while(|entry| entry.position > 0);
    Ok(entries.map(|entry| (Offset(entry.offset), entry.position.into())).collect())
}

/// The time index of a segment: largest timestamps so far, and the offsets that have them. What was only allotted is left out.
pub fn time_entries(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<Vec<(TimestampMs, Offset)>> {
    let bytes = read_if_there(disk, &SegmentFile::TimeIndex.path(dir, base))?.unwrap_or_default();
    let index = TimeIndex::new(base, &bytes);
    let entries = (0..index.entries()).filter_map(|at| index.get(at)).take_while(|entry| entry.timestamp > 0);
    Ok(entries.map(|entry| (TimestampMs(entry.timestamp), Offset(entry.offset))).collect())
}

/// Leader epochs and the offsets they begin at; `None` if their file is missing or damaged.
pub fn epochs(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Vec<(LeaderEpoch, Offset)>>> {
    let known = read_if_there(disk, &dir.join(EPOCHS))?.and_then(|bytes| decode_epochs(&bytes));
    Ok(known.map(|epochs| epochs.iter().map(|known| (LeaderEpoch(known.epoch), Offset(known.start))).collect()))
}

/// The aborted transactions of a segment; none if it has no index of them, or a damaged one.
pub fn aborted_transactions(disk: &dyn Disk, dir: &Path, base: i64) -> io::Result<Vec<AbortedTransaction>> {
    let bytes = read_if_there(disk, &SegmentFile::TransactionIndex.path(dir, base))?;
    Ok(bytes.and_then(|bytes| decode_aborted(&bytes)).unwrap_or_default())
}

/// The producers as of each snapshot in a directory; `None` for one that is damaged.
pub fn snapshots(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(Offset, Option<Vec<ProducerEntry>>)>> {
    let mut all = Vec::new();
    for offset in offsets_of(disk, dir, SegmentFile::Snapshot)? {
        let bytes = read_if_there(disk, &SegmentFile::Snapshot.path(dir, offset))?;
        all.push((Offset(offset), bytes.and_then(|bytes| snapshot::decode(&bytes))));
    }
    Ok(all)
}

/// Walks over all batches of a partition in order.
pub struct Items {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Segments to come, newest first.
    bases: Vec<i64>,
    current: Option<(i64, Batches)>,
}

/// All batches in `dir`, the directory of a partition.
pub fn items(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Items> {
    let mut bases = segments(disk.as_ref(), dir)?;
    bases.reverse();
    Ok(Items { disk, dir: dir.to_owned(), bases, current: None })
}

impl Items {
    fn advance(&mut self) -> io::Result<Option<Item>> {
        loop {
            let Some((base, batches)) = &mut self.current else {
                let Some(base) = self.bases.pop() else { return Ok(None) };
                let file = self.disk.open(&SegmentFile::Log.path(&self.dir, base), OpenMode::Read)?;
                self.current = Some((base, Batches::new(file)?));
                continue;
            };
            let (position, length) = (batches.position, batches.length());
            let file = SegmentFile::Log.path(&self.dir, *base);
            match batches.next(Offset(*base))? {
                Found::End => self.current = None,
                Found::Batch(header, bytes) => {
                    let bytes = Bytes::copy_from_slice(bytes);
                    return Ok(Some(Item::Batch { file, position, header, bytes }));
                }
                Found::Damage => {
                    self.current = None;
                    return Ok(Some(Item::Damage { file, position, bytes: length - position }));
                }
            }
        }
    }
}

impl Iterator for Items {
    type Item = io::Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            self.bases.clear();
            self.current = None;
        }
        item.transpose()
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub position: Option<u64>,
    pub problem: &'static str,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    pub segments: usize,
    pub batches: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Index entries compared with the batches.
    pub entries: u64,
    /// The newest leader that wrote a batch.
    pub newest_epoch: Option<LeaderEpoch>,
    /// The first [`MAX_PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    pub problem_count: u64,
}

/// Reads everything in `dir`, the directory of a partition, and compares batches, indexes, snapshots and manifest with their checksums
/// and each other.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<VerifyReport> {
    let manifest = read_if_there(disk.as_ref(), &dir.join(MANIFEST))?.and_then(|bytes| Manifest::decode(&bytes).ok());
    let report = VerifyReport::default();
    let mut verifier = Verifier { disk: disk.as_ref(), dir, report, segments: BTreeMap::new(), manifest, ends: BTreeMap::new() };
    for base in segments(disk.as_ref(), dir)? {
        verifier.segments.insert(base, Seen { end: base, ..Seen::default() });
    }
    verifier.report.segments = verifier.segments.len();
    for item in items(disk.clone(), dir)? {
        verifier.item(item?);
    }
    verifier.ends = verifier.segments.iter().map(|(base, seen)| (*base, seen.end)).collect();
    for (base, seen) in std::mem::take(&mut verifier.segments) {
        verifier.indexes(base, &seen)?;
    }
    verifier.checkpoints()?;
    Ok(verifier.report)
}

/// What was seen of a segment.
#[derive(Default)]
struct Seen {
    end: i64,
    bytes: u64,
    /// Last offset of each batch, by position; and its largest timestamp, by last offset.
    ends: BTreeMap<u64, i64>,
    timestamps: BTreeMap<i64, i64>,
}

struct Verifier<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    report: VerifyReport,
    segments: BTreeMap<i64, Seen>,
    /// Ours; not in a directory of Kafka's.
    manifest: Option<Manifest>,
    /// Next offset after each segment, by its base.
    ends: BTreeMap<i64, i64>,
}

impl Verifier<'_> {
    fn problem(&mut self, file: &Path, position: Option<u64>, problem: &'static str) {
        self.report.problem_count += 1;
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem { file: file.to_owned(), position, problem });
        }
    }

    fn item(&mut self, item: Item) {
        match item {
            Item::Damage { file, position, .. } => self.problem(&file, Some(position), "bytes that are not intact batches"),
            Item::Batch { file, position, header, bytes } => {
                self.report.batches += 1;
                self.report.bytes += bytes.len() as u64;
                self.report.newest_epoch = self.report.newest_epoch.max(Some(header.leader_epoch));
                if !self.is_of_its_leader(&header) {
                    self.problem(&file, Some(position), "the leader epoch is not the one that the manifest says");
                }
                let name = file.file_name().and_then(|name| SegmentFile::parse(&name.to_string_lossy()));
                let Some(seen) = name.and_then(|(_, base)| self.segments.get_mut(&base)) else { return };
                let overlaps = header.base_offset.0 < seen.end;
                seen.end = header.next_offset().0;
                seen.bytes = position + bytes.len() as u64;
                seen.ends.insert(position, header.last_offset().0);
                seen.timestamps.insert(header.last_offset().0, header.max_timestamp.0);
                if overlaps {
                    self.problem(&file, Some(position), "offsets overlap those before");
                }
            }
        }
    }

    /// Whether the leader epoch, which a batch's checksum does not cover, is the one that led there.
    fn is_of_its_leader(&self, header: &BatchHeader) -> bool {
        let Some(manifest) = &self.manifest else { return true };
        let known = manifest.active.map_or(manifest.sealed_end, |active| active.end);
        let at = manifest.epochs.partition_point(|epoch| epoch.start <= header.base_offset.0).checked_sub(1);
        header.base_offset.0 >= known || at.is_none_or(|at| manifest.epochs[at].epoch == header.leader_epoch.0)
    }

    fn indexes(&mut self, base: i64, seen: &Seen) -> io::Result<()> {
        let path = SegmentFile::OffsetIndex.path(self.dir, base);
        if let Some(bytes) = read_if_there(self.disk, &path)? {
            let index = OffsetIndex::new(base, &bytes);
            // What Kafka allots ahead and a crash leaves is zeros.
            let entries = (0..index.entries()).filter_map(|at| index.get(at)).take_while(|entry| entry.position > 0);
            for entry in entries {
                self.report.entries += 1;
                let last = seen.ends.get(&entry.position.into());
                // Kafka names the last of several batches that it wrote at once, we the one that is there.
                if last.is_none_or(|last| *last > entry.offset || (self.manifest.is_some() && *last != entry.offset)) {
                    self.problem(&path, Some(entry.position.into()), "an offset entry does not match a batch");
                }
            }
        }
        let path = SegmentFile::TimeIndex.path(self.dir, base);
        if let Some(bytes) = read_if_there(self.disk, &path)? {
            let index = TimeIndex::new(base, &bytes);
            for entry in (0..index.entries()).filter_map(|at| index.get(at)).take_while(|entry| entry.timestamp > 0) {
                self.report.entries += 1;
                if seen.timestamps.get(&entry.offset) != Some(&entry.timestamp) {
                    self.problem(&path, None, "a time entry does not match a batch");
                }
            }
        }
        let path = SegmentFile::TransactionIndex.path(self.dir, base);
        match read_if_there(self.disk, &path)? {
            Some(bytes) if decode_aborted(&bytes).is_none() => self.problem(&path, None, "a transaction index is damaged"),
            _ => {}
        }
        Ok(())
    }

    fn checkpoints(&mut self) -> io::Result<()> {
        for (offset, entries) in snapshots(self.disk, self.dir)? {
            if entries.is_none() {
                self.problem(&SegmentFile::Snapshot.path(self.dir, offset.0), None, "a producer snapshot is damaged");
            }
        }
        let path = self.dir.join(EPOCHS);
        match read_if_there(self.disk, &path)? {
            Some(bytes) if decode_epochs(&bytes).is_none() => self.problem(&path, None, "the epoch checkpoint is damaged"),
            _ => {}
        }
        let path = self.dir.join(MANIFEST);
        match read_if_there(self.disk, &path)?.map(|bytes| Manifest::decode(&bytes)) {
            None => {}
            Some(Ok(manifest)) => manifest.segments.iter().try_for_each(|segment| self.listed(&path, segment))?,
            Some(Err(ManifestProblem::Damaged)) => self.problem(&path, None, "the manifest is damaged"),
            Some(Err(ManifestProblem::NewerVersion(_))) => self.problem(&path, None, "the manifest is of a newer version"),
        }
        Ok(())
    }

    /// Compares a segment with what it was sealed with.
    fn listed(&mut self, manifest: &Path, segment: &SegmentRecord) -> io::Result<()> {
        let log = SegmentFile::Log.path(self.dir, segment.base);
        match self.disk.open(&log, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.problem(manifest, None, "a segment is missing"),
            file => {
                if file?.length()? != segment.bytes {
                    self.problem(&log, None, "a segment does not have the length it was sealed with");
                }
                if segment.bytes > 0 && self.ends.get(&segment.base) != Some(&segment.end) {
                    self.problem(&log, None, "a segment does not end with the offset it was sealed with");
                }
                let checksums = [
                    (SegmentFile::OffsetIndex, Some(segment.offset_crc)),
                    (SegmentFile::TimeIndex, Some(segment.time_crc)),
                    (SegmentFile::TransactionIndex, segment.transaction_crc),
                ];
                for (kind, crc) in checksums {
                    let path = kind.path(self.dir, segment.base);
                    if read_if_there(self.disk, &path)?.map(|bytes| checksum(&bytes)) != crc {
                        self.problem(&path, None, "an index does not have the checksum it was sealed with");
                    }
                }
            }
        }
        Ok(())
    }
}
