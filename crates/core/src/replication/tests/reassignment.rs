//! Replicas are added and taken away while clients go on.

use super::cluster::send_at_last;
use super::*;
use crate::broker::Acks;
use crate::metadata::Reassignment;
use duolog_base::{NodeId, PartitionIndex};

async fn reassign(cluster: &Cluster, name: &str, target: &[i32]) {
    let target = Some(target.iter().map(|id| NodeId(*id)).collect());
    let request = Reassignment { topic: name.to_owned(), index: PartitionIndex(0), target, same_factor: false };
    let result = cluster.any().broker.metadata().reassign(&[request]).await.pop().unwrap();
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_with_one_replica_is_not_replicated_and_works_as_ever() {
    let cluster = Cluster::three().await;
    cluster.create("t", 3, 1, &[]).await;
    for index in 0..3 {
        let leader = cluster.leader("t", index).await;
        leader.send("t", index, "x", Acks::All).await.unwrap();
        assert_eq!(leader.values("t", index), ["x"]);
        assert!(leader.broker.replicas().is_empty());
        for other in cluster.followers("t", index).await {
            assert_eq!(other.send("t", index, "y", Acks::All).await, Err(crate::broker::ProduceError::NotLeader));
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_gets_more_replicas_and_loses_them_again() {
    let cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 1, 1, &[("duolog.layout", layout)]).await;
        send_at_last(&cluster, layout, 0, "alone").await;
        let first = cluster.leader(layout, 0).await.id().0;
        reassign(&cluster, layout, &[1, 2, 3]).await;
        send_at_last(&cluster, layout, 0, "together").await;
        cluster.settled(layout, 0, &["alone", "together"]).await;
        // To one that was not there at first.
        let last = first % 3 + 1;
        reassign(&cluster, layout, &[last]).await;
        let moved = |node: &Node| node.partition(layout, 0).replicas == [NodeId(last)];
        until("one replica is left", || cluster.nodes.values().all(moved)).await;
        send_at_last(&cluster, layout, 0, "moved").await;
        let values = || cluster.nodes[&last].values(layout, 0);
        until("it has all", || values() == ["alone", "together", "moved"]).await;
        for (id, node) in &cluster.nodes {
            let holds = || node.broker.log().ends(node.partition(layout, 0).number).is_some();
            until("the others have dropped it", || holds() == (*id == last)).await;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_is_gone_everywhere() {
    let cluster = Cluster::three().await;
    cluster.create("t", 2, 3, &[]).await;
    send_at_last(&cluster, "t", 0, "x").await;
    let number = cluster.any().partition("t", 0).number;
    let reference = crate::metadata::TopicReference::Name("t".to_owned());
    cluster.any().broker.metadata().delete_topics(vec![reference]).await.pop().unwrap().unwrap();
    until("the slots are gone", || cluster.nodes.values().all(|node| node.broker.replicas().is_empty())).await;
    until("the logs are gone", || cluster.nodes.values().all(|node| node.broker.log().ends(number).is_none())).await;
    cluster.stop().await;
}
