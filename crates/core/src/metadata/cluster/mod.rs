//! This node among the others that keep the metadata: its requests find the node that leads the quorum, wherever it is.
//!
//! Any node decides a request on its own image, and the change goes to the leader with the state it was decided on. It takes effect only if
//! that is still the newest state when it is applied, on all nodes alike; else the request is decided again, on the state that came in
//! between. So nothing is decided twice or on half of another decision, whoever leads when, and a refusal is as good as the leader's own.
//! An answer leaves once this node's image has the change.
//!
//! * `door`: what others ask of this node. * `join`: how a node becomes a member. * `steward`: what the leader does by the clock.

mod door;
mod join;
mod messages;
mod steward;

pub(super) use self::join::Patience;
pub(super) use self::messages::recode_all as recode_calls;

use self::messages::{
    CHANGE_VOTERS, ChangeVoters, ChangeVotersAnswer, HEARTBEAT, HeartbeatCall, HeartbeatReply, KINDS, PROPOSE, ProposeAnswer,
    QUORUM, Quorum, STORAGE,
};
use self::steward::Controller;
use super::error::{ChangeVotersError, MembershipError, Unavailable};
use super::image::{Endpoint, MetadataImage};
use super::node::QuorumState;
use super::published::Published;
use super::raft::{Leadership, RaftLog, Road, decode, encode};
use super::record::Change;
use super::{Heartbeat, HeartbeatAnswer, StorageReport};
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{CallError, CallKind, Purpose, Switchboard};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a request looks for a leader and waits for its answer, unless the options say otherwise.
pub const DEFAULT_REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long one call to the leader may take; longer than the leader takes to give up.
const CALL_LIMIT: Duration = Duration::from_secs(8);
/// How long to wait before a leader is looked for again, if nothing happens.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// A member that has been silent for so long is fenced, unless the options say otherwise. Kafka's `broker.session.timeout.ms`.
pub const DEFAULT_SESSION: Duration = Duration::from_secs(9);
/// How often a member says that it lives, unless the options say otherwise. Kafka's `broker.heartbeat.interval.ms`.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A follower that has not had all that its leader has for so long is taken out of the in-sync set, unless the options say otherwise.
/// Kafka's `replica.lag.time.max.ms`.
pub const DEFAULT_REPLICA_LAG: Duration = Duration::from_secs(30);
/// How many heartbeats without an answer fit into a session, at least.
const HEARTBEAT_TRIES: u32 = 3;
/// Voters that a cluster has if it has as many nodes.
pub const DEFAULT_VOTERS: usize = 3;

/// How a node takes part in a cluster of several.
pub struct ClusterOptions {
    /// The way to the others.
    pub peers: Arc<duolog_peer::Peers>,
    /// Where calls of others arrive. Its listener should be there already.
    pub switchboard: Arc<Switchboard>,
    /// Where others reach this node's listener: `host:port`.
    pub address: String,
    /// What this node registers with: its listeners, as clients reach them.
    pub endpoints: Vec<Endpoint>,
    /// Addresses of nodes, one of which is in the cluster that this node joins if it is new; without any it founds one.
    pub join: Vec<String>,
    /// Different at each start of the process.
    pub incarnation: String,
    /// Nodes become voters, in pairs, as long as there are fewer than this.
    pub voters: usize,
    /// A member that is silent for longer is fenced.
    pub session: Duration,
    /// How often this node says that it lives; several times a session.
    pub heartbeat: Duration,
    /// A follower that has not had all that its leader has for so long is taken out of the in-sync set.
    pub replica_lag: Duration,
    /// How long a request looks for a leader and waits for its answer.
    pub request_limit: Duration,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in this node's image.
    Taken,
    /// Another one came first, and is in this node's image: it must be decided again.
    Stale,
}

/// This node among the others.
pub(super) struct Cluster {
    node: NodeId,
    log: Arc<RaftLog>,
    published: Arc<Published>,
    road: Road,
    /// Held by who decides at this node.
    deciding: Arc<tokio::sync::Mutex<()>>,
    address: String,
    wanted_voters: usize,
    session: Duration,
    request_limit: Duration,
    controller: Mutex<Controller>,
    /// Whether other members' Raft may speak to this one: not before it has been taken in.
    admitted: AtomicBool,
    /// Whether the image is complete and shown: not while the log is replayed.
    live: AtomicBool,
    switchboard: Arc<Switchboard>,
    steward: Mutex<Option<JoinHandle<()>>>,
}

