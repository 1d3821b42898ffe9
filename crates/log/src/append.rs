//! Appending: offsets, idempotence and positions are decided here, under the lock, in the order of the calls.
//!
//! Nothing is written here. Each accepted batch is patched in place and queued as a frame header and a slice of the very
//! buffer that arrived; the tail cache holds the same slice.

use crate::format::file_header::FILE_HEADER_BYTES;
use crate::format::frame::{FrameHeader, FrameKind, frame_bytes};
use crate::format::index::QueueEntry;
use crate::format::state::encode_partition;
use crate::keys::{FoundKey, KeyIndex};
use crate::log::{Log, State};
use crate::partition::Partition;
use crate::producer::Admission;
use crate::{AppendBatch, AppendError, AppendOrigin, AppendReceipt, Appended, LogOptions, PartitionError};
use bytes::{Bytes, BytesMut};
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use duolog_wire::record::{BatchHeader, patch_base_offset, patch_leader_epoch};
use smallvec::SmallVec;
use std::ops::Range;

/// What the writer finds in its queue.
pub(crate) enum Queued {
    /// A frame whose body checksum and durable position the writer fills in.
    Frame { header: FrameHeader, payload: Bytes },
    /// The next file begins at `base`; `state` is the state section for the end of the file before it.
    NextFile { base: u64, state: Vec<u8> },
}

/// A batch in the buffer of an append, and whether it was queued.
pub(crate) struct Piece<'a> {
    pub range: &'a Range<usize>,
    pub queued: bool,
}

impl Log {
    /// Makes the partition known (idempotent; nothing is written). Appends to unknown partitions are refused.
    pub fn open_partition(&self, partition: PartitionNumber) {
        self.state.lock().partitions.entry(partition).or_default();
    }

    /// Gives every batch its offsets, checks idempotent sequences, and queues all of them for one write.
    /// `buffer` is the request as it arrived: it is patched in place and kept (no copy) by the tail cache.
    ///
    /// Panics if a range does not hold exactly one sound batch: the caller has validated them.
    pub fn append(&self, mut buffer: BytesMut, batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> AppendReceipt {
        let headers: SmallVec<[BatchHeader; 4]> =
            batches.iter().map(|batch| sound_header(&buffer[batch.range.clone()])).collect();
        let keys = self.found_keys(&buffer, batches.iter().map(|batch| (&batch.range, batch.tag_filter)));
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal(origin, buffer.len(), batches.len(), &self.options) {
            return AppendReceipt { results: vec![Err(refusal); batches.len()], end: Position(0) };
        }
        state.fetch_partitions(batches);
        let first_queued = state.queue.len();
        let mut results = Vec::with_capacity(batches.len());
        for (batch, header) in batches.iter().zip(&headers) {
            results.push(state.admit(batch, header, &mut buffer[batch.range.clone()], now, &self.options));
        }
        let is_new = |result: &Result<Appended, AppendError>| matches!(result, Ok(Appended { duplicate: false, .. }));
        let pieces = batches.iter().zip(&results).map(|(batch, result)| Piece { range: &batch.range, queued: is_new(result) });
        state.attach(first_queued, buffer.freeze(), pieces);
        let many_keys =
            keys.is_some_and(|(keys, found)| keys.take(&found, results.iter().map(is_new), &state.queue[first_queued..]));
        state.progress.house_wanted |= many_keys;
        let accepted = results.iter().any(Result::is_ok);
        let end = Position(if accepted { state.next } else { 0 });
        let queued = state.queue.len() > first_queued;
        let queued_bytes = state.progress.queued_bytes;
        drop(state);
        if queued {
            self.shell.queued(queued_bytes);
        }
        if many_keys {
            self.shell.wake_house();
        }
        AppendReceipt { results, end }
    }

    /// The keys in these batches, if there are any and they are kept.
    pub(crate) fn found_keys<'a>(
        &self,
        buffer: &[u8],
        batches: impl Iterator<Item = (&'a Range<usize>, u64)>,
    ) -> Option<(&KeyIndex, Vec<FoundKey>)> {
        let keys = self.keys.as_ref()?;
        Some((keys, keys.extract(buffer, batches))).filter(|(_, found)| !found.is_empty())
    }

    /// Why an append of `origin` would be refused now, however small. `None` is no promise.
    pub fn refusal(&self, origin: AppendOrigin) -> Option<AppendError> {
        self.state.lock().refusal(origin, 0, 1, &self.options)
    }

    /// The epoch given to the partition's leader; older ones are refused from now on.
    pub fn set_leader_epoch(&self, partition: PartitionNumber, epoch: LeaderEpoch) {
        let mut state = self.state.lock();
        state.preserve(partition);
        state.partitions.entry(partition).or_default().set_leader_epoch(epoch.0);
    }

    /// Raises the log start (DeleteRecords, retention): a log-start frame. Lower values are ignored.
    pub fn set_log_start(&self, partition: PartitionNumber, start: Offset) -> Result<Position, PartitionError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(PartitionError::Stopped);
        }
        let known = state.partitions.get_mut(&partition).ok_or(PartitionError::UnknownPartition(partition))?;
        known.check_start(start)?;
        let epoch = known.leader_epoch();
        if start.0 > known.log_start() {
            // The frame comes first: if it begins a new file, the old file's state must not know of it.
            state.queue_control(FrameKind::LogStart, partition, start.0, epoch, Bytes::new(), &self.options);
            state.preserve(partition);
            if let Some(known) = state.partitions.get_mut(&partition) {
                known.raise_log_start(start.0);
            }
        }
        let end = Position(state.next);
        drop(state);
        self.shell.wake_syncer();
        Ok(end)
    }

    /// Forgets a partition for good: a drop frame. Its bytes are freed by [`Log::house_step`].
    pub fn drop_partition(&self, partition: PartitionNumber) -> Result<Position, PartitionError> {
        let mut state = self.state.lock();
        if state.progress.is_stopped() {
            return Err(PartitionError::Stopped);
        }
        let known = state.partitions.get(&partition).ok_or(PartitionError::UnknownPartition(partition))?;
        let epoch = known.leader_epoch();
        state.queue_control(FrameKind::Drop, partition, 0, epoch, Bytes::new(), &self.options);
        state.preserve(partition);
        let dropped = state.partitions.remove(&partition);
        let end = Position(state.next);
        drop(state);
        // Its entries may be many: they are freed without the lock.
        drop(dropped);
        self.shell.wake_syncer();
        Ok(end)
    }
}

