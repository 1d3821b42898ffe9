//! Damaged replicas are fetched anew, and no reader is ever shown anything but what was acknowledged.

use super::cluster::send_at_last;
use super::*;
use crate::metadata::{Election, Reassignment};
use duolog_base::{Disk, NodeId, Offset, PartitionIndex};
use duolog_log::ReadPart;
use duolog_wire::record::{batches, decode_batch};
use std::path::PathBuf;
use std::time::Duration;

const LAYOUTS: [&str; 2] = ["shared", "dedicated"];
/// Together they are more than a file holds, so the first ones are sealed.
const RECORDS: usize = 14;
const RECORD_BYTES: usize = 400_000;

fn record(layout: &str, number: usize) -> String {
    let name = format!("{layout} record {number} of {RECORDS} ");
    let filler = "x".repeat(RECORD_BYTES - name.len());
    name + &filler
}

fn records(layout: &str) -> Vec<String> {
    (0..RECORDS).map(|number| record(layout, number)).collect()
}

/// A cluster with a topic of each layout.
async fn filled(replicas: i32) -> Cluster {
    let cluster = Cluster::three().await;
    for layout in LAYOUTS {
        let configs = [("duolog.layout", layout), ("segment.bytes", "1048576"), ("min.insync.replicas", "1")];
        cluster.create(layout, 1, replicas, &configs).await;
        for value in records(layout) {
            send_at_last(&cluster, layout, 0, &value).await;
        }
    }
    cluster
}

/// Where the first record of a layout lies on a node's disk: the file, and the place in it.
fn first_record(site: &Site, layout: &str) -> (PathBuf, u64) {
    let needle = format!("{layout} record 0 ");
    let found = site.disk.contents().into_iter().find_map(|(path, bytes)| {
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes())?;
        Some((path, at as u64))
    });
    found.expect("the record is on the disk")
}

fn damage_first_record(site: &Site, layout: &str) {
    let (path, at) = first_record(site, layout);
    site.disk.flip(&path, at, 3).unwrap();
}

/// So that a consumer's read finds it: of a batch in a segment no more is checked than its header, with which the file begins.
fn damage_what_consumers_see(site: &Site, layout: &str) {
    const MAGIC_AT: u64 = 16;
    let (path, at) = first_record(site, layout);
    let at = if layout == "dedicated" { MAGIC_AT } else { at };
    site.disk.flip(&path, at, 3).unwrap();
}

/// Waits until the first record is read from its file, and not from memory.
async fn is_sealed(node: &Node, name: &str) {
    let topic = node.topic(name);
    let read = || node.broker.read(&topic, PartitionIndex(0), Offset(0), 1, true, None).unwrap().plan;
    until("its file is sealed", || matches!(read().parts.first(), Some(ReadPart::File { .. }))).await;
}

/// What a consumer of this node gets, if all of it can be had. Reports what cannot, as the protocols' readers do.
fn consumed(node: &Node, name: &str) -> Option<Vec<String>> {
    let (topic, index) = (node.topic(name), PartitionIndex(0));
    let ends = node.broker.ends(&topic, index)?;
    let (mut from, mut found) = (ends.log_start, Vec::new());
    while from < ends.high_watermark {
        let plan = node.broker.read(&topic, index, from, 1 << 20, true, None).ok()?.plan;
        if plan.next == from {
            return None;
        }
        let read = plan.materialize();
        let unreadable = |error: &_| node.broker.suspect(topic.partitions[0].number, from, plan.next, error);
        let bytes = read.inspect_err(unreadable).ok()?;
        for batch in batches(&bytes) {
            let (_, range) = batch.ok()?;
            let batch = decode_batch(&bytes[range], Default::default()).ok()?;
            found.extend(batch.records().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()));
        }
        from = plan.next;
    }
    // What had to be sent again may be there twice.
    found.dedup();
    Some(found)
}

/// Waits until these nodes are in sync, and each shows exactly what was acknowledged.
async fn healed(cluster: &Cluster, name: &str, nodes: &[i32]) {
    let expected = records(name);
    let is_healed = |node: &Node| {
        node.in_sync(name, 0) == nodes
            && node.high_watermark(name, 0) == node.log_end(name, 0)
            && consumed(node, name).is_some_and(|found| found == expected)
    };
    until("all in sync show what was acknowledged", || nodes.iter().all(|id| is_healed(&cluster.nodes[id]))).await;
}

fn problem(node: &Node, name: &str) -> Option<String> {
    let statuses = node.broker.replicas().into_iter().filter(|status| status.topic.name == name && status.quarantined);
    statuses.filter_map(|status| status.problem).next()
}

fn epoch(cluster: &Cluster, name: &str) -> i32 {
    cluster.nodes.values().map(|node| node.partition(name, 0).leader_epoch.0).max().expect("some node runs")
}

