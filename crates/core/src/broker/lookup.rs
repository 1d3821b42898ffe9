//! Looking up offsets: by position in the log, by time, by leader epoch; and deleting what lies before one.
//!
//! Only a look-up by time decodes records, and of one batch only; the read that takes may wait for the disk and runs
//! on the blocking pool.

use super::{Broker, PartitionEnds, materialize};
use crate::metadata::{PartitionImage, TopicImage};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_log::{BatchLocation, EpochEnd, PartitionError, ProducerSnapshot, ReadError, ReadLimits};
use duolog_wire::record::{BatchHeader, DecompressLimits, TimestampType, decode_batch};
use std::io;
use std::sync::Arc;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetLookup {
    /// The log start.
    Earliest,
    /// The high watermark (or, read committed, the last stable offset).
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after a time.
    AtTime(TimestampMs),
}

/// An offset with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub offset: Offset,
    /// The record's timestamp, for look-ups by time.
    pub timestamp: TimestampMs,
    pub leader_epoch: LeaderEpoch,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    #[error("unknown partition")]
    UnknownPartition,
    #[error("this node does not lead the partition")]
    NotLeader,
    /// It leads, but does not know yet that all is committed which earlier leaders have committed. (KIP-207)
    #[error("the leader cannot vouch for its offsets yet")]
    Unsettled,
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("reading failed: {0}")]
    Io(Arc<io::Error>),
    #[error("a stored batch cannot be decoded: {problem}")]
    Undecodable { problem: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error("unknown partition")]
    UnknownPartition,
    #[error("this node does not lead the partition")]
    NotLeader,
    #[error("offset {asked} is outside {start}..={high_watermark}")]
    OutOfRange { asked: Offset, start: Offset, high_watermark: Offset },
    #[error("the topic's clean-up policy does not delete")]
    PolicyForbids,
    #[error("the log has stopped after a disk error")]
    Stopped,
}

impl Broker {
    /// Finds an offset below the high watermark; `None` if no record answers the description.
    pub async fn find_offset(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        lookup: OffsetLookup,
    ) -> Result<Option<FoundOffset>, LookupError> {
        let image = topic.partition(partition).ok_or(LookupError::UnknownPartition)?;
        if self.is_held_by_others(image) {
            return Err(LookupError::NotLeader);
        }
        let ends = self.ends(topic, partition).ok_or(LookupError::UnknownPartition)?;
        if lookup != OffsetLookup::Earliest && self.replication().is_some_and(|known| known.is_unsettled(image.number)) {
            return Err(LookupError::Unsettled);
        }
        let at = |offset| Some(FoundOffset { offset, timestamp: TimestampMs::NONE, leader_epoch: self.epoch_at(image, offset) });
        match lookup {
            OffsetLookup::Earliest => Ok(at(ends.log_start)),
            OffsetLookup::Latest => Ok(at(ends.high_watermark)),
            OffsetLookup::MaxTimestamp => {
                let batch = self.log.find_max_timestamp(image.number, ends.high_watermark)?;
                self.record_in(image.number, batch, ends, |best, timestamp| best.is_none_or(|best| timestamp > best)).await
            }
            OffsetLookup::AtTime(wanted) => {
                let mut from = ends.log_start;
                while let Some(batch) = self.log.find_by_time(image.number, wanted, from, ends.high_watermark)? {
                    let first = |best: Option<TimestampMs>, timestamp| best.is_none() && timestamp >= wanted;
                    if let Some(found) = self.record_in(image.number, Some(batch), ends, first).await? {
                        return Ok(Some(found));
                    }
                    // The record that made the batch match lies before the log start.
                    from = batch.last_offset.plus(1);
                }
                Ok(None)
            }
        }
    }

