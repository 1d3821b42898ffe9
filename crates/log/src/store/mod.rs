//! All logs of a node: for each data directory one of each layout, and which of them holds which partition.
//!
//! [`Store`] has the methods of [`Log`] and hands each call to the log that holds the partition. It decides nothing: where a partition
//! lives is told to it when it is opened and kept by the metadata. A request whose batches go to several logs is
//! split here; its receipt names a position in each. With one directory and the shared layout nothing is looked up and nothing
//! is copied.
//!
//! One observer hears all logs. A log that fails stops the process as it would alone: a node that has lost a disk does not go on
//! with the others, because it leads the lost partitions and nobody else can take them over while it runs.
//!
//! Called by `duolog-core`.

mod engine;
mod identity;
mod places;
mod queries;
mod replica;

pub use identity::{DirectoryIdentity, IdentityError};
pub use places::{Layout, MAX_DIRECTORIES, Place};
pub use replica::StoreReplicaReceipt;

use crate::clean::CleaningPolicy;
use crate::dedicated::{DedicatedLog, PartitionHome};
use crate::{
    AppendBatch, AppendError, AppendOrigin, Appended, Log, LogFailure, LogObserver, LogOptions, OpenError, PartitionError,
    RecoveryReport,
};
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use engine::Engine;
use places::Places;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Where a data directory keeps its commit log.
const SHARED: &str = "shared";
/// Where it keeps the partitions that have files of their own.
const DEDICATED: &str = "dedicated";

/// The logs of a node. All methods may be called from any thread.
pub struct Store {
    directories: Vec<Directory>,
    places: Places,
    /// No partition was ever put anywhere but into the commit log of the first directory, so the table need not be asked.
    all_first: AtomicBool,
}

/// The logs of one data directory.
struct Directory {
    path: PathBuf,
    shared: Arc<Log>,
    dedicated: Arc<DedicatedLog>,
}

/// What one log is given of an append to several.
struct Share {
    place: Place,
    buffer: BytesMut,
    /// Which batch of the append, and where it lies in this buffer.
    batches: Vec<(usize, Range<usize>)>,
}

/// What recovery found in each log.
pub type RecoveryReports = Vec<(Place, RecoveryReport)>;

/// A position in one of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    place: Place,
    position: Position,
}

impl LogPosition {
    /// Which log it is a position in.
    pub fn place(&self) -> Place {
        self.place
    }
}

/// What an append hands back: an answer a batch, and what to wait for.
#[derive(Debug)]
pub struct StoreReceipt {
    /// One answer for each batch, in order.
    pub results: Vec<Result<Appended, AppendError>>,
    /// Written (or durable) up to each of these means: every accepted batch of this append is.
    pub ends: SmallVec<[LogPosition; 1]>,
}

