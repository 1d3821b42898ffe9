//! A node with several data directories: partitions are spread, survive crashes, and a directory that is not where it should be is
//! noticed. On a simulated disk; only the lock files are real.

use super::*;
use crate::config::{BrokerConfig, Source};
use crate::metadata::{
    ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, MetadataOpenError, NewPartitions, NewTopic, TopicImage,
    TopicReference,
};
use bytes::BytesMut;
use duolog_base::{Disk, OpenMode, SystemClock, TimestampMs};
use duolog_sim::SimDisk;
use duolog_wire::record::{BatchBuilder, Compression, NewRecord, batches, decode_batch};
use std::io::IoSlice;
use std::path::{Path, PathBuf};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 6;
/// More operations on the disk than the scenario that is crashed takes.
const MAX_OPERATIONS: u64 = 2_000;
/// Every so many operations the power fails.
const CRASH_EVERY: u64 = 13;

/// More steps of housekeeping than a compaction takes.
const HOUSE_STEPS: usize = 40;

/// Names of data directories below a real one, in which the locks are.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn open(&self, disk: &SimDisk, names: &[&str]) -> Result<Arc<Broker>, BrokerOpenError> {
        let small = ("log.file.bytes".to_owned(), (4 << 20).to_string(), Source::Flag);
        Broker::open(BrokerOptions {
            data_dirs: names.iter().map(|name| self.path(name)).collect(),
            config: BrokerConfig::from_values(vec![small]).unwrap(),
            disk: Arc::new(disk.clone()),
            clock: Arc::new(SystemClock::default()),
            cluster: None,
        })
        .await
    }

    async fn refused(&self, disk: &SimDisk, names: &[&str]) -> BrokerOpenError {
        self.open(disk, names).await.err().expect("a node that lacks something does not start")
    }
}

