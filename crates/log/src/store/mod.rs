//! All logs of a node: one shared commit log for each data directory, and which of them holds which partition.
//!
//! [`Store`] has the methods of [`Log`] and hands each call to the log that holds the partition. It decides nothing: where a partition
//! lives is told to it by [`Store::open_partition`] and kept by the metadata. A request whose batches go to several logs is
//! split here; its receipt names a position in each. With one directory and the shared layout nothing is looked up and nothing
//! is copied.
//!
//! One observer hears all logs. A log that fails stops the process as it would alone: a node that has lost a disk does not go on
//! with the others, because it leads the lost partitions and nobody else can take them over while it runs.
//!
//! Called by `duolog-core`.

mod identity;
mod places;
mod queries;

pub use identity::{DirectoryIdentity, IdentityError};
pub use places::{Layout, MAX_DIRECTORIES, Place};

use crate::{
    AppendBatch, AppendError, AppendOrigin, Appended, Log, LogFailure, LogObserver, LogOptions, OpenError, PartitionError,
    RecoveryReport,
};
use bytes::BytesMut;
use duolog_base::{Disk, LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use places::Places;
use smallvec::{SmallVec, smallvec};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Where a data directory keeps its commit log.
const SHARED: &str = "shared";

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
}

/// A position in one of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    place: Place,
    position: Position,
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
    /// Opens or creates the log of every data directory, one after the other, each with `options`; a report for each.
    /// No partition is known until it is opened. Starts no thread.
    pub fn open(
        disk: Arc<dyn Disk>,
        directories: Vec<PathBuf>,
        options: LogOptions,
        observer: Arc<dyn LogObserver>,
        now: TimestampMs,
    ) -> Result<(Arc<Store>, Vec<RecoveryReport>), OpenError> {
        assert!((1..=MAX_DIRECTORIES).contains(&directories.len()), "the caller has counted the directories");
        let mut opened = Vec::new();
        let mut reports = Vec::new();
        for path in directories {
            let (shared, report) = Log::open(disk.clone(), path.join(SHARED), options.clone(), observer.clone(), now)?;
            opened.push(Directory { path, shared });
            reports.push(report);
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
        let places = (0..self.directories.len()).map(|directory| Place { directory, layout: Layout::Shared });
        places.flat_map(|place| self.log_at(place).partitions().into_iter().map(move |number| (number, place))).collect()
    }

    /// Makes the partition known in its log (idempotent; nothing is written). A partition does not move.
    pub fn open_partition(&self, partition: PartitionNumber, place: Place) {
        self.log_at(place).open_partition(partition);
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
            let receipt = self.log_at(place).append(buffer, batches, origin, now);
            return StoreReceipt { results: receipt.results, ends: smallvec![LogPosition { place, position: receipt.end }] };
        }
        self.append_split(&buffer, batches, origin, now)
    }

    /// An append to several logs. Each is given a copy of its batches in a buffer of its own: a log appends all it gets at
    /// once, and keeps the buffer.
    fn append_split(&self, buffer: &BytesMut, batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> StoreReceipt {
        let mut receipt = unknown(batches);
        let places: Vec<Option<Place>> = batches.iter().map(|batch| self.place_of(batch.partition)).collect();
        let mut distinct: SmallVec<[Place; 4]> = places.iter().flatten().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        for place in distinct {
            let mine = || batches.iter().enumerate().filter(|(index, _)| places[*index] == Some(place));
            let mut own = BytesMut::with_capacity(mine().map(|(_, batch)| batch.range.len()).sum());
            let part: Vec<AppendBatch> = mine()
                .map(|(_, batch)| {
                    let start = own.len();
                    own.extend_from_slice(&buffer[batch.range.clone()]);
                    AppendBatch { range: start..own.len(), ..batch.clone() }
                })
                .collect();
            let answer = self.log_at(place).append(own, &part, origin, now);
            mine().zip(answer.results).for_each(|((index, _), result)| receipt.results[index] = result);
            receipt.ends.push(LogPosition { place, position: answer.end });
        }
        receipt
    }

    /// Resolves when everything before `end` is written to the page cache; the receiver errs if the log stops.
    pub fn wait_written(&self, end: LogPosition) -> oneshot::Receiver<()> {
        self.log_at(end.place).wait_written(end.position)
    }

    /// Resolves when everything before `end` is durable; the receiver errs if the log stops.
    pub fn wait_durable(&self, end: LogPosition) -> oneshot::Receiver<()> {
        self.log_at(end.place).wait_durable(end.position)
    }

    /// The epoch given to the partition's leader; older ones are refused from now on.
    pub fn set_leader_epoch(&self, partition: PartitionNumber, epoch: LeaderEpoch) {
        if let Some(log) = self.log_of(partition) {
            log.set_leader_epoch(partition, epoch);
        }
    }

    /// Raises the log start (DeleteRecords, retention). Lower values are ignored.
    pub fn set_log_start(&self, partition: PartitionNumber, start: Offset) -> Result<LogPosition, PartitionError> {
        let place = self.place_of(partition).ok_or(PartitionError::UnknownPartition(partition))?;
        let position = self.log_at(place).set_log_start(partition, start)?;
        Ok(LogPosition { place, position })
    }

    /// Forgets a partition for good.
    pub fn drop_partition(&self, partition: PartitionNumber) -> Result<LogPosition, PartitionError> {
        let place = self.place_of(partition).ok_or(PartitionError::UnknownPartition(partition))?;
        let position = self.log_at(place).drop_partition(partition)?;
        self.places.clear(partition);
        Ok(LogPosition { place, position })
    }

    /// Starts the threads of all logs; [`Store::close`] stops and joins them.
    pub fn start_threads(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| directory.shared.start_threads())
    }

    /// Background work of all logs; see [`Log::house_step`].
    pub fn house_step(&self, now: TimestampMs) -> Result<(), LogFailure> {
        self.directories.iter().try_for_each(|directory| directory.shared.house_step(now))
    }

    /// Closes every log, also if one of them fails; the first failure.
    pub fn close(&self) -> Result<(), LogFailure> {
        let closed: Vec<_> = self.directories.iter().map(|directory| directory.shared.close()).collect();
        closed.into_iter().collect()
    }

    /// The log at a place, for whoever takes its steps by hand.
    pub fn log_at(&self, place: Place) -> &Arc<Log> {
        &self.directories[place.directory].shared
    }

    fn log_of(&self, partition: PartitionNumber) -> Option<&Arc<Log>> {
        self.place_of(partition).map(|place| self.log_at(place))
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
