//! CreateTopics (19): creates topics, or says whether it could.
//!
//! *Behavior*: each topic is created or refused for itself; the good ones are written to the metadata log with one
//! entry, and their partitions are open when the answer leaves. A name given twice is refused with INVALID_REQUEST.
//! Replicas may be assigned by hand as long as they name registered nodes. Topics that clients create under the names
//! of internal topics become internal ones.
//!
//! *Version notes*: 2-7. From 5 on the answer holds partitions, replication factor and the resulting configuration;
//! from 7 on the topic's id.

use super::Api;
use super::admin::source_number;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{NodeId, PartitionIndex};
use duolog_core::config::{ConfigEntry, ConfigError, describe_topic};
use duolog_core::metadata::{CreateTopicError, NewTopic, TopicImage};
use duolog_wire::kafka::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use duolog_wire::kafka::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};
use hashbrown::HashSet;
use std::sync::Arc;

pub(super) const API: Api = Api { key: 19, name: "CreateTopics", min: 2, max: 7, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(create_topics(call)))
}

/// What became of one topic: the topic and its configuration, or a refusal and its text.
type Outcome = Result<(Arc<TopicImage>, Vec<ConfigEntry>), (CreateTopicError, String)>;

async fn create_topics(call: Call) -> Result<Reply, CallError> {
    let request = CreateTopicsRequest::decode(&mut call.decoder(), call.version)?;
    let mut results: Vec<Option<Result<Arc<TopicImage>, CreateTopicError>>> = Vec::with_capacity(request.topics.len());
    let mut wanted = Vec::new();
    for topic in &request.topics {
        match new_topic(topic) {
            Ok(topic) => {
                wanted.push(topic);
                results.push(None);
            }
            Err(problem) => results.push(Some(Err(problem.into()))),
        }
    }
    let metadata = call.services().broker.metadata();
    let mut decided = metadata.create_topics(wanted, request.validate_only).await.into_iter();
    results.iter_mut().filter(|result| result.is_none()).for_each(|result| *result = decided.next());
    let image = call.services().broker.image();
    let outcome = |result: Result<Arc<TopicImage>, CreateTopicError>| match result {
        Ok(topic) => {
            let configs = describe_topic(&topic.overrides, &image.config);
            Ok((topic, configs))
        }
        Err(refusal) => {
            let text = refusal.to_string();
            Err((refusal, text))
        }
    };
    let outcomes: Vec<Outcome> = results.into_iter().flatten().map(outcome).collect();
    let mut seen = HashSet::new();
    let topics = request.topics.iter().zip(&outcomes).filter(|(topic, _)| seen.insert(topic.name));
    let response = CreateTopicsResponse {
        topics: topics.map(|(topic, outcome)| result(topic.name, outcome)).collect(),
        ..Default::default()
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn new_topic(topic: &CreatableTopic<'_>) -> Result<NewTopic, ConfigError> {
    let config = |config: &duolog_wire::kafka::messages::create_topics_request::CreatableTopicConfig<'_>| match config.value {
        Some(value) => Ok((config.name.to_owned(), value.to_owned())),
        None => Err(ConfigError::NoValue { key: config.name.to_owned() }),
    };
    let assignment = topic.assignments.iter().map(|assigned| {
        let nodes = assigned.broker_ids.iter().copied().map(NodeId).collect();
        (PartitionIndex(assigned.partition_index), nodes)
    });
    Ok(NewTopic {
        name: topic.name.to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: assignment.collect(),
        configs: topic.configs.iter().map(config).collect::<Result<_, _>>()?,
        ..NewTopic::default()
    })
}

fn result<'a>(name: &'a str, outcome: &'a Outcome) -> CreatableTopicResult<'a> {
    match outcome {
        Ok((topic, configs)) => CreatableTopicResult {
            name,
            topic_id: topic.id,
            error_message: None,
            num_partitions: topic.partitions.len() as i32,
            replication_factor: topic.partitions.first().map_or(-1, |partition| partition.replicas.len() as i16),
            configs: Some(configs.iter().map(config).collect()),
            ..Default::default()
        },
        Err((refusal, text)) => CreatableTopicResult {
            name,
            error_code: error::create_topic(refusal) as i16,
            error_message: Some(text),
            ..Default::default()
        },
    }
}

fn config(entry: &ConfigEntry) -> CreatableTopicConfigs<'_> {
    CreatableTopicConfigs {
        name: entry.name,
        value: entry.value.as_deref(),
        read_only: entry.read_only,
        config_source: source_number(entry.source),
        is_sensitive: false,
    }
}