/// Has the first of the replicas lead.
async fn lead_by_first(cluster: &Cluster, name: &str) -> i32 {
    let first = cluster.any().partition(name, 0).replicas[0].0;
    for _ in 0..100 {
        if cluster.nodes[&first].leads(name, 0) {
            return first;
        }
        let _ = cluster.any().broker.metadata().elect_leaders(&[(name.to_owned(), PartitionIndex(0))], Election::Preferred).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the preferred replica does not lead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_finds_damage_when_it_starts_fetches_itself_anew() {
    let mut cluster = filled(3).await;
    let damaged = cluster.followers("dedicated", 0).await[0].id().0;
    for layout in LAYOUTS {
        healed(&cluster, layout, &[1, 2, 3]).await;
    }
    let site = cluster.nodes.remove(&damaged).unwrap().lose_power(5).await;
    // The newest record but one lies below what was known to be durable, in the file that a recovery reads.
    let needle = format!("shared record {} ", RECORDS - 2);
    let contents = site.disk.contents();
    let found = contents
        .iter()
        .find_map(|(path, bytes)| Some((path, bytes.windows(needle.len()).position(|window| window == needle.as_bytes())?)));
    let (path, at) = found.expect("the record is on the disk");
    site.disk.flip(path, at as u64, 3).unwrap();
    let (segment, _) = first_record(&site, "dedicated");
    site.disk.remove(&segment).unwrap();
    cluster.nodes.insert(damaged, site.start().await);
    for layout in LAYOUTS {
        healed(&cluster, layout, &[1, 2, 3]).await;
    }
    let node = &cluster.nodes[&damaged];
    assert!(LAYOUTS.iter().all(|layout| problem(node, layout).is_none()));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_read_what_it_serves_hands_over_and_fetches_itself_anew() {
    let mut cluster = filled(3).await;
    for layout in LAYOUTS {
        healed(&cluster, layout, &[1, 2, 3]).await;
        let damaged = lead_by_first(&cluster, layout).await;
        let site = cluster.nodes.remove(&damaged).unwrap().stop().await;
        damage_what_consumers_see(&site, layout);
        cluster.nodes.insert(damaged, site.start().await);
        // The file is sealed, so nobody has looked at it yet.
        until("it is in sync", || cluster.nodes[&damaged].in_sync(layout, 0) == [1, 2, 3]).await;
        lead_by_first(&cluster, layout).await;
        let node = &cluster.nodes[&damaged];
        until("it shows all", || node.high_watermark(layout, 0) == node.log_end(layout, 0)).await;
        assert_eq!(consumed(&cluster.nodes[&damaged], layout), None, "what is damaged is not shown");
        until("another one leads", || !cluster.nodes[&damaged].leads(layout, 0)).await;
        healed(&cluster, layout, &[1, 2, 3]).await;
        assert_eq!(lead_by_first(&cluster, layout).await, damaged);
        assert_eq!(consumed(&cluster.nodes[&damaged], layout), Some(records(layout)), "it has fetched all there is");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_give_a_follower_its_batches_hands_over() {
    let mut cluster = filled(2).await;
    for layout in LAYOUTS {
        let two: Vec<i32> = cluster.any().in_sync(layout, 0);
        healed(&cluster, layout, &two).await;
        let damaged = lead_by_first(&cluster, layout).await;
        let site = cluster.nodes.remove(&damaged).unwrap().stop().await;
        damage_first_record(&site, layout);
        cluster.nodes.insert(damaged, site.start().await);
        until("it is in sync", || cluster.nodes[&damaged].in_sync(layout, 0) == two).await;
        lead_by_first(&cluster, layout).await;
        let third = (1..=3).find(|id| !two.contains(id)).unwrap();
        let target =
            Some([damaged, third].into_iter().chain(two.iter().copied().filter(|id| *id != damaged)).map(NodeId).collect());
        let request = Reassignment { topic: layout.to_owned(), index: PartitionIndex(0), target, same_factor: false };
        let reassigned = cluster.any().broker.metadata().reassign(&[request]).await.pop().unwrap();
        assert!(reassigned.is_ok(), "{reassigned:?}");
        healed(&cluster, layout, &[1, 2, 3]).await;
        assert_eq!(lead_by_first(&cluster, layout).await, damaged);
        assert_eq!(consumed(&cluster.nodes[&damaged], layout), Some(records(layout)), "it has fetched all there is");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_replica_in_sync_is_kept_until_there_is_another_one() {
    let mut cluster = filled(2).await;
    let layout = "shared";
    let replicas: Vec<i32> = cluster.any().in_sync(layout, 0);
    healed(&cluster, layout, &replicas).await;
    let leader = cluster.leader(layout, 0).await.id().0;
    let other = *replicas.iter().find(|id| **id != leader).unwrap();
    let site = cluster.nodes.remove(&other).unwrap().stop().await;
    until("it is alone", || cluster.nodes[&leader].in_sync(layout, 0) == [leader]).await;
    is_sealed(&cluster.nodes[&leader], layout).await;
    damage_first_record(&cluster.nodes[&leader].site, layout);
    let node = &cluster.nodes[&leader];
    assert_eq!(consumed(node, layout), None);
    until("it knows", || problem(node, layout).is_some()).await;
    let before = epoch(&cluster, layout);
    // It has tried to give up by the time it has taken what it is sent.
    for value in ["more", "and more"] {
        send_at_last(&cluster, layout, 0, value).await;
    }
    assert_eq!((consumed(node, layout), node.leads(layout, 0), epoch(&cluster, layout)), (None, true, before));
    let (topic, last) = (node.topic(layout), Offset(node.log_end(layout, 0) - 1));
    let read = node.broker.read(&topic, PartitionIndex(0), last, 1 << 20, true, None);
    assert!(read.unwrap().plan.materialize().is_ok(), "all the rest is served");
    cluster.nodes.insert(other, site.start().await);
    let expected = |node: &Node| {
        let found = consumed(node, layout).unwrap_or_default();
        found.len() == RECORDS + 2 && found[..RECORDS] == records(layout) && found[RECORDS..] == ["more", "and more"]
    };
    until("both show all of it", || {
        replicas.iter().all(|id| cluster.nodes[id].in_sync(layout, 0) == replicas && expected(&cluster.nodes[id]))
    })
    .await;
    cluster.stop().await;
}
