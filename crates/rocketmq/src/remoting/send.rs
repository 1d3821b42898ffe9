//! SEND_MESSAGE (10), SEND_MESSAGE_V2 (310) and SEND_BATCH_MESSAGE (320): messages from producers.
//!
//! All sends that one read from a connection brings are gathered and appended together. A send to a topic that must be created
//! first, or is for later, or a half message, goes its own way. What a producer does not wait for, or says need not be safe (`WAIT=false`), is acknowledged once
//! written; everything else as the topic's `flush` says.

use crate::append::{Appending, Gathering, Place, Target};
use crate::clients::ChannelRef;
use crate::cluster::{LaneSend, Lanes, Place as CurrentPlace, carry_one};
use crate::delay::{Later, is_delay, may_be_delayed};
use crate::locator::Locator;
use crate::message::{MessageError, MessageLimits, Outgoing};
use crate::names::{RETRY_PREFIX, is_closed_topic};
use crate::node::Node;
use crate::priority::{priority, queue_of};
use crate::remoting::Handling;
use crate::remoting::call::{Answer, Call, Refusal, encoded};
use crate::remoting::unanswered::{Held, Waiting};
use crate::topics::{Wish, unknown};
use crate::transactions::{HalfId, is_half, may_be_half};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_wire::remoting::batch::BatchBody;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{Header, SendMessageRequest, SendMessageResponse};
use duolog_wire::remoting::message::sys_flag;
use duolog_wire::remoting::properties::{Properties, name};
use duolog_wire::remoting::{Command, Fields};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Messages of one batch at most.
const BATCH_MESSAGES: usize = 32 << 10;
/// What clients are told of the region; the trace of a message says it again.
const REGION: &str = "DefaultRegion";

pub(crate) fn is_send(code: i32) -> bool {
    matches!(code, request::SEND_MESSAGE | request::SEND_MESSAGE_V2 | request::SEND_BATCH_MESSAGE)
}

/// The topic of a send, which is created if need be.
async fn topic(node: &Node, header: &SendMessageRequest<'_>) -> Result<Arc<TopicImage>, Refusal> {
    check_open(header.topic)?;
    let wish = Wish { default_topic: header.default_topic, queues: header.default_topic_queue_nums };
    node.topic_to_send(header.topic, wish).await
}

/// A send by itself, for now, whose topic is created if need be.
pub(super) async fn handle(call: Call) -> Result<Answer, Refusal> {
    let header = header(&call.command)?;
    topic(&call.node, &header).await?;
    if call.node.cluster.is_some() {
        let command = pinned(&call.node, &call.command, &call.node.broker.image());
        return carry_one(&call.node, &call.channel, command.unwrap_or_else(|| call.command.clone())).await;
    }
    let mut gathering = Gathering::default();
    let image = call.node.broker.image();
    let sent = gather(&mut gathering, &call.node, &call.channel, &image, &call.command)?;
    let sent = sent.ok_or_else(|| unknown(header.topic))?;
    let mut appending = gathering.append(&call.node.broker);
    std::future::poll_fn(|context| appending.poll_done(context)).await;
    let offset = appending.offset(sent.place)?;
    Ok(sent.answer(offset, call.node.store_host(call.channel.peer())))
}

/// When the message of a send is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    AtOnce,
    Later,
    /// When its producer says so.
    OnceCommitted,
}

/// When the single message of a send is seen. What a batch says of it is refused when that is gathered.
fn seen(node: &Node, command: &Command) -> Result<Seen, Refusal> {
    let properties = command.fields.get("i").or_else(|| command.fields.get("properties")).unwrap_or_default();
    let (may_be_delayed, may_be_half) = (may_be_delayed(properties), may_be_half(properties));
    if (!may_be_delayed && !may_be_half) || is_batch(command)? {
        return Ok(Seen::AtOnce);
    }
    let properties = Properties::new(properties);
    let is_for_later = may_be_delayed && node.delivery_of(properties)?.is_some();
    // Old consumers give back what was committed once as it is.
    let is_given_back = || properties.get(name::DELAY).is_some() && header(command).is_ok_and(|it| it.reconsume_times > Some(0));
    match (is_for_later, may_be_half && is_half(properties) && !is_given_back()) {
        (false, false) => Ok(Seen::AtOnce),
        (true, false) => Ok(Seen::Later),
        (false, true) => Ok(Seen::OnceCommitted),
        (true, true) => Err(Refusal::new(response::MESSAGE_ILLEGAL, "a transactional message cannot be delayed")),
    }
}

