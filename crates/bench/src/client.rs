//! librdkafka as the loads use it: a producer that notes what becomes of each message, and a consumer of whole topics.

use crate::arguments::{Broker, Target, Tuning};
use crate::failure::Failure;
use crate::latency::Latencies;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Messages that wait in the producer at full speed; more would only add memory.
const QUEUED_AT_FULL_SPEED: u64 = 500_000;
/// Messages that may wait when a rate is asked: enough that a broker that cannot keep up does not slow the schedule.
const QUEUED_AT_A_RATE: u64 = 2_000_000;
/// The same in KiB.
const QUEUED_KIB_AT_FULL_SPEED: u64 = 128 << 10;
const QUEUED_KIB_AT_A_RATE: u64 = 2_000_000;
/// How long to pause when the producer's queue is full.
const FULL_PAUSE: Duration = Duration::from_micros(500);
const DRAIN_POLL: Duration = Duration::from_millis(1);
/// How long a question to the broker may take.
const ASK_LIMIT: Duration = Duration::from_secs(30);
/// How long the last messages may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

/// What became of the messages.
pub(crate) struct Outcomes {
    /// Messages carry their due time as microseconds since this.
    epoch: Instant,
    failed: AtomicU64,
    /// Latencies of those acknowledged since the last `take`.
    latencies: Mutex<Latencies>,
}

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    /// Microseconds from the epoch to the time the message was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        match result {
            Ok(_) => {
                let latency = self.epoch.elapsed().saturating_sub(Duration::from_micros(due as u64));
                self.latencies.lock().expect("no one panics with it").record(latency);
            }
            Err((error, _)) => {
                if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    eprintln!("first message that was not delivered: {error}");
                }
            }
        }
    }
}

/// Whether each message's latency is wanted. Without it librdkafka reports failures only, which costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Latencies,
    Failures,
}

/// One producer that sends to the partitions it is told.
pub(crate) struct Sender {
    producer: ThreadedProducer<Outcomes>,
    epoch: Instant,
    topic: String,
}

impl Sender {
    pub(crate) fn new(broker: &Broker, topic: &str, tuning: &Tuning, detail: Detail) -> Result<Sender, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &broker.bootstrap);
        config.set("acks", tuning.acks.to_string());
        config.set("compression.codec", &tuning.codec);
        config.set("linger.ms", tuning.linger_ms.to_string());
        config.set("batch.size", tuning.batch_bytes.to_string());
        config.set("batch.num.messages", tuning.batch_messages.to_string());
        config.set("enable.idempotence", tuning.idempotence.to_string());
        let (messages, kib) = match detail {
            Detail::Failures => (QUEUED_AT_FULL_SPEED, QUEUED_KIB_AT_FULL_SPEED),
            Detail::Latencies => (QUEUED_AT_A_RATE, QUEUED_KIB_AT_A_RATE),
        };
        config.set("queue.buffering.max.messages", messages.to_string());
        config.set("queue.buffering.max.kbytes", kib.to_string());
        config.set("delivery.report.only.error", (detail == Detail::Failures).to_string());
        let epoch = Instant::now();
        let outcomes = Outcomes { epoch, failed: AtomicU64::new(0), latencies: Mutex::new(Latencies::new()) };
        let producer = config.create_with_context(outcomes)?;
        Ok(Sender { producer, epoch, topic: topic.to_owned() })
    }

    /// Queues a message, for a partition that the library chooses if none is given; waits while the queue is full.
    pub(crate) fn send(&self, partition: Option<i32>, value: &[u8], due: Instant) -> Result<(), Failure> {
        let due = due.saturating_duration_since(self.epoch).as_micros() as usize;
        let mut record = BaseRecord::<(), [u8], usize>::with_opaque_to(&self.topic, due).payload(value);
        record.partition = partition;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                Err((error, _)) => return Err(error.into()),
            }
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// Waits until every queued message was acknowledged or has failed; gives how many are still neither.
    pub(crate) fn drain(&self) -> u64 {
        let start = Instant::now();
        while self.producer.in_flight_count() > 0 && start.elapsed() < DRAIN_LIMIT {
            std::thread::sleep(DRAIN_POLL);
        }
        u64::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Failures and latencies since the last time.
    pub(crate) fn take(&self) -> (u64, Latencies) {
        let outcomes = self.producer.context();
        let mut latencies = outcomes.latencies.lock().expect("no one panics with it");
        (outcomes.failed.swap(0, Ordering::Relaxed), std::mem::replace(&mut *latencies, Latencies::new()))
    }
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    /// Behind what is there now.
    End,
}

/// A consumer of all partitions of the topic, without a group.
pub(crate) fn consumer(broker: &Broker, target: &Target, from: From) -> Result<BaseConsumer, Failure> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &broker.bootstrap);
    config.set("group.id", "bench").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    // A full queue would stop fetching for a second by default.
    config.set("fetch.queue.backoff.ms", "1");
    config.set("queued.min.messages", "1000000").set("queued.max.messages.kbytes", "131072");
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..target.partitions {
        let offset = match from {
            From::Beginning => Offset::Beginning,
            From::End => Offset::Offset(consumer.fetch_watermarks(&target.topic, partition, ASK_LIMIT)?.1),
        };
        partitions.add_partition_offset(&target.topic, partition, offset)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// The partitions of the topic by the address of their leader.
pub(crate) fn leaders(broker: &Broker, target: &Target) -> Result<BTreeMap<String, Vec<i32>>, Failure> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).create()?;
    let metadata = consumer.fetch_metadata(Some(&target.topic), ASK_LIMIT)?;
    let address = |id| metadata.brokers().iter().find(|broker| broker.id() == id).map(|broker| (broker.host(), broker.port()));
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut leaders: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let mut missing = target.partitions as usize;
    for partition in partitions.filter(|partition| partition.id() < target.partitions) {
        if let Some((host, port)) = address(partition.leader()) {
            leaders.entry(format!("{host}:{port}")).or_default().push(partition.id());
            missing -= 1;
        }
    }
    match missing {
        0 => Ok(leaders),
        _ => Err(Failure::NotUsable { topic: target.topic.clone(), missing, seconds: 0 }),
    }
}
