//! Records that share groups give up become records of the group's topic for dead letters. (KIP-1191)
//!
//! That a record is given up is stored first; then its letter is appended, wherever its partition is led; then that the record is archived. A
//! leader that ends in between leaves a record that is still on its way, which the next one buries. Each letter is the first batch
//! of a producer of its own, whose id follows from the record's place, so the second time it is a duplicate and not appended. This has
//! one limit: a partition forgets a producer after `producer.id.expiration.ms`.
//!
//! While a letter cannot be written, because there is no such topic or it does not take dead letters, its record stays as it is.
//!
//! | header | |
//! |---|---|
//! | `__dlq.errors.topic`, `__dlq.errors.partition`, `__dlq.errors.offset` | where the record lies |
//! | `__dlq.errors.group` | who gave it up |
//! | `__dlq.errors.delivery.count` | how often it was delivered |
//! | `__dlq.errors.message` | why, as text: [`Reason::message`] |

use super::SharePartition;
use super::partition::{Burial, Reason};
use crate::broker::{Broker, FetchError, materialize};
use crate::config::ShareGroupConfig;
use crate::delay::{AppendFailure, Delays, Target};
use crate::metadata::{MetadataImage, NewTopic, TopicImage};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex, ProducerEpoch, ProducerId};
use duolog_log::ReadError;
use duolog_wire::record::{
    BatchBuilder, BuildError, Compression, DecodeError, DecodedBatch, DecompressLimits, Header, NewRecord, Record, decode_batch,
};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub const TOPIC: &str = "__dlq.errors.topic";
pub const PARTITION: &str = "__dlq.errors.partition";
pub const OFFSET: &str = "__dlq.errors.offset";
pub const GROUP: &str = "__dlq.errors.group";
pub const DELIVERIES: &str = "__dlq.errors.delivery.count";
pub const MESSAGE: &str = "__dlq.errors.message";
/// All of them.
pub const HEADERS: [&str; 6] = [TOPIC, PARTITION, OFFSET, GROUP, DELIVERIES, MESSAGE];

/// The topic's key by which it takes dead letters.
const TAKES_DEAD_LETTERS: &str = "errors.deadletterqueue.group.enable";

impl Reason {
    /// As Kafka says it.
    pub fn message(self) -> &'static str {
        match self {
            Reason::Attempts => "Offset delivery count exceeded the threshold.",
            Reason::Rejected => "Offset rejected by client.",
        }
    }
}

