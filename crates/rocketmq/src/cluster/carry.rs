//! One request of a client of this node: done where it belongs, and answered from there.
//!
//! While nobody can do it, it is held for a moment ([`Patience`]). A pull that nobody can answer then is told that there is nothing yet;
//! any other request gets a code after which clients try again. A request that waits for something at its node (a long poll) is answered
//! by a delivery; if another node takes over meanwhile it goes there.

use super::messages::{self, DONE, FORWARD, HELD};
use super::{CALL_LIMIT, Patience, Place, REQUESTS, lost};
use crate::clients::ChannelRef;
use crate::node::Node;
use crate::remoting::{Answer, Call, Concern, Handler, Held, QueueOf, Refusal, complete_pull, concern, encoded, handle};
use bytes::{Buf, Bytes};
use duolog_base::{NodeId, TopicId};
use duolog_core::metadata::MetadataImage;
use duolog_peer::CallRefusal;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{Header, PullMessageRequest, PullMessageResponse};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A request that another node has passed on and that takes longer is answered by a delivery.
const HELD_AFTER: Duration = Duration::from_millis(20);
/// Requests of other nodes that are held here at most.
const HELD_REQUESTS: usize = 100_000;
/// How long an answer that is held elsewhere may take: longer than any handler waits, for clients or for messages.
const HELD_LIMIT: Duration = Duration::from_secs(40);
/// How often it is looked whether the node that holds a request still is the one.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// A long poll whose bytes are no more than this gives their room back while it waits.
const SMALL_FRAME_BYTES: usize = 16 << 10;

/// Does a request where it belongs.
pub(crate) async fn carry(mut call: Call, handle: Handler) -> Result<Answer, Refusal> {
    if is_long_poll(&call.command) && frame_bytes(&call.command) <= SMALL_FRAME_BYTES {
        call.release_room();
    }
    let mut patience = Patience::new(&call.node);
    loop {
        patience.begin();
        let outcome = attempt(&call, handle).await;
        match outcome {
            Err(refusal) if refusal.is_not_here() => {}
            outcome => return outcome,
        }
        if call.channel.is_gone() || *call.node.broker.stopping().borrow() || !patience.wait().await {
            return given_up(&call.command);
        }
    }
}

