//! DeleteTopics (20): deletes topics with all their records, for good.
//!
//! *Behavior*: each topic is deleted or refused for itself. Its partitions are closed when the answer leaves; the space
//! is given back with the files the records lie in. Internal topics and topics named twice are refused with
//! INVALID_REQUEST.
//!
//! *Version notes*: 1-6. Version 6 can name topics by id. With `delete.topic.enable` off, versions below 3 get
//! INVALID_REQUEST and later ones TOPIC_DELETION_DISABLED.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::TopicId;
use duolog_core::metadata::{DeleteTopicError, TopicImage, TopicReference};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use duolog_wire::kafka::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use std::sync::Arc;

pub(super) const API: Api = Api { key: 20, name: "DeleteTopics", min: 1, max: 6, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(delete_topics(call)))
}

async fn delete_topics(call: Call) -> Result<Reply, CallError> {
    let request = DeleteTopicsRequest::decode(&mut call.decoder(), call.version)?;
    let names = request.topic_names.iter().map(|name| DeleteTopicState { name: Some(name), topic_id: TopicId::NONE });
    let asked: Vec<DeleteTopicState<'_>> = request.topics.iter().cloned().chain(names).collect();
    let (good, bad): (Vec<_>, Vec<_>) = asked.into_iter().partition(|topic| reference(topic).is_some());
    let references = good.iter().filter_map(reference).collect();
    let results = call.services().broker.metadata().delete_topics(references).await;
    let texts: Vec<String> =
        results.iter().map(|result| result.as_ref().err().map(ToString::to_string).unwrap_or_default()).collect();
    let mut responses: Vec<_> = bad.iter().map(refused).collect();
    for ((topic, result), text) in good.iter().zip(&results).zip(&texts) {
        responses.push(answer(topic, result, text, call.version));
    }
    let mut encoder = call.response();
    DeleteTopicsResponse { responses, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// The topic that is meant; `None` unless exactly one of name and id is given.
fn reference(topic: &DeleteTopicState<'_>) -> Option<TopicReference> {
    match (topic.name, topic.topic_id) {
        (Some(name), TopicId::NONE) => Some(TopicReference::Name(name.to_owned())),
        (None, id) if id != TopicId::NONE => Some(TopicReference::Id(id)),
        _ => None,
    }
}

fn refused<'a>(topic: &DeleteTopicState<'a>) -> DeletableTopicResult<'a> {
    DeletableTopicResult {
        name: topic.name,
        topic_id: topic.topic_id,
        error_code: ErrorCode::InvalidRequest as i16,
        error_message: Some("a topic must be given by either its name or its id"),
    }
}

fn answer<'a>(
    asked: &DeleteTopicState<'a>,
    result: &'a Result<Arc<TopicImage>, DeleteTopicError>,
    text: &'a str,
    version: i16,
) -> DeletableTopicResult<'a> {
    match result {
        Ok(topic) => DeletableTopicResult {
            name: Some(&topic.name),
            topic_id: topic.id,
            error_code: ErrorCode::None as i16,
            error_message: None,
        },
        Err(refusal) => DeletableTopicResult {
            name: asked.name,
            topic_id: asked.topic_id,
            error_code: match refusal {
                DeleteTopicError::Disabled if version < 3 => ErrorCode::InvalidRequest as i16,
                refusal => error::delete_topic(refusal) as i16,
            },
            error_message: Some(text),
        },
    }
}
