//! Appending: offsets, idempotence, segments and positions are decided here, under the lock, in the order of the calls.
//!
//! Nothing is written here. Each accepted batch is patched in place and queued as a slice of the very buffer that arrived; the tail
//! cache holds the same slice.

use super::format::manifest::Manifest;
use super::growing::Growing;
use super::log::{DedicatedLog, State};
use super::names::{MANIFEST, PartitionName};
use super::partition::{Active, Dedicated};
use super::{PartitionHome, SegmentPolicy};
use crate::append::{Piece, sound_header, take_batch};
use crate::format::frame::frame_bytes;
use crate::format::index::QueueEntry;
use crate::producer::Admission;
use crate::{AppendBatch, AppendError, AppendOrigin, AppendReceipt, Appended, LogFailure, LogOptions, PartitionError};
use bytes::{Bytes, BytesMut};
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use duolog_wire::record::{BatchHeader, patch_base_offset, patch_leader_epoch};
use smallvec::SmallVec;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What a change that is no batch counts as in positions, so that one can wait for it.
pub(super) const CONTROL_BYTES: u64 = 8;

/// What was found where another partition is, or another where it is.
enum Misplaced {
    /// The partition, in the directory of this one.
    Elsewhere(Arc<PartitionName>),
    /// This number, in the partition's directory.
    OtherNumber(PartitionNumber),
}

/// Why a manifest is not used.
#[derive(Debug, thiserror::Error)]
enum MisplacedManifest {
    #[error("it is that of partition {number}, which belongs into {belongs}")]
    Elsewhere { number: PartitionNumber, belongs: PathBuf },
    #[error("it is that of partition {found}, and the directory that of partition {expected}")]
    OtherNumber { found: PartitionNumber, expected: PartitionNumber },
}

/// What the writer finds in its queue.
pub(super) enum Queued {
    /// A batch for the segment at `base`, at this place in its file.
    Batch {
        partition: PartitionNumber,
        base: i64,
        at: u64,
        payload: Bytes,
    },
    /// A segment begins; with what its directory is made of if there is none yet.
    Segment {
        partition: PartitionNumber,
        base: i64,
        directory: Option<Box<NewDirectory>>,
    },
    LogStart {
        partition: PartitionNumber,
        name: Arc<PartitionName>,
        start: i64,
    },
    Drop {
        partition: PartitionNumber,
        name: Arc<PartitionName>,
    },
}

pub(super) struct NewDirectory {
    pub name: Arc<PartitionName>,
    pub manifest: Manifest,
}

impl Queued {
    pub fn partition(&self) -> PartitionNumber {
        match self {
            Queued::Batch { partition, .. }
            | Queued::Segment { partition, .. }
            | Queued::LogStart { partition, .. }
            | Queued::Drop { partition, .. } => *partition,
        }
    }
}

impl DedicatedLog {
    /// Makes the partition known (idempotent; nothing is written, except that a directory which does not say whose it is becomes
    /// this partition's, which waits for the disk). Appends to unknown partitions are refused. A manifest in the directory of
    /// another partition stops the log.
    pub fn open_partition(&self, partition: PartitionNumber, home: PartitionHome) -> Result<(), LogFailure> {
        let misplaced = self.state.lock().misplaced(partition, &home);
        if let Some(misplaced) = misplaced {
            return Err(self.fail_misplaced(partition, &home, misplaced));
        }
        if let Some(known) = self.state.lock().partitions.get_mut(&partition) {
            known.policy = home.policy;
            return Ok(());
        }
        let rival = self.state.lock().names.get(&home.name).copied();
        if let Some(rival) = rival {
            // The name belonged to a partition that is gone: numbers are given out once, names again. It can be gone by now.
            let _ = self.drop_partition(rival);
        }
        if self.state.lock().unclaimed.contains_key(&home.name) {
            self.claim(partition, &home)?;
        }
        let mut state = self.state.lock();
        let State { partitions, names, .. } = &mut *state;
        let opened = partitions.entry(partition).or_insert_with(|| Dedicated::new(home));
        names.insert(opened.name.clone(), partition);
        Ok(())
    }

