//! RocketMQ's clients on a cluster: each talks to one node, and that node passes on what concerns others.
//!
//! * A request for a queue goes to the node that leads it, one for a group to the group's *home*, the leader of its partition of
//!   `__consumer_offsets`: whole, over the road between nodes, and its answer comes back the same way ([`carry`], [`sends`]).
//! * Where a request arrives so, the client's connection is a [`guests`] channel: whatever is sent there reaches the client by way of the
//!   node that holds its connection ([`holder`]). So handlers do not know which clients are their own.
//! * Members of a group register at its home, and anew when it moves ([`members`]).
//! * What handlers want to know of queues and groups elsewhere is asked for in [`questions`]; offsets said elsewhere wait in [`outbox`].
//!
//! A node alone has none of it. What was passed on is never passed on again: a node that is the wrong one says so, and the one that holds
//! the client looks at the metadata and tries again.

mod append;
mod carry;
mod door;
mod guests;
mod holder;
mod members;
mod messages;
mod outbox;
mod owners;
mod questions;
mod sends;

pub(crate) use carry::{carry, pass_on};
pub(crate) use guests::is_guest_number;
pub(crate) use messages::recode_calls;
pub(crate) use sends::{LaneSend, Lanes, carry_one};

use self::guests::Guests;
use self::holder::Holder;
use self::outbox::Outbox;
use crate::node::Node;
use crate::remoting::Refusal;
use duolog_base::NodeId;
use duolog_core::broker::Road;
use duolog_core::group::partition_for;
use duolog_core::metadata::{MetadataImage, OFFSETS_TOPIC, PartitionImage};
use duolog_peer::{CallError, Peers, Purpose, Switchboard};
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Calls that are this front end's.
const KINDS: RangeInclusive<u16> = 64..=95;
/// Requests and their answers.
const REQUESTS: Purpose = Purpose(8);
/// Sends, which wait for the disk and for replicas.
const SENDS: Purpose = Purpose(9);
/// What is ready later, and what servers tell clients.
const DELIVERIES: Purpose = Purpose(10);

/// How long a request that nobody can do now is held before the client is told to try again.
const HOLD: Duration = Duration::from_secs(3);
/// How long to wait before it is tried again if the metadata does not change.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a call may take that waits for nothing but the other node.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How long a node waits for the metadata that the caller has seen already.
const CATCH_UP: Duration = Duration::from_secs(1);

/// What a node of a cluster has beside a node alone.
pub(crate) struct Cluster {
    peers: Arc<Peers>,
    switchboard: Arc<Switchboard>,
    /// Tells this process from earlier ones of the node.
    life: i64,
    guests: Guests,
    holder: Holder,
    outbox: Outbox,
    /// Requests of other nodes that are held here.
    held: AtomicUsize,
    /// The task that follows the metadata, once the node is connected.
    watcher: OnceLock<AbortHandle>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}

/// Where something is done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    At(NodeId),
    /// Nobody does it for now.
    Nowhere,
}

impl Cluster {
    pub(crate) fn new(road: Road, life: i64) -> Cluster {
        Cluster {
            peers: road.peers,
            switchboard: road.switchboard,
            life,
            guests: Guests::default(),
            holder: Holder::default(),
            outbox: Outbox::default(),
            held: AtomicUsize::new(0),
            watcher: OnceLock::new(),
        }
    }
}

impl Node {
    /// Begins to ask producers about their transactions, and to serve the other nodes; a node alone has none. More than once is as good as once.
    pub fn connect(self: &Arc<Self>) {
        self.begin_asking();
        let Some(cluster) = &self.cluster else { return };
        cluster.watcher.get_or_init(|| {
            cluster.switchboard.connect(KINDS, Arc::new(door::Door(Arc::downgrade(self))));
            let changes = self.broker.metadata().changes();
            tokio::spawn(members::follow(Arc::downgrade(self), self.broker.image(), changes)).abort_handle()
        });
    }

    /// Serves the other nodes no longer.
    pub fn disconnect(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.switchboard.disconnect(KINDS);
        }
    }

    /// Where requests for the partition are done.
    pub(crate) fn place_of(&self, image: &MetadataImage, partition: &PartitionImage) -> Place {
        if self.cluster.is_none() || self.broker.leads(partition).is_some() {
            return Place::Here;
        }
        match image.live_leader(partition) {
            Some(node) if node != self.broker.node() => Place::At(node),
            // This node is about to lead, or does no longer.
            _ => Place::Nowhere,
        }
    }

    /// The home of a group, as far as the metadata knows it.
    pub(crate) fn home_now(&self, group: &str) -> Place {
        if self.cluster.is_none() {
            return Place::Here;
        }
        let image = self.broker.image();
        let Some(topic) = image.topic(OFFSETS_TOPIC).filter(|topic| !topic.partitions.is_empty()) else { return Place::Nowhere };
        let index = partition_for(group, topic.partitions.len() as i32);
        topic.partition(index).map_or(Place::Nowhere, |partition| self.place_of(&image, partition))
    }

    /// The home of a group, which has one from now on.
    pub(crate) async fn home(&self, group: &str) -> Place {
        if self.cluster.is_some() && self.broker.image().topic(OFFSETS_TOPIC).is_none() {
            // If it fails the group has no home, and the caller tries again.
            if let Err(error) = self.broker.metadata().ensure_offsets_topic().await {
                tracing::warn!(%error, "the topic of offsets is not there");
            }
        }
        self.home_now(group)
    }

    /// The other nodes that live.
    fn others(&self) -> Vec<NodeId> {
        let image = self.broker.image();
        let live = image.nodes.values().filter(|node| node.is_live() && node.id != self.broker.node());
        live.map(|node| node.id).collect()
    }

    /// Waits for metadata that another node has seen already.
    async fn catch_up(&self, applied: u64) {
        let mut changes = self.broker.metadata().changes();
        let reached = changes.wait_for(|here| *here >= applied);
        // What is missing then is not found, and the caller tries again.
        let _ = tokio::time::timeout(CATCH_UP, reached).await;
    }
}

/// The patience of one request: it is tried again for [`HOLD`] after the last time that something went on.
pub(super) struct Patience {
    changes: watch::Receiver<u64>,
    until: Instant,
    tried: Instant,
}

impl Patience {
    pub(super) fn new(node: &Node) -> Patience {
        let now = Instant::now();
        Patience { changes: node.broker.metadata().changes(), until: now + HOLD, tried: now }
    }

    /// Before an attempt: a change of the metadata from now on is worth another one.
    pub(super) fn begin(&mut self) {
        self.changes.mark_unchanged();
        self.tried = Instant::now();
    }

    /// After an attempt that came to nothing: waits; false if it is time to give up.
    pub(super) async fn wait(&mut self) -> bool {
        let now = Instant::now();
        // It was held, or took long: something has changed only now.
        if now - self.tried > HOLD / 2 {
            self.until = now + HOLD;
        }
        if now >= self.until {
            return false;
        }
        let _ = tokio::time::timeout(PAUSE, self.changes.changed()).await;
        true
    }
}

/// What a failed call means for a request: another attempt.
fn lost(error: &CallError) -> Refusal {
    tracing::debug!(%error, "a request is not passed on");
    Refusal::not_here()
}
