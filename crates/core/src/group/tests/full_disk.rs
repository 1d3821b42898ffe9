//! Groups on the real broker whose disk fills up: only what would be written is refused, and only until there is space.

use super::super::request::{FetchRequest, ListFilter};
use super::super::{GroupCoordinator, GroupError};
use super::{GROUP, commit_request};
use crate::broker::{Broker, BrokerOptions};
use crate::config::{BrokerConfig, Source};
use crate::coordinator::Unavailable;
use duolog_base::{SystemClock, TopicId};
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RESERVE_BYTES: u64 = 16 << 20;
const PLENTY_BYTES: u64 = 256 << 20;
/// Far more than the log takes to look at its free space again.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(disk: &SimDisk, directory: &Path) -> Arc<Broker> {
    let set = |key: &str, value: u64| (key.to_owned(), value.to_string(), Source::Flag);
    let values = vec![set("log.file.bytes", 4 << 20), set("log.disk.reserve.bytes", RESERVE_BYTES)];
    let opened = Broker::open(BrokerOptions {
        data_dirs: vec![directory.to_owned()],
        config: BrokerConfig::from_values(values).expect("known keys"),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::default()),
        cluster: None,
    });
    opened.await.expect("a new broker")
}

async fn commit(groups: &GroupCoordinator, offset: i64) -> Result<(), GroupError> {
    let mut request = commit_request("", -1, "orders", offset);
    // By name only: the offsets of another topic of that name would be forgotten.
    request.topics[0].id = TopicId::NONE;
    let outcomes = groups.commit(request).await?;
    outcomes[0].partitions[0].outcome.clone()
}

async fn committed(groups: &GroupCoordinator) -> i64 {
    let found = groups.fetch(FetchRequest { group_id: GROUP.into(), topics: None }).await.expect("reading goes on");
    found[0].partitions[0].committed.as_ref().expect("there is an offset").offset.0
}

/// Commits one offset after the other until that gives `wanted`; the last one that was taken.
async fn commit_until(groups: &GroupCoordinator, mut offset: i64, wanted: fn(&Result<(), GroupError>) -> bool) -> i64 {
    let start = Instant::now();
    loop {
        let outcome = commit(groups, offset + 1).await;
        offset += i64::from(outcome.is_ok());
        if wanted(&outcome) {
            return offset;
        }
        assert!(start.elapsed() < PATIENCE, "still {outcome:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_nothing_else_and_no_state_is_thrown_away() {
    let (disk, directory) = (SimDisk::new(1), tempfile::tempdir().expect("a directory for the lock"));
    let broker = open(&disk, directory.path()).await;
    // Offsets of topics that do not exist are forgotten.
    broker.metadata().ensure_topic("orders").await.expect("a new topic");
    let groups = GroupCoordinator::start(&broker);
    commit(&groups, 1).await.expect("there is room");
    let used: u64 = disk.contents().iter().map(|(_, content)| content.len() as u64).sum();
    // Half of the reserve is left: nothing for clients, and nothing for coordinators.
    disk.set_capacity(used + RESERVE_BYTES / 2);
    let last = commit_until(&groups, 1, |outcome| matches!(outcome, Err(GroupError::Unavailable(Unavailable::Log(_))))).await;
    assert_eq!(committed(&groups).await, last);
    let listed = groups.list(ListFilter::default()).await.expect("listing goes on");
    assert_eq!(listed.len(), 1);
    disk.set_capacity(used + PLENTY_BYTES);
    let last = commit_until(&groups, last, Result::is_ok).await;
    assert_eq!(committed(&groups).await, last);
    assert_eq!(groups.runtime_metrics().failures.get(), 0, "no partition was replayed");
    groups.close().await;
    broker.close().await;

    let broker = open(&disk, directory.path()).await;
    let groups = GroupCoordinator::start(&broker);
    assert_eq!(committed(&groups).await, last, "what was taken is there after a restart");
    groups.close().await;
    broker.close().await;
}
