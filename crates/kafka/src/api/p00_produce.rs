//! Produce (0): appends record batches.
//!
//! *Behavior*: the batches stay in the frame they came in. All of the request is checked and given its offsets before
//! the next request of the connection starts; the answer follows when the batches are stored as `acks` says. With
//! acks=0 there is no answer, and a refused batch closes the connection, which is how the client learns of it.
//! Transactional batches are refused with INVALID_TXN_STATE. A timeout leaves the batches appended. Batches for a partition that this
//! node does not lead are refused with NOT_LEADER_OR_FOLLOWER.
//!
//! *Version notes*: 3-13. Versions 0-2 carried formats that are not stored; ApiVersions names them all the same, since
//! librdkafka looks for version 0 before it uses newer ones (KAFKA-18659). From 10 on NOT_LEADER_OR_FOLLOWER comes with the leader and its
//! address (KIP-951). From 13 on topics are named by id.

use super::Api;
use super::leadership::{LeaderHint, leader_hint};
use super::nodes::{NodeAddress, hinted_nodes};
use crate::call::{self, Call, CallError, Handled, Reply, ResponseStart};
use crate::error;
use duolog_base::{PartitionIndex, TopicId};
use duolog_core::broker::{Acks, Origin, PendingAppend, ProduceBatch, ProduceError, Produced};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_net::Room;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::produce_request::{ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

pub(super) const API: Api = Api { key: 0, name: "Produce", min: 3, max: 13, handle };

/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;
/// From this version on an error may name the leader.
const LEADER_FROM: i16 = 10;
/// Room for a partition in the response, and for a topic without its name, in bytes.
const PARTITION_RESPONSE_BYTES: usize = 40;
const TOPIC_RESPONSE_BYTES: usize = 32;

fn handle(call: Call) -> Handled {
    start(call).unwrap_or_else(|error| Handled::Done(Err(error)))
}

/// A topic of a request, with the partitions asked for.
struct Topic {
    name: Name,
    id: TopicId,
    /// The refusal, if the batches did not get as far as the broker.
    refused: Option<ErrorCode>,
    partitions: Vec<i32>,
}

/// What the response calls a topic.
enum Name {
    Known(Arc<TopicImage>),
    Unknown(String),
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Name::Known(topic) => &topic.name,
            Name::Unknown(name) => name,
        }
    }
}

fn start(mut call: Call) -> Result<Handled, CallError> {
    let request = ProduceRequest::decode(&mut call.decoder(), call.version)?;
    let acks = match request.acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    };
    let image = call.services().broker.image();
    let mut batches = Vec::with_capacity(request.topic_data.iter().map(|data| data.partition_data.len()).sum());
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in &request.topic_data {
        topics.push(collect(&call, &image, data, acks.is_some(), &mut batches));
    }
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let buffer = std::mem::take(&mut call.frame);
    let append = call.services().broker.append(buffer, &batches, acks.unwrap_or(Acks::None), Origin::Client);
    if acks == Some(Acks::None) {
        return Ok(Handled::Done(silence(&topics, &append)));
    }
    let deadline = Instant::now() + timeout;
    let start = call.response_start();
    Ok(Handled::Deferred(ProduceReply { start, context: call.context, topics, append, deadline, _room: call.room }))
}