impl State {
    /// Why nothing at all can be appended now.
    pub fn refusal(&self, origin: AppendOrigin, bytes: usize, batches: usize, options: &LogOptions) -> Option<AppendError> {
        if let Some(refusal) = self.progress.refusal(bytes, options.queue_limit_bytes(origin)) {
            return Some(refusal);
        }
        let frames = bytes as u64 + batches as u64 * frame_bytes(crate::format::ALIGNMENT as usize);
        if self.next + frames > self.append_limits.of(origin) {
            return Some(AppendError::DiskFull { reserve_bytes: options.reserve_for(origin) });
        }
        None
    }

    /// Looks at what the batches are about to change in their partitions. Among thousands of partitions each look is a cache miss;
    /// here they do not depend on each other, and the processor makes several at a time.
    fn fetch_partitions(&self, batches: &[AppendBatch]) {
        for batch in batches {
            let partition = self.partitions.get(&batch.partition);
            std::hint::black_box(partition.and_then(|known| known.unsealed().last()).map(|last| last.last_offset_delta));
        }
    }

    fn admit(
        &mut self,
        batch: &AppendBatch,
        header: &BatchHeader,
        bytes: &mut [u8],
        now: TimestampMs,
        options: &LogOptions,
    ) -> Result<Appended, AppendError> {
        let number = batch.partition;
        let partition = self.partitions.get_mut(&number).ok_or(AppendError::UnknownPartition(number))?;
        if let Some(reason) = partition.quarantine() {
            return Err(AppendError::Quarantined(reason.to_owned()));
        }
        partition.check_leader(batch.leader_epoch)?;
        let log_start = Offset(partition.log_start());
        let base_offset = match partition.producers().check(header)? {
            Admission::New => Offset(partition.next_offset()),
            Admission::Duplicate { base_offset } => {
                let last_offset = base_offset.plus(header.last_offset_delta.into());
                return Ok(Appended { base_offset, last_offset, log_start, duplicate: true });
            }
        };
        patch_base_offset(bytes, base_offset);
        patch_leader_epoch(bytes, batch.leader_epoch);
        // Only now: a file begun for a batch that is not queued would have no frame to be written for.
        self.make_room(bytes.len(), options);
        let entry = QueueEntry {
            base_offset: base_offset.0,
            position: self.next,
            max_timestamp: header.max_timestamp.0,
            tag_filter: batch.tag_filter,
            batch_bytes: bytes.len() as u32,
            last_offset_delta: header.last_offset_delta as u32,
        };
        self.preserve(number);
        let partition = self.partitions.get_mut(&number).expect("looked up above");
        take_batch(partition, entry, batch.leader_epoch, header, now);
        self.queue_batch(number, &entry, batch.leader_epoch);
        let last_offset = Offset(entry.last_offset());
        Ok(Appended { base_offset, last_offset, log_start, duplicate: false })
    }

