//! Power fails at every single operation on the disk: what was acknowledged is there afterwards, and the log goes on.

use super::raft::LogLimits;
use super::*;
use crate::config::BrokerConfig;
use duolog_base::{NodeId, SystemClock, TopicId};
use duolog_sim::SimDisk;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So small that one run rolls segments and writes snapshots several times.
const LIMITS: LogLimits = LogLimits { segment_bytes: 2_000, snapshot_after_bytes: 5_000 };
/// Changes one run makes.
const ROUNDS: usize = 14;
/// More operations than a run needs; the loop over crash points must end before.
const MAX_OPERATIONS: u64 = 2_000;

struct Deaf;

impl ImageListener for Deaf {
    fn image_changed(&self, _old: &MetadataImage, _new: &MetadataImage) {}
}

/// Ids in sequence, so that a run is the same each time.
struct Counted(AtomicU64);

impl IdSource for Counted {
    fn next_id(&self) -> TopicId {
        TopicId(u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

async fn open(disk: &SimDisk, first_id: u64) -> Result<Arc<Metadata>, MetadataOpenError> {
    let options = MetadataOptions {
        dir: PathBuf::from("/data/meta"),
        directories: Vec::new(),
        node: NodeId(1),
        disk: Arc::new(disk.clone()),
        static_config: Arc::new(BrokerConfig::default()),
        listener: Arc::new(Deaf),
        clock: Arc::new(SystemClock::default()),
    };
    Metadata::open_with_limits(options, Arc::new(Counted(AtomicU64::new(first_id))), LIMITS).await
}

/// What the client of a run was told.
#[derive(Default)]
struct Acknowledged {
    cluster_id: String,
    /// Topics that exist for certain, with their ids and partition numbers.
    topics: BTreeMap<String, (TopicId, Vec<u32>)>,
    deleted: Vec<String>,
    retention_ms: Option<i64>,
    /// First producer id that may still be given.
    next_producer_id: i64,
    /// Partition numbers that were given to anything acknowledged.
    next_number: u32,
    /// What was asked for without an answer.
    unknown: Vec<String>,
}

impl Acknowledged {
    /// Makes changes until power fails. Each kind of change is acknowledged or lost for itself.
    async fn run(&mut self, metadata: &Metadata) {
        self.cluster_id = metadata.image().cluster_id.clone();
        for round in 0..ROUNDS {
            let done = match round % 4 {
                0 | 1 => self.create(metadata, &format!("topic-{round}")).await,
                2 => self.configure(metadata, round as i64).await && self.take_ids(metadata).await,
                _ => self.delete(metadata, &format!("topic-{}", round - 3)).await,
            };
            if !done {
                return;
            }
        }
    }

    async fn create(&mut self, metadata: &Metadata, name: &str) -> bool {
        let topic = NewTopic { partitions: 3, ..NewTopic::with_defaults(name) };
        self.unknown.push(name.to_owned());
        let Some(Ok(topic)) = metadata.create_topics(vec![topic], false).await.pop() else { return false };
        self.unknown.clear();
        let numbers: Vec<u32> = topic.partitions.iter().map(|partition| partition.number.0).collect();
        self.next_number = numbers.iter().max().map_or(0, |last| last + 1);
        self.topics.insert(name.to_owned(), (topic.id, numbers));
        true
    }

    async fn delete(&mut self, metadata: &Metadata, name: &str) -> bool {
        self.topics.remove(name);
        self.unknown.push(name.to_owned());
        let results = metadata.delete_topics(vec![TopicReference::Name(name.to_owned())]).await;
        if !results.iter().all(Result::is_ok) {
            return false;
        }
        self.unknown.clear();
        self.deleted.push(name.to_owned());
        true
    }

    async fn configure(&mut self, metadata: &Metadata, value: i64) -> bool {
        let set = ConfigOperation::Set(Some(value.to_string()));
        let update = ConfigUpdate::Incremental(vec![("log.retention.ms".to_owned(), set)]);
        self.retention_ms = None;
        let results = metadata.alter_configs(vec![ConfigChange { resource: ConfigResource::Cluster, update }], false).await;
        let done = results.iter().all(Result::is_ok);
        // Without an answer either value may be found.
        self.retention_ms = done.then_some(value);
        done
    }

    async fn take_ids(&mut self, metadata: &Metadata) -> bool {
        let Ok(ids) = metadata.allocate_producer_ids(10).await else { return false };
        assert!(ids.start >= self.next_producer_id, "producer ids given twice");
        self.next_producer_id = ids.end;
        true
    }

    fn check(&self, image: &MetadataImage, at: u64) {
        if !self.cluster_id.is_empty() {
            assert_eq!(image.cluster_id, self.cluster_id, "crash at {at}");
        }
        for (name, (id, numbers)) in &self.topics {
            let found = image.topic(name).unwrap_or_else(|| panic!("crash at {at}: {name} is lost"));
            let found_numbers: Vec<u32> = found.partitions.iter().map(|partition| partition.number.0).collect();
            assert_eq!((found.id, &found_numbers), (*id, numbers), "crash at {at}: {name}");
        }
        for name in &self.deleted {
            assert!(image.topic(name).is_none(), "crash at {at}: {name} is back");
        }
        for name in image.topics.values().map(|topic| &topic.name) {
            assert!(self.topics.contains_key(name) || self.unknown.contains(name), "crash at {at}: {name} out of nothing");
        }
        if let Some(value) = self.retention_ms {
            assert_eq!(image.config.topic.retention_ms, value, "crash at {at}");
        }
        assert!(image.next_producer_id >= self.next_producer_id, "crash at {at}: producer ids given twice");
        assert!(image.next_partition_number >= self.next_number, "crash at {at}: partition numbers given twice");
    }
}

/// One run with power failing after `operations`. Whether it went through to its end.
async fn crash_at(operations: u64, seed: u64) -> bool {
    let disk = SimDisk::new(seed);
    disk.crash_after(operations);
    let mut acknowledged = Acknowledged::default();
    if let Ok(metadata) = open(&disk, 1_000).await {
        acknowledged.run(&metadata).await;
        metadata.close().await;
    }
    let complete = !disk.is_off();
    disk.reboot(seed ^ operations);
    let metadata = open(&disk, 2_000).await.unwrap_or_else(|error| panic!("crash at {operations}: {error}"));
    let found = metadata.image();
    acknowledged.check(&found, operations);
    // It goes on: a change after the crash is durable too, and once more after a restart.
    let topic = metadata.ensure_topic("afterwards").await.unwrap();
    assert!(topic.partitions[0].number.0 >= acknowledged.next_number);
    let image = metadata.image();
    metadata.close().await;
    disk.reboot(seed.rotate_left(7) ^ operations);
    let metadata = open(&disk, 3_000).await.unwrap_or_else(|error| panic!("crash at {operations}, second start: {error}"));
    let restarted = fold(&image, &[MetadataRecord::NodeStarted { id: 1 }], metadata.image().applied).unwrap();
    assert_eq!(*metadata.image(), restarted, "crash at {operations}");
    metadata.close().await;
    complete
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    for seed in [1, 2, 3] {
        let mut complete = false;
        for operations in 0..MAX_OPERATIONS {
            complete = crash_at(operations, seed).await;
            if complete {
                assert!(operations > 60, "a run of {operations} operations tests nothing");
                break;
            }
        }
        assert!(complete, "the run never came to its end");
    }
}

#[tokio::test]
async fn a_crash_while_recovering_from_a_crash_loses_nothing() {
    for first in (5..80).step_by(7) {
        for second in 0..12 {
            let disk = SimDisk::new(first);
            disk.crash_after(first);
            let mut acknowledged = Acknowledged::default();
            if let Ok(metadata) = open(&disk, 1_000).await {
                acknowledged.run(&metadata).await;
                metadata.close().await;
            }
            disk.reboot(first + second);
            disk.crash_after(second);
            if let Ok(metadata) = open(&disk, 2_000).await {
                acknowledged.check(&metadata.image(), first);
                metadata.close().await;
            }
            disk.reboot(first * second + 1);
            let metadata = open(&disk, 3_000).await.unwrap_or_else(|error| panic!("crashes at {first} and {second}: {error}"));
            acknowledged.check(&metadata.image(), first);
            metadata.close().await;
        }
    }
}
