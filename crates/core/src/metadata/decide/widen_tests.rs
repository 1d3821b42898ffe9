//! Scenarios of a cluster that grew from one node.

use super::super::balance::tests::{add_node, cluster};
use super::super::balance::{BalanceLimits, decide_balance};
use super::super::{Balance, FreeSpace, NewTopic, Storage, decide_create_topics, decide_reassignments};
use crate::config::{BrokerConfig, Source};
use crate::metadata::fold::fold;
use crate::metadata::image::MetadataImage;
use crate::metadata::name::OFFSETS_TOPIC;
use crate::metadata::topic_id::RandomIds;
use duolog_base::NodeId;
use std::sync::Arc;

const LIMITS: BalanceLimits = BalanceLimits { changes: 1000, moving: 4, least_bytes: 1, tolerated_percent: 0 };

/// A node that was alone when its groups' topic and one of its users' were made.
fn grown(nodes: i32, partitions: i32) -> MetadataImage {
    let mut image = cluster(1);
    let topic = |name: &str| NewTopic { partitions, ..NewTopic::with_defaults(name) };
    let topics = vec![topic(OFFSETS_TOPIC), topic("t")];
    let decision = decide_create_topics(&image, topics, &RandomIds, &FreeSpace::new());
    assert!(decision.results.iter().all(Result::is_ok), "{:?}", decision.results);
    image = fold(&image, &decision.records, 50).unwrap();
    (2..=nodes).for_each(|id| add_node(&mut image, id, None));
    image
}

fn step(image: &MetadataImage) -> Balance {
    // Nothing else is looked at while topics are widened.
    decide_balance(image, false, true, &Storage::default(), LIMITS)
}

#[test]
fn the_topics_of_coordinators_get_the_replicas_of_a_new_one_and_those_of_users_keep_theirs() {
    let mut image = grown(3, 6);
    for turn in 0..2 {
        let balance = step(&image);
        assert_eq!(balance.reassignments.len(), [4, 2][turn], "a few at a time");
        assert_eq!(balance.settings.len(), [1, 0][turn]);
        let mut records = decide_reassignments(&image, &balance.reassignments, &FreeSpace::new()).records;
        records.extend(balance.settings);
        image = fold(&image, &records, 60 + turn as u64).unwrap();
        assert!(step(&image).reassignments.iter().all(|request| request.topic == "t"), "the first ones are under way");
        let topic = Arc::make_mut(image.topics.get_mut(OFFSETS_TOPIC).unwrap());
        assert_eq!(topic.config.min_insync_replicas, 2);
        for partition in topic.partitions.iter_mut().filter(|partition| partition.is_moving()) {
            assert_eq!((partition.replicas[0], partition.adding.len(), partition.removing.len()), (NodeId(1), 2, 0));
            partition.adding.clear();
            partition.in_sync = partition.replicas.clone();
        }
    }
    assert!(image.topics[OFFSETS_TOPIC].partitions.iter().all(|partition| partition.replicas.len() == 3));
    let next = step(&image);
    assert!(next.settings.is_empty() && next.reassignments.iter().all(|request| request.topic == "t"), "{next:?}");
    assert!(image.topics["t"].partitions.iter().all(|partition| partition.replicas.len() == 1));
}

#[test]
fn the_new_replicas_are_spread() {
    let balance = decide_balance(&grown(5, 8), false, true, &Storage::default(), BalanceLimits { moving: 8, ..LIMITS });
    for node in 2..=5 {
        let target = |request: &&super::Reassignment| request.target.as_ref().unwrap().contains(&NodeId(node));
        assert_eq!(balance.reassignments.iter().filter(target).count(), 4, "node {node}");
    }
}

#[test]
fn fewer_live_nodes_or_a_configured_number_change_nothing() {
    let nothing = |image: &MetadataImage| {
        let balance = step(image);
        balance.settings.is_empty() && balance.reassignments.iter().all(|request| request.same_factor)
    };
    assert!(nothing(&grown(2, 2)));
    let mut fenced = grown(3, 2);
    assert!(!nothing(&fenced));
    fenced.nodes.get_mut(&NodeId(3)).unwrap().membership.as_mut().unwrap().fenced = true;
    assert!(nothing(&fenced));
    let mut configured = grown(3, 2);
    let values = vec![("offsets.topic.replication.factor".to_owned(), "1".to_owned(), Source::Flag)];
    configured.config = Arc::new(BrokerConfig::from_values(values).unwrap());
    assert!(nothing(&configured));
    let mut drained = grown(3, 2);
    let values = vec![("cluster.drained.nodes".to_owned(), "2".to_owned(), Source::Flag)];
    drained.config = Arc::new(BrokerConfig::from_values(values).unwrap());
    let widened = step(&drained).reassignments.into_iter().filter(|request| !request.same_factor).count();
    assert_eq!(widened, 0, "a third node is not to be had");
}
