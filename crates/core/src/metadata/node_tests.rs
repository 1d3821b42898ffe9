//! Scenarios of the whole: founding, changing, reopening, snapshots.

use super::raft::LogLimits;
use super::*;
use crate::config::{BrokerConfig, Source};
use duolog_base::{Disk, NodeId, RealDisk, SystemClock};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;

/// Remembers what it was told: the applied index before and after, and the number of topics.
#[derive(Default)]
struct Told(Mutex<Vec<(u64, u64, usize)>>);

impl ImageListener for Told {
    fn image_changed(&self, old: &MetadataImage, new: &MetadataImage) {
        self.0.lock().push((old.applied, new.applied, new.topics.len()));
    }
}

fn options(dir: &Path, listener: Arc<Told>, config: BrokerConfig) -> MetadataOptions {
    MetadataOptions {
        dir: dir.join("meta"),
        directories: Vec::new(),
        node: NodeId(config.node_id),
        disk: Arc::new(RealDisk) as Arc<dyn Disk>,
        static_config: Arc::new(config),
        listener,
        clock: Arc::new(SystemClock::default()),
    }
}

async fn open(dir: &Path) -> Arc<Metadata> {
    Metadata::open(options(dir, Arc::default(), BrokerConfig::default())).await.unwrap()
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { partitions, ..NewTopic::with_defaults(name) }
}

#[tokio::test]
async fn a_new_cluster_has_an_id_and_one_node_that_leads() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    let image = metadata.image();
    assert_eq!((image.cluster_id.len(), image.nodes.len(), image.controller), (22, 1, NodeId(1)));
    let quorum = metadata.quorum();
    assert_eq!((quorum.leader, quorum.voters), (Some(NodeId(1)), vec![NodeId(1)]));
    assert_eq!(quorum.high_watermark, quorum.log_end);
    metadata.close().await;
}

/// What becomes of an image by a restart: the same, with new leader epochs.
fn restarted(before: &MetadataImage, metadata: &Metadata) -> MetadataImage {
    fold(before, &[MetadataRecord::NodeStarted { id: 1 }], metadata.image().applied).unwrap()
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    let created = metadata.create_topics(vec![topic("a", 3), topic("b", 2)], false).await;
    assert!(created.iter().all(Result::is_ok));
    metadata.delete_topics(vec![TopicReference::Name("b".to_owned())]).await;
    let grow = NewPartitions { topic: "a".to_owned(), total: 5, assignment: Vec::new() };
    metadata.create_partitions(vec![grow], false).await;
    assert_eq!(metadata.allocate_producer_ids(1000).await.unwrap(), 0..1000);
    let change = ConfigChange {
        resource: ConfigResource::Cluster,
        update: ConfigUpdate::Incremental(vec![("log.retention.ms".to_owned(), ConfigOperation::Set(Some("5".to_owned())))]),
    };
    assert_eq!(metadata.alter_configs(vec![change], false).await, [Ok(())]);
    let before = metadata.image();
    assert_eq!((before.topics.len(), before.topics["a"].config.retention_ms), (1, 5));
    metadata.close().await;
    drop(metadata);
    let metadata = open(dir.path()).await;
    assert_eq!(*metadata.image(), restarted(&before, &metadata));
    assert_eq!(metadata.allocate_producer_ids(10).await.unwrap(), 1000..1010);
    metadata.close().await;
}

#[tokio::test]
async fn validation_only_answers_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    let before = metadata.image();
    let results = metadata.create_topics(vec![topic("a", 3), topic("b", 0)], true).await;
    assert_eq!(results[0].as_ref().unwrap().partitions.len(), 3);
    assert_eq!(results[1], Err(CreateTopicError::InvalidPartitions { count: 0 }));
    assert_eq!(*metadata.image(), restarted(&before, &metadata));
    metadata.close().await;
}

#[tokio::test]
async fn the_listener_sees_what_was_found_as_one_change_and_then_each_change_before_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    metadata.create_topics(vec![topic("a", 1)], false).await;
    metadata.create_topics(vec![topic("b", 1)], false).await;
    metadata.close().await;
    let told = Arc::new(Told::default());
    let metadata = Metadata::open(options(dir.path(), told.clone(), BrokerConfig::default())).await.unwrap();
    let applied = metadata.image().applied;
    assert_eq!(*told.0.lock(), [(0, applied, 2)]);
    let changes = metadata.changes();
    metadata.ensure_topic("c").await.unwrap();
    let now = metadata.image().applied;
    assert_eq!(*told.0.lock(), [(0, applied, 2), (applied, now, 3)]);
    assert_eq!(*changes.borrow(), now);
    metadata.close().await;
}

