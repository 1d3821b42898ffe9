//! The internal topic of the real broker.

use super::{AppendFuture, Chunk, InternalLog, InternalLogError, LogFuture};
use crate::broker::{Acks, Broker, Origin, ProduceBatch, materialize};
use crate::metadata::{CreateTopicError, TopicImage};
use bytes::BytesMut;
use duolog_base::{Offset, PartitionIndex};
use duolog_log::{AppendError, AppendOrigin};
use std::sync::Arc;

/// Bytes read at a time when a shard is replayed.
const REPLAY_CHUNK_BYTES: usize = 4 << 20;

/// Which topic a service stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalTopic {
    /// `__consumer_offsets`.
    Offsets,
}

impl InternalTopic {
    pub fn name(self) -> &'static str {
        match self {
            InternalTopic::Offsets => "__consumer_offsets",
        }
    }
}

/// An internal topic, reached through the broker.
pub struct BrokerLog {
    broker: Arc<Broker>,
    topic: InternalTopic,
}

impl BrokerLog {
    pub fn new(broker: Arc<Broker>, topic: InternalTopic) -> BrokerLog {
        BrokerLog { broker, topic }
    }

    fn image(&self) -> Result<Arc<TopicImage>, InternalLogError> {
        self.broker.image().topic(self.topic.name()).cloned().ok_or(InternalLogError::UnknownPartition)
    }

    async fn create(&self) -> Result<Arc<TopicImage>, CreateTopicError> {
        match self.topic {
            InternalTopic::Offsets => self.broker.metadata().ensure_offsets_topic().await,
        }
    }
}

impl InternalLog for BrokerLog {
    fn ensure(&self) -> LogFuture<'_, i32> {
        Box::pin(async move {
            match self.partitions() {
                0 => match self.create().await {
                    Ok(topic) => Ok(topic.partitions.len() as i32),
                    Err(error) => Err(InternalLogError::NoTopic(error.to_string())),
                },
                partitions => Ok(partitions),
            }
        })
    }

    fn partitions(&self) -> i32 {
        self.image().map_or(0, |topic| topic.partitions.len() as i32)
    }

    fn refusal(&self, partition: PartitionIndex) -> Option<InternalLogError> {
        let number = self.image().ok()?.partition(partition)?.number;
        match self.broker.log().refusal(number, AppendOrigin::Internal) {
            // Passes by itself, and soon.
            None | Some(AppendError::Overloaded { .. }) => None,
            Some(error) => Some(InternalLogError::Append(error.to_string())),
        }
    }

    fn append(&self, partition: PartitionIndex, batch: BytesMut) -> Result<AppendFuture, InternalLogError> {
        let topic = self.image()?;
        let batches = [ProduceBatch { topic: &topic, partition, range: 0..batch.len(), tag_filter: 0 }];
        let pending = self.broker.append(batch, &batches, Acks::All, Origin::Coordinator);
        if let Some(Err(error)) = pending.results().first() {
            return Err(InternalLogError::Append(error.to_string()));
        }
        Ok(Box::pin(async move {
            match pending.done().await.pop() {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(InternalLogError::Append(error.to_string())),
                None => unreachable!("an append of one batch has one answer"),
            }
        }))
    }

    fn start(&self, partition: PartitionIndex) -> Result<Offset, InternalLogError> {
        let topic = self.image()?;
        self.broker.ends(&topic, partition).map(|ends| ends.log_start).ok_or(InternalLogError::UnknownPartition)
    }

    fn read(&self, partition: PartitionIndex, from: Offset) -> LogFuture<'_, Chunk> {
        Box::pin(async move {
            let topic = self.image()?;
            let failed = |error: &dyn std::fmt::Display| InternalLogError::Read(error.to_string());
            let fetched =
                self.broker.read(&topic, partition, from, REPLAY_CHUNK_BYTES, true, None).map_err(|error| failed(&error))?;
            let next = fetched.plan.next;
            let batches = materialize(fetched.plan).await.map_err(|error| failed(&error))?;
            Ok(Chunk { batches, next })
        })
    }
}
