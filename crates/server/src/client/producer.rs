//! Sending records: batches by partition, one request at a time to each leader, the same bytes again after a failure.
//!
//! With an identity from the server (the default) a batch that is sent twice is stored once, so a lost answer is no
//! reason to give up. Requests are not pipelined: the caller gathers while a request is under way.

use super::api::{INIT_PRODUCER_ID, PRODUCE};
use super::cluster::{Cluster, TopicLayout};
use super::error::{ClientError, accept};
use super::retry::Retry;
use bytes::{Bytes, BytesMut};
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::kafka::Records;
use duolog_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use duolog_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use duolog_wire::record::{BatchBuilder, BuildError, Compression, Header, NewRecord, advance_sequence};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A batch is closed when its records reach this size, before compression. Below Kafka's limit of 1 MiB for a batch.
const BATCH_BYTES: usize = 512 << 10;
/// Acknowledged by every in-sync replica.
const ACKS_ALL: i16 = -1;
const ACKS_NONE: i16 = 0;
/// How long the server may take to collect acknowledgements.
const SERVER_TIMEOUT_MS: i32 = 30_000;

/// How records are sent.
#[derive(Clone, Copy, Debug)]
pub struct ProducerSettings {
    /// -1 all, 1 leader, 0 none.
    pub acks: i16,
    pub compression: Compression,
    /// How long a batch is tried again before its error is final.
    pub patience: Duration,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        ProducerSettings { acks: ACKS_ALL, compression: Compression::None, patience: Duration::from_secs(30) }
    }
}

/// What the server knows an idempotent producer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// A record to be sent.
#[derive(Clone, Debug, Default)]
pub struct OutgoingRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp: TimestampMs,
}

/// A batch that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub partition: i32,
    /// -1 if nothing was to be acknowledged.
    pub base_offset: i64,
    pub records: usize,
}

/// A batch ready to be sent, with its sequence in it.
struct Batch {
    bytes: Bytes,
    records: usize,
}

/// Batches not acknowledged yet, by partition.
type Pending = BTreeMap<i32, VecDeque<Batch>>;

/// Sends records to one topic.
pub struct Producer {
    cluster: Cluster,
    topic: TopicLayout,
    settings: ProducerSettings,
    identity: Option<Identity>,
    /// Sequence of the next record, by partition.
    sequences: BTreeMap<i32, i32>,
}

impl Producer {
    /// `topic` is created if the server does that. Idempotent if every replica acknowledges.
    pub async fn open(mut cluster: Cluster, topic: &str, settings: ProducerSettings) -> Result<Producer, ClientError> {
        let topic = cluster.topic(topic, true).await?;
        let identity = if settings.acks == ACKS_ALL { Some(cluster.new_identity().await?) } else { None };
        Ok(Producer { cluster, topic, settings, identity, sequences: BTreeMap::new() })
    }

    /// A producer to a topic that must exist, which is given its identity with [`Producer::begin_as`].
    pub async fn open_nameless(mut cluster: Cluster, topic: &str, settings: ProducerSettings) -> Result<Producer, ClientError> {
        let topic = cluster.topic(topic, false).await?;
        Ok(Producer { cluster, topic, settings, identity: None, sequences: BTreeMap::new() })
    }

    /// Goes on under another identity, from its first sequence. The same records under the same identity are stored once.
    pub fn begin_as(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.sequences.clear();
    }

    /// Number of partitions of the topic.
    pub fn partitions(&self) -> usize {
        self.topic.partitions.len()
    }

