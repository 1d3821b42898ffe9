//! Share groups when their states and their partitions are led by different nodes, and leaders go.

use super::*;
use crate::share::{Acknowledgement, Acquire, AcquiredRange, Pick, ShareError, ShareGroups, SharePartition};
use duolog_base::{Offset, PartitionIndex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many groups that their states are led by all nodes.
const GROUPS: usize = 8;
/// More looks than it takes until a leader is found and has read its state.
const MAX_TRIES: usize = 3_000;

type Services = BTreeMap<i32, Arc<ShareGroups>>;

fn at(node: &Node, group: usize) -> SharePartition {
    SharePartition { group: Arc::from(format!("g{group}")), topic: node.topic("t").id, partition: PartitionIndex(0) }
}

fn is_passing(error: &ShareError) -> bool {
    matches!(
        error,
        ShareError::NotLeader
            | ShareError::Loading
            | ShareError::Unavailable(_)
            | ShareError::FencedLeaderEpoch
            | ShareError::UnknownPartition
    )
}

/// What the leader of the partition gives a member, whoever that is by then; nothing if it is not ready.
async fn receive(cluster: &Cluster, services: &Services, group: usize, end: i64) -> Vec<AcquiredRange> {
    let leader = cluster.leader("t", 0).await;
    let (shares, at) = (&services[&leader.id().0], at(leader, group));
    let acquired = async {
        match shares.next_fetch(&at).await? {
            Some(from) if from < Offset(end) => {
                let window = from..Offset(end);
                let wanted = Acquire { member: "m", window, max_records: 100, lock: None, pick: Pick::All, unwanted: &[] };
                shares.acquire(&at, wanted).await
            }
            _ => Ok(Vec::new()),
        }
    };
    acquired.await.unwrap_or_else(|error| {
        assert!(is_passing(&error), "{error}");
        Vec::new()
    })
}

/// A member receives just these records, and accepts some of them, so that the group starts there. All of it again if leaders change meanwhile.
async fn work(cluster: &Cluster, services: &Services, group: usize, expected: &[(i64, i64)], accepted: &[i64], start: i64) {
    let expected: Vec<AcquiredRange> = expected
        .iter()
        .map(|(first, last)| AcquiredRange { first: Offset(*first), last: Offset(*last), delivery_count: 1 })
        .collect();
    let end = expected.last().map_or(0, |range| range.last.0 + 1);
    let one = |at: &i64| Acknowledgement { first: Offset(*at), last: Offset(*at), types: vec![1] };
    let accepted: Vec<Acknowledgement> = accepted.iter().map(one).collect();
    for _ in 0..MAX_TRIES {
        let got = receive(cluster, services, group, end).await;
        if !got.is_empty() {
            assert_eq!(got, expected, "group {group}");
            let leader = cluster.leader("t", 0).await;
            match services[&leader.id().0].acknowledge(&at(leader, group), "m", &accepted).await {
                Ok(()) | Err(ShareError::InvalidRecordState) => {}
                Err(error) => assert!(is_passing(&error), "{error}"),
            }
        }
        let node = cluster.any();
        if start_offset(services, node.id().0, &at(node, group)).await == Some(Offset(start)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("group {group} does not get there");
}

async fn start_offset(services: &Services, node: i32, at: &SharePartition) -> Option<Offset> {
    for _ in 0..MAX_TRIES {
        match services[&node].read_summary(at).await {
            Ok(summary) => return summary.start_offset,
            Err(error) => assert!(is_passing(&error), "{error}"),
        }
    }
    panic!("nobody answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_share_groups_acknowledged_is_known_to_the_next_leader() {
    let mut cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[("min.insync.replicas", "2")]).await;
    let mut services: Services = cluster.nodes.values().map(|node| (node.id().0, ShareGroups::start(&node.broker))).collect();
    for value in ["a", "b", "c", "d"] {
        cluster::send_at_last(&cluster, "t", 0, value).await;
    }
    let nodes: Vec<i32> = services.keys().copied().collect();
    for group in 0..GROUPS {
        let node = nodes[group % nodes.len()];
        let at = at(&cluster.nodes[&node], group);
        for attempt in 1.. {
            match services[&node].initialize(&at, 1, Some(Offset(0))).await {
                Ok(()) => break,
                Err(error) => assert!(attempt < MAX_TRIES && is_passing(&error), "{error}"),
            }
        }
        work(&cluster, &services, group, &[(0, 3)], &[0, 2], 1).await;
        for node in &nodes {
            assert_eq!(start_offset(&services, *node, &at).await, Some(Offset(1)), "node {node} says so");
        }
    }
    for node in cluster.followers("t", 0).await {
        let asked = services[&node.id().0].next_fetch(&at(node, 0)).await;
        assert!(asked == Err(ShareError::NotLeader) || node.leads("t", 0), "{asked:?}");
    }

    let lost = cluster.leader("t", 0).await.id().0;
    let (node, shares) = (cluster.nodes.remove(&lost).unwrap(), services.remove(&lost).unwrap());
    shares.close().await;
    drop(shares);
    node.lose_power(7).await;
    for group in 0..GROUPS {
        work(&cluster, &services, group, &[(1, 1), (3, 3)], &[1, 3], 4).await;
    }
    cluster::send_at_last(&cluster, "t", 0, "e").await;
    work(&cluster, &services, 0, &[(4, 4)], &[4], 5).await;
    for shares in services.into_values() {
        shares.close().await;
    }
    cluster.stop().await;
}