fn is_batch(command: &Command) -> Result<bool, Refusal> {
    Ok(command.code == request::SEND_BATCH_MESSAGE || header(command)?.batch)
}

/// Stores a message for later. Any node does that, wherever the queue is led.
async fn handle_later(call: Call) -> Result<Answer, Refusal> {
    let (node, header) = (&call.node, header(&call.command)?);
    let topic = topic(node, &header).await?;
    let queue = queue(node, &topic, header.queue_id)?;
    let incoming = Incoming::new(node, &call.channel, &call.command, header)?;
    let properties = Properties::new(incoming.header.properties.unwrap_or_default());
    let wishes = incoming.check(properties, false)?;
    let message = incoming.message(&call.command.body, properties, incoming.header.flag, wishes);
    // Its time may have come meanwhile.
    let now = Later { at: node.delays.now(), by_level: false };
    let later = node.delivery_of(properties)?.unwrap_or(now);
    let scheduled = node.store_later(&topic, queue, later, &message, incoming.limits).await?;
    let unique_key = properties.get(name::UNIQUE_KEY);
    let handle = node.recall_handle(&topic.name, unique_key.unwrap_or_default(), &scheduled);
    let id = Locator::pack(scheduled.number, scheduled.timer.offset).message_id(node.store_host(call.channel.peer())).to_string();
    let response = SendMessageResponse {
        msg_id: &id,
        queue_id: queue.0,
        queue_offset: scheduled.timer.offset.0,
        transaction_id: unique_key,
        recall_handle: Some(&handle),
        ..SendMessageResponse::default()
    };
    Ok(with_region(Answer::ok().header(response)))
}

/// Stores a half message. Any node does that, wherever the queue is led.
async fn handle_half(call: Call) -> Result<Answer, Refusal> {
    let (node, header) = (&call.node, header(&call.command)?);
    let topic = topic(node, &header).await?;
    let queue = queue(node, &topic, header.queue_id)?;
    let group = header.producer_group;
    let incoming = Incoming::new(node, &call.channel, &call.command, header)?;
    let properties = Properties::new(incoming.header.properties.unwrap_or_default());
    let wishes = incoming.check(properties, false)?;
    let message = incoming.message(&call.command.body, properties, incoming.header.flag, wishes);
    let prepared = node.store_half(&topic, queue, group, &message, incoming.limits).await?;
    let id = Locator::pack(prepared.number, prepared.offset).message_id(node.store_host(call.channel.peer())).to_string();
    let response = SendMessageResponse {
        msg_id: &id,
        queue_id: queue.0,
        queue_offset: HalfId::of(&prepared).table_offset,
        transaction_id: properties.get(name::UNIQUE_KEY),
        ..SendMessageResponse::default()
    };
    Ok(with_region(Answer::ok().header(response)))
}

/// Where a send goes on a cluster.
pub(crate) struct SendTarget {
    pub(crate) place: CurrentPlace,
    number: PartitionNumber,
}

/// Where the send's queue is led; `None` if the topic is not there, or the choice of the queue is left to the server.
pub(crate) fn send_target(node: &Node, command: &Command, image: &MetadataImage) -> Result<Option<SendTarget>, Refusal> {
    let header = header(command)?;
    let Some(topic) = image.topic(header.topic).filter(|topic| !topic.internal) else { return Ok(None) };
    let partition = topic.partition(PartitionIndex(asked_queue(&header, topic)));
    Ok(partition.map(|partition| SendTarget { place: node.place_of(image, partition), number: partition.number }))
}