/// Notes the topic's partitions, and its batches for the broker.
fn collect<'a>(
    call: &Call,
    image: &'a MetadataImage,
    data: &TopicProduceData<'_>,
    acks_valid: bool,
    batches: &mut Vec<ProduceBatch<'a>>,
) -> Topic {
    let (found, unknown) = match call.version >= BY_ID_FROM {
        true => (image.topic_by_id(data.topic_id), ErrorCode::UnknownTopicId),
        false => (image.topic(data.name), ErrorCode::UnknownTopicOrPartition),
    };
    let refused = match (found, acks_valid) {
        (_, false) => Some(ErrorCode::InvalidRequiredAcks),
        (None, true) => Some(unknown),
        (Some(topic), true) => {
            batches.extend(data.partition_data.iter().map(|partition| {
                let bytes = partition.records.and_then(|records| records.bytes()).unwrap_or_default();
                let range = range_within(&call.frame, bytes);
                ProduceBatch { topic, partition: PartitionIndex(partition.index), range, tag_filter: 0 }
            }));
            None
        }
    };
    let name = found.map_or_else(|| Name::Unknown(data.name.to_owned()), |topic| Name::Known(topic.clone()));
    let partitions = data.partition_data.iter().map(|partition| partition.index).collect();
    Topic { name, id: data.topic_id, refused, partitions }
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
fn silence(topics: &[Topic], append: &PendingAppend) -> Result<Reply, CallError> {
    let refused = topics.iter().any(|topic| topic.refused.is_some() && !topic.partitions.is_empty());
    match refused || append.results().iter().any(Result::is_err) {
        true => Err(CallError::Refused("a batch sent with acks=0 was refused")),
        false => Ok(Reply::Silence),
    }
}

/// The answer to come when the batches are stored, or have taken too long.
pub(crate) struct ProduceReply {
    start: ResponseStart,
    context: Arc<call::Context>,
    topics: Vec<Topic>,
    append: PendingAppend,
    deadline: Instant,
    /// Taken until the answer is there.
    _room: Room,
}

impl ProduceReply {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, CallError>> {
        ready!(self.append.poll_done(context));
        Poll::Ready(self.respond(true))
    }

    /// When the client wants an answer in any case.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The answer when time is over. What was accepted stays appended, so it only says that it is not known to be stored.
    pub(crate) fn time_out(&mut self) -> Result<Reply, CallError> {
        let stored = self.append.poll_done(&mut Context::from_waker(Waker::noop())).is_ready();
        self.respond(stored)
    }

    fn respond(&self, stored: bool) -> Result<Reply, CallError> {
        let results = self.append.results();
        // As a rule none.
        let messages: Vec<(usize, String)> =
            results.iter().enumerate().filter_map(|(at, result)| Some((at, result.as_ref().err()?.to_string()))).collect();
        let mut messages = messages.iter().peekable();
        let mut answers = results.iter().enumerate();
        let mut responses = Vec::with_capacity(self.topics.len());
        let mut bytes = 0;
        let image = results.iter().any(Result::is_err).then(|| self.context.shared.services.broker.image());
        let mut hints = Vec::new();
        for topic in &self.topics {
            let mut answer = |index: &i32| match topic.refused {
                Some(code) => failed(*index, code, None),
                None => {
                    let (at, result) = answers.next().expect("the broker answers every batch");
                    let message = messages.next_if(|(of, _)| *of == at).map(|(_, message)| message.as_str());
                    let response = partition_response(*index, result, message, stored);
                    let hint = image.as_deref().and_then(|image| self.hint(image, topic, &response));
                    hints.extend(hint);
                    PartitionProduceResponse { current_leader: hint.map(current_leader).unwrap_or_default(), ..response }
                }
            };
            let partition_responses: Vec<_> = topic.partitions.iter().map(&mut answer).collect();
            let name = topic.name.as_str();
            bytes += TOPIC_RESPONSE_BYTES + name.len() + PARTITION_RESPONSE_BYTES * partition_responses.len();
            responses.push(TopicProduceResponse { name, topic_id: topic.id, partition_responses });
        }
        let nodes = image.map(|image| hinted_nodes(&self.context, &image, hints)).unwrap_or_default();
        let node_endpoints = nodes.iter().map(node_endpoint).collect();
        let mut encoder = self.start.encoder_with(bytes);
        ProduceResponse { responses, node_endpoints, ..Default::default() }.encode(&mut encoder, self.start.version)?;
        Ok(Reply::plain(encoder))
    }

    /// Where the producer should go instead.
    fn hint(&self, image: &MetadataImage, topic: &Topic, response: &PartitionProduceResponse<'_>) -> Option<LeaderHint> {
        let is_refused = response.error_code == ErrorCode::NotLeaderOrFollower as i16 && self.start.version >= LEADER_FROM;
        match &topic.name {
            Name::Known(known) if is_refused => leader_hint(image, known.id, PartitionIndex(response.index)),
            _ => None,
        }
    }
}

fn current_leader(hint: LeaderHint) -> LeaderIdAndEpoch {
    LeaderIdAndEpoch { leader_id: hint.leader.0, leader_epoch: hint.epoch.0 }
}

fn node_endpoint(node: &NodeAddress) -> NodeEndpoint<'_> {
    NodeEndpoint { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}

fn partition_response<'a>(
    index: i32,
    result: &Result<Produced, ProduceError>,
    message: Option<&'a str>,
    stored: bool,
) -> PartitionProduceResponse<'a> {
    match result {
        Ok(produced) if stored => PartitionProduceResponse {
            index,
            base_offset: produced.base_offset.0,
            log_append_time_ms: produced.log_append_time.map_or(-1, |time| time.0),
            log_start_offset: produced.log_start.0,
            ..Default::default()
        },
        Ok(_) => failed(index, ErrorCode::RequestTimedOut, None),
        Err(error) => failed(index, error::produce(error), message),
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
