//! Leaders and followers come and go.

use super::cluster::send_at_last;
use super::*;
use crate::broker::{Acks, Origin, ProduceError};
use crate::metadata::TopicImage;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_by_all_is_on_all() {
    let cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 1, 3, &[("duolog.layout", layout), ("min.insync.replicas", "2")]).await;
        let leader = cluster.leader(layout, 0).await;
        for (offset, value) in ["a", "b", "c"].iter().enumerate() {
            let produced = leader.send(layout, 0, value, Acks::All).await.unwrap();
            assert_eq!(produced.base_offset.0, offset as i64);
        }
        for node in cluster.nodes.values() {
            let ends = node.broker.log().ends(node.partition(layout, 0).number).unwrap();
            assert_eq!(ends.durable.0, 3, "node {} of {layout}", node.id());
        }
        cluster.settled(layout, 0, &["a", "b", "c"]).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_coordinator_decided_in_another_epoch_is_not_appended_in_this_one() {
    let cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[]).await;
    let leader = cluster.leader("t", 0).await;
    let now = leader.topic("t");
    let mut earlier = TopicImage::clone(&now);
    earlier.partitions[0].leader_epoch.0 -= 1;
    let refused = leader.append(&earlier, &[(0, "x")], Acks::All, Origin::Coordinator).await;
    assert_eq!(refused, [Err(ProduceError::NotLeader)]);
    assert!(leader.append(&now, &[(0, "a")], Acks::All, Origin::Coordinator).await[0].is_ok());
    assert!(leader.append(&earlier, &[(0, "b")], Acks::All, Origin::Client).await[0].is_ok(), "who leads is all that matters");
    cluster.settled("t", 0, &["a", "b"]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_takes_appends() {
    let cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[]).await;
    for node in cluster.followers("t", 0).await {
        for acks in [Acks::None, Acks::Leader, Acks::All] {
            assert_eq!(node.send("t", 0, "x", acks).await, Err(ProduceError::NotLeader));
        }
        assert_eq!(node.log_end("t", 0), 0);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_leads_when_the_leader_is_gone_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 1, 3, &[("duolog.layout", layout), ("min.insync.replicas", "2")]).await;
        send_at_last(&cluster, layout, 0, "first").await;
    }
    let lost = cluster.leader("shared", 0).await.id().0;
    let site = cluster.nodes.remove(&lost).unwrap().lose_power(7).await;
    for layout in ["shared", "dedicated"] {
        send_at_last(&cluster, layout, 0, "second").await;
        for node in cluster.nodes.values() {
            until("the survivors show both", || node.values(layout, 0) == ["first", "second"]).await;
        }
    }
    cluster.nodes.insert(lost, site.start().await);
    for layout in ["shared", "dedicated"] {
        cluster.settled(layout, 0, &["first", "second"]).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_comes_back_cuts_what_nobody_else_has() {
    let mut cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 1, 3, &[("duolog.layout", layout), ("min.insync.replicas", "2")]).await;
        send_at_last(&cluster, layout, 0, "kept").await;
        cluster.settled(layout, 0, &["kept"]).await;
    }
    let lost = cluster.leader("shared", 0).await.id().0;
    let mut led = vec!["shared"];
    led.extend(cluster.nodes[&lost].leads("dedicated", 0).then_some("dedicated"));
    // Nobody can fetch from it any more.
    for node in cluster.nodes.values() {
        node.peers.cut(duolog_base::NodeId(lost), true);
    }
    for layout in &led {
        cluster.nodes[&lost].send(layout, 0, "lost", Acks::Leader).await.unwrap();
        assert_eq!(cluster.nodes[&lost].values(layout, 0), ["kept"], "it is not committed");
    }
    let site = cluster.nodes.remove(&lost).unwrap().stop().await;
    for layout in &led {
        send_at_last(&cluster, layout, 0, "next").await;
    }
    for node in cluster.nodes.values() {
        node.peers.cut(duolog_base::NodeId(lost), false);
    }
    cluster.nodes.insert(lost, site.start().await);
    for layout in led {
        cluster.settled(layout, 0, &["kept", "next"]).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_refuse_what_must_be_committed_and_take_what_need_not() {
    let mut cluster = Cluster::three_with(Duration::from_millis(600)).await;
    cluster.create("t", 1, 3, &[("min.insync.replicas", "3")]).await;
    send_at_last(&cluster, "t", 0, "all").await;
    let leader = cluster.leader("t", 0).await.id().0;
    let other = *cluster.nodes.keys().find(|id| **id != leader).unwrap();
    let site = cluster.nodes.remove(&other).unwrap().stop().await;
    let node = &cluster.nodes[&leader];
    // Appended while it seems that all are there, or refused at once: never acknowledged.
    let outcome = node.send("t", 0, "waiting", Acks::All).await;
    let refused = matches!(outcome, Err(ProduceError::NotEnoughReplicasAfterAppend | ProduceError::NotEnoughReplicas { .. }));
    assert!(refused || matches!(outcome, Err(ProduceError::NotLeader)), "{outcome:?}");
    until("the in-sync set is smaller", || node.in_sync("t", 0).len() == 2).await;
    until("the leader knows it", || node.broker.replicas()[0].in_sync.len() == 2).await;
    let outcome = node.send("t", 0, "refused", Acks::All).await;
    assert_eq!(outcome, Err(ProduceError::NotEnoughReplicas { in_sync: 2, least: 3 }));
    node.send("t", 0, "taken", Acks::Leader).await.unwrap();
    assert_eq!(node.values("t", 0), ["all"], "without enough replicas nothing is committed");
    cluster.nodes.insert(other, site.start().await);
    send_at_last(&cluster, "t", 0, "last").await;
    let all = || cluster.nodes.values().map(|node| node.values("t", 0)).collect::<Vec<_>>();
    let ends = |values: &Vec<String>| {
        values.first().is_some_and(|value| value == "all") && values.last().is_some_and(|value| value == "last")
    };
    until("what was acknowledged is there", || all().iter().all(ends)).await;
    let values = cluster.any().values("t", 0);
    assert!(values.contains(&"taken".to_owned()) && !values.contains(&"refused".to_owned()), "{values:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lags_leaves_the_in_sync_set_and_comes_back() {
    let cluster = Cluster::three_with(Duration::from_millis(500)).await;
    cluster.create("t", 3, 3, &[("min.insync.replicas", "1")]).await;
    let controller = cluster.any().broker.metadata().quorum().leader;
    let mut led_elsewhere = None;
    for index in 0..3 {
        let leader = cluster.leader("t", index).await;
        led_elsewhere = led_elsewhere.or((Some(leader.id()) != controller).then_some((index, leader)));
    }
    let (index, leader) = led_elsewhere.expect("leaders are spread");
    let follower = cluster.nodes.values().find(|node| node.id() != leader.id() && Some(node.id()) != controller).unwrap();
    send_at_last(&cluster, "t", index, "a").await;
    cluster.settled("t", index, &["a"]).await;
    // It lives and follows the metadata, but cannot fetch.
    follower.peers.cut(leader.id(), true);
    leader.send("t", index, "b", Acks::Leader).await.unwrap();
    until("it has left", || !leader.in_sync("t", index).contains(&follower.id().0)).await;
    leader.send("t", index, "c", Acks::All).await.unwrap();
    // A fetch that was under way may have brought "b".
    assert!(follower.log_end("t", index) < 3);
    follower.peers.cut(leader.id(), false);
    cluster.settled("t", index, &["a", "b", "c"]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_lose_power_and_what_was_acknowledged_is_there() {
    let mut cluster = Cluster::three().await;
    let configs = [("min.insync.replicas", "2")];
    cluster.create("t", 4, 3, &configs).await;
    for index in 0..4 {
        send_at_last(&cluster, "t", index, "acknowledged").await;
        let leader = cluster.leader("t", index).await;
        // Whether these survive is open.
        let _ = leader.send("t", index, "written", Acks::None).await;
    }
    let mut sites = Vec::new();
    for (id, node) in std::mem::take(&mut cluster.nodes) {
        sites.push(node.lose_power(id as u64).await);
    }
    let [first, second, third] = <[_; 3]>::try_from(sites).ok().unwrap();
    let (first, second, third) = tokio::join!(first.start(), second.start(), third.start());
    cluster.nodes = [first, second, third].map(|node| (node.id().0, node)).into();
    for index in 0..4 {
        send_at_last(&cluster, "t", index, "after").await;
        // A leader that has only just become one may not know yet what is committed.
        let all = || cluster.nodes.values().map(|node| node.values("t", index)).collect::<Vec<_>>();
        let holds = |values: &Vec<String>| {
            values.first().is_some_and(|value| value == "acknowledged") && values.last().is_some_and(|value| value == "after")
        };
        until("what was acknowledged is there", || all().iter().all(holds)).await;
        let values = cluster.any().values("t", index);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        cluster.settled("t", index, &values).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_to_stop_hands_over_first() {
    let mut cluster = Cluster::three().await;
    cluster.create("t", 6, 3, &[]).await;
    for index in 0..6 {
        send_at_last(&cluster, "t", index, "before").await;
    }
    let stops = cluster.leader("t", 0).await;
    assert!(stops.broker.hand_over(Duration::from_secs(20)).await, "it is let go");
    assert!((0..6).all(|index| !stops.leads("t", index)));
    assert!(!*stops.broker.superseded().borrow());
    let id = stops.id().0;
    let site = cluster.nodes.remove(&id).unwrap().stop().await;
    for index in 0..6 {
        send_at_last(&cluster, "t", index, "meanwhile").await;
    }
    cluster.nodes.insert(id, site.start().await);
    for index in 0..6 {
        cluster.settled("t", index, &["before", "meanwhile"]).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_begins_anew_where_the_leaders_log_starts() {
    let mut cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 1, 3, &[("duolog.layout", layout), ("min.insync.replicas", "2")]).await;
        send_at_last(&cluster, layout, 0, "old").await;
        cluster.settled(layout, 0, &["old"]).await;
    }
    let away = cluster.followers("shared", 0).await[0].id().0;
    let site = cluster.nodes.remove(&away).unwrap().stop().await;
    for layout in ["shared", "dedicated"] {
        send_at_last(&cluster, layout, 0, "given up").await;
        send_at_last(&cluster, layout, 0, "new").await;
        let leader = cluster.leader(layout, 0).await;
        let topic = leader.topic(layout);
        let start = leader.broker.delete_records(&topic, duolog_base::PartitionIndex(0), Some(duolog_base::Offset(2)));
        assert_eq!(start.await, Ok(duolog_base::Offset(2)));
    }
    cluster.nodes.insert(away, site.start().await);
    for layout in ["shared", "dedicated"] {
        cluster.settled(layout, 0, &["new"]).await;
        let starts = || {
            cluster
                .nodes
                .values()
                .map(|node| node.broker.ends(&node.topic(layout), duolog_base::PartitionIndex(0)).unwrap().log_start.0)
        };
        until("all logs start there", || starts().all(|start| start == 2)).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_shown_what_is_committed_and_coordinators_all_there_is() {
    let mut cluster = Cluster::three().await;
    cluster.create("t", 1, 3, &[("min.insync.replicas", "2")]).await;
    send_at_last(&cluster, "t", 0, "a").await;
    cluster.settled("t", 0, &["a"]).await;
    let leader = cluster.leader("t", 0).await.id().0;
    let mut sites = Vec::new();
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        sites.push(cluster.nodes.remove(&id).unwrap().stop().await);
    }
    let node = &cluster.nodes[&leader];
    let (topic, partition) = (node.topic("t"), duolog_base::PartitionIndex(0));
    let number = node.partition("t", 0).number;
    let watch = node.broker.watch([(number, crate::config::FlushMode::Sync)]);
    node.send("t", 0, "b", Acks::Leader).await.unwrap();
    until("it is durable here", || node.broker.log().ends(number).unwrap().durable.0 == 2).await;
    assert_eq!(node.values("t", 0), ["a"]);
    assert!(watch.take().is_empty(), "nothing more is committed");
    let all = node.broker.read_log_end(&topic, partition, duolog_base::Offset(1), 1 << 20).unwrap().plan;
    assert_eq!(all.next.0, 2);
    let [second, third] = <[_; 2]>::try_from(sites).ok().unwrap();
    let (second, third) = tokio::join!(second.start(), third.start());
    tokio::time::timeout(Duration::from_secs(60), watch.changed()).await.expect("it is committed");
    cluster.nodes.extend([second, third].map(|node| (node.id().0, node)));
    cluster.settled("t", 0, &["a", "b"]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_not_synced_are_replicated_too() {
    let cluster = Cluster::three().await;
    for layout in ["shared", "dedicated"] {
        cluster.create(layout, 2, 3, &[("duolog.layout", layout), ("flush", "async"), ("min.insync.replicas", "3")]).await;
        let leader = cluster.leader(layout, 1).await;
        for value in ["a", "b", "c"] {
            leader.send(layout, 1, value, Acks::All).await.unwrap();
        }
        cluster.settled(layout, 1, &["a", "b", "c"]).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_learns_that_another_life_of_it_has_begun() {
    learns_of_another_life(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_no_controller_learns_from_others_that_another_life_of_it_has_begun() {
    learns_of_another_life(true).await;
}

async fn learns_of_another_life(is_cut_off: bool) {
    let cluster = Cluster::three().await;
    let controller = cluster.any().broker.metadata().quorum().leader.expect("it has one");
    let node = cluster.nodes.values().find(|node| node.id() != controller).unwrap();
    node.peers.cut(controller, is_cut_off);
    let mut superseded = node.broker.superseded();
    assert!(!*superseded.borrow());
    let registration = crate::metadata::Registration {
        node: node.id(),
        incarnation: "another".to_owned(),
        rack: None,
        directories: node.broker.directories().to_vec(),
        endpoints: Vec::new(),
    };
    cluster.nodes[&controller.0].broker.metadata().register_member(&registration).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), superseded.wait_for(|superseded| *superseded));
    assert!(told.await.expect("a heartbeat tells it").is_ok());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_appends_to_many_partitions_while_leaders_move() {
    const PARTITIONS: i32 = 30;
    const ROUNDS: usize = 20;
    let mut cluster = Cluster::three().await;
    cluster.create("t", PARTITIONS, 3, &[("min.insync.replicas", "2")]).await;
    let mut acknowledged = vec![Vec::new(); PARTITIONS as usize];
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            let site = cluster.nodes.remove(&2).unwrap().lose_power(round as u64).await;
            cluster.nodes.insert(2, site.start().await);
        }
        let value = format!("round {round}");
        for node in cluster.nodes.values() {
            let led: Vec<(i32, &str)> =
                (0..PARTITIONS).filter(|index| node.leads("t", *index)).map(|index| (index, &*value)).collect();
            let results = node.send_all("t", &led, Acks::All).await;
            for ((index, _), _) in led.iter().zip(results).filter(|(_, result)| result.is_ok()) {
                acknowledged[*index as usize].push(value.clone());
            }
        }
    }
    assert!(acknowledged.iter().map(Vec::len).sum::<usize>() > 0);
    for index in 0..PARTITIONS {
        let values = || cluster.nodes.values().map(|node| node.values("t", index)).collect::<Vec<_>>();
        let holds = |values: &Vec<String>| acknowledged[index as usize].iter().all(|value| values.contains(value));
        until("all show all that was acknowledged", || values().iter().all(holds)).await;
        until("all show the same", || values().windows(2).all(|pair| pair[0] == pair[1])).await;
    }
    cluster.stop().await;
}