/// The send with a queue of the server's choice, if the client leaves that to it.
fn pinned(node: &Node, command: &Command, image: &MetadataImage) -> Option<Command> {
    let header = header(command).ok()?;
    let topic = image.topic(header.topic).filter(|topic| asked_queue(&header, topic) < 0)?;
    let queue = node.any_queue(topic, image).0.to_string();
    let name = if command.fields.get("queueId").is_some() { "queueId" } else { "e" };
    let kept = command.fields.iter().filter(|(other, _)| *other != name);
    let fields = kept.chain([(name, &*queue)]).collect();
    Some(Command { fields, ..command.clone() })
}

/// Stores sends of a client at this node, together and in their order; an answer for each.
pub(crate) async fn store_all(node: &Arc<Node>, channel: &ChannelRef, commands: &[Command]) -> Vec<Command> {
    let image = node.broker.image();
    let mut gathering = Gathering::default();
    let gather = |command| match gather(&mut gathering, node, channel, &image, command) {
        // Who sends here has seen the topic: it is on its way.
        Ok(None) => Err(Refusal::not_here()),
        gathered => gathered.and_then(|sent| sent.ok_or_else(Refusal::not_here)),
    };
    let sent: Vec<Result<Sent, Refusal>> = commands.iter().map(gather).collect();
    let mut appending = gathering.append(&node.broker);
    std::future::poll_fn(|context| appending.poll_done(context)).await;
    let store_host = node.store_host(channel.peer());
    let outcome = |sent: Sent| Ok(sent.answer(appending.offset(sent.place)?, store_host));
    let outcomes = sent.into_iter().map(|sent| sent.and_then(outcome));
    commands.iter().zip(outcomes).map(|(command, outcome)| encoded(command.answer(response::SUCCESS), outcome)).collect()
}

/// Sends of one connection that are appended together.
pub(super) struct Sends {
    node: Arc<Node>,
    channel: ChannelRef,
    /// On a cluster: where those go that this node does not store.
    lanes: Option<Arc<Lanes>>,
    image: Option<Arc<MetadataImage>>,
    gathering: Gathering,
    waiting: Vec<WaitingSend>,
}

struct WaitingSend {
    sent: Sent,
    answer: Command,
    is_one_way: bool,
    held: Held,
    waiting: Waiting,
    /// On a cluster: the request, should another node lead when it is to be stored.
    again: Option<(PartitionNumber, Command)>,
}

impl Sends {
    pub(super) fn new(node: Arc<Node>, channel: ChannelRef, lanes: Option<Arc<Lanes>>) -> Sends {
        Sends { node, channel, lanes, image: None, gathering: Gathering::default(), waiting: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathering.is_empty()
    }

    /// Takes in a send. One that is refused, or has to wait for its topic, comes back with what answers it.
    pub(super) fn add(&mut self, mut call: Call, waiting: Waiting) -> Option<(Handling, Waiting)> {
        match seen(&self.node, &call.command) {
            Ok(Seen::AtOnce) => {}
            Ok(Seen::Later) => return Some((Box::pin(handle_later(call)), waiting)),
            Ok(Seen::OnceCommitted) => return Some((Box::pin(handle_half(call)), waiting)),
            Err(refusal) => return Some((Box::pin(std::future::ready(Err(refusal))), waiting)),
        }
        let image = self.image.get_or_insert_with(|| self.node.broker.image());
        let mut number = None;
        if let Some(lanes) = &self.lanes {
            if let Some(command) = pinned(&self.node, &call.command, image) {
                call.command = command;
            }
            if let Ok(Some(target)) = send_target(&self.node, &call.command, image) {
                if target.place != CurrentPlace::Here || lanes.is_busy(target.number) {
                    lanes.push(target.number, LaneSend { command: call.command, held: call.held, waiting });
                    return None;
                }
                number = Some(target.number);
            }
        }
        match gather(&mut self.gathering, &self.node, &self.channel, image, &call.command) {
            Ok(Some(sent)) => {
                let (answer, is_one_way) = (call.command.answer(response::SUCCESS), call.command.is_one_way());
                let again = number.map(|number| (number, call.command));
                self.waiting.push(WaitingSend { sent, answer, is_one_way, held: call.held, waiting, again });
                None
            }
            Ok(None) => Some((Box::pin(handle(call)), waiting)),
            Err(refusal) => Some((Box::pin(std::future::ready(Err(refusal))), waiting)),
        }
    }

    pub(super) fn append(self) -> PendingSends {
        let store_host = self.node.store_host(self.channel.peer());
        let appending = self.gathering.append(&self.node.broker);
        PendingSends { appending, waiting: self.waiting, store_host, lanes: self.lanes }
    }
}

/// Sends that have their offsets, and are not stored yet.
pub(super) struct PendingSends {
    appending: Appending,
    waiting: Vec<WaitingSend>,
    store_host: SocketAddr,
    lanes: Option<Arc<Lanes>>,
}

impl PendingSends {
    pub(super) fn poll_done(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.appending.poll_done(context)
    }

