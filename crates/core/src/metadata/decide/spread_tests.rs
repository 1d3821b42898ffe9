//! Scenarios of replicas spread over nodes and racks.

use super::*;
use crate::metadata::image::{Membership, PartitionImage, TopicImage};
use duolog_base::BrokerEpoch;
use std::collections::BTreeMap;
use std::sync::Arc;

fn cluster(racks: &[Option<&str>]) -> MetadataImage {
    let mut image = MetadataImage::default();
    for (id, rack) in (1..).zip(racks) {
        let rack = rack.map(str::to_owned);
        let node = NodeImage { id: NodeId(id), rack, directories: Vec::new(), endpoints: Vec::new(), membership: None };
        image.nodes.insert(node.id, node);
    }
    image
}

fn spread(image: &MetadataImage, partitions: usize, factor: usize) -> Vec<Vec<i32>> {
    let mut spread = Spread::new(image);
    (0..partitions).map(|_| spread.next(factor).into_iter().map(|node| node.0).collect()).collect()
}

/// How many of the partitions each node holds and leads.
fn loads(partitions: &[Vec<i32>]) -> BTreeMap<i32, (usize, usize)> {
    let mut loads: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    for replicas in partitions {
        loads.entry(replicas[0]).or_default().1 += 1;
        replicas.iter().for_each(|node| loads.entry(*node).or_default().0 += 1);
    }
    loads
}

#[test]
fn leaders_and_replicas_are_even() {
    let partitions = spread(&cluster(&[None; 5]), 50, 3);
    assert!(loads(&partitions).values().all(|load| *load == (30, 10)), "{:?}", loads(&partitions));
    for replicas in &partitions {
        assert!(replicas.iter().enumerate().all(|(at, node)| !replicas[..at].contains(node)), "{replicas:?}");
    }
}

#[test]
fn replicas_lie_on_different_racks_as_long_as_there_are_any() {
    let image = cluster(&[Some("a"), Some("a"), Some("a"), Some("b"), Some("b"), Some("c")]);
    for replicas in spread(&image, 60, 3) {
        let mut racks: Vec<_> = replicas.iter().map(|node| image.nodes[&NodeId(*node)].rack.clone()).collect();
        racks.sort();
        racks.dedup();
        assert_eq!(racks.len(), 3, "{replicas:?}");
    }
    assert!(spread(&image, 6, 5).iter().all(|replicas| replicas.len() == 5), "more replicas than racks");
}

#[test]
fn a_node_that_was_added_fills_up() {
    let mut image = cluster(&[None; 3]);
    let partition = |first: usize| PartitionImage {
        replicas: (0..2).map(|at| NodeId(((first + at) % 2) as i32 + 1)).collect(),
        ..PartitionImage::default()
    };
    let topic = TopicImage {
        id: Default::default(),
        name: "t".to_owned(),
        partitions: (0..4).map(partition).collect(),
        overrides: Default::default(),
        config: image.config.topic.clone(),
        internal: false,
    };
    image.topics.insert("t".into(), Arc::new(topic));
    assert!(spread(&image, 4, 2).iter().filter(|replicas| replicas.contains(&3)).count() == 4);
}

#[test]
fn a_node_that_is_not_there_is_taken_last() {
    let mut image = cluster(&[None; 3]);
    let membership = Membership { epoch: BrokerEpoch(1), incarnation: String::new(), fenced: true, stopping: false };
    image.nodes.get_mut(&NodeId(2)).unwrap().membership = Some(membership);
    assert!(spread(&image, 4, 2).iter().all(|replicas| !replicas.contains(&2)));
    assert!(spread(&image, 4, 3).iter().all(|replicas| replicas[2] == 2));
}
