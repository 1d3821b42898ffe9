//! Replicas that are not in sync get no more than the throttle lets through, and hold up nobody else.

use super::cluster::{at_last, configure, send_at_last};
use super::*;
use crate::metadata::{ConfigResource, ReassignError, Reassignment};
use duolog_base::{NodeId, PartitionIndex};
use std::time::Duration;

const BATCHES: i64 = 20;
/// At one byte a second the next batch comes after hours.
const BATCH_BYTES: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// Nothing moves but what the scenario moves.
async fn still(cluster: &Cluster) {
    let off = [("cluster.balancer.enable", Some("false")), ("auto.leader.rebalance.enable", Some("false"))];
    configure(cluster.any(), ConfigResource::Cluster, &off).await;
}

async fn give(cluster: &Cluster, name: &str, nodes: &[i32]) {
    let target = Some(nodes.iter().map(|id| NodeId(*id)).collect());
    let request = Reassignment { topic: name.to_owned(), index: PartitionIndex(0), target, same_factor: false };
    let result =
        at_last(async || match cluster.any().broker.metadata().reassign(std::slice::from_ref(&request)).await.pop().unwrap() {
            Err(ReassignError::Unavailable(_)) => None,
            done => Some(done),
        });
    let result = result.await;
    assert!(result.is_ok(), "{result:?}");
}

/// A partition with one replica and much in it. The node that has it, and another one.
async fn fill(cluster: &Cluster, name: &str, layout: &str) -> (i32, i32) {
    cluster.create(name, 1, 1, &[("duolog.layout", layout)]).await;
    let value = "x".repeat(BATCH_BYTES);
    for _ in 0..BATCHES {
        send_at_last(cluster, name, 0, &value).await;
    }
    let leader = cluster.leader(name, 0).await.id().0;
    (leader, leader % 3 + 1)
}

/// One replica moves under a throttle of a byte a second, on the side of the leader or of the follower; another one without.
async fn moves_slowly(side: &str) {
    let cluster = Cluster::three().await;
    still(&cluster).await;
    let (rate, list) = (format!("{side}.replication.throttled.rate"), format!("{side}.replication.throttled.replicas"));
    for layout in ["shared", "dedicated"] {
        let (slow, free) = (format!("slow-{layout}"), format!("free-{layout}"));
        let (from, to) = fill(&cluster, &slow, layout).await;
        let (free_from, _) = fill(&cluster, &free, layout).await;
        let limited = if side == "leader" { from } else { to };
        let (node, topic) = (ConfigResource::Node(NodeId(limited)), ConfigResource::Topic(slow.clone()));
        configure(&cluster.nodes[&limited], node.clone(), &[(&rate, Some("1"))]).await;
        configure(cluster.any(), topic.clone(), &[(&list, Some(&format!("0:{limited}")))]).await;
        let knows = |node: &Node| {
            let lists =
                [&node.topic(&slow).config.leader_throttled, &node.topic(&slow).config.follower_throttled].map(Clone::clone);
            lists.iter().any(|list| list.contains(PartitionIndex(0), NodeId(limited)))
        };
        until("all know the throttle", || cluster.nodes.values().all(knows)).await;
        let config = || cluster.nodes[&limited].broker.image().config.clone();
        until("the rate holds", || [config().leader_throttled_rate, config().follower_throttled_rate].contains(&Some(1))).await;
        give(&cluster, &slow, &[from, to]).await;
        let others: Vec<i32> = (1..=3).filter(|id| *id != free_from).collect();
        give(&cluster, &free, &[free_from, others[0], others[1]]).await;
        let new = &cluster.nodes[&to];
        until("it has begun", || new.broker.replicas().iter().any(|replica| replica.topic.name == slow)).await;
        until("the other one has all replicas", || cluster.any().in_sync(&free, 0) == [1, 2, 3]).await;
        for _ in 0..5 {
            send_at_last(&cluster, &free, 0, "more").await;
            send_at_last(&cluster, &slow, 0, "more").await;
        }
        until("it has got what there was room for", || new.log_end(&slow, 0) == 1).await;
        assert_eq!(new.in_sync(&slow, 0), [from]);
        let lag = || new.broker.replica_lag(&new.partition(&slow, 0));
        until("it knows that it lags", || lag() >= BATCHES - 1).await;
        assert_eq!(cluster.nodes[&from].broker.replica_lag(&new.partition(&slow, 0)), 0);

        configure(&cluster.nodes[&limited], node, &[(&rate, None)]).await;
        configure(cluster.any(), topic, &[(&list, None)]).await;
        let both = [from.min(to), from.max(to)];
        until("it catches up without the throttle", || new.in_sync(&slow, 0) == both).await;
        let end = cluster.nodes[&from].log_end(&slow, 0);
        until("it has all", || end >= BATCHES + 5 && new.log_end(&slow, 0) == end && lag() == 0).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sends_no_more_than_its_throttle_to_a_new_replica() {
    moves_slowly("leader").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_asks_for_no_more_than_its_throttle() {
    moves_slowly("follower").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_sync_is_not_throttled() {
    // Who does not get on keeps everybody waiting: nobody leaves the in-sync set for it.
    let cluster = Cluster::three_with(Duration::from_secs(3600)).await;
    still(&cluster).await;
    let lists = [("leader.replication.throttled.replicas", "*"), ("follower.replication.throttled.replicas", "*")];
    cluster.create("t", 1, 3, &lists).await;
    for node in cluster.nodes.values() {
        let rates = [("leader.replication.throttled.rate", Some("1")), ("follower.replication.throttled.rate", Some("1"))];
        configure(node, ConfigResource::Node(node.id()), &rates).await;
        until("the rate holds", || node.broker.image().config.follower_throttled_rate == Some(1)).await;
    }
    let value = "x".repeat(BATCH_BYTES);
    for _ in 0..BATCHES {
        let sent = tokio::time::timeout(PATIENCE, send_at_last(&cluster, "t", 0, &value));
        sent.await.expect("all that are in sync have it");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_that_leaves_enough_room_only_slows_down() {
    let cluster = Cluster::three().await;
    still(&cluster).await;
    let (from, to) = fill(&cluster, "t", "shared").await;
    for node in cluster.nodes.values() {
        // Several rounds of waiting, none of them long.
        let rates =
            [("leader.replication.throttled.rate", Some("400000")), ("follower.replication.throttled.rate", Some("400000"))];
        configure(node, ConfigResource::Node(node.id()), &rates).await;
    }
    let lists = [("leader.replication.throttled.replicas", Some("*")), ("follower.replication.throttled.replicas", Some("*"))];
    configure(cluster.any(), ConfigResource::Topic("t".to_owned()), &lists).await;
    give(&cluster, "t", &[to]).await;
    until("it has moved", || cluster.nodes.values().all(|node| node.partition("t", 0).replicas == [NodeId(to)])).await;
    assert_ne!(from, to);
    until("the new one leads and has all", || cluster.nodes[&to].high_watermark("t", 0) >= BATCHES).await;
    cluster.stop().await;
}
