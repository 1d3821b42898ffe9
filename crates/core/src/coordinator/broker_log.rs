//! The internal topic of the real broker.

use super::{AppendFuture, Chunk, InternalLog, InternalLogError, LogFuture};
use crate::broker::{Acks, Broker, Origin, ProduceBatch, ProduceError, materialize};
use crate::metadata::{CreateTopicError, DELAYED_TOPIC, OFFSETS_TOPIC, PartitionImage, SHARE_STATE_TOPIC, TopicImage};
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex};
use duolog_log::{AppendError, AppendOrigin};
use std::sync::Arc;

/// Bytes read at a time when a shard is replayed.
const REPLAY_CHUNK_BYTES: usize = 4 << 20;

/// Which topic a service stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalTopic {
    /// `__consumer_offsets`.
    Offsets,
    /// `__delayed_messages`.
    Delayed,
    /// `__share_group_state`.
    ShareState,
}

impl InternalTopic {
    pub fn name(self) -> &'static str {
        match self {
            InternalTopic::Offsets => OFFSETS_TOPIC,
            InternalTopic::Delayed => DELAYED_TOPIC,
            InternalTopic::ShareState => SHARE_STATE_TOPIC,
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

    pub fn topic(&self) -> InternalTopic {
        self.topic
    }

    fn image(&self) -> Result<Arc<TopicImage>, InternalLogError> {
        self.broker.image().topic(self.topic.name()).cloned().ok_or(InternalLogError::UnknownPartition)
    }

    async fn create(&self) -> Result<Arc<TopicImage>, CreateTopicError> {
        self.broker.metadata().ensure_topic(self.topic.name()).await
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

    fn leader(&self, partition: PartitionIndex) -> Option<NodeId> {
        let image = self.broker.image();
        image.live_leader(image.topic(self.topic.name())?.partition(partition)?)
    }

    fn leads(&self, partition: PartitionIndex) -> Option<LeaderEpoch> {
        self.broker.leads(self.image().ok()?.partition(partition)?)
    }

    fn refusal(&self, partition: PartitionIndex) -> Option<InternalLogError> {
        let topic = self.image().ok()?;
        let partition = topic.partition(partition)?;
        if let Some(error) = too_few_in_sync(&topic, partition) {
            return Some(refused(&error));
        }
        match self.broker.log().refusal(partition.number, AppendOrigin::Internal) {
            // Passes by itself, and soon.
            None | Some(AppendError::Overloaded { .. }) => None,
            Some(error) => Some(InternalLogError::Append(error.to_string())),
        }
    }

    fn append(&self, partition: PartitionIndex, epoch: LeaderEpoch, batch: BytesMut) -> Result<AppendFuture, InternalLogError> {
        let topic = self.image()?;
        let image = topic.partition(partition).ok_or(InternalLogError::UnknownPartition)?;
        // The batch carries the epoch of this image, so the log refuses it if there is a later one by then.
        if self.broker.leads(image) != Some(epoch) || image.leader_epoch != epoch {
            return Err(InternalLogError::NotLeader);
        }
        let batches = [ProduceBatch { topic: &topic, partition, range: 0..batch.len(), tag_filter: 0 }];
        let pending = self.broker.append(batch, &batches, Acks::All, Origin::Coordinator);
        if let Some(Err(error)) = pending.results().first() {
            return Err(refused(error));
        }
        Ok(Box::pin(async move {
            match pending.done().await.pop() {
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(refused(&error)),
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
                self.broker.read_log_end(&topic, partition, from, REPLAY_CHUNK_BYTES).map_err(|error| failed(&error))?;
            let next = fetched.plan.next;
            let batches = materialize(fetched.plan).await.map_err(|error| {
                if let Some(known) = topic.partition(partition) {
                    self.broker.suspect(known.number, from, next, &error);
                }
                failed(&error)
            })?;
            Ok(Chunk { batches, next })
        })
    }

    fn committed(&self, partition: PartitionIndex, end: Offset) -> LogFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let topic = self.image()?;
                let number = topic.partition(partition).ok_or(InternalLogError::UnknownPartition)?.number;
                let watch = self.broker.watch([(number, topic.config.flush)]);
                let ends = self.broker.ends(&topic, partition).ok_or(InternalLogError::UnknownPartition)?;
                if ends.high_watermark >= end {
                    return Ok(());
                }
                watch.changed().await;
            }
        })
    }
}

/// What is known before an append is tried: nothing could be committed.
fn too_few_in_sync(topic: &TopicImage, partition: &PartitionImage) -> Option<ProduceError> {
    let (in_sync, least) = (partition.in_sync.len(), topic.min_in_sync(partition));
    (in_sync < least).then_some(ProduceError::NotEnoughReplicas { in_sync, least: least as i32 })
}

fn refused(error: &ProduceError) -> InternalLogError {
    match error {
        ProduceError::NotLeader | ProduceError::FencedLeader { .. } => InternalLogError::NotLeader,
        error => InternalLogError::Append(error.to_string()),
    }
}