    /// Gives the answers once all are stored.
    pub(super) fn answers(&mut self, mut give: impl FnMut(Command)) {
        for send in self.waiting.drain(..) {
            let offset = self.appending.offset(send.sent.place);
            let outcome = offset.map(|offset| send.sent.answer(offset, self.store_host)).map_err(Refusal::from);
            match (outcome, send.again, &self.lanes) {
                (Err(refusal), Some((number, command)), Some(lanes)) if refusal.is_not_here() => {
                    lanes.push(number, LaneSend { command, held: send.held, waiting: send.waiting });
                }
                (outcome, _, _) if !send.is_one_way => give(encoded(send.answer, outcome.map_err(Refusal::shown))),
                _ => {}
            }
        }
    }
}

/// A send that is gathered.
struct Sent {
    place: Place,
    messages: i64,
    queue: PartitionIndex,
    number: PartitionNumber,
    /// Of all messages, joined by commas.
    unique_keys: Option<String>,
}

impl Sent {
    fn answer(&self, first: Offset, store_host: SocketAddr) -> Answer {
        let locators = (0..self.messages).map(|ahead| Locator::pack(self.number, first.plus(ahead)));
        let ids: Vec<String> = locators.map(|locator| locator.message_id(store_host).to_string()).collect();
        let response = SendMessageResponse {
            msg_id: &ids.join(","),
            queue_id: self.queue.0,
            queue_offset: first.0,
            transaction_id: self.unique_keys.as_deref(),
            ..SendMessageResponse::default()
        };
        with_region(Answer::ok().header(response))
    }
}

fn with_region(mut answer: Answer) -> Answer {
    answer.fields.push(name::MESSAGE_REGION, REGION);
    answer.fields.push(name::TRACE_ON, "true");
    answer
}

pub(super) fn header(command: &Command) -> Result<SendMessageRequest<'_>, Refusal> {
    let fields: &Fields = &command.fields;
    // Batches come in either form.
    let is_short = command.code == request::SEND_MESSAGE_V2 || fields.get("topic").is_none();
    Ok(if is_short { SendMessageRequest::from_v2(fields)? } else { SendMessageRequest::from_fields(fields)? })
}

pub(super) fn check_open(topic: &str) -> Result<(), Refusal> {
    match is_closed_topic(topic) {
        true => Err(Refusal::new(response::NO_PERMISSION, format!("Sending message to topic[{topic}] is forbidden."))),
        false => Ok(()),
    }
}

pub(super) fn check_body(command: &Command, limits: MessageLimits) -> Result<(), Refusal> {
    match command.body.len() > limits.max_body_bytes {
        true => {
            let remark = format!("body of {} bytes is larger than {}", command.body.len(), limits.max_body_bytes);
            Err(Refusal::new(response::MESSAGE_ILLEGAL, remark))
        }
        false => Ok(()),
    }
}

