//! Appending what a leader has appended: batches keep the base offset and the leader epoch they carry.
//!
//! Nothing is decided here but whether they continue the partition; idempotent producers are remembered and never refused, since the
//! leader has taken the batch. Gaps are what compaction on the leader has left. The batches are not patched, so the buffer may
//! be shared. Decided under the lock and queued as an append is.

use crate::append::{Piece, sound_header, take_batch};
use crate::format::index::QueueEntry;
use crate::log::{Log, State};
use crate::partition::Partition;
use crate::{AppendError, AppendOrigin, Appended, LogOptions, ReplicaAppendError, ReplicaBatch, ReplicaReceipt};
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, Position, TimestampMs};
use duolog_wire::record::BatchHeader;

impl Log {
    /// Queues all batches for one write, as they are. They have the room of [`AppendOrigin::Internal`].
    ///
    /// Panics if a range does not hold exactly one sound batch: the caller has validated them.
    pub fn append_replica(&self, buffer: Bytes, batches: &[ReplicaBatch], now: TimestampMs) -> ReplicaReceipt {
        let headers: Vec<BatchHeader> = batches.iter().map(|batch| sound_header(&buffer[batch.range.clone()])).collect();
        let keys = self.found_keys(&buffer, batches.iter().map(|batch| (&batch.range, batch.tag_filter)));
        let mut state = self.state.lock();
        if let Some(refusal) = state.refusal(AppendOrigin::Internal, buffer.len(), batches.len(), &self.options) {
            return ReplicaReceipt { results: vec![Err(refusal.into()); batches.len()], end: Position(0) };
        }
        let first_queued = state.queue.len();
        let mut results = Vec::with_capacity(batches.len());
        for (batch, header) in batches.iter().zip(&headers) {
            results.push(state.admit_replica(batch, header, now, &self.options));
        }
        let pieces = batches.iter().zip(&results).map(|(batch, result)| Piece { range: &batch.range, queued: result.is_ok() });
        state.attach(first_queued, buffer, pieces);
        let is_new = results.iter().map(Result::is_ok);
        let many_keys = keys.is_some_and(|(keys, found)| keys.take(&found, is_new, &state.queue[first_queued..]));
        state.progress.house_wanted |= many_keys;
        let queued = state.queue.len() > first_queued;
        let end = Position(if queued { state.next } else { 0 });
        let queued_bytes = state.progress.queued_bytes;
        drop(state);
        if queued {
            self.shell.queued(queued_bytes);
        }
        if many_keys {
            self.shell.wake_house();
        }
        ReplicaReceipt { results, end }
    }
}

impl State {
    fn admit_replica(
        &mut self,
        batch: &ReplicaBatch,
        header: &BatchHeader,
        now: TimestampMs,
        options: &LogOptions,
    ) -> Result<Appended, ReplicaAppendError> {
        let number = batch.partition;
        let partition = self.partitions.get(&number).ok_or(ReplicaAppendError::UnknownPartition(number))?;
        if let Some(reason) = partition.quarantine() {
            return Err(ReplicaAppendError::Quarantined(reason.to_owned()));
        }
        check_follows(partition, header)?;
        let log_start = Offset(partition.log_start());
        // Only now: a file begun for a batch that is not queued would have no frame to be written for.
        self.make_room(batch.range.len(), options);
        let entry = QueueEntry {
            base_offset: header.base_offset.0,
            position: self.next,
            max_timestamp: header.max_timestamp.0,
            tag_filter: batch.tag_filter,
            batch_bytes: batch.range.len() as u32,
            last_offset_delta: header.last_offset_delta as u32,
        };
        self.preserve(number);
        let partition = self.partitions.get_mut(&number).expect("looked up above");
        take_batch(partition, entry, header.leader_epoch, header, now);
        self.queue_batch(number, &entry, header.leader_epoch);
        Ok(Appended { base_offset: header.base_offset, last_offset: Offset(entry.last_offset()), log_start, duplicate: false })
    }
}

/// Refuses what does not continue the partition.
pub(crate) fn check_follows(partition: &Partition, header: &BatchHeader) -> Result<(), ReplicaAppendError> {
    let (end, last) = (Offset(partition.next_offset()), partition.last_epoch());
    let (base_offset, epoch) = (header.base_offset, header.leader_epoch);
    if base_offset < end {
        return Err(ReplicaAppendError::Overlaps { end, got: base_offset });
    }
    if epoch < last.max(LeaderEpoch(0)) {
        return Err(ReplicaAppendError::OlderEpoch { last, got: epoch });
    }
    Ok(())
}

impl From<AppendError> for ReplicaAppendError {
    /// Of what is refused before any batch is looked at.
    fn from(refusal: AppendError) -> ReplicaAppendError {
        match refusal {
            AppendError::DiskFull { reserve_bytes } => ReplicaAppendError::DiskFull { reserve_bytes },
            AppendError::Overloaded { queued_bytes } => ReplicaAppendError::Overloaded { queued_bytes },
            AppendError::Stopped => ReplicaAppendError::Stopped,
            AppendError::UnknownPartition(partition) => ReplicaAppendError::UnknownPartition(partition),
            AppendError::Quarantined(reason) => ReplicaAppendError::Quarantined(reason),
            AppendError::OutOfOrderSequence { .. } | AppendError::FencedProducer { .. } | AppendError::FencedLeader { .. } => {
                unreachable!("a batch is refused so, not all of them")
            }
        }
    }
}
