//! Produce (0): appends record batches.
//!
//! *Behavior*: the batches stay in the frame they came in. All of the request is checked and given its offsets before
//! the next request of the connection starts; the answer follows when the batches are stored as `acks` says. With
//! acks=0 there is no answer, and a refused batch closes the connection, which is how the client learns of it.
//! Transactional batches are refused with INVALID_TXN_STATE. A timeout leaves the batches appended.
//!
//! *Version notes*: 3-13. Versions 0-2 carried formats that are not stored; ApiVersions names them all the same, since
//! librdkafka looks for version 0 before it uses newer ones (KAFKA-18659). From 13 on topics are named by id.

use super::Api;
use crate::budget::Room;
use crate::call::{Call, CallError, Handled, Reply, ReplyFuture, ResponseStart};
use crate::error;
use duolog_base::{PartitionIndex, TopicId};
use duolog_core::broker::{Acks, Origin, PendingAppend, ProduceBatch, ProduceError, Produced};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::produce_request::{ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use std::future::ready;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub(super) const API: Api = Api { key: 0, name: "Produce", min: 3, max: 13, handle };

/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;

fn handle(call: Call) -> Handled {
    Handled::Deferred(match start(call) {
        Ok(reply) => reply,
        Err(error) => Box::pin(ready(Err(error))),
    })
}

/// The topics of a request in its order, with the partitions asked for.
struct Topic {
    name: String,
    id: TopicId,
    partitions: Vec<Partition>,
}

struct Partition {
    index: i32,
    /// The refusal, if the batch did not get as far as the broker.
    refused: Option<ErrorCode>,
}

fn start(mut call: Call) -> Result<ReplyFuture, CallError> {
    let mut decoder = call.decoder();
    let request = ProduceRequest::decode(&mut decoder, call.version)?;
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let image = call.services.broker.image();
    let mut batches = Vec::with_capacity(request.topic_data.len());
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in &request.topic_data {
        topics.push(collect(&call, &image, data, acks.is_some(), &mut batches));
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let buffer = std::mem::take(&mut call.frame);
    let pending = call.services.broker.append(buffer, &batches, acks.unwrap_or(Acks::None), Origin::Client);
    if acks == Some(Acks::None) {
        return Ok(Box::pin(ready(silence(&topics, &pending))));
    }
    Ok(Box::pin(answer(call.response_start(), topics, pending, timeout, call.room)))
}

/// Notes the topic's partitions, and its batches for the broker.
fn collect(
    call: &Call,
    image: &MetadataImage,
    data: &TopicProduceData<'_>,
    acks_valid: bool,
    batches: &mut Vec<ProduceBatch>,
) -> Topic {
    let (found, unknown) = match call.version >= BY_ID_FROM {
        true => (image.topic_by_id(data.topic_id), ErrorCode::UnknownTopicId),
        false => (image.topic(data.name), ErrorCode::UnknownTopicOrPartition),
    };
    let mut partitions = Vec::with_capacity(data.partition_data.len());
    for partition in &data.partition_data {
        let bytes = partition.records.and_then(|records| records.bytes()).unwrap_or_default();
        let refused = match (found, acks_valid) {
            (_, false) => Some(ErrorCode::InvalidRequiredAcks),
            (None, true) => Some(unknown),
            (Some(topic), true) => {
                let range = range_within(&call.frame, bytes);
                batches.push(ProduceBatch { topic: topic.clone(), partition: PartitionIndex(partition.index), range });
                None
            }
        };
        partitions.push(Partition { index: partition.index, refused });
    }
    let name = found.map_or(data.name, |topic: &Arc<TopicImage>| &topic.name).to_owned();
    Topic { name, id: data.topic_id, partitions }
}

/// Where `part`, which was decoded from `frame`, lies in it.
fn range_within(frame: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = (part.as_ptr() as usize).wrapping_sub(frame.as_ptr() as usize);
    assert!(start < frame.len() && part.len() <= frame.len() - start, "decoded fields lie within the frame");
    start..start + part.len()
}

/// Acks=0: nothing is said, unless something was refused.
fn silence(topics: &[Topic], pending: &PendingAppend) -> Result<Reply, CallError> {
    let refused = topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.refused.is_some());
    match refused || pending.results().iter().any(Result::is_err) {
        true => Err(CallError::Refused("a batch sent with acks=0 was refused")),
        false => Ok(Reply::Silence),
    }
}

/// Answers when the batches are stored; their room is taken until then.
async fn answer(
    start: ResponseStart,
    topics: Vec<Topic>,
    pending: PendingAppend,
    timeout: Duration,
    _room: Room,
) -> Result<Reply, CallError> {
    // What was accepted stays appended, so a timeout only says that it is not known to be stored.
    let count = pending.results().len();
    let refused: Vec<(usize, ProduceError)> = refusals(pending.results());
    let results: Vec<Result<Produced, Failure>> = match tokio::time::timeout(timeout, pending.done()).await {
        Ok(results) => results.into_iter().map(|result| result.map_err(Failure::Refused)).collect(),
        Err(_) => {
            let mut results: Vec<_> = (0..count).map(|_| Err(Failure::TimedOut)).collect();
            refused.into_iter().for_each(|(at, error)| results[at] = Err(Failure::Refused(error)));
            results
        }
    };
    respond(start, &topics, &results)
}

/// Which batches were refused, and why. As a rule none.
fn refusals(results: &[Result<Produced, ProduceError>]) -> Vec<(usize, ProduceError)> {
    let failed = results.iter().enumerate().filter_map(|(at, result)| Some((at, result.as_ref().err()?.clone())));
    failed.collect()
}

enum Failure {
    Refused(ProduceError),
    TimedOut,
}

fn respond(start: ResponseStart, topics: &[Topic], results: &[Result<Produced, Failure>]) -> Result<Reply, CallError> {
    let all_went_well = results.iter().all(Result::is_ok);
    let messages: Vec<Option<String>> = match all_went_well {
        true => Vec::new(),
        false => results.iter().map(|result| message(result.as_ref().err()?)).collect(),
    };
    let mut answers = results.iter().enumerate();
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let partition_responses = topic
            .partitions
            .iter()
            .map(|partition| match partition.refused {
                Some(code) => failed(partition.index, code, None),
                None => {
                    let (at, result) = answers.next().expect("the broker answers every batch");
                    let message = messages.get(at).and_then(Option::as_deref);
                    partition_response(partition.index, result, message)
                }
            })
            .collect();
        responses.push(TopicProduceResponse { name: &topic.name, topic_id: topic.id, partition_responses });
    }
    let mut encoder = start.encoder();
    ProduceResponse { responses, ..Default::default() }.encode(&mut encoder, start.version)?;
    Ok(Reply::plain(encoder))
}

fn message(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Refused(error) => Some(error.to_string()),
        Failure::TimedOut => None,
    }
}

fn partition_response<'a>(
    index: i32,
    result: &Result<Produced, Failure>,
    message: Option<&'a str>,
) -> PartitionProduceResponse<'a> {
    match result {
        Ok(produced) => PartitionProduceResponse {
            index,
            base_offset: produced.base_offset.0,
            log_append_time_ms: produced.log_append_time.map_or(-1, |time| time.0),
            log_start_offset: produced.log_start.0,
            ..Default::default()
        },
        Err(Failure::Refused(error)) => failed(index, error::produce(error), message),
        Err(Failure::TimedOut) => failed(index, ErrorCode::RequestTimedOut, None),
    }
}

fn failed(index: i32, code: ErrorCode, error_message: Option<&str>) -> PartitionProduceResponse<'_> {
    PartitionProduceResponse {
        index,
        error_code: code as i16,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        error_message,
        ..Default::default()
    }
}
