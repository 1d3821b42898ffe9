//! The node that holds clients' connections: which other nodes know of them, and which of their requests are held elsewhere.

use super::messages::{self, ASK_PRODUCER, CLIENT_ANSWERS, DONE, GONE, HELD, Head, Origin};
use super::{CALL_LIMIT, DELIVERIES};
use crate::clients::{Channel, ChannelError, ChannelRef};
use crate::node::Node;
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::CallRefusal;
use duolog_wire::remoting::Command;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a client may take to answer what another node asks of it; that node waits no longer than 10 s itself.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Holder {
    /// The connections that other nodes know of. Guards the table; held for one look-up.
    table: Mutex<HashMap<u64, Known>>,
}

struct Known {
    channel: ChannelRef,
    nodes: HashSet<NodeId>,
    /// Requests whose answers come later, by the node that holds them and opaque.
    held: HashMap<(NodeId, i32), oneshot::Sender<Command>>,
}

/// A request that may be answered later.
pub(super) struct Awaited<'a> {
    holder: &'a Holder,
    connection: u64,
    request: (NodeId, i32),
    pub(super) answer: oneshot::Receiver<Command>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.answer.close();
        if let Some(known) = self.holder.table.lock().get_mut(&self.connection) {
            // Another request of this number may have taken the place.
            if known.held.get(&self.request).is_some_and(oneshot::Sender::is_closed) {
                known.held.remove(&self.request);
            }
        }
    }
}

impl Holder {
    /// Notes that a node is about to hear of a connection; false if that has ended.
    pub(super) fn introduce(&self, channel: &ChannelRef, node: NodeId) -> bool {
        let mut table = self.table.lock();
        if channel.is_gone() {
            return false;
        }
        known(&mut table, channel).nodes.insert(node);
        true
    }

    /// The same for a request that may be answered later.
    pub(super) fn await_answer(&self, channel: &ChannelRef, node: NodeId, opaque: i32) -> Option<Awaited<'_>> {
        let mut table = self.table.lock();
        if channel.is_gone() {
            return None;
        }
        let known = known(&mut table, channel);
        known.nodes.insert(node);
        let (tell, answer) = oneshot::channel();
        let request = (node, opaque);
        known.held.insert(request, tell);
        Some(Awaited { holder: self, connection: channel.id(), request, answer })
    }
}

fn known<'a>(table: &'a mut HashMap<u64, Known>, channel: &ChannelRef) -> &'a mut Known {
    let new = || Known { channel: channel.clone(), nodes: HashSet::new(), held: HashMap::new() };
    table.entry(channel.id()).or_insert_with(new)
}

impl Node {
    /// A connection of this node as others know it.
    pub(super) fn origin(&self, channel: &Channel) -> Origin {
        let (life, peer) = (self.cluster.as_ref().map_or(0, |cluster| cluster.life), channel.peer());
        Origin { life, connection: channel.id(), remote: peer.remote, local: peer.local }
    }

    pub(super) fn head(&self, channel: &Channel) -> Head {
        Head { origin: self.origin(channel), applied: self.broker.image().applied }
    }

    /// A connection has ended: the nodes that know of it are told.
    pub(crate) fn connection_gone(self: &Arc<Self>, channel: &ChannelRef) {
        let Some(cluster) = &self.cluster else { return };
        let Some(known) = cluster.holder.table.lock().remove(&channel.id()) else { return };
        let body = messages::pack_alone(&self.origin(channel));
        for to in known.nodes {
            let (node, body) = (self.clone(), body.clone());
            tokio::spawn(async move {
                let Some(cluster) = &node.cluster else { return };
                // Who does not hear it finds out by himself.
                if let Err(error) = cluster.peers.call(to, DELIVERIES, GONE, body, CALL_LIMIT).await {
                    tracing::debug!(%error, "a node is not told of the end of a connection");
                }
            });
        }
    }

    /// Frames of another node for a client of this one; [`HELD`] if the client is not here.
    pub(super) fn delivered(self: &Arc<Self>, from: NodeId, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        let (origin, rest): (Origin, Bytes) = messages::unpack(body)?;
        let frames = messages::frames(rest)?;
        let cluster = self.cluster.as_ref().ok_or(CallRefusal::NotServed)?;
        let channel = {
            let table = cluster.holder.table.lock();
            table.get(&origin.connection).filter(|_| origin.life == cluster.life).map(|known| known.channel.clone())
        };
        let Some(channel) = channel.filter(|channel| !channel.is_gone()) else { return Ok(vec![Bytes::from_static(&[HELD])]) };
        for frame in frames {
            if frame.is_response() {
                self.answered_late(from, &channel, frame);
            } else if frame.is_one_way() {
                if let Err(error) = channel.notify(frame) {
                    tracing::debug!(%error, "a client is not told what another node has to say");
                }
            } else {
                tokio::spawn(relay(self.clone(), from, channel.clone(), frame));
            }
        }
        Ok(vec![Bytes::from_static(&[DONE])])
    }

    fn answered_late(&self, from: NodeId, channel: &ChannelRef, answer: Command) {
        let Some(cluster) = &self.cluster else { return };
        let waiting =
            cluster.holder.table.lock().get_mut(&channel.id()).and_then(|known| known.held.remove(&(from, answer.opaque)));
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
    }
}

/// Asks a client what another node wants to know.
async fn relay(node: Arc<Node>, from: NodeId, channel: ChannelRef, question: Command) {
    let opaque = question.opaque;
    let answer = match channel.call(question, CLIENT_LIMIT).await {
        Ok(answer) => Command { opaque, ..answer },
        // The one who asks waits no longer, either.
        Err(error) => return tracing::debug!(%error, "a client does not answer another node"),
    };
    let Some(cluster) = &node.cluster else { return };
    let body = messages::pack(&node.head(&channel), |out| answer.encode(out));
    if let Err(error) = cluster.peers.call(from, DELIVERIES, CLIENT_ANSWERS, body, CALL_LIMIT).await {
        tracing::debug!(%error, "a client's answer is not handed on");
    }
}

impl Node {
    /// Asks the producer of that id, whichever node it is connected to; `None` if nobody has it.
    pub(crate) async fn ask_producer(
        &self,
        id: &str,
        question: Command,
        limit: Duration,
    ) -> Option<Result<Command, ChannelError>> {
        if let Some(client) = self.clients.find_producer(id) {
            return Some(client.channel.call(question, limit).await);
        }
        let cluster = self.cluster.as_ref()?;
        let body = messages::pack(&id, |out| question.encode(out));
        for other in self.others() {
            let answer = cluster.peers.call(other, DELIVERIES, ASK_PRODUCER, body.clone(), limit + CALL_LIMIT).await;
            match answer.map(|answer| (answer.first().copied(), answer)) {
                Ok((Some(DONE), answer)) => return Some(messages::frame(answer.slice(1..)).map_err(|_| ChannelError::Closed)),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a node is not asked for a producer"),
            }
        }
        None
    }

    /// A question of another node to a producer.
    pub(super) async fn asked_for_producer(&self, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        let (id, rest): (String, Bytes) = messages::unpack(body)?;
        let question = messages::frame(rest)?;
        match self.clients.find_producer(&id) {
            Some(client) => match client.channel.call(question, CLIENT_LIMIT).await {
                Ok(answer) => Ok(vec![Bytes::from_static(&[DONE]), messages::encoded(&[answer])]),
                Err(_) => Ok(vec![Bytes::from_static(&[DONE])]),
            },
            None => Ok(vec![Bytes::from_static(&[HELD])]),
        }
    }
}
