//! Clients whose connections other nodes hold, as channels of this node.
//!
//! A guest is made by the first request that comes in its name. What is sent to its channel is delivered to the node that holds the
//! connection. It ends when that node says so, is fenced or begins a new life, or has not spoken of it for a while.

use super::messages::{self, DELIVER, Origin};
use super::{CALL_LIMIT, DELIVERIES, PAUSE};
use crate::clients::{CLIENT_LIFE_MS, Channel, ChannelRef};
use crate::node::Node;
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_net::Peer;
use duolog_peer::{CallError, CallRefusal};
use duolog_wire::remoting::Command;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Clients of other nodes at most.
const GUESTS: usize = 100_000;
/// One of which nobody has spoken for so long is gone: clients say that they live every 30 s.
const GUEST_LIFE_MS: u64 = CLIENT_LIFE_MS + 30_000;
/// Bytes of frames that leave together, unless one is larger, and their number.
const DELIVERED_BYTES: usize = 4 << 20;
const DELIVERED_FRAMES: usize = 1024;
/// How often a delivery is tried before what it brings is given up.
const ATTEMPTS: usize = 20;
/// Connections of this node itself have numbers without this bit.
const GUEST_BIT: u64 = 1 << 63;

/// Whether a connection of this number is a guest's.
pub(crate) fn is_guest_number(connection: u64) -> bool {
    connection & GUEST_BIT != 0
}

#[derive(Default)]
pub(super) struct Guests {
    /// Guards the table; held for one look-up.
    table: Mutex<HashMap<(NodeId, u64), Guest>>,
    last: AtomicU64,
}

struct Guest {
    life: i64,
    channel: ChannelRef,
    seen_ms: u64,
}

impl Guests {
    /// The guests that are no longer there by this rule.
    fn take(&self, is_over: impl Fn(&(NodeId, u64), &Guest) -> bool) -> Vec<ChannelRef> {
        let mut table = self.table.lock();
        table.extract_if(|key, guest| is_over(key, guest)).map(|(_, guest)| guest.channel).collect()
    }
}

impl Node {
    /// The channel of a client whose connection another node holds.
    pub(super) fn guest(self: &Arc<Self>, from: NodeId, origin: Origin) -> Result<ChannelRef, CallRefusal> {
        let cluster = self.cluster.as_ref().ok_or(CallRefusal::NotServed)?;
        let key = (from, origin.connection);
        let now_ms = self.monotonic_ms();
        {
            let mut table = cluster.guests.table.lock();
            if let Some(guest) = table.get_mut(&key).filter(|guest| guest.life == origin.life && !guest.channel.is_gone()) {
                guest.seen_ms = now_ms;
                return Ok(guest.channel.clone());
            }
        }
        // Those of an earlier life of that node.
        self.end_guests(|(node, _), guest| *node == from && guest.life < origin.life);
        let number = cluster.guests.last.fetch_add(1, Ordering::Relaxed) | GUEST_BIT;
        let peer = Peer {
            local: origin.local,
            remote: origin.remote,
            listener: "rocketmq".to_owned(),
            advertised: None,
            connection: number,
        };
        let (channel, frames) = Channel::new(peer);
        let before = {
            let mut table = cluster.guests.table.lock();
            if table.len() >= GUESTS {
                return Err(CallRefusal::Busy);
            }
            table.insert(key, Guest { life: origin.life, channel: channel.clone(), seen_ms: now_ms })
        };
        before.into_iter().for_each(|guest| self.guest_is_gone(&guest.channel));
        tokio::spawn(deliver(Arc::downgrade(self), from, origin, channel.clone(), frames));
        Ok(channel)
    }

    /// The client's connection has ended.
    pub(super) fn guest_left(&self, from: NodeId, origin: Origin) {
        self.end_guests(|key, guest| *key == (from, origin.connection) && guest.life == origin.life);
    }

    /// A node's clients are no longer known to be there.
    pub(super) fn end_guests_of(&self, from: NodeId) {
        self.end_guests(|(node, _), _| *node == from);
    }

    /// Ends those that nobody has spoken of.
    pub(crate) fn expire_guests(&self) {
        let now_ms = self.monotonic_ms();
        self.end_guests(|_, guest| guest.channel.is_gone() || now_ms.saturating_sub(guest.seen_ms) > GUEST_LIFE_MS);
    }

    fn end_guests(&self, is_over: impl Fn(&(NodeId, u64), &Guest) -> bool) {
        let Some(cluster) = &self.cluster else { return };
        cluster.guests.take(is_over).iter().for_each(|channel| self.guest_is_gone(channel));
    }

    fn guest_is_gone(&self, channel: &ChannelRef) {
        channel.close();
        self.clients.gone(channel);
        channel.closed();
    }

    /// The nodes whose clients are here.
    pub(super) fn hosts(&self) -> Vec<NodeId> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let mut nodes: Vec<NodeId> = cluster.guests.table.lock().keys().map(|(node, _)| *node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// Takes what is sent to a guest to the node that holds its connection, until the channel is closed.
async fn deliver(node: Weak<Node>, to: NodeId, origin: Origin, channel: ChannelRef, mut frames: mpsc::Receiver<Command>) {
    let mut closing = channel.closing();
    loop {
        let first = tokio::select! {
            biased;
            frame = frames.recv() => frame,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let Some(first) = first else { break };
        let mut bytes = first.body.len();
        let mut ready = vec![first];
        while bytes < DELIVERED_BYTES
            && ready.len() < DELIVERED_FRAMES
            && let Ok(frame) = frames.try_recv()
        {
            bytes += frame.body.len();
            ready.push(frame);
        }
        let Some(node) = node.upgrade() else { break };
        if !node.bring(to, origin, &ready).await {
            node.guest_left(to, origin);
            break;
        }
    }
    frames.close();
}

impl Node {
    /// Brings frames to the node that holds a connection; false if it says that there is none.
    async fn bring(&self, to: NodeId, origin: Origin, ready: &[Command]) -> bool {
        let Some(cluster) = &self.cluster else { return false };
        let body = messages::pack(&origin, |out| ready.iter().for_each(|frame| frame.encode(out)));
        for _ in 0..ATTEMPTS {
            match cluster.peers.call(to, DELIVERIES, DELIVER, body.clone(), CALL_LIMIT).await {
                Ok(answer) => return answer != Bytes::from_static(&[messages::HELD]),
                Err(CallError::Refused { refusal: CallRefusal::Malformed, .. } | CallError::TooLong { .. }) => return true,
                // It may have arrived: an answer that comes twice is dropped there, and a notice does no harm.
                Err(error) => tracing::debug!(%error, "frames for a client are not delivered"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        true
    }
}