/// Adds the messages of a send; `None` if its topic does not exist.
fn gather(
    gathering: &mut Gathering,
    node: &Node,
    channel: &ChannelRef,
    image: &MetadataImage,
    command: &Command,
) -> Result<Option<Sent>, Refusal> {
    let header = header(command)?;
    check_open(header.topic)?;
    let Some(topic) = image.topic(header.topic).filter(|topic| !topic.internal) else { return Ok(None) };
    let queue = queue(node, topic, asked_queue(&header, topic))?;
    if node.place_of(image, &topic.partitions[queue.0 as usize]) != CurrentPlace::Here {
        return Err(Refusal::not_here());
    }
    let incoming = Incoming::new(node, channel, command, header)?;
    let number = topic.partitions[queue.0 as usize].number;
    let (place, messages, unique_keys) = match is_batch(command)? {
        true => incoming.gather_batch(gathering, topic, queue)?,
        false => incoming.gather_one(gathering, topic, queue)?,
    };
    Ok(Some(Sent { place, messages, queue, number, unique_keys }))
}

/// The queue that a send is for: that of the message's priority, or the one that the client has chosen.
fn asked_queue(header: &SendMessageRequest<'_>, topic: &TopicImage) -> i32 {
    let properties = Properties::new(header.properties.unwrap_or_default());
    let priority = priority(properties).filter(|_| !header.batch);
    priority.map_or(header.queue_id, |priority| queue_of(priority, topic.partitions.len() as i32).0)
}

/// The queue asked for; a negative one leaves the choice to the server.
pub(super) fn queue(node: &Node, topic: &TopicImage, asked: i32) -> Result<PartitionIndex, Refusal> {
    let count = topic.partitions.len() as i32;
    if asked >= count {
        let remark = format!("request queueId[{asked}] is illegal, topic[{}] has {count} queues", topic.name);
        return Err(Refusal::new(response::INVALID_PARAMETER, remark));
    }
    let any = || (node.monotonic_ms() % count as u64) as i32;
    Ok(PartitionIndex(if asked < 0 { any() } else { asked }))
}

/// A send whose target is known.
struct Incoming<'a> {
    header: SendMessageRequest<'a>,
    /// `WAIT=true` is what everybody means: it is not stored. To whom a question is replied by way of the cluster's topic for
    /// replies, whose name the consumer has from the question.
    changes: [(&'a str, Option<&'a str>); 2],
    channel: &'a ChannelRef,
    command: &'a Command,
    limits: MessageLimits,
    store_timestamp: TimestampMs,
}

type GatheredSend = (Place, i64, Option<String>);