    fn fail_misplaced(&self, number: PartitionNumber, home: &PartitionHome, misplaced: Misplaced) -> LogFailure {
        let manifest = |name: &PartitionName| self.directory(name).join(MANIFEST);
        let (path, error) = match misplaced {
            Misplaced::Elsewhere(name) => {
                (manifest(&name), MisplacedManifest::Elsewhere { number, belongs: self.directory(&home.name) })
            }
            Misplaced::OtherNumber(found) => (manifest(&home.name), MisplacedManifest::OtherNumber { found, expected: number }),
        };
        self.fail("use", &path, io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Gives every batch its offsets, checks idempotent sequences, and queues all of them for one group commit.
    /// `buffer` is the request as it arrived: it is patched in place and kept (no copy) by the tail cache.
    ///
    /// Panics if a range does not hold exactly one sound batch: the caller has validated them.
    pub fn append(&self, mut buffer: BytesMut, batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> AppendReceipt {
        let headers: SmallVec<[BatchHeader; 4]> =
            batches.iter().map(|batch| sound_header(&buffer[batch.range.clone()])).collect();
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal(origin, buffer.len(), batches.len(), &self.options) {
            return AppendReceipt { results: vec![Err(refusal); batches.len()], end: Position(0) };
        }
        let first_queued = state.queue.len();
        let mut positions: SmallVec<[u64; 4]> = SmallVec::new();
        let mut results = Vec::with_capacity(batches.len());
        for (batch, header) in batches.iter().zip(&headers) {
            positions.push(state.next);
            results.push(state.admit(batch, header, &mut buffer[batch.range.clone()], now));
        }
        let pieces = batches.iter().zip(&results).map(|(batch, result)| Piece {
            range: &batch.range,
            queued: matches!(result, Ok(Appended { duplicate: false, .. })),
        });
        state.attach(first_queued, buffer.freeze(), pieces.zip(positions.iter().copied()));
        let accepted = results.iter().any(Result::is_ok);
        let end = Position(if accepted { state.next } else { 0 });
        let queued = state.queue.len() > first_queued;
        let queued_bytes = state.progress.queued_bytes;
        drop(state);
        if queued {
            self.shell.queued(queued_bytes);
        }
        AppendReceipt { results, end }
    }

    /// The epoch given to the partition's leader; older ones are refused from now on.
    pub fn set_leader_epoch(&self, partition: PartitionNumber, epoch: LeaderEpoch) {
        let mut state = self.state.lock();
        let Some(known) = state.partitions.get_mut(&partition) else { return };
        let before = known.log.leader_epoch();
        known.log.set_leader_epoch(epoch.0);
        known.touched |= known.log.leader_epoch() != before;
    }

    /// Raises the log start (DeleteRecords, retention). Lower values are ignored.
    pub fn set_log_start(&self, partition: PartitionNumber, start: Offset) -> Result<Position, PartitionError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(PartitionError::Stopped);
        }
        let known = state.partitions.get_mut(&partition).ok_or(PartitionError::UnknownPartition(partition))?;
        known.log.check_start(start)?;
        if known.log.raise_log_start(start.0) {
            let name = known.name.clone();
            state.queue.push(Queued::LogStart { partition, name, start: start.0 });
            state.next += CONTROL_BYTES;
        }
        let end = Position(state.next);
        drop(state);
        self.shell.wake_syncer();
        Ok(end)
    }

    /// Forgets a partition for good: its directory is renamed, and removed by [`DedicatedLog::house_step`].
    pub fn drop_partition(&self, partition: PartitionNumber) -> Result<Position, PartitionError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(PartitionError::Stopped);
        }
        let dropped = state.partitions.remove(&partition).ok_or(PartitionError::UnknownPartition(partition))?;
        if state.names.get(&dropped.name) == Some(&partition) {
            state.names.remove(&dropped.name);
        }
        state.queue.push(Queued::Drop { partition, name: dropped.name.clone() });
        state.next += CONTROL_BYTES;
        let end = Position(state.next);
        drop(state);
        self.segments.forget(partition, i64::MAX);
        self.shell.wake_syncer();
        Ok(end)
    }
}

impl State {
    /// Whether the manifests contradict what a partition is now said to be.
    fn misplaced(&self, number: PartitionNumber, home: &PartitionHome) -> Option<Misplaced> {
        if let Some(known) = self.partitions.get(&number) {
            return (*known.name != home.name).then(|| Misplaced::Elsewhere(known.name.clone()));
        }
        let found = *self.names.get(&home.name)?;
        // A name that is used again belongs to another topic.
        let same_topic = self.partitions.get(&found).is_some_and(|known| known.topic_id == home.topic_id);
        same_topic.then_some(Misplaced::OtherNumber(found))
    }

    /// Why nothing at all can be appended now.
    pub fn refusal(&self, origin: AppendOrigin, bytes: usize, batches: usize, options: &LogOptions) -> Option<AppendError> {
        if let Some(refusal) = self.progress.refusal(bytes, options.queue_limit_bytes(origin)) {
            return Some(refusal);
        }
        let positions = bytes as u64 + batches as u64 * frame_bytes(CONTROL_BYTES as usize);
        if self.next + positions > self.append_limit(options, origin) {
            return Some(AppendError::DiskFull { reserve_bytes: options.reserve_for(origin) });
        }
        None
    }

    fn admit(
        &mut self,
        batch: &AppendBatch,
        header: &BatchHeader,
        bytes: &mut [u8],
        now: TimestampMs,
    ) -> Result<Appended, AppendError> {
        let number = batch.partition;
        let partition = self.partitions.get(&number).ok_or(AppendError::UnknownPartition(number))?;
        partition.check_append(batch.leader_epoch)?;
        let log_start = Offset(partition.log.log_start());
        let base_offset = match partition.log.producers().check(header)? {
            Admission::New => Offset(partition.log.next_offset()),
            Admission::Duplicate { base_offset } => {
                let last_offset = base_offset.plus(header.last_offset_delta.into());
                return Ok(Appended { base_offset, last_offset, log_start, duplicate: true });
            }
        };
        patch_base_offset(bytes, base_offset);
        patch_leader_epoch(bytes, batch.leader_epoch);
        let header = BatchHeader { base_offset, leader_epoch: batch.leader_epoch, ..*header };
        let last_offset = self.queue_batch(number, &header, bytes, batch.tag_filter, now);
        Ok(Appended { base_offset, last_offset, log_start, duplicate: false })
    }