fn frame_bytes(command: &Command) -> usize {
    command.body.len() + command.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

async fn attempt(call: &Call, handle: Handler) -> Result<Answer, Refusal> {
    let image = call.node.broker.image();
    match place(call, &image).await {
        Place::Here => handle(again(call)).await,
        Place::At(node) => pass_on(call, node).await,
        Place::Nowhere => Err(Refusal::not_here()),
    }
}

/// Where the request is done now.
async fn place(call: &Call, image: &MetadataImage) -> Place {
    match concern(call, image) {
        Concern::Anybody => Place::Here,
        Concern::Queue(QueueOf { topic, index }) => {
            topic.partition(index).map_or(Place::Here, |partition| call.node.place_of(image, partition))
        }
        Concern::Group(group) => call.node.home(&group).await,
    }
}

/// The request for one attempt.
fn again(call: &Call) -> Call {
    Call { node: call.node.clone(), channel: call.channel.clone(), command: call.command.clone(), held: Held::default() }
}

/// Has another node do the request.
pub(crate) async fn pass_on(call: &Call, to: NodeId) -> Result<Answer, Refusal> {
    let Some(cluster) = &call.node.cluster else { return Err(Refusal::not_here()) };
    let completed = if is_pull(&call.command) { complete_pull(call)? } else { None };
    let command = completed.as_ref().unwrap_or(&call.command);
    let awaited = cluster.holder.await_answer(&call.channel, to, call.command.opaque);
    let Some(mut awaited) = awaited else { return Err(gone()) };
    let epoch = standing(call, to);
    let body = messages::pack(&call.node.head(&call.channel), |out| command.encode(out));
    let mut answer = cluster.peers.call(to, REQUESTS, FORWARD, body, CALL_LIMIT).await.map_err(|error| lost(&error))?;
    match answer.try_get_u8() {
        Ok(DONE) if answer.is_empty() => return Ok(Answer::ok()),
        Ok(DONE) => return outcome(messages::frame(answer).map_err(|_| Refusal::not_here())?),
        Ok(HELD) => {}
        _ => return Err(Refusal::not_here()),
    }
    let deadline = Instant::now() + HELD_LIMIT;
    let mut stopping = call.node.broker.stopping();
    loop {
        tokio::select! {
            biased;
            late = &mut awaited.answer => return late.map_err(|_| Refusal::not_here()).and_then(outcome),
            () = call.channel.gone() => return Err(gone()),
            _ = stopping.wait_for(|stopping| *stopping) => return Err(Refusal::not_here()),
            () = tokio::time::sleep(LOOK_PERIOD) => {}
        }
        if Instant::now() > deadline || standing(call, to) != epoch {
            return Err(Refusal::not_here());
        }
    }
}

/// By what a node is the one for the request: something else as soon as it is another life of it, or no longer the one, or as it has
/// ended what it knew of clients of this node, which was fenced.
fn standing(call: &Call, to: NodeId) -> Option<(TopicId, i32, Option<u64>)> {
    let image = call.node.broker.image();
    image.nodes.get(&call.node.broker.node()).filter(|node| node.is_live())?;
    let life = image.nodes.get(&to).and_then(|node| node.membership.as_ref()).map(|membership| membership.epoch.0);
    match concern(call, &image) {
        Concern::Queue(QueueOf { topic, index }) => {
            let partition = topic.partition(index).filter(|partition| partition.leader == to)?;
            Some((topic.id, partition.leader_epoch.0, life))
        }
        Concern::Group(group) => (call.node.home_now(&group) == Place::At(to)).then_some((TopicId::default(), 0, life)),
        Concern::Anybody => Some((TopicId::default(), 0, life)),
    }
}

fn outcome(answer: Command) -> Result<Answer, Refusal> {
    let Command { code, remark, fields, body, .. } = answer;
    match code == response::NOT_LEADER_FOR_QUEUE {
        true => Err(Refusal::not_here()),
        false => Ok(Answer { code, remark, fields, body }),
    }
}

fn gone() -> Refusal {
    Refusal::new(response::SYSTEM_ERROR, "the client is gone")
}

fn is_pull(command: &Command) -> bool {
    matches!(command.code, request::PULL_MESSAGE | request::LITE_PULL_MESSAGE)
}

/// Whether the request may be held for as long as there is nothing.
fn is_long_poll(command: &Command) -> bool {
    is_pull(command) || matches!(command.code, request::POP_MESSAGE | request::NOTIFICATION)
}

/// What a client is told whose request could not be done for now.
fn given_up(command: &Command) -> Result<Answer, Refusal> {
    if !is_pull(command) {
        return Err(Refusal::busy());
    }
    let header = PullMessageRequest::from_fields(&command.fields)?;
    let at = header.queue_offset.max(0);
    let header = PullMessageResponse { next_begin_offset: at, max_offset: at, ..PullMessageResponse::default() };
    Ok(Answer::of(response::PULL_NOT_FOUND).header(header))
}

impl Node {
    /// A request that another node has passed on.
    pub(super) async fn carried(self: &Arc<Self>, channel: ChannelRef, command: Command) -> Result<Vec<Bytes>, CallRefusal> {
        let answer = command.answer(0);
        let one_way = command.is_one_way();
        let call = Call { node: self.clone(), channel: channel.clone(), command, held: Held::default() };
        let mut handling = handle(call);
        match tokio::time::timeout(HELD_AFTER, &mut handling).await {
            Ok(_) if one_way => Ok(vec![Bytes::from_static(&[DONE])]),
            Ok(outcome) => {
                let answer = encoded(answer, outcome);
                Ok(vec![Bytes::from_static(&[DONE]), messages::encoded(&[answer])])
            }
            Err(_) => {
                let place = HeldHere::take(self).ok_or(CallRefusal::Busy)?;
                tokio::spawn(async move {
                    let _place = place;
                    let outcome = tokio::select! {
                        outcome = handling => outcome,
                        () = channel.gone() => return,
                    };
                    if !one_way {
                        let _ = channel.frames().send(encoded(answer, outcome)).await;
                    }
                });
                Ok(vec![Bytes::from_static(if one_way { &[DONE] } else { &[HELD] })])
            }
        }
    }
}

/// A place among the requests of other nodes that are held here.
struct HeldHere(Arc<Node>);

impl HeldHere {
    fn take(node: &Arc<Node>) -> Option<HeldHere> {
        let cluster = node.cluster.as_ref()?;
        let place = HeldHere(node.clone());
        (cluster.held.fetch_add(1, Ordering::Relaxed) < HELD_REQUESTS).then_some(place)
    }
}

impl Drop for HeldHere {
    fn drop(&mut self) {
        if let Some(cluster) = &self.0.cluster {
            cluster.held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