    /// Queues the frame of a batch, whose bytes come with [`State::attach`].
    pub fn queue_batch(&mut self, partition: PartitionNumber, entry: &QueueEntry, leader_epoch: LeaderEpoch) {
        self.next = entry.end_position();
        self.file_entries += 1;
        self.progress.queued_bytes += entry.batch_bytes as usize;
        self.queue.push(Queued::Frame {
            header: FrameHeader {
                kind: FrameKind::Batch,
                encoding: 0,
                position: entry.position,
                tag_filter: entry.tag_filter,
                offset: entry.base_offset,
                generation: self.generation,
                partition: partition.0,
                payload_bytes: entry.batch_bytes,
                leader_epoch: leader_epoch.0,
                last_offset_delta: entry.last_offset_delta as i32,
                durable: 0,
                body_crc: 0,
            },
            payload: Bytes::new(),
        });
    }

    /// Gives the queued frames their slices of the frozen buffer, and the tail cache the same.
    pub fn attach<'a>(&mut self, first_queued: usize, buffer: Bytes, pieces: impl Iterator<Item = Piece<'a>> + Clone) {
        let State { queue, tail, .. } = self;
        let mut frames = queue[first_queued..].iter_mut().filter_map(|queued| match queued {
            Queued::Frame { header, payload } => Some((header.position, payload)),
            Queued::NextFile { .. } => None,
        });
        let batch_bytes: usize = pieces.clone().map(|piece| piece.range.len()).sum();
        // What lies in the buffer beside the batches is kept with them: the first one is charged for it.
        let mut beside = buffer.len().saturating_sub(batch_bytes);
        for piece in pieces.filter(|piece| piece.queued) {
            let (position, payload) = frames.next().expect("every accepted batch has a frame");
            *payload = buffer.slice(piece.range.clone());
            tail.push(position, payload.clone(), piece.range.len() + std::mem::take(&mut beside));
        }
    }

    /// Queues a frame that holds no batch; answers its position.
    pub fn queue_control(
        &mut self,
        kind: FrameKind,
        partition: PartitionNumber,
        offset: i64,
        epoch: i32,
        payload: Bytes,
        options: &LogOptions,
    ) -> u64 {
        self.make_room(payload.len(), options);
        let header = FrameHeader {
            kind,
            encoding: 0,
            position: self.next,
            tag_filter: 0,
            offset,
            generation: self.generation,
            partition: partition.0,
            payload_bytes: payload.len() as u32,
            leader_epoch: epoch,
            last_offset_delta: 0,
            durable: 0,
            body_crc: 0,
        };
        self.next = header.end();
        self.progress.queued_bytes += payload.len();
        self.queue.push(Queued::Frame { header, payload });
        header.position
    }

    /// Begins the next file if a frame with this payload does not fit into the present one. A file takes at least one frame.
    pub fn make_room(&mut self, payload_bytes: usize, options: &LogOptions) {
        let used = self.next - self.file_base;
        let fits = used + frame_bytes(payload_bytes) <= options.file_bytes && self.file_entries < options.unsealed_entries;
        if fits || used == FILE_HEADER_BYTES as u64 {
            return;
        }
        self.file_base = self.next;
        self.next += FILE_HEADER_BYTES as u64;
        self.file_entries = 0;
        let state = self.encode_partitions();
        self.queue.push(Queued::NextFile { base: self.file_base, state });
    }

    /// The state section for this very moment.
    pub fn encode_partitions(&self) -> Vec<u8> {
        let mut numbers: Vec<PartitionNumber> = self.partitions.keys().copied().collect();
        numbers.sort_unstable();
        let mut out = Vec::new();
        for number in numbers {
            encode_partition(&mut out, number.0, &self.partitions[&number]);
        }
        out
    }
}

/// What an accepted batch changes in its partition: the same when it is appended and when it is found by recovery.
pub(crate) fn take_batch(
    partition: &mut Partition,
    entry: QueueEntry,
    leader_epoch: LeaderEpoch,
    header: &BatchHeader,
    now: TimestampMs,
) {
    partition.push(entry, leader_epoch.0);
    partition.producers_mut().appended(header, Offset(entry.base_offset), now);
}

pub(crate) fn sound_header(bytes: &[u8]) -> BatchHeader {
    let header = BatchHeader::parse(bytes).expect("the caller validates batches before it appends them");
    assert_eq!(header.total_bytes(), bytes.len(), "a range holds exactly one batch");
    header
}
