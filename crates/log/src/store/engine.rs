//! The log at a place, of whichever layout: the methods that both have.

use crate::dedicated::DedicatedLog;
use crate::{
    AppendBatch, AppendError, AppendOrigin, AppendReceipt, BatchLocation, EpochEnd, Log, LogEnds, LogFailure, PartitionError,
    ProducerSnapshot, ReadError, ReadLimits, ReadPlan, ReplicaBatch, ReplicaReceipt, RetentionPolicy, TruncateError,
};
use bytes::{Bytes, BytesMut};
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use duolog_wire::record::BatchHeader;
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Clone, Copy)]
pub(super) enum Engine<'a> {
    Shared(&'a Arc<Log>),
    Dedicated(&'a Arc<DedicatedLog>),
}

impl Engine<'_> {
    pub fn append(self, buffer: BytesMut, batches: &[AppendBatch], origin: AppendOrigin, now: TimestampMs) -> AppendReceipt {
        match self {
            Engine::Shared(log) => log.append(buffer, batches, origin, now),
            Engine::Dedicated(log) => log.append(buffer, batches, origin, now),
        }
    }

    pub fn append_replica(self, buffer: Bytes, batches: &[ReplicaBatch], now: TimestampMs) -> ReplicaReceipt {
        match self {
            Engine::Shared(log) => log.append_replica(buffer, batches, now),
            Engine::Dedicated(log) => log.append_replica(buffer, batches, now),
        }
    }

    pub fn truncate(self, partition: PartitionNumber, to: Offset) -> Result<Position, TruncateError> {
        match self {
            Engine::Shared(log) => log.truncate(partition, to),
            Engine::Dedicated(log) => log.truncate(partition, to),
        }
    }

    pub fn restart_at(self, partition: PartitionNumber, at: Offset) -> Result<Position, TruncateError> {
        match self {
            Engine::Shared(log) => log.restart_at(partition, at),
            Engine::Dedicated(log) => log.restart_at(partition, at),
        }
    }

    pub fn set_stable_end(self, partition: PartitionNumber, end: Offset) {
        match self {
            Engine::Shared(log) => log.set_stable_end(partition, end),
            Engine::Dedicated(log) => log.set_stable_end(partition, end),
        }
    }

    pub fn refusal(self, origin: AppendOrigin) -> Option<AppendError> {
        match self {
            Engine::Shared(log) => log.refusal(origin),
            Engine::Dedicated(log) => log.refusal(origin),
        }
    }

    pub fn wait_written(self, position: Position) -> oneshot::Receiver<()> {
        match self {
            Engine::Shared(log) => log.wait_written(position),
            Engine::Dedicated(log) => log.wait_written(position),
        }
    }

    pub fn want_durable(self, position: Position) {
        match self {
            Engine::Shared(log) => log.want_durable(position),
            Engine::Dedicated(log) => log.want_durable(position),
        }
    }

    pub fn wait_durable(self, position: Position) -> oneshot::Receiver<()> {
        match self {
            Engine::Shared(log) => log.wait_durable(position),
            Engine::Dedicated(log) => log.wait_durable(position),
        }
    }

    pub fn set_leader_epoch(self, partition: PartitionNumber, epoch: LeaderEpoch) {
        match self {
            Engine::Shared(log) => log.set_leader_epoch(partition, epoch),
            Engine::Dedicated(log) => log.set_leader_epoch(partition, epoch),
        }
    }

    pub fn set_log_start(self, partition: PartitionNumber, start: Offset) -> Result<Position, PartitionError> {
        match self {
            Engine::Shared(log) => log.set_log_start(partition, start),
            Engine::Dedicated(log) => log.set_log_start(partition, start),
        }
    }

    pub fn drop_partition(self, partition: PartitionNumber) -> Result<Position, PartitionError> {
        match self {
            Engine::Shared(log) => log.drop_partition(partition),
            Engine::Dedicated(log) => log.drop_partition(partition),
        }
    }

    pub fn partitions(self) -> Vec<PartitionNumber> {
        match self {
            Engine::Shared(log) => log.partitions(),
            Engine::Dedicated(log) => log.partitions(),
        }
    }

    pub fn ends(self, partition: PartitionNumber) -> Option<LogEnds> {
        match self {
            Engine::Shared(log) => log.ends(partition),
            Engine::Dedicated(log) => log.ends(partition),
        }
    }

    pub fn read(self, partition: PartitionNumber, from: Offset, limits: ReadLimits) -> Result<ReadPlan, ReadError> {
        match self {
            Engine::Shared(log) => log.read(partition, from, limits),
            Engine::Dedicated(log) => log.read(partition, from, limits),
        }
    }

    pub fn find_by_time(
        self,
        partition: PartitionNumber,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<BatchLocation>, ReadError> {
        match self {
            Engine::Shared(log) => log.find_by_time(partition, timestamp, from, upto),
            Engine::Dedicated(log) => log.find_by_time(partition, timestamp, from, upto),
        }
    }

    pub fn find_max_timestamp(self, partition: PartitionNumber, upto: Offset) -> Result<Option<BatchLocation>, ReadError> {
        match self {
            Engine::Shared(log) => log.find_max_timestamp(partition, upto),
            Engine::Dedicated(log) => log.find_max_timestamp(partition, upto),
        }
    }

    pub fn epoch_end(self, partition: PartitionNumber, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadError> {
        match self {
            Engine::Shared(log) => log.epoch_end(partition, epoch),
            Engine::Dedicated(log) => log.epoch_end(partition, epoch),
        }
    }

    pub fn epoch_at(self, partition: PartitionNumber, offset: Offset) -> Option<LeaderEpoch> {
        match self {
            Engine::Shared(log) => log.epoch_at(partition, offset),
            Engine::Dedicated(log) => log.epoch_at(partition, offset),
        }
    }

    pub fn producers(self, partition: PartitionNumber) -> Vec<ProducerSnapshot> {
        match self {
            Engine::Shared(log) => log.producers(partition),
            Engine::Dedicated(log) => log.producers(partition),
        }
    }

    pub fn find_repeated(self, partition: PartitionNumber, header: &BatchHeader) -> Result<Option<Offset>, AppendError> {
        match self {
            Engine::Shared(log) => log.find_repeated(partition, header),
            Engine::Dedicated(log) => log.find_repeated(partition, header),
        }
    }

    pub fn expire_producers(self, now: TimestampMs, max_idle_ms: i64) {
        match self {
            Engine::Shared(log) => log.expire_producers(now, max_idle_ms),
            Engine::Dedicated(log) => log.expire_producers(now, max_idle_ms),
        }
    }

    pub fn partition_bytes(self, partition: PartitionNumber) -> u64 {
        match self {
            Engine::Shared(log) => log.partition_bytes(partition),
            Engine::Dedicated(log) => log.partition_bytes(partition),
        }
    }

    pub fn retention_target(self, partition: PartitionNumber, policy: RetentionPolicy, now: TimestampMs) -> Option<Offset> {
        match self {
            Engine::Shared(log) => log.retention_target(partition, policy, now),
            Engine::Dedicated(log) => log.retention_target(partition, policy, now),
        }
    }

    pub fn durable_position(self) -> Position {
        match self {
            Engine::Shared(log) => log.durable_position(),
            Engine::Dedicated(log) => log.durable_position(),
        }
    }

    pub fn start_threads(self) -> io::Result<()> {
        match self {
            Engine::Shared(log) => log.start_threads(),
            Engine::Dedicated(log) => log.start_threads(),
        }
    }

    pub fn house_step(self, now: TimestampMs) -> Result<(), LogFailure> {
        match self {
            Engine::Shared(log) => log.house_step(now),
            Engine::Dedicated(log) => log.house_step(now),
        }
    }

    pub fn close(self) -> Result<(), LogFailure> {
        match self {
            Engine::Shared(log) => log.close(),
            Engine::Dedicated(log) => log.close(),
        }
    }
}
