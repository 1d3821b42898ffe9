//! Scenarios of nodes that register, live, fall silent and stop.

use super::*;
use crate::config::BrokerConfig;
use crate::metadata::decide::{NewTopic, decide_create_topics};
use crate::metadata::fold::fold;
use crate::metadata::topic_id::RandomIds;
use std::collections::BTreeMap;
use std::sync::Arc;

fn registration(node: i32, incarnation: &str, directory: u128) -> Registration {
    let directories = vec![NodeDirectory { id: DirectoryId(directory), path: "/data".into() }];
    Registration { node: NodeId(node), incarnation: incarnation.to_owned(), rack: None, directories, endpoints: Vec::new() }
}

fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
    fold(image, records, image.applied + 1).unwrap()
}

fn registered(image: &MetadataImage, registration: &Registration) -> (MetadataImage, BrokerEpoch) {
    let decided = decide_registration(image, registration).unwrap();
    (applied(image, &decided.records), decided.answer)
}

fn beat(image: &MetadataImage, node: i32, wants_stop: bool) -> (MetadataImage, HeartbeatAnswer) {
    let epoch = image.broker_epoch(NodeId(node)).unwrap();
    let heartbeat = Heartbeat { node: NodeId(node), epoch, applied: image.applied, wants_stop };
    let decided = decide_heartbeat(image, &heartbeat, &FreeSpace::new()).unwrap();
    (applied(image, &decided.records), decided.answer)
}

/// Three live nodes, each with directory 10 times its number, and a topic with one partition led by node 1.
fn cluster() -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for node in 1..=3 {
        image = registered(&image, &registration(node, "first", node as u128 * 10)).0;
        image = beat(&image, node, false).0;
    }
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
    let topic = NewTopic { partitions: 1, replication_factor: 3, configs, ..NewTopic::with_defaults("t") };
    let decision = decide_create_topics(&image, vec![topic], &RandomIds, &FreeSpace::new());
    applied(&image, &decision.records)
}

fn partition(image: &MetadataImage) -> &PartitionImage {
    &image.topics["t"].partitions[0]
}

fn in_sync(image: &MetadataImage) -> Vec<i32> {
    partition(image).in_sync.iter().map(|node| node.0).collect()
}

#[test]
fn a_node_begins_fenced_and_is_let_in_once_it_knows_of_its_registration() {
    let image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    let (image, epoch) = registered(&image, &registration(1, "first", 10));
    assert!(!image.nodes[&NodeId(1)].is_live());
    let early = Heartbeat { node: NodeId(1), epoch, applied: epoch.0 - 1, wants_stop: false };
    let decided = decide_heartbeat(&image, &early, &FreeSpace::new()).unwrap();
    assert_eq!((decided.answer.fenced, decided.records), (true, vec![]));
    let (image, answer) = beat(&image, 1, false);
    assert!(!answer.fenced && image.nodes[&NodeId(1)].is_live());
    let unknown = Heartbeat { node: NodeId(2), ..early };
    assert_eq!(decide_heartbeat(&image, &unknown, &FreeSpace::new()), Err(MembershipError::Unregistered { node: NodeId(2) }));
}

#[test]
fn a_registration_asked_for_twice_is_the_same_one() {
    let image = cluster();
    let decided = decide_registration(&image, &registration(2, "first", 20)).unwrap();
    assert_eq!((Some(decided.answer), decided.records), (image.broker_epoch(NodeId(2)), vec![]));
}

#[test]
fn a_second_process_cannot_take_the_name_of_one_that_lives() {
    let image = cluster();
    let ask = |image: &MetadataImage| decide_registration(image, &registration(2, "other", 99));
    assert_eq!(ask(&image), Err(MembershipError::Duplicate { node: NodeId(2) }));
    let epoch = image.broker_epoch(NodeId(2)).unwrap();
    let image = applied(&image, &decide_fencing(&image, NodeId(2), epoch));
    assert!(ask(&image).is_ok());
}

#[test]
fn a_leader_that_starts_again_leads_no_more_if_another_one_can() {
    let before = cluster();
    let (image, epoch) = registered(&before, &registration(1, "second", 10));
    assert!(epoch > before.broker_epoch(NodeId(1)).unwrap());
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId(2), vec![2, 3]));
    assert_eq!(partition(&image).leader_epoch.0, partition(&before).leader_epoch.0 + 1);
}

#[test]
fn the_only_one_that_may_lead_leads_in_a_new_epoch_after_it_started_again() {
    let mut image = cluster();
    for node in [2, 3] {
        let epoch = image.broker_epoch(NodeId(node)).unwrap();
        image = applied(&image, &decide_fencing(&image, NodeId(node), epoch));
    }
    let (again, _) = registered(&image, &registration(1, "second", 10));
    assert_eq!((partition(&again).leader, in_sync(&again)), (NodeId(1), vec![1]));
    assert_eq!(partition(&again).leader_epoch.0, partition(&image).leader_epoch.0 + 1);
    assert!(partition(&again).partition_epoch > partition(&image).partition_epoch);
}

