//! Scenarios of clusters that become even.

use super::*;
use crate::config::{BrokerConfig, Source};
use crate::metadata::decide::{
    AlterPartition, FreeSpace, NewTopic, decide_alter_partition, decide_create_topics, decide_elections, decide_reassignments,
};
use crate::metadata::fold::fold;
use crate::metadata::image::{Membership, NodeDirectory};
use crate::metadata::topic_id::RandomIds;
use duolog_base::{BrokerEpoch, DirectoryId};
use duolog_replica::Proposal;
use std::sync::Arc;

const LIMITS: BalanceLimits = BalanceLimits { changes: 1000, moving: 4, least_bytes: 1, tolerated_percent: 0 };
/// Far more than any of the scenarios needs.
const MOST_STEPS: usize = 200;

pub(in crate::metadata::decide) fn add_node(image: &mut MetadataImage, id: i32, rack: Option<&str>) {
    let membership = Membership { epoch: BrokerEpoch(10), incarnation: String::new(), fenced: false, stopping: false };
    let directories = vec![NodeDirectory { id: DirectoryId(id as u128), path: "/data".into() }];
    let (id, rack, membership) = (NodeId(id), rack.map(str::to_owned), Some(membership));
    image.nodes.insert(id, NodeImage { id, rack, directories, endpoints: Vec::new(), membership });
}

pub(in crate::metadata::decide) fn cluster(nodes: i32) -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    (1..=nodes).for_each(|id| add_node(&mut image, id, None));
    image
}

pub(in crate::metadata::decide) fn with_topic(image: &MetadataImage, partitions: i32, replicas: i16) -> MetadataImage {
    let topic = NewTopic { partitions, replication_factor: replicas, ..NewTopic::with_defaults("t") };
    fold(image, &decide_create_topics(image, vec![topic], &RandomIds, &FreeSpace::new()).records, 50).unwrap()
}

fn drain(image: &mut MetadataImage, node: i32) {
    let values = vec![("cluster.drained.nodes".to_owned(), node.to_string(), Source::Flag)];
    image.config = Arc::new(BrokerConfig::from_values(values).unwrap());
}

/// All replicas that are there come in sync, as they do after a while.
fn settle(mut image: MetadataImage) -> MetadataImage {
    for (index, partition) in (0..).map(PartitionIndex).zip(image.topics["t"].partitions.clone()) {
        if partition.in_sync.len() < partition.replicas.len() {
            let in_sync = partition.replicas.iter().map(|node| (*node, BrokerEpoch(10))).collect();
            let (leader_epoch, partition_epoch) = (partition.leader_epoch, partition.partition_epoch);
            let proposal = Proposal { leader_epoch, partition_epoch, in_sync, number: 1 };
            let (node, broker_epoch, topic) = (partition.leader, BrokerEpoch(10), image.topics["t"].id);
            let request = AlterPartition { node, broker_epoch, topic, index, proposal };
            let records = decide_alter_partition(&image, &request).unwrap().records;
            image = fold(&image, &records, image.applied + 1).unwrap();
        }
    }
    image
}

/// Does a step, and waits until it is done; `None` if there is nothing to do.
fn step(image: &MetadataImage, storage: &Storage, limits: BalanceLimits) -> Option<MetadataImage> {
    let balance = decide_balance(image, true, true, storage, limits);
    let mut records = decide_elections(image, &balance.elections, Election::Preferred).records;
    let decision = decide_reassignments(image, &balance.reassignments, &FreeSpace::new());
    assert!(decision.results.iter().all(Result::is_ok), "{:?}", decision.results);
    records.extend(decision.records);
    (!records.is_empty()).then(|| settle(fold(image, &records, image.applied + 1).unwrap()))
}

fn balanced(image: MetadataImage) -> MetadataImage {
    balanced_with(image, LIMITS, &|_| Storage::default())
}

/// Steps until there is nothing to do. `report` says what the nodes tell of their bytes before each step.
pub(in crate::metadata::decide) fn balanced_with(
    mut image: MetadataImage,
    limits: BalanceLimits,
    report: &dyn Fn(&MetadataImage) -> Storage,
) -> MetadataImage {
    for _ in 0..MOST_STEPS {
        match step(&image, &report(&image), limits) {
            Some(next) => image = next,
            None => return image,
        }
    }
    panic!("it never ends")
}