impl Store {
    /// Opens or creates the logs of every data directory, one after the other, each with `options`; a report for each.
    /// No partition can be used until it is opened. Starts no thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        directories: Vec<PathBuf>,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        now: TimestampMs,
    ) -> Result<(Arc<Store>, RecoveryReports), OpenError> {
        assert!((1..=MAX_DIRECTORIES).contains(&directories.len()), "the caller has counted the directories");
        let mut opened = Vec::new();
        let mut reports = Vec::new();
        for (directory, path) in directories.into_iter().enumerate() {
            let (shared, report) = Log::open(disk.clone(), path.join(SHARED), options.clone(), observer.clone(), now)?;
            reports.push((Place { directory, layout: Layout::Shared }, report));
            let (dedicated, report) =
                DedicatedLog::open(disk.clone(), path.join(DEDICATED), options.clone(), observer.clone(), now)?;
            reports.push((Place { directory, layout: Layout::Dedicated }, report));
            opened.push(Directory { path, shared, dedicated });
        }
        let store = Store { directories: opened, places: Places::new(), all_first: AtomicBool::new(true) };
        Ok((Arc::new(store), reports))
    }

    /// The data directories, in the order in which [`Place`] counts them.
    pub fn directories(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.directories.iter().map(|directory| directory.path.as_path())
    }

    /// Where a partition lives, if it is open.
    pub fn place(&self, partition: PartitionNumber) -> Option<Place> {
        self.places.get(partition)
    }

    /// Partitions that the logs hold frames of or were told of, and where; whoever knows the metadata drops those that should not be
    /// there.
    pub fn partitions(&self) -> Vec<(PartitionNumber, Place)> {
        self.engines().flat_map(|(place, log)| log.partitions().into_iter().map(move |number| (number, place))).collect()
    }

    /// Makes the partition known in the commit log of a data directory (idempotent; nothing is written). A partition does not move.
    pub fn open_shared(&self, partition: PartitionNumber, directory: usize) {
        self.directories[directory].shared.open_partition(partition);
        self.settle(partition, Place { directory, layout: Layout::Shared });
    }

    /// The same for a partition that the log may have held before and dropped; see [`Log::open_partition_anew`].
    pub fn open_shared_anew(&self, partition: PartitionNumber, directory: usize) {
        self.directories[directory].shared.open_partition_anew(partition);
        self.settle(partition, Place { directory, layout: Layout::Shared });
    }

    /// Makes the partition known among those of a data directory that have files of their own, or gives it another policy for its
    /// segments; see [`DedicatedLog::open_partition`].
    pub fn open_dedicated(&self, partition: PartitionNumber, directory: usize, home: PartitionHome) -> Result<(), LogFailure> {
        self.directories[directory].dedicated.open_partition(partition, home)?;
        self.settle(partition, Place { directory, layout: Layout::Dedicated });
        Ok(())
    }

    fn settle(&self, partition: PartitionNumber, place: Place) {
        if place != Place::FIRST {
            self.all_first.store(false, Ordering::Release);
        }
        let before = self.places.set(partition, place);
        assert!(before.is_none_or(|before| before == place), "a partition does not move from {before:?} to {place:?}");
    }

    /// Gives every batch its offsets and queues it for its log; see [`Log::append`].
    pub fn append(&self, buffer: BytesMut, batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> StoreReceipt {
        let Some(first) = batches.first() else { return StoreReceipt { results: Vec::new(), ends: SmallVec::new() } };
        let place = self.place_of(first.partition);
        if self.all_first.load(Ordering::Acquire) || batches.iter().all(|batch| self.place_of(batch.partition) == place) {
            let Some(place) = place else { return unknown(batches) };
            let receipt = self.engine(place).append(buffer, batches, origin, now);
            return StoreReceipt { results: receipt.results, ends: smallvec![LogPosition { place, position: receipt.end }] };
        }
        self.append_split(&buffer, batches, origin, now)
    }

    fn append_split(&self, buffer: &[u8], batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> StoreReceipt {
        let mut receipt = unknown(batches);
        for share in self.shares(buffer, batches.iter().map(|batch| (batch.partition, &batch.range))) {
            let own = |(index, range): &(usize, Range<usize>)| AppendBatch { range: range.clone(), ..batches[*index].clone() };
            let part: Vec<AppendBatch> = share.batches.iter().map(own).collect();
            let answer = self.engine(share.place).append(share.buffer, &part, origin, now);
            share.batches.iter().zip(answer.results).for_each(|((index, _), result)| receipt.results[*index] = result);
            receipt.ends.push(LogPosition { place: share.place, position: answer.end });
        }
        receipt
    }

    /// Deals the batches of an append out to the logs that hold their partitions. Each is given a copy of its batches in a buffer of its
    /// own: a log appends all it gets at once, and keeps the buffer. Batches of unknown partitions are in no share.
    fn shares<'a>(&self, buffer: &[u8], batches: impl Iterator<Item = (PartitionNumber, &'a Range<usize>)>) -> Vec<Share> {
        let mut dealt: BTreeMap<Place, Vec<(usize, &Range<usize>)>> = BTreeMap::new();
        for (index, (partition, range)) in batches.enumerate() {
            if let Some(place) = self.place_of(partition) {
                dealt.entry(place).or_default().push((index, range));
            }
        }
        let share = |(place, part): (Place, Vec<(usize, &Range<usize>)>)| {
            let mut own = BytesMut::with_capacity(part.iter().map(|(_, range)| range.len()).sum());
            let copied = part.into_iter().map(|(index, range)| {
                let start = own.len();
                own.extend_from_slice(&buffer[range.clone()]);
                (index, start..own.len())
            });
            let batches = copied.collect();
            Share { place, buffer: own, batches }
        };
        dealt.into_iter().map(share).collect()
    }

    /// Resolves when everything before `end` is written to the page cache; the receiver errs if the log stops.
    pub fn wait_written(&self, end: LogPosition) -> oneshot::Receiver<()> {
        self.engine(end.place).wait_written(end.position)
    }

    /// Resolves when everything before `end` is durable; the receiver errs if the log stops.
    pub fn wait_durable(&self, end: LogPosition) -> oneshot::Receiver<()> {
        self.engine(end.place).wait_durable(end.position)
    }

    /// Asks for everything before `end` to be synced without waiting for company; the observer is told.
    pub fn want_durable(&self, end: LogPosition) {
        self.engine(end.place).want_durable(end.position);
    }

    /// The epoch given to the partition's leader; older ones are refused from now on.
    pub fn set_leader_epoch(&self, partition: PartitionNumber, epoch: LeaderEpoch) {
        if let Some(log) = self.engine_of(partition) {
            log.set_leader_epoch(partition, epoch);
        }
    }

    /// Compacts these partitions by key from now on, and no others; see [`Log::set_cleaning`].
    pub fn set_cleaning(&self, policies: &BTreeMap<PartitionNumber, CleaningPolicy>) {
        for directory in &self.directories {
            directory.shared.set_cleaning(policies);
            directory.dedicated.set_cleaning(policies);
        }
    }

    /// Raises the log start (DeleteRecords, retention). Lower values are ignored.
    pub fn set_log_start(&self, partition: PartitionNumber, start: Offset) -> Result<LogPosition, PartitionError> {
        let place = self.place_of(partition).ok_or(PartitionError::UnknownPartition(partition))?;
        let position = self.engine(place).set_log_start(partition, start)?;
        Ok(LogPosition { place, position })
    }

    /// Forgets a partition for good.
    pub fn drop_partition(&self, partition: PartitionNumber) -> Result<LogPosition, PartitionError> {
        let place = self.place_of(partition).ok_or(PartitionError::UnknownPartition(partition))?;
        self.drop_found(partition, place)
    }

    /// As [`Store::drop_partition`], for a partition that was found in a log and need not be open.
    pub fn drop_found(&self, partition: PartitionNumber, place: Place) -> Result<LogPosition, PartitionError> {
        let position = self.engine(place).drop_partition(partition)?;
        self.places.clear(partition);
        Ok(LogPosition { place, position })
    }

    /// Starts the threads of all logs; [`Store::close`] stops and joins them.
    pub fn start_threads(&self) -> io::Result<()> {
        self.engines().try_for_each(|(_, log)| log.start_threads())
    }

    /// Background work of all logs; see [`Log::house_step`].
    pub fn house_step(&self, now: TimestampMs) -> Result<(), LogFailure> {
        self.engines().try_for_each(|(_, log)| log.house_step(now))
    }

    /// Closes every log, also if one of them fails; the first failure.
    pub fn close(&self) -> Result<(), LogFailure> {
        let closed: Vec<_> = self.engines().map(|(_, log)| log.close()).collect();
        closed.into_iter().collect()
    }

    /// Every log, and its place.
    fn engines(&self) -> impl Iterator<Item = (Place, Engine<'_>)> {
        let places = (0..self.directories.len())
            .flat_map(|directory| [Layout::Shared, Layout::Dedicated].map(|layout| Place { directory, layout }));
        places.map(|place| (place, self.engine(place)))
    }

    fn engine(&self, place: Place) -> Engine<'_> {
        let directory = &self.directories[place.directory];
        match place.layout {
            Layout::Shared => Engine::Shared(&directory.shared),
            Layout::Dedicated => Engine::Dedicated(&directory.dedicated),
        }
    }

    fn engine_of(&self, partition: PartitionNumber) -> Option<Engine<'_>> {
        self.place_of(partition).map(|place| self.engine(place))
    }

    /// Where to look for a partition, whether or not it is there.
    fn place_of(&self, partition: PartitionNumber) -> Option<Place> {
        match self.all_first.load(Ordering::Acquire) {
            true => Some(Place::FIRST),
            false => self.places.get(partition),
        }
    }
}

/// The receipt of batches for partitions that no log knows.
fn unknown(batches: &[AppendBatch]) -> StoreReceipt {
    let results = batches.iter().map(|batch| Err(AppendError::UnknownPartition(batch.partition))).collect();
    StoreReceipt { results, ends: SmallVec::new() }
}
