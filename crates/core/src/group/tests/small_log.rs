//! Groups on the real broker that commit for a long time: what is stored of it is no more than what was committed last, and two files.

use super::super::GroupCoordinator;
use super::super::request::FetchRequest;
use super::commit_request;
use crate::broker::{Broker, BrokerOptions};
use crate::config::{BrokerConfig, Source};
use crate::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate, OFFSETS_TOPIC};
use duolog_base::{SystemClock, TopicId};
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

const FILE_BYTES: u64 = 4 << 20;
const GROUPS: i64 = 5;
const COMMITS: i64 = 20_000;
/// Beside each offset, so that the commits fill several files.
const METADATA_BYTES: usize = 1_500;
/// The file that is written to, the newest that is full, one that is kept to be used again, and what compaction left of all others.
const MOST_BYTES: u64 = 3 * FILE_BYTES + (1 << 20);
/// Far more than it takes to compact everything.
const HOUSE_STEPS: usize = 200;

async fn open(disk: &SimDisk, directory: &Path) -> Arc<Broker> {
    let set = |key: &str, value: u64| (key.to_owned(), value.to_string(), Source::Flag);
    let opened = Broker::open(BrokerOptions {
        data_dirs: vec![directory.to_owned()],
        config: BrokerConfig::from_values(vec![set("log.file.bytes", FILE_BYTES)]).expect("known keys"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    });
    opened.await.expect("a new broker")
}

async fn commit(groups: Arc<GroupCoordinator>, group: i64, offset: i64) {
    let mut request = commit_request("", -1, "orders", offset);
    request.group_id = format!("group-{group}");
    request.topics[0].id = TopicId::NONE;
    request.topics[0].partitions[0].metadata = format!("{offset:0METADATA_BYTES$}");
    let outcomes = groups.commit(request).await.expect("a group without members");
    outcomes[0].partitions[0].outcome.clone().expect("there is room");
}

/// Every group commits one offset after the other.
async fn commit_all(groups: &Arc<GroupCoordinator>) {
    let mut tasks = JoinSet::new();
    for group in 0..GROUPS {
        let groups = groups.clone();
        tasks.spawn(async move {
            for offset in 1..=COMMITS / GROUPS {
                commit(groups.clone(), group, offset).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn committed(groups: &GroupCoordinator, group: i64) -> i64 {
    let request = FetchRequest { group_id: format!("group-{group}"), topics: None };
    let found = groups.fetch(request).await.expect("the group is there");
    found[0].partitions[0].committed.as_ref().expect("there is an offset").offset.0
}

/// Bytes of the commit log, what was set aside to be used again included.
fn stored(disk: &SimDisk, directory: &Path) -> u64 {
    let metadata = directory.join("meta");
    let files = disk.files().into_iter().filter(|path| !path.starts_with(&metadata));
    files.map(|path| disk.read_file(&path).map_or(0, |bytes| bytes.len() as u64)).sum()
}

async fn compact_eagerly(broker: &Broker) {
    let update = ConfigOperation::Set(Some("0.01".to_owned()));
    let update = ConfigUpdate::Incremental(vec![("min.cleanable.dirty.ratio".to_owned(), update)]);
    let change = ConfigChange { resource: ConfigResource::Topic(OFFSETS_TOPIC.to_owned()), update };
    assert_eq!(broker.metadata().alter_configs(vec![change], false).await, [Ok(())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_of_many_commits_is_bounded_and_the_last_ones_survive() {
    let (disk, directory) = (SimDisk::new(1), tempfile::tempdir().expect("a directory for the lock"));
    let broker = open(&disk, directory.path()).await;
    // Offsets of topics that do not exist are forgotten.
    broker.metadata().ensure_topic("orders").await.expect("a new topic");
    let groups = GroupCoordinator::start(&broker);
    commit(groups.clone(), 0, 0).await;
    compact_eagerly(&broker).await;
    commit_all(&groups).await;
    let mut now = broker.clock().now();
    for _ in 0..HOUSE_STEPS {
        if stored(&disk, directory.path()) <= MOST_BYTES {
            break;
        }
        now.0 += 60_000;
        broker.set_cleaning();
        broker.log().house_step(now).expect("nothing is wrong with the disk");
    }
    let left = stored(&disk, directory.path());
    assert!(left <= MOST_BYTES, "{left} bytes are left of {}", COMMITS as u64 * METADATA_BYTES as u64);
    groups.close().await;
    broker.close().await;
    drop((groups, broker));

    let broker = open(&disk, directory.path()).await;
    let groups = GroupCoordinator::start(&broker);
    for group in 0..GROUPS {
        assert_eq!(committed(&groups, group).await, COMMITS / GROUPS, "group {group}");
    }
    groups.close().await;
    broker.close().await;
}
