//! Share groups when their states and their partitions are led by different nodes, and leaders go.

use super::*;
use crate::broker::Acks;
use crate::share::{Acknowledgement, AcquiredRange, ShareError, ShareGroups, SharePartition};
use duolog_base::{Offset, PartitionIndex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many groups that their states are led by all nodes.
const GROUPS: usize = 8;
/// More looks than it takes until a leader is found and has read its state.
const MAX_TRIES: usize = 1_000;

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

/// What the leader of the partition gives a member, whoever that is by then.
async fn receive(cluster: &Cluster, services: &Services, group: usize, end: i64) -> Vec<AcquiredRange> {
    let mut last = None;
    for _ in 0..MAX_TRIES {
        let leader = cluster.leader("t", 0).await;
        let shares = &services[&leader.id().0];
        let at = at(leader, group);
        let acquired = async {
            match shares.next_fetch(&at).await? {
                Some(from) if from < Offset(end) => shares.acquire(&at, "m", from..Offset(end), 100).await,
                _ => Ok(Vec::new()),
            }
        };
        match acquired.await {
            Ok(acquired) if !acquired.is_empty() => return acquired,
            Ok(_) => {}
            Err(error) => {
                assert!(is_passing(&error), "{error}");
                last = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing is given out: {last:?}");
}

async fn accept(cluster: &Cluster, services: &Services, group: usize, first: i64, last: i64) {
    let leader = cluster.leader("t", 0).await;
    let batch = Acknowledgement { first: Offset(first), last: Offset(last), types: vec![1] };
    services[&leader.id().0].acknowledge(&at(leader, group), "m", &[batch]).await.unwrap();
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
        let got = receive(&cluster, &services, group, 4).await;
        assert_eq!(got, [AcquiredRange { first: Offset(0), last: Offset(3), delivery_count: 1 }]);
        accept(&cluster, &services, group, 0, 0).await;
        accept(&cluster, &services, group, 2, 2).await;
        for node in &nodes {
            assert_eq!(start_offset(&services, *node, &at).await, Some(Offset(1)), "node {node} says so");
        }
    }
    for node in cluster.followers("t", 0).await {
        assert_eq!(services[&node.id().0].next_fetch(&at(node, 0)).await, Err(ShareError::NotLeader));
    }

    let lost = cluster.leader("t", 0).await.id().0;
    let (node, shares) = (cluster.nodes.remove(&lost).unwrap(), services.remove(&lost).unwrap());
    shares.close().await;
    drop(shares);
    node.lose_power(7).await;
    for group in 0..GROUPS {
        let got = receive(&cluster, &services, group, 4).await;
        let again = [1, 3].map(|at| AcquiredRange { first: Offset(at), last: Offset(at), delivery_count: 1 });
        assert_eq!(got, again, "group {group}");
        accept(&cluster, &services, group, 1, 1).await;
        accept(&cluster, &services, group, 3, 3).await;
        let survivor = cluster.any();
        assert_eq!(start_offset(&services, survivor.id().0, &at(survivor, group)).await, Some(Offset(4)));
    }
    let leader = cluster.leader("t", 0).await;
    leader.send("t", 0, "e", Acks::All).await.unwrap();
    let got = receive(&cluster, &services, 0, 5).await;
    assert_eq!(got, [AcquiredRange { first: Offset(4), last: Offset(4), delivery_count: 1 }]);
    for shares in services.into_values() {
        shares.close().await;
    }
    cluster.stop().await;
}
