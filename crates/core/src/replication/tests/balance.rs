//! The balancer learns from the nodes what they hold.

use super::cluster::{configure, send_at_last};
use super::*;
use crate::metadata::ConfigResource;

const PARTITIONS: i32 = 6;
/// A batch of a large partition, in bytes.
const LARGE: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_hold_equally_many_replicas_come_to_hold_about_as_many_bytes() {
    let cluster = Cluster::three().await;
    let pause = [("cluster.balancer.enable", Some("false"))];
    configure(cluster.any(), ConfigResource::Cluster, &pause).await;
    cluster.create("t", PARTITIONS, 1, &[]).await;
    // All that is large is on one node.
    let leads = |node: &Node| (0..PARTITIONS).filter(|index| node.partition("t", *index).leader == node.id()).count();
    let full = cluster.nodes.values().max_by_key(|node| leads(node)).unwrap().id();
    let value = "x".repeat(LARGE);
    let mut large = 0;
    for index in 0..PARTITIONS {
        let is_large = cluster.any().partition("t", index).leader == full;
        large += i32::from(is_large);
        send_at_last(&cluster, "t", index, if is_large { &value } else { "small" }).await;
    }
    assert!(large >= 2);
    let go = [
        ("cluster.balancer.tolerance.bytes", Some("50000")),
        ("leader.imbalance.check.interval.seconds", Some("1")),
        ("cluster.balancer.enable", Some("true")),
    ];
    configure(cluster.any(), ConfigResource::Cluster, &go).await;
    let holds = |node: &Node| {
        let partitions = (0..PARTITIONS).map(|index| node.partition("t", index)).filter(|one| one.replicas == [node.id()]);
        let bytes = partitions.map(|partition| node.broker.log().partition_bytes(partition.number));
        bytes.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    };
    let is_even = || {
        let all = cluster.nodes.values().map(holds);
        all.clone().map(|(_, bytes)| bytes).sum::<u64>() > large as u64 * LARGE as u64
            && all.clone().all(|(count, bytes)| count == 2 && bytes < large as u64 * LARGE as u64)
    };
    until("all hold two partitions, and nobody all the large ones", is_even).await;
    cluster.stop().await;
}
