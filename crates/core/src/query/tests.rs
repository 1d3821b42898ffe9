//! Messages are found by their keys through the whole of a broker: while it runs, after a clean restart, and after power failed.

use super::*;
use crate::broker::{Acks, BrokerOptions, Origin, ProduceBatch, materialize};
use crate::config::{BrokerConfig, Source};
use crate::filter::tag_word;
use crate::metadata::NewTopic;
use bytes::BytesMut;
use duolog_base::{SystemClock, TimestampMs};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, Header, NewRecord, decode_batch};
use std::path::Path;
use std::sync::Arc;

const BEGIN: i64 = 1_700_000_000_000;
const PARTITIONS: i32 = 2;
/// More than fit into two files of 4 MiB.
const MESSAGES: i64 = 90;
static BODY: [u8; 100_000] = [7; 100_000];
/// More looks at the index than a search for what is missing of it takes.
const LOOKS: usize = 10_000_000;

async fn open(disk: &SimDisk, dir: &Path) -> (Arc<Broker>, Arc<TopicImage>) {
    let small = ("log.file.bytes".to_owned(), (4 << 20).to_string(), Source::Flag);
    let options = BrokerOptions {
        data_dirs: vec![dir.to_owned()],
        config: BrokerConfig::from_values(vec![small]).unwrap(),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    };
    let broker = Broker::open(options).await.unwrap();
    if broker.image().topic("t").is_none() {
        let topic = NewTopic { partitions: PARTITIONS, ..NewTopic::with_defaults("t") };
        broker.metadata().create_topics(vec![topic], false).await.remove(0).unwrap();
    }
    let topic = broker.image().topic("t").unwrap().clone();
    (broker, topic)
}

/// Message `number`, born so many seconds after the beginning, with keys and a unique key of its own.
async fn append(broker: &Broker, topic: &TopicImage, number: i64, tag_filter: u64) {
    let keys = format!("order-{number} {}", if number % 3 == 0 { "fizz" } else { "other" });
    let unique = format!("id-{number}");
    let mut batch = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        timestamp: TimestampMs(BEGIN + number * 1000),
        key: Some(keys.as_bytes()),
        value: Some(&BODY),
        headers: &[Header { key: b"UNIQ_KEY", value: Some(unique.as_bytes()) }],
    };
    batch.push(record).unwrap();
    let mut buffer = BytesMut::new();
    batch.build(&mut buffer).unwrap();
    let request = [ProduceBatch { topic, partition: partition(number), range: 0..buffer.len(), tag_filter }];
    assert!(broker.append(buffer, &request, Acks::All, Origin::Client).done().await[0].is_ok());
}

fn partition(number: i64) -> PartitionIndex {
    PartitionIndex((number % i64::from(PARTITIONS)) as i32)
}

fn place(number: i64) -> (PartitionIndex, Offset) {
    (partition(number), Offset(number / i64::from(PARTITIONS)))
}

/// The messages at the places that the index names, if they are of these seconds, in ascending order.
async fn find(broker: &Broker, topic: &TopicImage, key: &str, seconds: Range<i64>) -> Vec<(PartitionIndex, Offset)> {
    let mut messages = Vec::new();
    for (partition, offset) in broker.find_by_key(topic, key.as_bytes(), usize::MAX).await.places {
        let plan = broker.read(topic, partition, offset, 0, true, None).unwrap().plan;
        let bytes = materialize(plan).await.unwrap();
        let batch = decode_batch(&bytes, Default::default()).unwrap();
        let record = batch.records().map(Result::unwrap).find(|record| record.offset == offset).unwrap();
        if seconds.contains(&((record.timestamp.0 - BEGIN) / 1000)) {
            messages.push((partition, offset));
        }
    }
    messages.sort_unstable();
    messages
}

fn places(numbers: impl Iterator<Item = i64>) -> Vec<(PartitionIndex, Offset)> {
    let mut places: Vec<_> = numbers.map(place).collect();
    places.sort_unstable();
    places
}

/// Until what is missing of the index has been read from the log.
async fn wait_until_complete(broker: &Broker, topic: &TopicImage) {
    for _ in 0..LOOKS {
        if broker.find_by_key(topic, b"fizz", 1).await.complete {
            return;
        }
    }
    panic!("the index is never complete");
}

async fn check(broker: &Broker, topic: &TopicImage, what: &str) {
    wait_until_complete(broker, topic).await;
    let fizz = |seconds: Range<i64>| places(seconds.filter(|number| number % 3 == 0));
    for seconds in [0..MESSAGES, 0..1, 20..70, MESSAGES..2 * MESSAGES] {
        let expected = fizz(seconds.start..seconds.end.min(MESSAGES));
        assert_eq!(find(broker, topic, "fizz", seconds.clone()).await, expected, "{what}: {seconds:?}");
    }
    for number in [0, 1, MESSAGES / 2, MESSAGES - 1] {
        for key in [format!("order-{number}"), format!("id-{number}")] {
            assert_eq!(find(broker, topic, &key, 0..MESSAGES).await, [place(number)], "{what}: {key}");
        }
    }
    assert_eq!(find(broker, topic, "order", 0..MESSAGES).await, [], "{what}: part of a key is none");
    assert_eq!(broker.find_by_key(topic, b"fizz", 2).await.places.len(), 2, "{what}: no more than are asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_messages_are_found_by_key_and_time_after_sealing_and_every_kind_of_restart() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), SimDisk::new(1));
    let known = tag_word(std::iter::empty());
    let (broker, topic) = open(&disk, dir.path()).await;
    for number in 0..MESSAGES {
        append(&broker, &topic, number, known).await;
    }
    broker.log().house_step(broker.clock().now()).unwrap();
    let statistics = broker.log().statistics();
    assert!(statistics.seals >= 2 && statistics.key_parts >= 1, "{statistics:?}");
    check(&broker, &topic, "as it runs").await;
    let crashed = disk.crash(7);
    broker.close().await;

    for (disk, what) in [(&disk, "after a clean stop"), (&crashed, "after power failed")] {
        let (broker, topic) = open(disk, dir.path()).await;
        check(&broker, &topic, what).await;
        broker.close().await;
    }

    let (broker, topic) = open(&disk, dir.path()).await;
    // A message of a Kafka producer, which nobody indexes.
    append(&broker, &topic, MESSAGES, 0).await;
    assert_eq!(MESSAGES % 3, 0);
    check(&broker, &topic, "beside messages of others").await;
    let end = broker.ends(&topic, PartitionIndex(0)).unwrap().high_watermark;
    broker.delete_records(&topic, PartitionIndex(0), Some(end)).await.unwrap();
    let left = places((0..MESSAGES).filter(|number| number % 3 == 0 && partition(*number) == PartitionIndex(1)));
    assert_eq!(find(&broker, &topic, "fizz", 0..MESSAGES).await, left, "what is deleted is not found");
    broker.close().await;
}