impl Cluster {
    /// Begins to serve the others, as far as this node is a member already.
    pub(super) fn start(
        node: NodeId,
        log: Arc<RaftLog>,
        published: Arc<Published>,
        road: Road,
        deciding: Arc<tokio::sync::Mutex<()>>,
        options: &ClusterOptions,
    ) -> Arc<Cluster> {
        let cluster = Arc::new(Cluster {
            node,
            log,
            published,
            road,
            deciding,
            address: options.address.clone(),
            wanted_voters: options.voters,
            session: options.session,
            request_limit: options.request_limit,
            controller: Mutex::default(),
            admitted: AtomicBool::new(false),
            live: AtomicBool::new(false),
            switchboard: options.switchboard.clone(),
            steward: Mutex::new(None),
        });
        cluster.switchboard.connect(KINDS, Arc::new(door::Door(cluster.clone())));
        *cluster.steward.lock() = Some(tokio::spawn(steward::run(Arc::downgrade(&cluster))));
        cluster
    }

    /// Serves nobody any longer.
    pub(super) fn stop(&self) {
        self.switchboard.disconnect(KINDS);
        self.admitted.store(false, Ordering::Release);
        if let Some(steward) = self.steward.lock().take() {
            steward.abort();
        }
    }

    /// This node's image is shown from now on.
    pub(super) fn go_live(&self, before: &MetadataImage) {
        self.published.go_live(before);
        self.live.store(true, Ordering::Release);
    }

    /// Who decides what nodes ask for.
    fn leadership(&self) -> Leadership {
        match self.log.leadership() {
            Leadership::Here { .. } if !self.live.load(Ordering::Acquire) => Leadership::Nowhere,
            leadership => leadership,
        }
    }

