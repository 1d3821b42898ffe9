//! Sends of one connection for queues that other nodes lead.
//!
//! Those for one queue leave one call after the other, each with what has gathered meanwhile, so that they are stored in the order in
//! which they came. A call that nobody can take now is made again, first come first served, as long as there is [`Patience`].
//! One that was lost under way is made again, too: its messages may be stored twice, as when a client sends again.

use super::messages::{self, SEND};
use super::{Patience, Place, SENDS};
use crate::clients::ChannelRef;
use crate::node::Node;
use crate::remoting::{Answer, Held, Refusal, Waiting, encoded, send_target, store_all};
use bytes::Bytes;
use duolog_base::{NodeId, PartitionNumber};
use duolog_peer::{CallError, CallRefusal};
use duolog_wire::remoting::Command;
use duolog_wire::remoting::code::response;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Sends of one call, and their bytes, unless one has more.
const SENDS_A_CALL: usize = 512;
const SENT_BYTES: usize = 2 << 20;
/// How long a call may take: the disks of all replicas have to answer.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// A send that is not answered yet.
pub(crate) struct LaneSend {
    pub(crate) command: Command,
    pub(crate) held: Held,
    pub(crate) waiting: Waiting,
}

/// The sends of one connection that are not this node's to store, by partition. A partition is listed while its lane is at work.
pub(crate) struct Lanes {
    node: Arc<Node>,
    channel: ChannelRef,
    /// Guards the lists; held for one look-up.
    lanes: Mutex<HashMap<PartitionNumber, VecDeque<LaneSend>>>,
}

impl Lanes {
    pub(crate) fn new(node: Arc<Node>, channel: ChannelRef) -> Arc<Lanes> {
        Arc::new(Lanes { node, channel, lanes: Mutex::default() })
    }

    /// Whether sends for the partition are on their way: later ones come after them.
    pub(crate) fn is_busy(&self, number: PartitionNumber) -> bool {
        self.lanes.lock().contains_key(&number)
    }

    pub(crate) fn push(self: &Arc<Self>, number: PartitionNumber, send: LaneSend) {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get_mut(&number) {
            return lane.push_back(send);
        }
        lanes.insert(number, VecDeque::from([send]));
        tokio::spawn(self.clone().run(number));
    }

    async fn run(self: Arc<Self>, number: PartitionNumber) {
        while let Some(sends) = self.take(number) {
            let (commands, rest): (Vec<Command>, Vec<(Held, Waiting)>) =
                sends.into_iter().map(|send| (send.command, (send.held, send.waiting))).unzip();
            let answers = carry_all(&self.node, &self.channel, &commands).await;
            for ((command, answer), _rest) in commands.iter().zip(answers).zip(rest) {
                if !command.is_one_way() {
                    // If the connection is gone nobody waits for the answer.
                    let _ = self.channel.frames().send(answer).await;
                }
            }
        }
    }

    /// The next sends of a lane; it ends when there are none.
    fn take(&self, number: PartitionNumber) -> Option<Vec<LaneSend>> {
        let mut lanes = self.lanes.lock();
        let lane = lanes.get_mut(&number)?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = lane.front() {
            bytes += next.command.body.len();
            if taken.len() == SENDS_A_CALL || (bytes > SENT_BYTES && !taken.is_empty()) {
                break;
            }
            taken.extend(lane.pop_front());
        }
        if taken.is_empty() {
            lanes.remove(&number);
            return None;
        }
        Some(taken)
    }
}

/// Stores one send wherever its queue is led.
pub(crate) async fn carry_one(node: &Arc<Node>, channel: &ChannelRef, command: Command) -> Result<Answer, Refusal> {
    let answer = carry_all(node, channel, &[command]).await.pop();
    let Some(Command { code, remark, fields, body, .. }) = answer else { return Err(Refusal::busy()) };
    Ok(Answer { code, remark, fields, body })
}

/// Stores sends for one partition, in their order; an answer for each.
async fn carry_all(node: &Arc<Node>, channel: &ChannelRef, commands: &[Command]) -> Vec<Command> {
    let mut answers: Vec<Option<Command>> = vec![None; commands.len()];
    let mut patience = Patience::new(node);
    loop {
        let open: Vec<usize> = (0..commands.len()).filter(|at| answers[*at].is_none()).collect();
        let asked: Vec<Command> = open.iter().map(|at| commands[*at].clone()).collect();
        patience.begin();
        let stored = store_somewhere(node, channel, &asked).await;
        for (at, answer) in open.into_iter().zip(stored.into_iter().flatten()) {
            answers[at] = Some(answer).filter(|answer| answer.code != response::NOT_LEADER_FOR_QUEUE);
        }
        let is_done = answers.iter().all(Option::is_some);
        if is_done || channel.is_gone() || !patience.wait().await {
            break;
        }
    }
    let refused = |command: &Command| encoded(command.answer(0), Err(Refusal::unavailable()));
    answers.into_iter().zip(commands).map(|(answer, command)| answer.unwrap_or_else(|| refused(command))).collect()
}

/// One attempt; nothing if it came to nothing.
async fn store_somewhere(node: &Arc<Node>, channel: &ChannelRef, commands: &[Command]) -> Option<Vec<Command>> {
    let image = node.broker.image();
    let target = send_target(node, commands.first()?, &image).ok().flatten();
    let place = target.map_or(Place::Here, |target| target.place);
    match place {
        Place::Here => Some(store_all(node, channel, commands).await),
        Place::At(to) => send_to(node, channel, to, commands).await,
        Place::Nowhere => None,
    }
}

async fn send_to(node: &Arc<Node>, channel: &ChannelRef, to: NodeId, commands: &[Command]) -> Option<Vec<Command>> {
    let cluster = node.cluster.as_ref()?;
    if !cluster.holder.introduce(channel, to) {
        return None;
    }
    let body = messages::pack(&node.head(channel), |out| commands.iter().for_each(|command| command.encode(out)));
    match cluster.peers.call(to, SENDS, SEND, body, SEND_LIMIT).await {
        Ok(answers) => {
            let answers = messages::frames(answers).ok().filter(|answers| answers.len() == commands.len());
            // They are stored: what cannot be told is not done again.
            let untold = || Refusal::new(response::SYSTEM_ERROR, "the leader's answer cannot be read");
            let refused = || commands.iter().map(|command| encoded(command.answer(0), Err(untold()))).collect();
            Some(answers.unwrap_or_else(refused))
        }
        Err(error @ CallError::TooLong { .. }) => {
            tracing::warn!(%error, "sends are not passed on");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "sends are not passed on");
            None
        }
    }
}

impl Node {
    /// Sends that another node has passed on.
    pub(super) async fn carried_sends(
        self: &Arc<Self>,
        channel: ChannelRef,
        commands: Vec<Command>,
    ) -> Result<Vec<Bytes>, CallRefusal> {
        let answers = store_all(self, &channel, &commands).await;
        Ok(vec![messages::encoded(&answers)])
    }
}