    /// The end of the newest epoch not above `epoch`, or `None` if the log holds none.
    pub fn epoch_end(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        epoch: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, LookupError> {
        let image = topic.partition(partition).ok_or(LookupError::UnknownPartition)?;
        if self.is_held_by_others(image) {
            return Err(LookupError::NotLeader);
        }
        if epoch == image.leader_epoch {
            // The present epoch ends where the log does, whether or not it has written yet.
            let end = self.log.ends(image.number).ok_or(LookupError::UnknownPartition)?.end;
            return Ok(Some(EpochEnd { epoch, end }));
        }
        // Of an epoch that is still to come nothing can be said.
        Ok(self.log.epoch_end(image.number, epoch)?.filter(|_| epoch < image.leader_epoch))
    }

    /// Gives up everything before `before` (the high watermark if `None`), for good when this returns.
    /// Answers with the new log start.
    pub async fn delete_records(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        before: Option<Offset>,
    ) -> Result<Offset, DeleteRecordsError> {
        let image = topic.partition(partition).ok_or(DeleteRecordsError::UnknownPartition)?;
        if self.leads(image).is_none() {
            return Err(DeleteRecordsError::NotLeader);
        }
        let ends = self.ends(topic, partition).ok_or(DeleteRecordsError::UnknownPartition)?;
        if !topic.config.delete {
            return Err(DeleteRecordsError::PolicyForbids);
        }
        let asked = before.unwrap_or(ends.high_watermark);
        if asked < Offset(0) || asked > ends.high_watermark {
            let (start, high_watermark) = (ends.log_start, ends.high_watermark);
            return Err(DeleteRecordsError::OutOfRange { asked, start, high_watermark });
        }
        if asked <= ends.log_start {
            return Ok(ends.log_start);
        }
        let position = self.log.set_log_start(image.number, asked).map_err(delete_error)?;
        self.log.wait_durable(position).await.map_err(|_| DeleteRecordsError::Stopped)?;
        Ok(self.log.ends(image.number).map_or(asked, |ends| ends.start))
    }

    /// The idempotent producers the partition remembers.
    pub fn producers(&self, topic: &TopicImage, partition: PartitionIndex) -> Option<Vec<ProducerSnapshot>> {
        let image = topic.partition(partition)?;
        self.log.ends(image.number)?;
        Some(self.log.producers(image.number))
    }

    /// Bytes the partition's live batches take.
    pub fn partition_bytes(&self, topic: &TopicImage, partition: PartitionIndex) -> Option<u64> {
        let image = topic.partition(partition)?;
        self.log.ends(image.number)?;
        Some(self.log.partition_bytes(image.number))
    }

    /// Epoch of the batch at `offset`; an empty log answers with the present leader's.
    fn epoch_at(&self, partition: &PartitionImage, offset: Offset) -> LeaderEpoch {
        self.log.epoch_at(partition.number, offset).unwrap_or(partition.leader_epoch)
    }

    /// Decodes the batch and picks the last record for which `better(timestamp of the pick so far, its own)` holds.
    async fn record_in(
        &self,
        partition: PartitionNumber,
        batch: Option<BatchLocation>,
        ends: PartitionEnds,
        better: impl Fn(Option<TimestampMs>, TimestampMs) -> bool,
    ) -> Result<Option<FoundOffset>, LookupError> {
        let Some(location) = batch else { return Ok(None) };
        let limits = ReadLimits { upto: ends.high_watermark, max_bytes: 0, at_least_one: true, tags: None };
        let from = location.base_offset.max(ends.log_start);
        let plan = self.log.read(partition, from, limits)?;
        let bytes = materialize(plan).await?;
        pick_record(&bytes, location, ends.log_start, better)
    }
}

fn pick_record(
    bytes: &[u8],
    location: BatchLocation,
    log_start: Offset,
    better: impl Fn(Option<TimestampMs>, TimestampMs) -> bool,
) -> Result<Option<FoundOffset>, LookupError> {
    let undecodable = |problem: String| LookupError::Undecodable { problem };
    let header = BatchHeader::parse(bytes).map_err(|error| undecodable(error.to_string()))?;
    let found = |offset, timestamp| FoundOffset { offset, timestamp, leader_epoch: location.leader_epoch };
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        // All records share the batch's time: the first one that is still there is it.
        let offset = header.base_offset.max(log_start);
        return Ok(better(None, header.max_timestamp).then(|| found(offset, header.max_timestamp)));
    }
    let batch = decode_batch(bytes, DecompressLimits::default()).map_err(|error| undecodable(error.to_string()))?;
    let mut best: Option<FoundOffset> = None;
    for record in batch.records() {
        let record = record.map_err(|error| undecodable(error.to_string()))?;
        if record.offset >= log_start && better(best.map(|best| best.timestamp), record.timestamp) {
            best = Some(found(record.offset, record.timestamp));
        }
    }
    Ok(best)
}

impl From<ReadError> for LookupError {
    fn from(error: ReadError) -> LookupError {
        match error {
            // The bounds come from the log itself, so this is a partition that changed under the look-up.
            ReadError::UnknownPartition(_) | ReadError::OutOfRange { .. } => LookupError::UnknownPartition,
            ReadError::Quarantined(reason) => LookupError::Quarantined(reason),
            ReadError::Io(error) => LookupError::Io(error),
        }
    }
}

fn delete_error(error: PartitionError) -> DeleteRecordsError {
    match error {
        PartitionError::UnknownPartition(_) => DeleteRecordsError::UnknownPartition,
        PartitionError::OutOfRange { asked, start, end } => DeleteRecordsError::OutOfRange { asked, start, high_watermark: end },
        PartitionError::Stopped => DeleteRecordsError::Stopped,
    }
}