    /// Until when a request that comes now may take.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.request_limit
    }

    fn applied(&self) -> u64 {
        *self.published.changes().borrow()
    }

    /// Commits a change wherever the leader is. A change without records only makes sure that its base is the newest state.
    pub(super) async fn propose(&self, change: Change, deadline: Instant) -> Result<Fate, Unavailable> {
        loop {
            match self.log.leadership() {
                Leadership::Here { .. } if change.records.is_empty() => return Ok(Fate::Taken),
                Leadership::Here { .. } => {
                    let proposed = tokio::time::timeout_at(deadline, self.log.propose(change)).await;
                    let proposed = proposed.map_err(|_| Unavailable::TimedOut)??;
                    return Ok(if proposed.taken { Fate::Taken } else { Fate::Stale });
                }
                Leadership::At(leader) => {
                    if let Some(fate) = self.forward(leader, &change, deadline).await? {
                        return Ok(fate);
                    }
                }
                Leadership::Nowhere => {}
            }
            self.look_again(deadline).await?;
        }
    }

    /// Waits until there may be another leader.
    async fn look_again(&self, deadline: Instant) -> Result<(), Unavailable> {
        if Instant::now() >= deadline {
            return Err(Unavailable::NotController);
        }
        match self.log.wait_for_change(LOOK_PAUSE).await {
            true => Ok(()),
            false => Err(Unavailable::Stopped),
        }
    }

    /// `None` if the node does not lead, or cannot be reached: nothing was done.
    async fn forward(&self, leader: NodeId, change: &Change, deadline: Instant) -> Result<Option<Fate>, Unavailable> {
        match self.ask(leader, PROPOSE, change).await? {
            None | Some(ProposeAnswer::Failed(messages::Failure::NotLeader | messages::Failure::Stopped)) => Ok(None),
            Some(ProposeAnswer::Failed(failure)) => Err(failure.into()),
            Some(ProposeAnswer::Committed { index }) => {
                self.wait_until_applied(index, deadline).await?;
                Ok(Some(Fate::Taken))
            }
            Some(ProposeAnswer::Stale { applied }) => {
                // Nothing was done: if this node does not come after, another one must be asked.
                self.wait_until_applied(applied, deadline).await.map_err(|_| Unavailable::NotController)?;
                Ok(Some(Fate::Stale))
            }
        }
    }

    async fn wait_until_applied(&self, index: u64, deadline: Instant) -> Result<(), Unavailable> {
        let mut changes = self.published.changes();
        let applied = async { changes.wait_for(|applied| *applied >= index).await.map(|_| ()) };
        match tokio::time::timeout_at(deadline, applied).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unavailable::Stopped),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// Asks a node; `None` if it did not do what it was asked for.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: NodeId,
        kind: CallKind,
        question: &Q,
    ) -> Result<Option<A>, Unavailable> {
        self.ask_within(node, kind, question, CALL_LIMIT).await
    }

    async fn ask_within<Q: Serialize, A: DeserializeOwned>(
        &self,
        node: NodeId,
        kind: CallKind,
        question: &Q,
        limit: Duration,
    ) -> Result<Option<A>, Unavailable> {
        let called = self.road.peers.call(node, Purpose::CONTROL, kind, encode(question), limit).await;
        match called {
            Ok(answer) => decode(&answer).map(Some).ok_or(Unavailable::TimedOut),
            Err(CallError::Unreachable { .. } | CallError::Refused { .. }) => Ok(None),
            Err(CallError::Lost { .. } | CallError::TimedOut { .. }) => Err(Unavailable::TimedOut),
            Err(error @ CallError::TooLong { .. }) => {
                tracing::error!(%error, "a change of the metadata cannot be sent to the leader");
                Err(Unavailable::NotController)
            }
        }
    }

    /// Tells the leader that a member lives, and what it wants. Gives up soon enough for another heartbeat within the session: the leader
    /// may be another node by then. If no leader hears it, the others may know why: it may be another life of this node, which this one
    /// takes for itself.
    pub(super) async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, MembershipError> {
        let limit = self.session / HEARTBEAT_TRIES;
        let heard = self.heartbeat_of_leader(heartbeat, limit).await;
        if !matches!(heard, Err(MembershipError::Unavailable(_))) {
            return heard;
        }
        let image = self.published.image();
        let others: Vec<NodeId> = image.nodes.keys().copied().filter(|node| *node != heartbeat.node).collect();
        for other in &others {
            let limit = limit / others.len() as u32;
            let reply = self.ask_within(*other, HEARTBEAT, &HeartbeatCall::from(heartbeat), limit).await;
            if let Ok(Some(reply @ HeartbeatReply::StaleEpoch { .. })) = reply {
                return reply.result(heartbeat);
            }
        }
        heard
    }

    async fn heartbeat_of_leader(&self, heartbeat: Heartbeat, limit: Duration) -> Result<HeartbeatAnswer, MembershipError> {
        let deadline = Instant::now() + limit;
        loop {
            match self.leadership() {
                Leadership::Here { term } => {
                    let result = self.take_heartbeat(term, heartbeat).await;
                    if result != Err(Unavailable::NotController.into()) {
                        return result;
                    }
                }
                Leadership::At(leader) => {
                    let reply = self.ask_within(leader, HEARTBEAT, &HeartbeatCall::from(heartbeat), limit).await?;
                    let result = reply.map(|reply: HeartbeatReply| reply.result(heartbeat));
                    if let Some(result) = result.filter(|result| *result != Err(Unavailable::NotController.into())) {
                        return result;
                    }
                }
                Leadership::Nowhere => {}
            }
            self.look_again(deadline).await?;
        }
    }

    /// Tells the leader what this node holds. A report that does not arrive is made up for by the next one.
    pub(super) async fn report(&self, report: StorageReport) -> Result<(), Unavailable> {
        match self.leadership() {
            Leadership::At(leader) => self.ask(leader, STORAGE, &report).await.map(|_: Option<()>| ()),
            _ => {
                self.note_storage(report);
                Ok(())
            }
        }
    }

    /// Makes an observer a voter, or takes a node off the members.
    async fn change_voters(&self, change: ChangeVoters) -> Result<(), ChangeVotersError> {
        let deadline = self.deadline();
        loop {
            let result = match self.leadership() {
                Leadership::Here { .. } => Some(self.do_change_voters(change).await),
                Leadership::At(leader) => {
                    let answer: Option<ChangeVotersAnswer> = self.ask(leader, CHANGE_VOTERS, &change).await?;
                    answer.map(|answer| answer.result(change))
                }
                Leadership::Nowhere => None,
            };
            if let Some(result) = result.filter(|result| *result != Err(Unavailable::NotController.into())) {
                return result;
            }
            self.look_again(deadline).await?;
        }
    }

    pub(super) async fn add_voter(&self, node: NodeId) -> Result<(), ChangeVotersError> {
        self.change_voters(ChangeVoters::Add(node.0)).await
    }

    pub(super) async fn remove_voter(&self, node: NodeId) -> Result<(), ChangeVotersError> {
        self.change_voters(ChangeVoters::Remove(node.0)).await
    }

    /// The quorum as its leader sees it.
    pub(super) async fn describe(&self) -> Result<QuorumState, Unavailable> {
        let deadline = self.deadline();
        loop {
            match self.leadership() {
                Leadership::Here { .. } => return Ok(self.log.quorum(self.applied())),
                Leadership::At(leader) => {
                    let answer: Option<Option<Quorum>> = self.ask(leader, QUORUM, &()).await?;
                    if let Some(quorum) = answer.flatten() {
                        return Ok(quorum.into());
                    }
                }
                Leadership::Nowhere => {}
            }
            self.look_again(deadline).await?;
        }
    }
}

/// An answer of one part.
fn whole<T: Serialize>(answer: &T) -> Vec<Bytes> {
    vec![encode(answer)]
}