/// Why there is no letter yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuryError {
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error("the name of topic {topic} does not begin with {prefix}")]
    Name { topic: String, prefix: String },
    #[error("topic {0} does not take dead letters: errors.deadletterqueue.group.enable is false")]
    NotTaken(String),
    #[error("reading the record failed: {0}")]
    Fetch(#[from] FetchError),
    #[error("reading the record failed: {0}")]
    Read(#[from] ReadError),
    #[error("the record cannot be unpacked: {0}")]
    Decode(#[from] DecodeError),
    #[error("the letter cannot be written: {0}")]
    Build(#[from] BuildError),
    #[error("the letter is not appended: {0}")]
    Append(#[from] AppendFailure),
}

/// Writes dead letters.
pub(super) struct DeadLetters {
    pub(super) broker: Arc<Broker>,
    pub(super) delays: Arc<Delays>,
}

impl DeadLetters {
    /// The letter is there when this returns, or the record needs none: it is gone, or the group has no dead letters any more.
    pub(super) async fn bury(
        &self,
        at: &SharePartition,
        state_epoch: i32,
        burial: Burial,
        config: &ShareGroupConfig,
    ) -> Result<(), BuryError> {
        let image = self.broker.image();
        let (Some(name), Some(origin)) = (&config.dead_letter_topic, image.topic_by_id(at.topic)) else { return Ok(()) };
        let Some(bytes) = self.read(origin, at.partition, burial.offset).await? else { return Ok(()) };
        let batch = decode_batch(&bytes, DecompressLimits::default())?;
        let Some(record) = find(&batch, burial.offset) else { return Ok(()) };
        let topic = self.topic(&image, name).await?;
        let letter = Letter { origin: &origin.name, at, burial, config };
        let batch = letter.batch(&record, producer(at, state_epoch, burial.offset), self.broker.clock().now())?;
        let target = target(&topic, at.partition).ok_or_else(|| BuryError::NoTopic(name.clone()))?;
        self.delays.append(&target, batch, 0).await?;
        Ok(())
    }

    /// The batch that holds the record, if there is one.
    async fn read(&self, topic: &TopicImage, partition: PartitionIndex, at: Offset) -> Result<Option<Bytes>, BuryError> {
        match self.broker.read(topic, partition, at, 1, true, None) {
            Ok(fetched) if fetched.plan.bytes > 0 => Ok(Some(materialize(fetched.plan).await?)),
            Ok(_) | Err(FetchError::OutOfRange { .. } | FetchError::UnknownPartition) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The topic of dead letters, which is made if it may be.
    async fn topic(&self, image: &MetadataImage, name: &str) -> Result<Arc<TopicImage>, BuryError> {
        let config = self.broker.config();
        if !name.starts_with(&config.dead_letter_prefix) {
            let (topic, prefix) = (name.to_owned(), config.dead_letter_prefix.clone());
            return Err(BuryError::Name { topic, prefix });
        }
        let topic = match image.topic(name) {
            Some(topic) => topic.clone(),
            None if config.auto_create_dead_letter_topics => {
                let mut topic = NewTopic::with_defaults(name);
                topic.configs.insert(TAKES_DEAD_LETTERS.to_owned(), "true".to_owned());
                let created = self.broker.metadata().create_topics(vec![topic], false).await.pop();
                created.and_then(Result::ok).ok_or_else(|| BuryError::NoTopic(name.to_owned()))?
            }
            None => return Err(BuryError::NoTopic(name.to_owned())),
        };
        match topic.config.takes_dead_letters {
            true => Ok(topic),
            false => Err(BuryError::NotTaken(name.to_owned())),
        }
    }
}

fn find<'a>(batch: &'a DecodedBatch<'a>, at: Offset) -> Option<Record<'a>> {
    if batch.header.attributes.is_control() {
        return None;
    }
    batch.records().filter_map(Result::ok).find(|record| record.offset == at)
}

/// As Kafka has it: by the number of the partition that the record comes from.
fn target(topic: &TopicImage, from: PartitionIndex) -> Option<Target> {
    let count = i32::try_from(topic.partitions.len()).ok().filter(|count| *count > 0)?;
    let partition = PartitionIndex(from.0 % count);
    Some(Target { number: topic.partition(partition)?.number, topic: topic.name.clone(), partition })
}

/// The producer of one letter. Those that are given out to clients count from zero and do not come so far.
fn producer(at: &SharePartition, state_epoch: i32, offset: Offset) -> ProducerId {
    let mut hasher = DefaultHasher::new();
    (&*at.group, at.topic.0, at.partition.0, state_epoch, offset.0).hash(&mut hasher);
    ProducerId((hasher.finish() >> 2 | 1 << 62) as i64)
}

/// What a dead letter is made of.
struct Letter<'a> {
    origin: &'a str,
    at: &'a SharePartition,
    burial: Burial,
    config: &'a ShareGroupConfig,
}

impl Letter<'_> {
    fn batch(&self, record: &Record<'_>, producer: ProducerId, timestamp: duolog_base::TimestampMs) -> Result<Bytes, BuildError> {
        let (burial, limit) = (self.burial, self.config.delivery_count_limit);
        let inferred = if burial.deliveries >= limit { Reason::Attempts } else { Reason::Rejected };
        let message = burial.reason.unwrap_or(inferred).message();
        let (partition, offset) = (self.at.partition.0.to_string(), burial.offset.0.to_string());
        let deliveries = burial.deliveries.to_string();
        let values = [self.origin, &partition, &offset, &self.at.group, &deliveries, message];
        let said = HEADERS.iter().zip(values).map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
        let (key, value, own) = match self.config.dead_letters_have_records {
            true => (record.key, record.value, Some(record.headers.clone())),
            false => (None, None, None),
        };
        let headers: Vec<Header<'_>> = own.into_iter().flatten().chain(said).collect();
        let mut batch = BatchBuilder::new(Compression::None).producer(producer, ProducerEpoch(0), 0);
        batch.push(NewRecord { timestamp, key, value, headers: &headers })?;
        let mut bytes = BytesMut::new();
        batch.build(&mut bytes)?;
        Ok(bytes.freeze())
    }
}