impl<'a> Incoming<'a> {
    fn new(
        node: &'a Node,
        channel: &'a ChannelRef,
        command: &'a Command,
        header: SendMessageRequest<'a>,
    ) -> Result<Incoming<'a>, Refusal> {
        let limits = MessageLimits { max_body_bytes: node.broker.config().rocketmq_max_message_bytes };
        check_body(command, limits)?;
        let changes = [(name::WAIT, None), (name::CLUSTER, Some(node.names.cluster.as_str()))];
        Ok(Incoming { header, changes, channel, command, limits, store_timestamp: node.broker.clock().now() })
    }

    fn gather_one(
        &self,
        gathering: &mut Gathering,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
    ) -> Result<GatheredSend, Refusal> {
        let properties = Properties::new(self.header.properties.unwrap_or_default());
        let wishes = self.check(properties, false)?;
        let message = self.message(&self.command.body, properties, self.header.flag, wishes);
        let target = self.target(topic, queue, wishes.is_safe);
        let (place, stored) = gathering.push(&target, &message, self.limits)?;
        Ok((place, 1, stored.unique_key.map(str::to_owned)))
    }

    fn gather_batch(
        &self,
        gathering: &mut Gathering,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
    ) -> Result<GatheredSend, Refusal> {
        let illegal = |remark: String| Refusal::new(response::MESSAGE_ILLEGAL, remark);
        if self.header.topic.starts_with(RETRY_PREFIX) {
            return Err(illegal("batch request does not support retry group".to_owned()));
        }
        self.check(Properties::new(self.header.properties.unwrap_or_default()), true)?;
        let mut messages = Vec::new();
        let mut is_safe = false;
        for message in BatchBody::new(&self.command.body, BATCH_MESSAGES) {
            let message = message.map_err(|error| illegal(error.to_string()))?;
            let wishes = self.check(message.properties, true)?;
            is_safe |= wishes.is_safe;
            messages.push(self.message(message.body, message.properties, message.flag, wishes));
        }
        if messages.is_empty() {
            return Err(illegal("a batch without messages".to_owned()));
        }
        let count = messages.len() as i64;
        let mut keys: Vec<&str> = Vec::with_capacity(messages.len());
        let target = self.target(topic, queue, is_safe);
        let place = gathering.push_all(&target, messages.into_iter(), self.limits, |stored| keys.extend(stored.unique_key))?;
        Ok((place, count, (!keys.is_empty()).then(|| keys.join(","))))
    }

    fn message<'m>(&'m self, body: &'m [u8], properties: Properties<'m>, flag: i32, wishes: Wishes) -> Outgoing<'m> {
        Outgoing {
            body,
            properties,
            changes: &self.changes[usize::from(!wishes.says_wait)..1 + usize::from(wishes.is_question)],
            flag,
            // What a transaction was, or was meant to be, is said elsewhere.
            sys_flag: self.header.sys_flag & !sys_flag::TRANSACTION_MASK,
            born_timestamp: TimestampMs(self.header.born_timestamp),
            born_host: self.channel.peer().remote,
            store_timestamp: self.store_timestamp,
            reconsume_times: self.header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            delivered_at: None,
        }
    }

    fn target(&self, topic: &Arc<TopicImage>, queue: PartitionIndex, is_safe: bool) -> Target {
        let acks = if is_safe && !self.command.is_one_way() { Acks::All } else { Acks::Leader };
        Target { topic: topic.clone(), queue, acks }
    }

    /// Refuses delays and transactions in a batch, and what only half says that it is a half message.
    fn check(&self, properties: Properties<'_>, in_batch: bool) -> Result<Wishes, Refusal> {
        let mut wishes = Wishes { is_safe: true, says_wait: false, is_question: false };
        let mut prepared = false;
        for (property, value) in properties {
            match property {
                name::WAIT if value == "true" => wishes.says_wait = true,
                name::WAIT => wishes.is_safe = !value.eq_ignore_ascii_case("false"),
                name::REPLY_TO_CLIENT => wishes.is_question = true,
                name::TRANSACTION_PREPARED => prepared = value.eq_ignore_ascii_case("true"),
                name::DELAY if value == "0" => {}
                _ if in_batch && is_delay(property) => {
                    let remark = format!("messages of a batch cannot be delayed: property {property}");
                    return Err(Refusal::new(response::MESSAGE_ILLEGAL, remark));
                }
                _ => {}
            }
        }
        let is_flagged = self.header.sys_flag & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_PREPARED;
        let illegal = |what: &str| Err(Refusal::new(response::MESSAGE_ILLEGAL, what));
        match in_batch {
            true if prepared || is_flagged => illegal("messages of a batch cannot be transactional"),
            false if is_flagged && !prepared => illegal("a flag says prepared, and no property TRAN_MSG"),
            _ => Ok(wishes),
        }
    }
}

/// What the properties say of how a message is to be stored.
#[derive(Clone, Copy)]
struct Wishes {
    is_safe: bool,
    says_wait: bool,
    /// The sender waits for a reply.
    is_question: bool,
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Refusal {
        Refusal::new(response::MESSAGE_ILLEGAL, error.to_string())
    }
}
