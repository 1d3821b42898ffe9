//! ListPartitionReassignments (46): which partitions are getting other replicas. (KIP-455)
//!
//! *Behavior*: of the named partitions, or of all, those with a reassignment under way; the others, and those that do not
//! exist, are left out. Topics are in the order of their names.
//!
//! *Version notes*: 0.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use duolog_base::NodeId;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::messages::list_partition_reassignments_request::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use duolog_wire::kafka::messages::list_partition_reassignments_response::{
    ListPartitionReassignmentsResponse, OngoingPartitionReassignment, OngoingTopicReassignment,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

pub(super) const API: Api = Api { key: 46, name: "ListPartitionReassignments", min: 0, max: 0, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(ready(list_partition_reassignments(&call))))
}

fn list_partition_reassignments(call: &Call) -> Result<Reply, CallError> {
    let request = ListPartitionReassignmentsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let topics = under_way(&image, request.topics.as_deref());
    let response = ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn under_way<'a>(
    image: &'a MetadataImage,
    asked: Option<&[ListPartitionReassignmentsTopics<'_>]>,
) -> Vec<OngoingTopicReassignment<'a>> {
    let Some(asked) = asked else {
        return image.topics.values().filter_map(|topic| of_topic(topic, |_| true)).collect();
    };
    let mut indexes: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    for topic in asked {
        indexes.entry(topic.name).or_default().extend(&topic.partition_indexes);
    }
    let found = indexes.iter().filter_map(|(name, indexes)| of_topic(image.topic(name)?, |index| indexes.contains(&index)));
    found.collect()
}

/// `None` if nothing moves among the partitions that are asked for.
fn of_topic(topic: &TopicImage, is_asked: impl Fn(i32) -> bool) -> Option<OngoingTopicReassignment<'_>> {
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let moving = (0..).zip(&topic.partitions).filter(|(_, partition)| partition.is_moving());
    let partitions: Vec<_> = moving
        .filter(|(index, _)| is_asked(*index))
        .map(|(partition_index, partition)| OngoingPartitionReassignment {
            partition_index,
            replicas: numbers(&partition.replicas),
            adding_replicas: numbers(&partition.adding),
            removing_replicas: numbers(&partition.removing),
        })
        .collect();
    (!partitions.is_empty()).then_some(OngoingTopicReassignment { name: &topic.name, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_core::metadata::PartitionImage;
    use std::sync::Arc;

    /// Partition 1 of "a" moves from node 1 to 2, partition 0 of "b" gets node 3, "c" stays.
    fn image() -> MetadataImage {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let partition = |replicas: &[i32], adding: &[i32], removing: &[i32]| PartitionImage {
            replicas: nodes(replicas),
            adding: nodes(adding),
            removing: nodes(removing),
            ..PartitionImage::default()
        };
        let mut image = MetadataImage::default();
        for (name, partitions) in [
            ("a", vec![partition(&[1], &[], &[]), partition(&[2, 1], &[2], &[1])]),
            ("b", vec![partition(&[1, 3], &[3], &[])]),
            ("c", vec![partition(&[1], &[], &[])]),
        ] {
            let config = image.config.topic.clone();
            let topic = TopicImage {
                id: Default::default(),
                name: name.to_owned(),
                partitions,
                overrides: Default::default(),
                config,
                internal: false,
            };
            image.topics.insert(name.into(), Arc::new(topic));
        }
        image
    }

    fn found(asked: Option<&[(&'static str, &[i32])]>) -> Vec<(String, Vec<i32>)> {
        let image = image();
        let topic = |&(name, indexes): &(&'static str, &[i32])| ListPartitionReassignmentsTopics {
            name,
            partition_indexes: indexes.to_vec(),
        };
        let asked = asked.map(|topics| topics.iter().map(topic).collect::<Vec<_>>());
        let topics = under_way(&image, asked.as_deref());
        let indexes = |topic: &OngoingTopicReassignment<'_>| topic.partitions.iter().map(|one| one.partition_index).collect();
        topics.iter().map(|topic| (topic.name.to_owned(), indexes(topic))).collect()
    }

    #[test]
    fn what_moves_is_listed_with_where_it_goes() {
        let image = image();
        let all = under_way(&image, None);
        let moved = &all[0].partitions[0];
        assert_eq!((&moved.replicas, &moved.adding_replicas, &moved.removing_replicas), (&vec![2, 1], &vec![2], &vec![1]));
        assert_eq!(found(None), [("a".to_owned(), vec![1]), ("b".to_owned(), vec![0])]);
    }

    #[test]
    fn only_what_is_asked_for_is_listed() {
        assert_eq!(found(Some(&[("b", &[0, 0, 7])])), [("b".to_owned(), vec![0])]);
        assert_eq!(found(Some(&[("a", &[0]), ("c", &[0]), ("missing", &[0])])), []);
        assert_eq!(found(Some(&[("a", &[0]), ("a", &[1])])), [("a".to_owned(), vec![1])]);
        assert_eq!(found(Some(&[])), []);
    }
}