#[tokio::test]
async fn a_topic_wanted_by_many_at_once_is_created_once() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let metadata = metadata.clone();
            tokio::spawn(async move { metadata.ensure_offsets_topic().await.unwrap().id })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    let image = metadata.image();
    let offsets = &image.topics[OFFSETS_TOPIC];
    assert!(ids.iter().all(|id| *id == offsets.id));
    assert_eq!((offsets.partitions.len(), offsets.internal, offsets.config.compact), (50, true, true));
    assert_eq!(image.next_partition_number, 50);
    metadata.close().await;
}

/// Names of the files the metadata keeps.
fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("meta")).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_long_log_is_replaced_by_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let limits = LogLimits { segment_bytes: 10_000, snapshot_after_bytes: 20_000 };
    let open = || async {
        let options = options(dir.path(), Arc::default(), BrokerConfig::default());
        Metadata::open_with_limits(options, Arc::new(RandomIds), limits).await.unwrap()
    };
    let metadata = open().await;
    // The snapshot is written beside the changes; so they go on until it has taken the place of the first segment.
    let mut rounds = 0;
    while files(dir.path()).iter().any(|name| name == "journal-00000000000000000000") {
        assert!(rounds < 10_000, "no snapshot after so many changes");
        let results = metadata.create_topics(vec![topic("t", 50)], false).await;
        assert!(results[0].is_ok());
        metadata.delete_topics(vec![TopicReference::Name("t".to_owned())]).await;
        rounds += 1;
    }
    assert!(files(dir.path()).iter().any(|name| name.starts_with("snapshot-")));
    metadata.ensure_topic("kept").await.unwrap();
    let before = metadata.image();
    metadata.close().await;
    drop(metadata);
    let metadata = open().await;
    assert_eq!(*metadata.image(), restarted(&before, &metadata));
    assert_eq!(metadata.image().next_partition_number, rounds * 50 + 1);
    metadata.ensure_topic("after").await.unwrap();
    metadata.close().await;
}

#[tokio::test]
async fn the_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let config = BrokerConfig::from_values(vec![("node.id".to_owned(), "2".to_owned(), Source::Flag)]).unwrap();
    let opened = Metadata::open(options(dir.path(), Arc::default(), config)).await;
    assert!(matches!(opened, Err(MetadataOpenError::OtherNode { found: NodeId(1), expected: NodeId(2), .. })));
}

#[tokio::test]
async fn a_closed_log_refuses_changes_and_still_shows_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = open(dir.path()).await;
    metadata.close().await;
    let error = metadata.ensure_topic("a").await.unwrap_err();
    assert_eq!(error, CreateTopicError::Unavailable(Unavailable::Stopped));
    assert_eq!(metadata.image().nodes.len(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_what_grows_and_lets_a_topic_be_deleted_and_the_node_start() {
    const SCARCE_BYTES: u64 = 8 << 20;
    let disk = duolog_sim::SimDisk::new(1);
    let dir = Path::new("/data");
    let on_disk = || MetadataOptions { disk: Arc::new(disk.clone()), ..options(dir, Arc::default(), BrokerConfig::default()) };
    let metadata = Metadata::open(on_disk()).await.unwrap();
    assert!(metadata.create_topics(vec![topic("a", 1)], false).await[0].is_ok());
    let used: u64 = disk.contents().iter().map(|(_, content)| content.len() as u64).sum();
    disk.set_capacity(used + SCARCE_BYTES);
    let refused = metadata.create_topics(vec![topic("b", 1)], false).await;
    assert!(matches!(refused[0], Err(CreateTopicError::Unavailable(Unavailable::DiskFull { .. }))), "{refused:?}");
    metadata.close().await;
    drop(metadata);
    let metadata = Metadata::open(on_disk()).await.unwrap();
    assert!(metadata.delete_topics(vec![TopicReference::Name("a".to_owned())]).await[0].is_ok());
    metadata.close().await;
}