#[test]
fn a_lost_disk_takes_its_replicas_out_whatever_that_costs() {
    let image = cluster();
    let epoch = image.broker_epoch(NodeId(3)).unwrap();
    let image = applied(&image, &decide_fencing(&image, NodeId(3), epoch));
    let epoch = image.broker_epoch(NodeId(2)).unwrap();
    let image = applied(&image, &decide_fencing(&image, NodeId(2), epoch));
    assert_eq!((in_sync(&image), numbers(&partition(&image).eligible)), (vec![1], vec![2]));
    let epoch = image.broker_epoch(NodeId(1)).unwrap();
    let image = applied(&image, &decide_fencing(&image, NodeId(1), epoch));
    let (image, _) = registered(&image, &registration(1, "second", 11));
    assert_eq!(
        (partition(&image).leader, in_sync(&image)),
        (NodeId::NONE, vec![1]),
        "nobody has proven yet that the disk is lost"
    );
    let (image, _) = beat(&image, 1, false);
    let lost = partition(&image);
    assert_eq!((lost.leader, in_sync(&image), numbers(&lost.eligible)), (NodeId::NONE, vec![], vec![2]), "it has nothing");
    assert_eq!(lost.directory_of(NodeId(1)), Some(DirectoryId(11)));
    let (image, _) = beat(&image, 2, false);
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId(2), vec![2]));
}

#[test]
fn a_registration_that_comes_late_does_not_lose_the_disk_of_who_lives() {
    let mut image = cluster();
    for node in [2, 3, 1] {
        let epoch = image.broker_epoch(NodeId(node)).unwrap();
        image = applied(&image, &decide_fencing(&image, NodeId(node), epoch));
    }
    // Of the time before node 1 was given the disk that it has now.
    let (image, _) = registered(&image, &registration(1, "long ago", 9));
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId::NONE, vec![1]));
    let (image, _) = registered(&image, &registration(1, "second", 10));
    let (image, _) = beat(&image, 1, false);
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId(1), vec![1]));
    assert_eq!(partition(&image).directory_of(NodeId(1)), Some(DirectoryId(10)));
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

#[test]
fn an_earlier_life_is_not_heard_and_not_fenced() {
    let image = cluster();
    let got = image.broker_epoch(NodeId(1)).unwrap();
    let (image, current) = registered(&image, &registration(1, "second", 10));
    let late = Heartbeat { node: NodeId(1), epoch: got, applied: image.applied, wants_stop: false };
    assert_eq!(
        decide_heartbeat(&image, &late, &FreeSpace::new()),
        Err(MembershipError::StaleEpoch { node: NodeId(1), current, got })
    );
    let (image, _) = beat(&image, 1, false);
    assert_eq!(decide_fencing(&image, NodeId(1), got), []);
}

#[test]
fn a_node_that_wants_to_stop_is_relieved_first() {
    let (image, answer) = beat(&cluster(), 1, true);
    assert!(!answer.may_stop, "the others do not know yet");
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId(2), vec![2, 3]));
    let (image, answer) = beat(&image, 1, true);
    assert!(answer.may_stop);
    let (image, _) = beat(&image, 2, true);
    let (image, _) = beat(&image, 3, true);
    assert_eq!((partition(&image).leader, in_sync(&image)), (NodeId(3), vec![3]), "the last one leads to the end");
    assert!(beat(&image, 3, true).1.may_stop);
}

#[test]
fn a_snapshot_keeps_members_and_what_became_of_partitions() {
    let image = cluster();
    let epoch = image.broker_epoch(NodeId(2)).unwrap();
    let image = applied(&image, &decide_fencing(&image, NodeId(2), epoch));
    let (image, _) = registered(&image, &registration(3, "second", 30));
    let empty = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    assert_eq!(fold(&empty, &image.to_records(), image.applied).unwrap(), image);
}

#[test]
fn only_a_node_that_does_not_run_and_holds_nothing_is_taken_off() {
    let image = cluster();
    let four = registered(&image, &registration(4, "first", 40)).0;
    let refused = |image: &MetadataImage, node| decide_unregistration(image, NodeId(node)).unwrap_err();
    assert_eq!(refused(&four, 5), UnregisterError::Unregistered { node: NodeId(5) });
    assert_eq!(refused(&four, 1), UnregisterError::Live { node: NodeId(1) });
    let fenced = applied(&four, &decide_fencing(&four, NodeId(3), four.broker_epoch(NodeId(3)).unwrap()));
    assert_eq!(refused(&fenced, 3), UnregisterError::HoldsReplicas { node: NodeId(3), partitions: 1 });
    let left = applied(&fenced, &decide_unregistration(&fenced, NodeId(4)).unwrap().records);
    assert_eq!(left.nodes.keys().map(|node| node.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(fold(&MetadataImage::empty(image.config.clone()), &left.to_records(), left.applied).unwrap().nodes, left.nodes);
}