    /// Sends these records, each to its partition; returns when all are acknowledged.
    pub async fn send(&mut self, records: &[(i32, OutgoingRecord)]) -> Result<Vec<Delivery>, ClientError> {
        let mut pending = self.batches(records)?;
        let mut delivered = Vec::new();
        let mut retry = Retry::within(self.settings.patience);
        while !pending.is_empty() {
            match self.round(&mut pending, &mut delivered).await {
                Ok(()) => retry = Retry::within(self.settings.patience),
                Err(error) if error.is_passing() => {
                    if !retry.again().await {
                        return Err(error);
                    }
                    self.learn_leaders().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(delivered)
    }

    /// Best effort: if it fails, the next round fails again and the patience decides.
    async fn learn_leaders(&mut self) {
        let name = self.topic.name.clone();
        if let Ok(layout) = self.cluster.topic(&name, false).await {
            self.topic = layout;
        }
    }

    /// One request to each leader, with the first pending batch of each of its partitions.
    async fn round(&mut self, pending: &mut Pending, delivered: &mut Vec<Delivery>) -> Result<(), ClientError> {
        let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in pending.keys() {
            leaders.entry(self.topic.leader(*partition)?).or_default().push(*partition);
        }
        for (leader, partitions) in leaders {
            self.produce(leader, &partitions, pending, delivered).await?;
        }
        Ok(())
    }

    async fn produce(
        &mut self,
        leader: i32,
        partitions: &[i32],
        pending: &mut Pending,
        delivered: &mut Vec<Delivery>,
    ) -> Result<(), ClientError> {
        let name = self.topic.name.clone();
        let first: Vec<(i32, Bytes)> =
            partitions.iter().filter_map(|index| Some((*index, pending.get(index)?.front()?.bytes.clone()))).collect();
        let partition_data =
            first.iter().map(|(index, bytes)| PartitionProduceData { index: *index, records: Some(Records::Borrowed(bytes)) });
        let data = TopicProduceData { name: &name, partition_data: partition_data.collect(), ..Default::default() };
        let request = ProduceRequest {
            transactional_id: None,
            acks: self.settings.acks,
            timeout_ms: SERVER_TIMEOUT_MS,
            topic_data: vec![data],
        };
        if self.settings.acks == ACKS_NONE {
            let connection = self.cluster.node(leader).await?;
            let version = connection.version(PRODUCE)?;
            let sent = connection.send(PRODUCE, version, |e, version| request.encode(e, version)).await;
            if sent.is_err() {
                self.cluster.forget(leader);
            }
            sent?;
            partitions.iter().for_each(|index| settle(pending, delivered, *index, -1));
            return Ok(());
        }
        let reply = self.cluster.ask(leader, PRODUCE, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(ProduceResponse::decode)?;
        let mut outcome = Ok(());
        // Every answer counts, whatever became of the other partitions.
        for answer in response.responses.iter().flat_map(|topic| &topic.partition_responses) {
            match accept_partition(&name, answer) {
                Ok(()) => settle(pending, delivered, answer.index, answer.base_offset),
                Err(error) if outcome.is_ok() || !error.is_passing() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }

    fn batches(&mut self, records: &[(i32, OutgoingRecord)]) -> Result<Pending, ClientError> {
        let mut by_partition: BTreeMap<i32, Vec<&OutgoingRecord>> = BTreeMap::new();
        for (partition, record) in records {
            by_partition.entry(*partition).or_default().push(record);
        }
        let mut pending = Pending::new();
        for (partition, records) in by_partition {
            let batches = self.batches_of(partition, &records).map_err(|error| ClientError::Build {
                topic: self.topic.name.clone(),
                partition,
                error,
            })?;
            pending.insert(partition, batches);
        }
        Ok(pending)
    }

    fn batches_of(&mut self, partition: i32, records: &[&OutgoingRecord]) -> Result<VecDeque<Batch>, BuildError> {
        let mut batches = VecDeque::new();
        let mut builder: Option<BatchBuilder> = None;
        for record in records {
            let bytes = record_bytes(record);
            if let Some(full) = builder.take_if(|open| open.uncompressed_bytes() + bytes > BATCH_BYTES) {
                batches.push_back(self.close(partition, full)?);
            }
            let headers: Vec<Header<'_>> =
                record.headers.iter().map(|(key, value)| Header { key: key.as_bytes(), value: Some(value) }).collect();
            let new = NewRecord {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            };
            builder.get_or_insert_with(|| BatchBuilder::new(self.settings.compression)).push(new)?;
        }
        if let Some(last) = builder {
            batches.push_back(self.close(partition, last)?);
        }
        Ok(batches)
    }

    /// Gives the batch its sequence and its final bytes.
    fn close(&mut self, partition: i32, builder: BatchBuilder) -> Result<Batch, BuildError> {
        let records = builder.record_count();
        let sequence = self.sequences.entry(partition).or_insert(0);
        let builder = match self.identity {
            Some(Identity { id, epoch }) => builder.producer(id, epoch, *sequence),
            None => builder,
        };
        let mut bytes = BytesMut::new();
        builder.build(&mut bytes)?;
        *sequence = advance_sequence(*sequence, records);
        Ok(Batch { bytes: bytes.freeze(), records: records as usize })
    }
}

impl Cluster {
    /// An identity that nobody has had. Any node gives them away; one that is gone is passed over.
    pub async fn new_identity(&mut self) -> Result<Identity, ClientError> {
        let mut retry = Retry::within(super::cluster::PATIENCE);
        loop {
            match ask_producer_id(self).await {
                Err(error) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }
}

async fn ask_producer_id(cluster: &mut Cluster) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: i32::MAX, ..Default::default() };
    let reply = cluster.ask_controller(INIT_PRODUCER_ID, |e, version| request.encode(e, version)).await?;
    let response = reply.decode(InitProducerIdResponse::decode)?;
    accept(response.error_code, None, || "producer id".to_owned())?;
    Ok(Identity { id: ProducerId(response.producer_id), epoch: ProducerEpoch(response.producer_epoch) })
}

fn accept_partition(topic: &str, answer: &PartitionProduceResponse<'_>) -> Result<(), ClientError> {
    accept(answer.error_code, answer.error_message, || format!("{topic}-{}", answer.index))
}

/// Takes the acknowledged batch off its queue.
fn settle(pending: &mut Pending, delivered: &mut Vec<Delivery>, partition: i32, base_offset: i64) {
    let Some(queue) = pending.get_mut(&partition) else { return };
    if let Some(batch) = queue.pop_front() {
        delivered.push(Delivery { partition, base_offset, records: batch.records });
    }
    if queue.is_empty() {
        pending.remove(&partition);
    }
}

/// A record's size in a batch, about.
fn record_bytes(record: &OutgoingRecord) -> usize {
    const OVERHEAD: usize = 32;
    let headers: usize = record.headers.iter().map(|(key, value)| key.len() + value.len() + OVERHEAD).sum();
    record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len) + headers + OVERHEAD
}
