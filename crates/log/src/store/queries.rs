//! What is asked of a partition, handed to the log that holds it.

use super::Store;
use super::engine::Engine;
use crate::{
    AppendError, AppendOrigin, BatchLocation, EpochEnd, KeyPlaces, LogEnds, LogStatistics, ProducerSnapshot, ReadError,
    ReadLimits, ReadPlan, RetentionPolicy,
};
use duolog_base::{LeaderEpoch, Offset, PartitionNumber, Position, TimestampMs};
use duolog_wire::record::BatchHeader;

impl Store {
    pub fn ends(&self, partition: PartitionNumber) -> Option<LogEnds> {
        self.engine_of(partition)?.ends(partition)
    }

    /// Why nothing of the partition is read or appended: what it held was found damaged when the log was opened.
    pub fn quarantine(&self, partition: PartitionNumber) -> Option<String> {
        let limits = ReadLimits { upto: Offset(0), max_bytes: 0, at_least_one: false, tags: None };
        match self.readable(partition).and_then(|log| log.read(partition, Offset(0), limits)) {
            Err(ReadError::Quarantined(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Plans a read; see [`crate::Log::read`].
    pub fn read(&self, partition: PartitionNumber, from: Offset, limits: ReadLimits) -> Result<ReadPlan, ReadError> {
        self.readable(partition)?.read(partition, from, limits)
    }

    /// The first batch at or after `from` and the log start (and before `upto`) whose max timestamp is at least `timestamp`.
    pub fn find_by_time(
        &self,
        partition: PartitionNumber,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<BatchLocation>, ReadError> {
        self.readable(partition)?.find_by_time(partition, timestamp, from, upto)
    }

    /// The batch with the largest max timestamp before `upto`, the first of several.
    pub fn find_max_timestamp(&self, partition: PartitionNumber, upto: Offset) -> Result<Option<BatchLocation>, ReadError> {
        self.readable(partition)?.find_max_timestamp(partition, upto)
    }

    /// Where an epoch ends; see [`crate::Log::epoch_end`].
    pub fn epoch_end(&self, partition: PartitionNumber, epoch: LeaderEpoch) -> Result<Option<EpochEnd>, ReadError> {
        self.readable(partition)?.epoch_end(partition, epoch)
    }

    /// Epoch of the batch that holds `offset` (or of the newest leader, for the end offset).
    pub fn epoch_at(&self, partition: PartitionNumber, offset: Offset) -> Option<LeaderEpoch> {
        self.engine_of(partition)?.epoch_at(partition, offset)
    }

    /// The idempotent producers of a partition, in ascending order of their ids.
    pub fn producers(&self, partition: PartitionNumber) -> Vec<ProducerSnapshot> {
        self.engine_of(partition).map(|log| log.producers(partition)).unwrap_or_default()
    }

    /// See [`crate::Log::find_repeated`].
    pub fn find_repeated(&self, partition: PartitionNumber, header: &BatchHeader) -> Result<Option<Offset>, AppendError> {
        self.engine_of(partition).ok_or(AppendError::UnknownPartition(partition))?.find_repeated(partition, header)
    }

    /// Forgets idempotent producers that have not written for `max_idle_ms`.
    pub fn expire_producers(&self, now: TimestampMs, max_idle_ms: i64) {
        self.engines().for_each(|(_, log)| log.expire_producers(now, max_idle_ms));
    }

    /// Live bytes of the partition.
    pub fn partition_bytes(&self, partition: PartitionNumber) -> u64 {
        self.engine_of(partition).map_or(0, |log| log.partition_bytes(partition))
    }

    /// The log start the policy asks for, if it is above the present one. Never beyond the durable end.
    pub fn retention_target(&self, partition: PartitionNumber, policy: RetentionPolicy, now: TimestampMs) -> Option<Offset> {
        self.engine_of(partition)?.retention_target(partition, policy, now)
    }

    /// Where messages whose key has this hash may be, in the commit logs; see [`crate::Log::find_key`]. `limit` holds for all of
    /// them together; none is preferred.
    pub fn find_key(&self, hash: u64, limit: usize, wanted: &mut dyn FnMut(PartitionNumber, Offset) -> bool) -> KeyPlaces {
        let mut found = self.directories.iter().map(|directory| directory.shared.find_key(hash, limit, wanted));
        if self.directories.len() == 1 {
            return found.next().unwrap_or_default();
        }
        let found: Vec<KeyPlaces> = found.collect();
        let complete = found.iter().all(|places| places.complete);
        let most = found.iter().map(|places| places.places.len()).max().unwrap_or(0);
        let in_turn = (0..most).flat_map(|at| found.iter().filter_map(move |places| places.places.get(at).copied()));
        KeyPlaces { places: in_turn.take(limit).collect(), complete }
    }

    /// How far all logs together are on disk for good.
    pub fn durable_position(&self) -> Position {
        Position(self.engines().map(|(_, log)| log.durable_position().0).sum())
    }

    /// What all logs together have done.
    pub fn statistics(&self) -> LogStatistics {
        let all = self.directories.iter().map(|directory| directory.shared.statistics().plus(directory.dedicated.statistics()));
        all.fold(LogStatistics::default(), LogStatistics::plus)
    }

    /// Why an append to the partition would be refused now, if it would; see [`crate::Log::refusal`].
    pub fn refusal(&self, partition: PartitionNumber, origin: AppendOrigin) -> Option<AppendError> {
        match self.engine_of(partition) {
            Some(log) => log.refusal(origin),
            None => Some(AppendError::UnknownPartition(partition)),
        }
    }

    fn readable(&self, partition: PartitionNumber) -> Result<Engine<'_>, ReadError> {
        self.engine_of(partition).ok_or(ReadError::UnknownPartition(partition))
    }
}