/// Replicas and leaders of each node.
pub(in crate::metadata::decide) fn loads(image: &MetadataImage) -> Vec<(usize, usize)> {
    let of = |node: &NodeId| {
        let partitions = &image.topics["t"].partitions;
        let holds = partitions.iter().filter(|partition| partition.replicas.contains(node)).count();
        (holds, partitions.iter().filter(|partition| partition.leader == *node).count())
    };
    image.nodes.keys().map(of).collect()
}

#[test]
fn an_even_cluster_is_left_alone() {
    let image = with_topic(&cluster(3), 9, 3);
    assert_eq!(decide_balance(&image, true, true, &Storage::default(), LIMITS), Balance::default());
    assert_eq!(decide_balance(&MetadataImage::default(), true, true, &Storage::default(), LIMITS), Balance::default());
}

#[test]
fn a_node_that_was_added_gets_its_share_a_few_at_a_time() {
    let mut image = with_topic(&cluster(3), 12, 3);
    add_node(&mut image, 4, None);
    let first = decide_balance(&image, true, true, &Storage::default(), LIMITS);
    assert_eq!((first.reassignments.len(), first.elections.len()), (LIMITS.moving, 0));
    assert_eq!(loads(&balanced(image)), [(9, 3); 4]);
}

#[test]
fn leaders_go_back_to_a_node_that_has_come_back() {
    let mut image = with_topic(&cluster(3), 6, 3);
    let membership = |image: &mut MetadataImage, fenced| {
        image.nodes.get_mut(&NodeId(1)).unwrap().membership.as_mut().unwrap().fenced = fenced;
    };
    membership(&mut image, true);
    let led: Vec<_> = (0..6).map(|index| ("t".to_owned(), PartitionIndex(index))).collect();
    let topic = Arc::make_mut(image.topics.values_mut().next().unwrap());
    for partition in topic.partitions.iter_mut().filter(|partition| partition.leader == NodeId(1)) {
        partition.leader = partition.replicas[1];
    }
    assert_eq!(decide_balance(&image, true, true, &Storage::default(), LIMITS).elections, [], "it is not there");
    membership(&mut image, false);
    assert!(decide_balance(&image, false, true, &Storage::default(), LIMITS).elections.is_empty(), "nobody looks after leaders");
    let balance = decide_balance(&image, true, true, &Storage::default(), LIMITS);
    assert!(!balance.elections.is_empty() && balance.elections.iter().all(|place| led.contains(place)));
    assert_eq!(loads(&balanced(image)), [(6, 2); 3]);
}

#[test]
fn a_drained_node_ends_with_nothing_and_gets_nothing() {
    let mut image = with_topic(&cluster(4), 12, 3);
    drain(&mut image, 2);
    let image = balanced(image);
    assert_eq!(loads(&image), [(12, 4), (0, 0), (12, 4), (12, 4)]);
}

#[test]
fn where_there_is_nowhere_to_go_a_drained_node_leads_nothing() {
    let mut image = with_topic(&cluster(3), 6, 3);
    drain(&mut image, 3);
    assert_eq!(loads(&balanced(image)), [(6, 3), (6, 3), (6, 0)]);
}

#[test]
fn racks_are_not_given_up_for_evenness() {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for (id, rack) in [(1, "a"), (2, "b"), (3, "c")] {
        add_node(&mut image, id, Some(rack));
    }
    let mut image = with_topic(&image, 6, 3);
    add_node(&mut image, 4, Some("a"));
    let image = balanced(image);
    for partition in &image.topics["t"].partitions {
        let racks: BTreeSet<_> = partition.replicas.iter().map(|node| image.nodes[node].rack.clone()).collect();
        assert_eq!(racks.len(), 3, "{:?}", partition.replicas);
    }
    assert_eq!(loads(&image).iter().map(|load| load.0).collect::<Vec<_>>(), [3, 6, 6, 3]);
}

#[test]
fn nothing_moves_that_is_not_whole_or_moves_already() {
    let mut image = with_topic(&cluster(3), 6, 3);
    add_node(&mut image, 4, None);
    let topic = Arc::make_mut(image.topics.values_mut().next().unwrap());
    topic.partitions.iter_mut().for_each(|partition| partition.in_sync.truncate(2));
    assert_eq!(decide_balance(&image, true, true, &Storage::default(), LIMITS), Balance::default());
}
