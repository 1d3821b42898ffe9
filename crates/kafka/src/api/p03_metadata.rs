//! Metadata (3): which topics there are, and which node leads which partition.
//!
//! *Behavior*: names (or ids) that were asked for, or all topics. A topic that does not exist is created with the
//! defaults if the request and `auto.create.topics.enable` allow it, and is then in the answer at once. Nodes are those that
//! are not fenced, see `nodes`. A partition whose leader is not live has none, and LEADER_NOT_AVAILABLE. Ids win over names in one request.
//!
//! *Version notes*: 0-13. In version 0 an empty list asks for all topics, later only a null one does. Versions below 4
//! always allow creation. Sets of permitted operations: of the cluster in 8-10, of topics from 8 on. Ids come back from
//! 10 on and can be asked for from 12 on. Version 13 adds an error for the whole request, which never occurs.

use super::Api;
use super::admin::{ALL_CLUSTER_OPERATIONS, ALL_TOPIC_OPERATIONS, NOT_ASKED, absent_topic, partition_row};
use super::nodes::{controller, live_nodes};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::TopicId;
use duolog_core::metadata::{MetadataImage, TopicImage, check_topic_name, is_internal_topic};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::metadata_request::MetadataRequest;
use duolog_wire::kafka::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

pub(super) const API: Api = Api { key: 3, name: "Metadata", min: 0, max: 13, handle };

/// Topics one request may create by asking for them.
const MAX_CREATED: usize = 1_000;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(metadata(call)))
}

/// What is answered for one topic.
enum Answer<'a> {
    Found(Arc<TopicImage>),
    Missing { name: Option<&'a str>, id: TopicId, code: ErrorCode },
}

async fn metadata(call: Call) -> Result<Reply, CallError> {
    let request = MetadataRequest::decode(&mut call.decoder(), call.version)?;
    let answers = answers(&call, &request).await?;
    let image = call.services().broker.image();
    let operations = match request.include_topic_authorized_operations {
        true => ALL_TOPIC_OPERATIONS,
        false => NOT_ASKED,
    };
    let nodes = live_nodes(&call.context, &image);
    let brokers = nodes.iter().map(|node| MetadataResponseBroker {
        node_id: node.id,
        host: &node.host,
        port: node.port,
        rack: node.rack.as_deref(),
    });
    let response = MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(&image.cluster_id),
        controller_id: controller(&call.context, &nodes),
        topics: answers.iter().map(|answer| topic(&image, answer, operations)).collect(),
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => ALL_CLUSTER_OPERATIONS,
            false => NOT_ASKED,
        },
        ..Default::default()
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

async fn answers<'a>(call: &Call, request: &MetadataRequest<'a>) -> Result<Vec<Answer<'a>>, CallError> {
    let image = call.services().broker.image();
    let Some(asked) = &request.topics else { return Ok(all(&image)) };
    if call.version == 0 && asked.is_empty() {
        return Ok(all(&image));
    }
    let ids: Vec<TopicId> = asked.iter().map(|topic| topic.topic_id).filter(|id| *id != TopicId::NONE).collect();
    if !ids.is_empty() {
        // Versions 10 and 11 carry the field, and Kafka refuses to look at it.
        if call.version < 12 {
            return Err(CallError::Refused("topic ids in a Metadata request below version 12"));
        }
        return Ok(by_id(&image, ids));
    }
    let mut seen = HashSet::new();
    let mut names = Vec::with_capacity(asked.len());
    for topic in asked {
        let Some(name) = topic.name else { return Err(CallError::Refused("a topic without a name or an id")) };
        if seen.insert(name) {
            names.push(name);
        }
    }
    let create = request.allow_auto_topic_creation && image.config.auto_create_topics;
    Ok(by_name(call, &image, names, create).await)
}

fn all<'a>(image: &MetadataImage) -> Vec<Answer<'a>> {
    image.topics.values().cloned().map(Answer::Found).collect()
}

fn by_id<'a>(image: &MetadataImage, ids: Vec<TopicId>) -> Vec<Answer<'a>> {
    let mut seen = HashSet::new();
    let ids = ids.into_iter().filter(|id| seen.insert(*id));
    ids.map(|id| match image.topic_by_id(id) {
        Some(topic) => Answer::Found(topic.clone()),
        None => Answer::Missing { name: None, id, code: ErrorCode::UnknownTopicId },
    })
    .collect()
}

async fn by_name<'a>(call: &Call, image: &MetadataImage, names: Vec<&'a str>, create: bool) -> Vec<Answer<'a>> {
    let unknown = |name: &&str| image.topic(name).is_none() && check_topic_name(name).is_ok();
    let wanted: Vec<&str> = names.iter().copied().filter(unknown).take(MAX_CREATED).collect();
    let mut created = HashMap::new();
    if create && !wanted.is_empty() {
        let results = call.services().broker.metadata().ensure_topics(&wanted).await;
        created.extend(wanted.into_iter().zip(results));
    }
    let missing = |name, code| Answer::Missing { name: Some(name), id: TopicId::NONE, code };
    let answer = |name| match (image.topic(name).cloned(), created.remove(name)) {
        (Some(topic), _) | (None, Some(Ok(topic))) => Answer::Found(topic),
        (None, Some(Err(failure))) => missing(name, error::create_topic(&failure)),
        (None, None) => missing(name, absent_topic(name)),
    };
    names.into_iter().map(answer).collect()
}

fn topic<'a>(image: &MetadataImage, answer: &'a Answer<'a>, operations: i32) -> MetadataResponseTopic<'a> {
    match answer {
        Answer::Found(topic) => MetadataResponseTopic {
            error_code: ErrorCode::None as i16,
            name: Some(&topic.name),
            topic_id: topic.id,
            is_internal: topic.internal,
            partitions: rows(image, topic),
            topic_authorized_operations: operations,
        },
        Answer::Missing { name, id, code } => MetadataResponseTopic {
            error_code: *code as i16,
            name: *name,
            topic_id: *id,
            is_internal: name.is_some_and(is_internal_topic),
            partitions: Vec::new(),
            topic_authorized_operations: operations,
        },
    }
}

fn rows(image: &MetadataImage, topic: &TopicImage) -> Vec<MetadataResponsePartition> {
    topic.partitions.iter().enumerate().map(|(index, partition)| partition_row(image, index, partition)).collect()
}
