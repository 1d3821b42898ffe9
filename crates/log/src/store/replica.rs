//! What a follower asks of its partitions, handed to the logs that hold them.

use super::{LogPosition, Place, Store};
use crate::{Appended, ReplicaAppendError, ReplicaBatch, TruncateError};
use bytes::Bytes;
use duolog_base::{Offset, PartitionNumber, Position, TimestampMs};
use smallvec::{SmallVec, smallvec};
use std::ops::Range;

/// What an append of a leader's batches hands back: an answer a batch, and what to wait for.
#[derive(Debug)]
pub struct StoreReplicaReceipt {
    /// One answer for each batch, in order.
    pub results: Vec<Result<Appended, ReplicaAppendError>>,
    /// Written (or durable) up to each of these means: every accepted batch of this append is.
    pub ends: SmallVec<[LogPosition; 1]>,
}

impl Store {
    /// Queues a leader's batches for their logs, as they are; see [`crate::Log::append_replica`].
    pub fn append_replica(&self, buffer: Bytes, batches: &[ReplicaBatch], now: TimestampMs) -> StoreReplicaReceipt {
        let place = batches.first().and_then(|batch| self.place_of(batch.partition));
        if let Some(place) = place
            && batches.iter().all(|batch| self.place_of(batch.partition) == Some(place))
        {
            let receipt = self.engine(place).append_replica(buffer, batches, now);
            return StoreReplicaReceipt { results: receipt.results, ends: ends_of(place, receipt.end) };
        }
        let unknown = |batch: &ReplicaBatch| Err(ReplicaAppendError::UnknownPartition(batch.partition));
        let mut receipt = StoreReplicaReceipt { results: batches.iter().map(unknown).collect(), ends: SmallVec::new() };
        for share in self.shares(&buffer, batches.iter().map(|batch| (batch.partition, &batch.range))) {
            let own = |(index, range): &(usize, Range<usize>)| ReplicaBatch { range: range.clone(), ..batches[*index].clone() };
            let part: Vec<ReplicaBatch> = share.batches.iter().map(own).collect();
            let answer = self.engine(share.place).append_replica(share.buffer.freeze(), &part, now);
            share.batches.iter().zip(answer.results).for_each(|((index, _), result)| receipt.results[*index] = result);
            receipt.ends.extend(ends_of(share.place, answer.end));
        }
        receipt
    }

    /// Cuts off the end of a partition; see [`crate::Log::truncate`].
    pub fn truncate(&self, partition: PartitionNumber, to: Offset) -> Result<LogPosition, TruncateError> {
        let place = self.place_of(partition).ok_or(TruncateError::UnknownPartition(partition))?;
        let position = self.engine(place).truncate(partition, to)?;
        Ok(LogPosition { place, position })
    }

    /// Begins a partition anew, empty, at an offset; see [`crate::Log::restart_at`].
    pub fn restart_at(&self, partition: PartitionNumber, at: Offset) -> Result<LogPosition, TruncateError> {
        let place = self.place_of(partition).ok_or(TruncateError::UnknownPartition(partition))?;
        let position = self.engine(place).restart_at(partition, at)?;
        Ok(LogPosition { place, position })
    }

    /// What lies behind `end` may still be cut off, and is not compacted; see [`crate::Log::set_stable_end`].
    pub fn set_stable_end(&self, partition: PartitionNumber, end: Offset) {
        if let Some(log) = self.engine_of(partition) {
            log.set_stable_end(partition, end);
        }
    }
}

fn ends_of(place: Place, position: Position) -> SmallVec<[LogPosition; 1]> {
    match position {
        Position(0) => SmallVec::new(),
        position => smallvec![LogPosition { place, position }],
    }
}