    /// Takes over a batch that has its offsets, and queues it; the queue gets its bytes with [`State::attach`]. Answers its last offset.
    pub fn queue_batch(
        &mut self,
        number: PartitionNumber,
        header: &BatchHeader,
        bytes: &[u8],
        tag_filter: u64,
        now: TimestampMs,
    ) -> Offset {
        let State { partitions, queue, next, rolled, progress, .. } = self;
        let partition = partitions.get_mut(&number).expect("whoever admits a batch knows its partition");
        let entry = QueueEntry {
            base_offset: header.base_offset.0,
            position: *next,
            max_timestamp: header.max_timestamp.0,
            tag_filter,
            batch_bytes: bytes.len() as u32,
            last_offset_delta: header.last_offset_delta as u32,
        };
        if begin_segment(partition, number, header, *next, queue, now) {
            rolled.push(number);
        }
        partition.touched = true;
        take_batch(&mut partition.log, entry, header.leader_epoch, header, now);
        let interval_bytes = partition.policy.index_interval_bytes;
        let aborted = partition.transactions.take(header, bytes);
        let active = partition.active.as_mut().expect("begun above");
        let (base, at) = (active.growing.base, active.growing.bytes);
        let growing = Arc::make_mut(&mut active.growing);
        growing.take(header, interval_bytes);
        aborted.into_iter().for_each(|aborted| growing.take_aborted(aborted));
        *next = entry.end_position();
        progress.queued_bytes += bytes.len();
        queue.push(Queued::Batch { partition: number, base, at, payload: Bytes::new() });
        Offset(entry.last_offset())
    }

    /// Gives the queued batches their slices of the frozen buffer, and the tail cache the same. Each piece comes with the position
    /// of the log before it.
    pub fn attach<'a>(&mut self, first_queued: usize, buffer: Bytes, pieces: impl Iterator<Item = (Piece<'a>, u64)> + Clone) {
        let State { queue, tail, .. } = self;
        let mut payloads = queue[first_queued..].iter_mut().filter_map(|queued| match queued {
            Queued::Batch { payload, .. } => Some(payload),
            _ => None,
        });
        let batch_bytes: usize = pieces.clone().map(|(piece, _)| piece.range.len()).sum();
        // What lies in the buffer beside the batches is kept with them: the first one is charged for it.
        let mut beside = buffer.len().saturating_sub(batch_bytes);
        for (piece, position) in pieces.filter(|(piece, _)| piece.queued) {
            let payload = payloads.next().expect("every accepted batch is queued");
            *payload = buffer.slice(piece.range.clone());
            tail.push(position, payload.clone(), piece.range.len() + std::mem::take(&mut beside));
        }
    }
}

/// Begins the partition's next segment if it has none or the batch does not belong into the present one. Answers whether there is
/// a full one now.
fn begin_segment(
    partition: &mut Dedicated,
    number: PartitionNumber,
    header: &BatchHeader,
    position: u64,
    queue: &mut Vec<Queued>,
    now: TimestampMs,
) -> bool {
    let policy = partition.policy;
    let full = partition.active.is_some();
    if let Some(active) = &partition.active {
        let jitter_ms = jitter(number, active.growing.base, &policy);
        if !active.growing.must_roll(header, header.last_offset().0, &policy, jitter_ms, now) {
            return false;
        }
        partition.roll(position);
    }
    // A segment begins where the one before ends, also if a leader's batch lies behind a gap, as far as its indexes reach so far.
    let end = partition.segments_end();
    let base = if i32::try_from(header.last_offset().0 - end).is_ok() { end } else { header.base_offset.0 };
    open_segment(partition, number, base, queue, now);
    full
}

/// Queues the beginning of a segment.
pub(super) fn open_segment(
    partition: &mut Dedicated,
    number: PartitionNumber,
    base: i64,
    queue: &mut Vec<Queued>,
    now: TimestampMs,
) {
    let directory = (!partition.has_directory).then(|| {
        partition.sealed_end = base;
        Box::new(NewDirectory { name: partition.name.clone(), manifest: partition.manifest(number, false) })
    });
    partition.has_directory = true;
    partition.active = Some(Active { growing: Arc::new(Growing::new(base, now)), written: 0, file: None });
    queue.push(Queued::Segment { partition: number, base, directory });
}

/// Spreads the beginnings of segments: the same for a segment whenever it is asked.
fn jitter(number: PartitionNumber, base: i64, policy: &SegmentPolicy) -> i64 {
    let range = policy.segment_jitter_ms.min(policy.segment_ms);
    if range <= 0 {
        return 0;
    }
    // Mixes the bits (the finisher of splitmix64).
    let mut mixed = (u64::from(number.0) << 40) ^ base as u64;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % range as u64) as i64
}
