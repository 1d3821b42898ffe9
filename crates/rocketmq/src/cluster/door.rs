//! Calls of other nodes, and who answers them. Nothing that comes in here is passed on once more.

use super::members::Membership;
use super::messages::{
    self, APPEND, ASK_PRODUCER, CLIENT_ANSWERS, DELIVER, FORWARD, GONE, Head, MEMBER, NOTES, Origin, QUESTION, SEND,
    TELL_PRODUCER,
};
use super::outbox::Note;
use crate::node::Node;
use crate::remoting::is_send;
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{Answer, CallKind, CallRefusal, PeerService};
use std::sync::{Arc, Weak};

/// Where other nodes' calls arrive.
pub(super) struct Door(pub(super) Weak<Node>);

impl PeerService for Door {
    fn call(&self, from: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let node = self.0.upgrade();
        Box::pin(async move {
            let node = node.ok_or(CallRefusal::Stopping)?;
            match kind {
                FORWARD => forwarded(node, from, body).await,
                SEND => sent(node, from, body).await,
                DELIVER => node.delivered(from, body),
                CLIENT_ANSWERS => client_answers(&node, from, body),
                GONE => {
                    let origin: Origin = messages::unpack_alone(body)?;
                    node.guest_left(from, origin);
                    Ok(Vec::new())
                }
                MEMBER => {
                    let membership: Membership = messages::unpack_alone(body)?;
                    node.catch_up(membership.head.applied).await;
                    Ok(messages::whole(&node.member_of(from, membership)?))
                }
                NOTES => {
                    let notes: Vec<Note> = messages::unpack_alone(body)?;
                    Ok(messages::whole(&node.take_notes(&notes)))
                }
                QUESTION => node.asked(body).await,
                APPEND => node.appended(body).await,
                TELL_PRODUCER => node.told_producer(body),
                ASK_PRODUCER => node.asked_for_producer(body).await,
                _ => Err(CallRefusal::NotServed),
            }
        })
    }
}

async fn forwarded(node: Arc<Node>, from: NodeId, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
    let (head, rest): (Head, Bytes) = messages::unpack(body)?;
    let command = messages::frame(rest)?;
    if command.is_response() || is_send(command.code) {
        return Err(CallRefusal::Malformed);
    }
    node.catch_up(head.applied).await;
    let channel = node.guest(from, head.origin)?;
    node.carried(channel, command).await
}

async fn sent(node: Arc<Node>, from: NodeId, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
    let (head, rest): (Head, Bytes) = messages::unpack(body)?;
    let commands = messages::frames(rest)?;
    if commands.iter().any(|command| command.is_response() || !is_send(command.code)) {
        return Err(CallRefusal::Malformed);
    }
    node.catch_up(head.applied).await;
    let channel = node.guest(from, head.origin)?;
    node.carried_sends(channel, commands).await
}

/// What a guest says to what this node has asked it.
fn client_answers(node: &Arc<Node>, from: NodeId, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
    let (head, rest): (Head, Bytes) = messages::unpack(body)?;
    let channel = node.guest(from, head.origin)?;
    for answer in messages::frames(rest)? {
        channel.answered(answer);
    }
    Ok(Vec::new())
}
