//! Produce (0): appends record batches.
//!
//! *Behavior*: the batches stay in the frame they came in. All of the request is checked and given its offsets before
//! the next request of the connection starts; the answer follows when the batches are stored as `acks` says. With
//! acks=0 there is no answer, and a refused batch closes the connection, which is how the client learns of it.
//! Transactional batches are refused with INVALID_TXN_STATE. A timeout leaves the batches appended. Batches for a partition that this
//! node does not lead are refused with NOT_LEADER_OR_FOLLOWER. Of topics with `duolog.delay.enable` the batches are looked into: if a record is to be
//! delivered later, the next request of the connection waits for the answer to this one.
//!
//! *Version notes*: 3-13. Versions 0-2 carried formats that are not stored; ApiVersions names them all the same, since
//! librdkafka looks for version 0 before it uses newer ones (KAFKA-18659). From 10 on NOT_LEADER_OR_FOLLOWER comes with the leader and its
//! address (KIP-951). From 13 on topics are named by id.

use super::Api;
use super::leadership::{LeaderHint, leader_hint};
use super::nodes::{NodeAddress, hinted_nodes};
use crate::call::{self, Call, CallError, Handled, Reply, ReplyFuture, ResponseStart};
use crate::error;
use duolog_base::{PartitionIndex, TopicId};
use duolog_core::broker::{Acks, Origin, PendingAppend, ProduceBatch, ProduceError, Produced};
use duolog_core::delay::{self, Delays, Divided};
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
use tokio::task::JoinSet;

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

impl Topic {
    /// Whether its batches may have records that are delivered later.
    fn delays(&self) -> bool {
        matches!(&self.name, Name::Known(topic) if topic.config.delays) && self.refused.is_none()
    }
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
    if topics.iter().any(Topic::delays) {
        let divided = divide(&call, &image, &batches);
        if divided.iter().any(Option::is_some) {
            let (acks, whole) = (acks.unwrap_or(Acks::None), std::mem::take(&mut batches));
            return Ok(Handled::InOrder(produce_later(call, topics, whole, divided, acks, timeout)));
        }
    }
    let buffer = std::mem::take(&mut call.frame);
    let append = call.services().broker.append(buffer, &batches, acks.unwrap_or(Acks::None), Origin::Client);
    if acks == Some(Acks::None) {
        return Ok(Handled::Done(silence(&topics, append.results())));
    }
    let deadline = Instant::now() + timeout;
    let answer = Answer { start: call.response_start(), context: call.context, topics };
    Ok(Handled::Deferred(ProduceReply { answer, append, deadline, _room: call.room }))
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

/// What becomes of each batch: nothing unless some of its records are delivered later, or it cannot be told.
fn divide(call: &Call, image: &MetadataImage, batches: &[ProduceBatch<'_>]) -> Vec<Option<Result<DividedBatch, ProduceError>>> {
    let now = call.services().delays.now();
    let divide = |batch: &ProduceBatch<'_>| {
        let topic = image.topic(&batch.topic.name).filter(|topic| topic.config.delays && !topic.internal)?;
        let divided = delay::divide(topic, batch.partition, &call.frame[batch.range.clone()], now).transpose()?;
        Some(divided.map(|divided| DividedBatch { topic: topic.clone(), partition: batch.partition, divided }))
    };
    batches.iter().map(divide).collect()
}

/// A batch with records that are delivered later.
struct DividedBatch {
    topic: Arc<TopicImage>,
    partition: PartitionIndex,
    divided: Divided,
}

/// Appends the whole batches at once, and the others when their timers are stored. What has begun goes on if nobody waits for it any more.
fn produce_later(
    mut call: Call,
    topics: Vec<Topic>,
    batches: Vec<ProduceBatch<'_>>,
    divided: Vec<Option<Result<DividedBatch, ProduceError>>>,
    acks: Acks,
    timeout: Duration,
) -> ReplyFuture {
    let is_whole = |(batch, divided): (_, &Option<_>)| divided.is_none().then_some(batch);
    let whole: Vec<ProduceBatch<'_>> = batches.into_iter().zip(&divided).filter_map(is_whole).collect();
    let buffer = std::mem::take(&mut call.frame);
    let append = call.services().broker.append(buffer, &whole, acks, Origin::Client);
    let (delays, room) = (call.services().delays.clone(), std::mem::take(&mut call.room));
    let answer = Answer { start: call.response_start(), context: call.context, topics };
    let count = divided.len();
    let storing = tokio::spawn(async move {
        let _room = room;
        store(&delays, append, divided, acks).await
    });
    Box::pin(async move {
        let results = match acks {
            Acks::None => storing.await.ok(),
            Acks::Leader | Acks::All => tokio::time::timeout(timeout, storing).await.ok().and_then(Result::ok),
        };
        match (acks, results) {
            (Acks::None, results) => silence(&answer.topics, &results.unwrap_or_else(|| vec![Err(ProduceError::Stopped)])),
            (_, Some(results)) => answer.respond(&results, true),
            // It is not known what became of them.
            (_, None) => answer.respond(&vec![Ok(Produced::UNKNOWN); count], false),
        }
    })
}

/// The result of each batch, in their order.
async fn store(
    delays: &Arc<Delays>,
    append: PendingAppend,
    divided: Vec<Option<Result<DividedBatch, ProduceError>>>,
    acks: Acks,
) -> Vec<Result<Produced, ProduceError>> {
    let mut results = vec![Err(ProduceError::Stopped); divided.len()];
    let mut tasks = JoinSet::new();
    let mut whole = Vec::new();
    for (at, divided) in divided.into_iter().enumerate() {
        match divided {
            None => whole.push(at),
            Some(Err(error)) => results[at] = Err(error),
            Some(Ok(DividedBatch { topic, partition, divided })) => {
                let delays = delays.clone();
                tasks.spawn(async move { (at, delays.append_divided(&topic, partition, divided, acks).await) });
            }
        }
    }
    for (at, result) in whole.into_iter().zip(append.done().await) {
        results[at] = result;
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((at, result)) = done {
            results[at] = result;
        }
    }
    results
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
fn silence(topics: &[Topic], results: &[Result<Produced, ProduceError>]) -> Result<Reply, CallError> {
    let refused = topics.iter().any(|topic| topic.refused.is_some() && !topic.partitions.is_empty());
    match refused || results.iter().any(Result::is_err) {
        true => Err(CallError::Refused("a batch sent with acks=0 was refused")),
        false => Ok(Reply::Silence),
    }
}

/// The answer to come when the batches are stored, or have taken too long.
pub(crate) struct ProduceReply {
    answer: Answer,
    append: PendingAppend,
    deadline: Instant,
    /// Taken until the answer is there.
    _room: Room,
}

impl ProduceReply {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, CallError>> {
        ready!(self.append.poll_done(context));
        Poll::Ready(self.answer.respond(self.append.results(), true))
    }

    /// When the client wants an answer in any case.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The answer when time is over. What was accepted stays appended, so it only says that it is not known to be stored.
    pub(crate) fn time_out(&mut self) -> Result<Reply, CallError> {
        let stored = self.append.poll_done(&mut Context::from_waker(Waker::noop())).is_ready();
        self.answer.respond(self.append.results(), stored)
    }
}

/// What an answer is made of beside the results.
struct Answer {
    start: ResponseStart,
    context: Arc<call::Context>,
    topics: Vec<Topic>,
}

impl Answer {
    /// One result for each batch that went to the broker, in their order.
    fn respond(&self, results: &[Result<Produced, ProduceError>], stored: bool) -> Result<Reply, CallError> {
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
