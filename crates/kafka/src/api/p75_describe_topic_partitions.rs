//! DescribeTopicPartitions (75): topics and their partitions, page by page. (KIP-966)
//!
//! *Behavior*: topics in the order of their names, from the cursor on, up to a number of partitions; the next cursor
//! says where to go on. Without names all topics are described. Eligible leaders are told of while there are fewer in sync than
//! `min.insync.replicas`; which replicas were so before an unclean election is not kept.
//!
//! *Version notes*: 0.

use super::Api;
use super::admin::{ALL_TOPIC_OPERATIONS, absent_topic, partition_row};
use crate::call::{Call, CallError, Handled, Reply};
use duolog_core::metadata::{MetadataImage, PartitionImage, TopicImage, is_internal_topic};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use duolog_wire::kafka::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use std::collections::BTreeSet;

pub(super) const API: Api = Api { key: 75, name: "DescribeTopicPartitions", min: 0, max: 0, handle };

/// Partitions one answer holds at most. Kafka: `max.request.partition.size.limit`.
const MAX_PARTITIONS: usize = 2_000;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(describe_topic_partitions(call)))
}

async fn describe_topic_partitions(call: Call) -> Result<Reply, CallError> {
    let request = DescribeTopicPartitionsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let response = describe(&image, &request);
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn describe<'a>(image: &'a MetadataImage, request: &DescribeTopicPartitionsRequest<'a>) -> DescribeTopicPartitionsResponse<'a> {
    let asked: BTreeSet<&str> = match request.topics.is_empty() {
        true => image.topics.keys().map(|name| &**name).collect(),
        false => request.topics.iter().map(|topic| topic.name).collect(),
    };
    let (first, first_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name, cursor.partition_index),
        None => ("", 0),
    };
    let from_cursor = |name: &str| if name == first { first_partition } else { 0 };
    let cursor_lost = request.cursor.is_some() && !request.topics.is_empty() && !asked.contains(first);
    if cursor_lost || first_partition < 0 {
        let topics = asked.into_iter().map(|name| missing(name, ErrorCode::InvalidRequest)).collect();
        return DescribeTopicPartitionsResponse { topics, ..Default::default() };
    }
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MAX_PARTITIONS);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in asked.into_iter().filter(|name| *name >= first) {
        if room == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(found) = image.topic(name) else {
            response.topics.push(missing(name, absent_topic(name)));
            continue;
        };
        let start = (from_cursor(name) as usize).min(found.partitions.len());
        let end = start.saturating_add(room).min(found.partitions.len());
        response.topics.push(topic(image, found, start, end));
        room -= end - start;
        if end < found.partitions.len() {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: end as i32 });
            break;
        }
    }
    response
}

fn missing(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic<'_> {
    DescribeTopicPartitionsResponseTopic {
        error_code: code as i16,
        name: Some(name),
        is_internal: is_internal_topic(name),
        topic_authorized_operations: ALL_TOPIC_OPERATIONS,
        ..Default::default()
    }
}

fn topic<'a>(image: &MetadataImage, topic: &'a TopicImage, start: usize, end: usize) -> DescribeTopicPartitionsResponseTopic<'a> {
    let shown = (start..end).zip(&topic.partitions[start..end]);
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None as i16,
        name: Some(&topic.name),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: shown.map(|(index, found)| partition(image, index, found)).collect(),
        topic_authorized_operations: ALL_TOPIC_OPERATIONS,
    }
}

fn partition(image: &MetadataImage, index: usize, partition: &PartitionImage) -> DescribeTopicPartitionsResponsePartition {
    let row = partition_row(image, index, partition);
    DescribeTopicPartitionsResponsePartition {
        error_code: row.error_code,
        partition_index: row.partition_index,
        leader_id: row.leader_id,
        leader_epoch: row.leader_epoch,
        replica_nodes: row.replica_nodes,
        isr_nodes: row.isr_nodes,
        eligible_leader_replicas: Some(partition.eligible.iter().map(|node| node.0).collect()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: row.offline_replicas,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::TopicId;
    use duolog_core::config::BrokerConfig;
    use duolog_core::metadata::{MetadataRecord, PartitionRecord, fold};
    use duolog_wire::kafka::messages::describe_topic_partitions_request;
    use std::sync::Arc;

    /// Topics `a` with 3 partitions and `b` with 2.
    fn image() -> MetadataImage {
        let mut records = Vec::new();
        for (id, name, count) in [(7, "a", 3), (8, "b", 2)] {
            let id = TopicId(id).to_string();
            let name = name.to_owned();
            records.push(MetadataRecord::Topic { id: id.clone(), name, internal: false, overrides: Default::default() });
            let partition =
                |number| PartitionRecord { number, leader: 1, replicas: vec![1], in_sync: vec![1], ..PartitionRecord::default() };
            records.push(MetadataRecord::Partitions { topic: id, first: 0, partitions: (0..count).map(partition).collect() });
        }
        fold(&MetadataImage::empty(Arc::new(BrokerConfig::default())), &records, 1).expect("records that fit")
    }

    fn ask<'a>(topics: &[&'a str], limit: i32, cursor: Option<(&'a str, i32)>) -> DescribeTopicPartitionsRequest<'a> {
        DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| describe_topic_partitions_request::TopicRequest { name }).collect(),
            response_partition_limit: limit,
            cursor: cursor
                .map(|(topic_name, partition_index)| describe_topic_partitions_request::Cursor { topic_name, partition_index }),
        }
    }

    fn shown(response: &DescribeTopicPartitionsResponse<'_>) -> Vec<(String, Vec<i32>)> {
        let topics = response.topics.iter();
        topics
            .map(|topic| {
                let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
                (topic.name.unwrap_or_default().to_owned(), indexes)
            })
            .collect()
    }

    #[test]
    fn pages_follow_on_each_other_until_all_is_shown() {
        let image = image();
        let first = describe(&image, &ask(&[], 2, None));
        assert_eq!(shown(&first), [("a".to_owned(), vec![0, 1])]);
        assert_eq!(first.next_cursor, Some(Cursor { topic_name: "a", partition_index: 2 }));
        let second = describe(&image, &ask(&[], 1, Some(("a", 2))));
        assert_eq!(shown(&second), [("a".to_owned(), vec![2])]);
        assert_eq!(second.next_cursor, Some(Cursor { topic_name: "b", partition_index: 0 }));
        let last = describe(&image, &ask(&[], 100, Some(("b", 0))));
        assert_eq!((shown(&last), last.next_cursor.clone()), (vec![("b".to_owned(), vec![0, 1])], None));
    }

    #[test]
    fn a_cursor_outside_the_topics_asked_for_is_refused() {
        let image = image();
        let response = describe(&image, &ask(&["b"], 10, Some(("a", 0))));
        assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest as i16);
        let response = describe(&image, &ask(&["b", "x", "no name"], 10, None));
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition as i16, ErrorCode::InvalidTopicException as i16);
        assert_eq!(codes, [0, invalid, unknown]);
    }
}
