//! Reading: where a partition's batches lie, up to what a consumer may see. Data is read only for those who ask for the bytes of a
//! plan, on the blocking pool.

use super::{Broker, Watch};
use crate::config::FlushMode;
use crate::metadata::{PartitionImage, TopicImage};
use crate::replication::speaks_of_damage;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, PartitionNumber};
use duolog_log::{ReadError, ReadLimits, ReadPlan, TagFilter};
use std::io;
use std::sync::Arc;

/// The ends of a partition as clients see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEnds {
    pub log_start: Offset,
    /// Everything below is safe as the topic's flush mode says.
    pub high_watermark: Offset,
    /// Everything below is decided; equals the high watermark while there are no transactions.
    pub last_stable: Offset,
    /// The epoch of the present leader.
    pub leader_epoch: LeaderEpoch,
}

/// Batches found, and the ends at that moment.
#[derive(Clone)]
pub struct Fetched {
    pub plan: ReadPlan,
    pub ends: PartitionEnds,
}

/// Why nothing can be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("unknown partition")]
    UnknownPartition,
    #[error("offset {asked} is outside the log, which starts at {}", ends.log_start)]
    OutOfRange { asked: Offset, ends: PartitionEnds },
    #[error("this node neither leads nor follows the partition")]
    NotLeader,
    #[error("partition is quarantined: {0}")]
    Quarantined(String),
    #[error("reading failed: {0}")]
    Io(Arc<io::Error>),
}

impl Broker {
    /// Plans a read of whole batches from `from` on. The first batch is given even if it is larger than `max_bytes`
    /// when `at_least_one` says so. At or beyond the high watermark the plan is empty. With `tags`, batches that cannot hold
    /// one of them may be left out: an empty plan whose `next` is beyond `from` says that there may be more.
    pub fn read(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        from: Offset,
        max_bytes: usize,
        at_least_one: bool,
        tags: Option<TagFilter>,
    ) -> Result<Fetched, FetchError> {
        let image = topic.partition(partition).ok_or(FetchError::UnknownPartition)?;
        let (ends, log_end) = self.ends_to_read(topic, image)?;
        if from < ends.log_start || from > log_end {
            return Err(FetchError::OutOfRange { asked: from, ends });
        }
        if from >= ends.high_watermark || (max_bytes == 0 && !at_least_one) {
            return Ok(Fetched { plan: ReadPlan { next: from, ..ReadPlan::default() }, ends });
        }
        let limits = ReadLimits { upto: ends.high_watermark, max_bytes, at_least_one, tags };
        match self.log.read(image.number, from, limits) {
            Ok(plan) => Ok(Fetched { plan, ends }),
            Err(error) => {
                self.suspect(image.number, from, Offset(from.0 + 1), &error);
                Err(fetch_error(error, ends))
            }
        }
    }

    /// As [`Broker::read`], of batches that end below `upto` only.
    pub fn read_below(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Fetched, FetchError> {
        let image = topic.partition(partition).ok_or(FetchError::UnknownPartition)?;
        let (ends, log_end) = self.ends_to_read(topic, image)?;
        if from < ends.log_start || from > log_end {
            return Err(FetchError::OutOfRange { asked: from, ends });
        }
        let upto = upto.min(ends.high_watermark);
        if from >= upto || (max_bytes == 0 && !at_least_one) {
            return Ok(Fetched { plan: ReadPlan { next: from, ..ReadPlan::default() }, ends });
        }
        let limits = ReadLimits { upto, max_bytes, at_least_one, tags: None };
        match self.log.read(image.number, from, limits) {
            Ok(plan) => Ok(Fetched { plan, ends }),
            Err(error) => {
                self.suspect(image.number, from, Offset(from.0 + 1), &error);
                Err(fetch_error(error, ends))
            }
        }
    }

    /// The batches between two offsets could not be had. If the reason speaks of damage, and other replicas have them, this one is looked
    /// at and fetched anew.
    pub fn suspect(&self, partition: PartitionNumber, from: Offset, upto: Offset, error: &ReadError) {
        if let Some(replication) = self.replication()
            && speaks_of_damage(error)
        {
            replication.suspect(partition, from, upto);
        }
    }

    /// As [`Broker::read`], up to the log's end: what is not committed yet is given, too. For whoever rebuilds from the partition what it
    /// is about to append to.
    pub fn read_log_end(
        &self,
        topic: &TopicImage,
        partition: PartitionIndex,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let image = topic.partition(partition).ok_or(FetchError::UnknownPartition)?;
        let (ends, log_end) = self.ends_to_read(topic, image)?;
        if from < ends.log_start || from > log_end {
            return Err(FetchError::OutOfRange { asked: from, ends });
        }
        let limits = ReadLimits { upto: log_end, max_bytes, at_least_one: true, tags: None };
        match self.log.read(image.number, from, limits) {
            Ok(plan) => Ok(Fetched { plan, ends }),
            Err(error) => {
                self.suspect(image.number, from, Offset(from.0 + 1), &error);
                Err(fetch_error(error, ends))
            }
        }
    }

    fn ends_to_read(&self, topic: &TopicImage, image: &PartitionImage) -> Result<(PartitionEnds, Offset), FetchError> {
        if self.is_held_by_others(image) {
            return Err(FetchError::NotLeader);
        }
        let log_ends = self.log.ends(image.number).ok_or(FetchError::UnknownPartition)?;
        Ok((self.visible_ends(topic, image, log_ends), log_ends.end))
    }

    /// Whether this node holds no replica of the partition, but others do.
    pub(super) fn is_held_by_others(&self, image: &PartitionImage) -> bool {
        self.road().is_some() && !image.replicas.contains(&self.node)
    }

    /// Registers interest in partitions. Do so before reading: what arrives after the read then wakes the watch.
    pub fn watch(&self, partitions: impl IntoIterator<Item = (PartitionNumber, FlushMode)>) -> Watch {
        self.observer.watch(partitions)
    }
}

/// A plan's bytes, held to their checksums. What has to be read is read on the blocking pool.
pub async fn materialize(plan: ReadPlan) -> Result<Bytes, ReadError> {
    if plan.is_in_memory() {
        return plan.materialize();
    }
    match tokio::task::spawn_blocking(move || plan.materialize()).await {
        Ok(read) => read,
        Err(_) => Err(ReadError::Io(Arc::new(io::Error::other("the read was cancelled")))),
    }
}

fn fetch_error(error: ReadError, ends: PartitionEnds) -> FetchError {
    match error {
        ReadError::UnknownPartition(_) => FetchError::UnknownPartition,
        ReadError::OutOfRange { asked, .. } => FetchError::OutOfRange { asked, ends },
        ReadError::Quarantined(reason) => FetchError::Quarantined(reason),
        ReadError::Io(error) => FetchError::Io(error),
    }
}