fn new_topic(name: &str, partitions: i32, layout: &str) -> NewTopic {
    let configs = [("duolog.layout", layout), ("segment.bytes", "1000")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    NewTopic { partitions, configs: configs.into(), ..NewTopic::with_defaults(name) }
}

async fn create_as(broker: &Broker, name: &str, partitions: i32, layout: &str) -> Arc<TopicImage> {
    broker.metadata().create_topics(vec![new_topic(name, partitions, layout)], false).await.remove(0).unwrap()
}

async fn create(broker: &Broker, name: &str, partitions: i32) -> Arc<TopicImage> {
    create_as(broker, name, partitions, "shared").await
}

fn value(round: i32, partition: i32) -> Vec<u8> {
    format!("record {round} of partition {partition}").into_bytes()
}

/// Appends a record to each partition of a topic with one request.
async fn append(broker: &Broker, topic: &Arc<TopicImage>, round: i32) -> Vec<Result<Produced, ProduceError>> {
    append_all(broker, &[topic], round).await
}

/// Appends a record to each partition of some topics with one request, going round the topics.
async fn append_all(broker: &Broker, topics: &[&Arc<TopicImage>], round: i32) -> Vec<Result<Produced, ProduceError>> {
    let mut buffer = BytesMut::new();
    let mut request = Vec::new();
    for partition in 0..topics[0].partitions.len() as i32 {
        for topic in topics {
            let start = buffer.len();
            let mut batch = BatchBuilder::new(Compression::None);
            let (timestamp, value) = (TimestampMs(1_700_000_000_000), value(round, partition));
            batch.push(NewRecord { timestamp, value: Some(&value), ..NewRecord::default() }).unwrap();
            batch.build(&mut buffer).unwrap();
            request.push(ProduceBatch { topic, partition: PartitionIndex(partition), range: start..buffer.len(), tag_filter: 0 });
        }
    }
    broker.append(buffer, &request, Acks::All, Origin::Client).done().await
}

/// The values of all records of a partition.
fn records(broker: &Broker, topic: &TopicImage, partition: i32) -> Vec<Vec<u8>> {
    let (partition, mut from, mut found) = (PartitionIndex(partition), Offset(0), Vec::new());
    loop {
        let plan = broker.read(topic, partition, from, 1 << 20, true, None).unwrap().plan;
        if plan.next == from {
            return found;
        }
        from = plan.next;
        let bytes = plan.materialize().unwrap();
        for batch in batches(&bytes) {
            let batch = decode_batch(&bytes[batch.unwrap().1], Default::default()).unwrap();
            found.extend(batch.records().map(|record| record.unwrap().value.unwrap().to_vec()));
        }
    }
}

/// How many of the topic's partitions live in each directory.
fn spread(broker: &Broker, topic: &TopicImage) -> Vec<usize> {
    let mut counts = vec![0; broker.directories().len()];
    topic.partitions.iter().for_each(|partition| counts[broker.log().place(partition.number).unwrap().directory] += 1);
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_reaches_every_directory_and_each_finds_its_own_after_a_restart_in_another_order() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b", "c"]).await.unwrap();
    let topic = create(&broker, TOPIC, PARTITIONS).await;
    assert_eq!(spread(&broker, &topic), [2, 2, 2]);
    for round in 0..3 {
        assert!(append(&broker, &topic, round).await.iter().all(Result::is_ok));
    }
    broker.close().await;
    for order in [["c", "a", "b"], ["a", "b", "c"]] {
        disk.reboot(5);
        let broker = place.open(&disk, &order).await.unwrap();
        assert_eq!(broker.directories()[0].path, place.path("a"), "the metadata stays where it is");
        let topic = broker.image().topic(TOPIC).unwrap().clone();
        assert_eq!(spread(&broker, &topic), [2, 2, 2]);
        for partition in 0..PARTITIONS {
            let expected: Vec<_> = (0..3).map(|round| value(round, partition)).collect();
            assert_eq!(records(&broker, &topic, partition), expected);
        }
        broker.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_is_there_after_power_fails_at_any_time() {
    crash_everywhere("shared").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_in_the_dedicated_layout() {
    crash_everywhere("dedicated").await;
}

async fn crash_everywhere(layout: &str) {
    for crash_at in (0..MAX_OPERATIONS).step_by(CRASH_EVERY as usize) {
        let (place, disk) = (Place::new(), SimDisk::new(crash_at));
        disk.crash_after(crash_at);
        let mut stored = vec![Vec::new(); PARTITIONS as usize];
        let mut finished = false;
        if let Ok(broker) = place.open(&disk, &["a", "b"]).await {
            let topic = new_topic(TOPIC, PARTITIONS, layout);
            if let Ok(topic) = broker.metadata().create_topics(vec![topic], false).await.remove(0) {
                for round in 0..3 {
                    for (partition, result) in append(&broker, &topic, round).await.iter().enumerate() {
                        if result.is_ok() {
                            stored[partition].push(value(round, partition as i32));
                        }
                    }
                }
            }
            broker.close().await;
            finished = !disk.is_off();
        }
        disk.reboot(crash_at);
        // If the first directory had no identity yet, the other one becomes the home, for both are new.
        let broker = place.open(&disk, &["b", "a"]).await;
        let broker = broker.unwrap_or_else(|error| panic!("power failed after {crash_at} operations: {error}"));
        if let Some(topic) = broker.image().topic(TOPIC).cloned() {
            for (partition, stored) in stored.iter().enumerate() {
                let found = records(&broker, &topic, partition as i32);
                assert!(found.starts_with(stored), "power failed after {crash_at} operations: partition {partition}");
            }
        } else {
            assert!(stored.iter().all(Vec::is_empty), "power failed after {crash_at} operations: the topic is gone");
        }
        broker.close().await;
        if finished {
            return;
        }
    }
    panic!("the scenario takes more operations than expected");
}

/// Segment files of the topic's partition 0.
fn segments(disk: &SimDisk) -> usize {
    let of_topic =
        |path: &&PathBuf| path.to_string_lossy().contains("dedicated/d-0/") && path.extension().is_some_and(|end| end == "log");
    disk.files().iter().filter(of_topic).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_hold_batches_of_both_layouts_and_segments_are_cut_as_the_topic_says() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let shared = create(&broker, "s", 2).await;
    let dedicated = create_as(&broker, "d", 2, "dedicated").await;
    assert_eq!((spread(&broker, &shared), spread(&broker, &dedicated)), (vec![1, 1], vec![1, 1]));
    for round in 0..20 {
        assert!(append_all(&broker, &[&shared, &dedicated], round).await.iter().all(Result::is_ok));
    }
    let many = segments(&disk);
    assert!(many > 1, "20 batches of 100 bytes do not fit into a segment of 1,000");
    let set = ConfigOperation::Set(Some("1000000".to_owned()));
    let update = ConfigUpdate::Incremental(vec![("segment.bytes".to_owned(), set)]);
    let change = ConfigChange { resource: ConfigResource::Topic("d".to_owned()), update };
    assert_eq!(broker.metadata().alter_configs(vec![change], false).await, [Ok(())]);
    for round in 20..60 {
        assert!(append_all(&broker, &[&shared, &dedicated], round).await.iter().all(Result::is_ok));
    }
    assert_eq!(segments(&disk), many, "the present segment goes on");
    broker.close().await;
    disk.reboot(3);
    let broker = place.open(&disk, &["b", "a"]).await.unwrap();
    for name in ["s", "d"] {
        let topic = broker.image().topic(name).unwrap().clone();
        for partition in 0..2 {
            let expected: Vec<_> = (0..60).map(|round| value(round, partition)).collect();
            assert_eq!(records(&broker, &topic, partition), expected, "{name}-{partition}");
        }
    }
    broker.metadata().delete_topics(vec![TopicReference::Name("d".to_owned())]).await.remove(0).unwrap();
    let again = create_as(&broker, "d", 2, "dedicated").await;
    assert!(append(&broker, &again, 0).await.iter().all(Result::is_ok));
    assert_eq!(records(&broker, &again, 1), [value(0, 1)], "the same name again is another topic");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_holds_partitions_and_is_missing_or_replaced_is_named() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = create(&broker, TOPIC, 3).await;
    assert!(append(&broker, &topic, 0).await.iter().all(Result::is_ok));
    let lost = broker.directories()[1].clone();
    broker.close().await;
    for names in [&["a"][..], &["a", "replacement"]] {
        match place.refused(&disk, names).await {
            BrokerOpenError::Metadata(MetadataOpenError::MissingDirectory { id, path, partitions }) => {
                assert_eq!((id, path, partitions), (lost.id, lost.path.clone(), 1));
            }
            other => panic!("{other}"),
        }
    }
    assert!(matches!(
        place.refused(&disk, &["b"]).await,
        BrokerOpenError::Directory(DirectoryError::HomeMissing { path, .. }) if path == lost.path
    ));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    assert!((0..3).all(|partition| records(&broker, &topic, partition).len() == 1), "nothing was lost by the attempts");
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_were_moved_between_directories_are_not_taken_for_empty_partitions() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = create(&broker, TOPIC, 2).await;
    assert!(append(&broker, &topic, 0).await.iter().all(Result::is_ok));
    broker.close().await;
    let swap = || {
        let (a, b, aside) = (place.path("a/shared"), place.path("b/shared"), place.path("aside"));
        for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
            disk.rename(from, to).unwrap();
        }
    };
    swap();
    assert!(matches!(place.refused(&disk, &["a", "b"]).await, BrokerOpenError::Misplaced(_)));
    swap();
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    assert!((0..2).all(|partition| records(&broker, &topic, partition) == [value(0, partition)]));
    broker.close().await;
}

/// Names and bytes of the files in a directory.
fn files_in(disk: &SimDisk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |name: &String| {
        let file = disk.open(&dir.join(name), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.length().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (dir.join(name), bytes)
    };
    disk.list(dir).unwrap().iter().map(read).collect()
}

/// Makes the files of a directory those that it once had.
fn put_back(disk: &SimDisk, dir: &Path, files: &[(PathBuf, Vec<u8>)]) {
    disk.list(dir).unwrap().iter().for_each(|name| disk.remove(&dir.join(name)).unwrap());
    for (path, bytes) in files {
        disk.open(path, OpenMode::CreateNew).unwrap().write_at(&[IoSlice::new(bytes)], 0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_is_older_than_the_data_does_not_make_the_data_go() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    place.open(&disk, &["a"]).await.unwrap().close().await;
    let meta = place.path("a").join("meta");
    let old = files_in(&disk, &meta);
    let broker = place.open(&disk, &["a"]).await.unwrap();
    let topic = create(&broker, TOPIC, 1).await;
    assert!(append(&broker, &topic, 0).await.iter().all(Result::is_ok));
    broker.close().await;
    let new = files_in(&disk, &meta);
    put_back(&disk, &meta, &old);
    assert!(matches!(place.refused(&disk, &["a"]).await, BrokerOpenError::MetadataBehind(_)));
    put_back(&disk, &meta, &new);
    let broker = place.open(&disk, &["a"]).await.unwrap();
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    assert_eq!(records(&broker, &topic, 0), [value(0, 0)]);
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_added_takes_the_next_partitions_and_one_without_any_may_go() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a"]).await.unwrap();
    let topic = create(&broker, TOPIC, 3).await;
    assert!(append(&broker, &topic, 0).await.iter().all(Result::is_ok));
    broker.close().await;
    let broker = place.open(&disk, &["a", "b", "c"]).await.unwrap();
    let grow = NewPartitions { topic: TOPIC.to_owned(), total: 5, assignment: Vec::new() };
    broker.metadata().create_partitions(vec![grow], false).await.remove(0).unwrap();
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    assert_eq!(spread(&broker, &topic), [3, 1, 1]);
    assert!(append(&broker, &topic, 1).await.iter().all(Result::is_ok));
    broker.metadata().delete_topics(vec![TopicReference::Name(TOPIC.to_owned())]).await.remove(0).unwrap();
    let topic = create(&broker, "u", 1).await;
    assert_eq!(spread(&broker, &topic), [1, 0, 0]);
    broker.close().await;
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    assert_eq!(broker.image().nodes[&broker.node()].directories, broker.directories());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_its_own_partitions_and_no_others() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = create(&broker, TOPIC, 4).await;
    assert!(append(&broker, &topic, 0).await.iter().all(Result::is_ok));
    let full = place.path("b");
    disk.set_full(move |path| path.starts_with(&full));
    broker.log().house_step(broker.clock().now()).unwrap();
    let in_b = |partition: usize| broker.log().place(topic.partitions[partition].number).unwrap().directory == 1;
    for (partition, result) in append(&broker, &topic, 1).await.iter().enumerate() {
        assert_eq!(matches!(result, Err(ProduceError::DiskFull { .. })), in_b(partition), "{result:?}");
    }
    assert_eq!(spread(&broker, &*create(&broker, "u", 3).await), [3, 0], "new partitions go where there is room");
    disk.set_full(|_| false);
    broker.log().house_step(broker.clock().now()).unwrap();
    assert!(append(&broker, &topic, 2).await.iter().all(Result::is_ok));
    assert!((0..4).all(|partition| records(&broker, &topic, partition).len() == if in_b(partition as usize) { 2 } else { 3 }));
    broker.close().await;
}

/// Appends a record with the same key and 100,000 bytes of value.
async fn append_keyed(broker: &Broker, topic: &Arc<TopicImage>, round: u8) {
    let (mut buffer, mut batch) = (BytesMut::new(), BatchBuilder::new(Compression::None));
    let (timestamp, value) = (TimestampMs(1_700_000_000_000), vec![round; 100_000]);
    batch.push(NewRecord { timestamp, key: Some(b"key"), value: Some(&value), ..NewRecord::default() }).unwrap();
    batch.build(&mut buffer).unwrap();
    let request = [ProduceBatch { topic, partition: PartitionIndex(0), range: 0..buffer.len(), tag_filter: 0 }];
    assert!(broker.append(buffer, &request, Acks::All, Origin::Client).done().await[0].is_ok());
}

/// Keeps house until fewer records than `wanted` are left, or for long enough to say that it is not going to happen.
async fn house_until(broker: &Broker, now: &mut TimestampMs, wanted: usize) -> Vec<Vec<u8>> {
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    for _ in 0..HOUSE_STEPS {
        now.0 += 60_000;
        broker.set_cleaning();
        broker.log().house_step(*now).unwrap();
        if records(broker, &topic, 0).len() < wanted {
            break;
        }
    }
    records(broker, &topic, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_compacted_from_the_moment_it_says_so_and_after_a_restart() {
    let (place, disk) = (Place::new(), SimDisk::new(1));
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    create(&broker, "other", 1).await;
    let topic = create(&broker, TOPIC, 1).await;
    assert_eq!(spread(&broker, &topic), [0, 1]);
    // Log files have 4 MiB, and the newest sealed one is left alone.
    for round in 0..150 {
        append_keyed(&broker, &topic, round).await;
    }
    let mut now = broker.clock().now();
    assert_eq!(house_until(&broker, &mut now, 150).await.len(), 150, "nobody has asked for it yet");
    for (key, value) in [("min.cleanable.dirty.ratio", "0"), ("cleanup.policy", "compact")] {
        let update = ConfigUpdate::Incremental(vec![(key.to_owned(), ConfigOperation::Set(Some(value.to_owned())))]);
        let change = ConfigChange { resource: ConfigResource::Topic(TOPIC.to_owned()), update };
        assert_eq!(broker.metadata().alter_configs(vec![change], false).await, [Ok(())]);
    }
    let left = house_until(&broker, &mut now, 100).await;
    assert!(left.len() < 100 && left.last().unwrap()[0] == 149);
    broker.close().await;
    let broker = place.open(&disk, &["a", "b"]).await.unwrap();
    let topic = broker.image().topic(TOPIC).unwrap().clone();
    for round in 150..250 {
        append_keyed(&broker, &topic, round).await;
    }
    let left = house_until(&broker, &mut now, 100).await;
    assert!(left.len() < 100 && left.last().unwrap()[0] == 249);
    assert_eq!(broker.high_watermark(&topic, PartitionIndex(0)), Some(Offset(250)));
    broker.close().await;
}
