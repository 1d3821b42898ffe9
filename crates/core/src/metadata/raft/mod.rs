//! The replicated log: the only module that knows the Raft library.
//!
//! [`RaftLog`] is what the rest sees: start, found or take part, propose, look at the quorum, change its members, close. A node alone elects
//! itself at once and has no timers: without other members there is nobody to send heartbeats to, and no leader that could be lost. With
//! others there are ticks, heartbeats and elections ([`RaftLog::keep_time`]).

mod covered;
mod door;
mod log_store;
mod members;
mod messages;
mod network;
mod state_machine;
mod types;

pub(super) use self::members::Members;
pub(super) use self::messages::{decode, encode, recode, recode_all as recode_raft};
pub(super) use self::network::Road;

use self::covered::Covered;
use self::log_store::LogStore;
use self::network::{Contacts, Network};
use self::state_machine::{Places, StateMachine};
use self::types::{RaftNode, node_id, raft_id};
use super::error::{MetadataOpenError, Unavailable};
use super::fold::fold;
use super::node::{QuorumMember, QuorumState};
use super::published::Published;
use super::record::{Change, MetadataRecord};
use super::storage::{Journal, Snapshot, Snapshots, check_together};
use bytes::Bytes;
use duolog_base::{Disk, NodeId};
use duolog_peer::{CallKind, CallRefusal};
use openraft::error::{ClientWriteError, RaftError};
use openraft::{BasicNode, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How large the log's parts grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLimits {
    /// A journal segment is followed by a new one when it is longer than this, in bytes.
    pub(super) segment_bytes: u64,
    /// A snapshot is written when the journal has grown by this much since the last one, in bytes.
    pub(super) snapshot_after_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits { segment_bytes: 4 << 20, snapshot_after_bytes: 8 << 20 }
    }
}

/// Free space that must remain for the journal and a snapshot, in bytes; below it changes are refused.
const RESERVE_BYTES: u64 = 32 << 20;
/// The part of the reserve that is left for what a start needs and for what frees space.
const LAST_RESERVE_BYTES: u64 = 1 << 20;
/// How long a node alone waits at start until it leads and has applied its log.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a change may take until most voters have it. After that it may still be made.
const PROPOSE_LIMIT: Duration = Duration::from_secs(5);

/// A leader is heard of this often, in milliseconds; an answer to entries must come within this time, or they are sent again.
const HEARTBEAT_MS: u64 = 60;
/// A voter that has not heard of the leader stands for election after the longest time and a random one between the two, in milliseconds:
/// a leader that is gone is replaced within 0.8 s.
const SHORTEST_ELECTION_MS: u64 = 200;
const LONGEST_ELECTION_MS: u64 = 350;
/// Entries that are kept behind a snapshot, for members that lack only the last ones.
const KEPT_ENTRIES: u64 = 100;
/// How long a part of a snapshot may take; the last one is answered when the snapshot is in place.
const CHUNK_LIMIT_MS: u64 = 20_000;
const CHUNK_BYTES: u64 = 1 << 20;

/// Who may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leadership {
    /// This node: it leads and has applied everything of its term and before it.
    Here {
        term: u64,
    },
    At(NodeId),
    Nowhere,
}

/// A change that most voters have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposed {
    pub(super) index: u64,
    /// Whether it has had an effect: nothing came between its base and itself.
    pub(super) taken: bool,
}

/// The metadata log of one node.
pub(super) struct RaftLog {
    raft: RaftNode,
    node: NodeId,
    journal: Arc<Mutex<Journal>>,
    snapshots: Arc<Snapshots>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: LogLimits,
    contacts: Arc<Contacts>,
    /// Whether there may be other members.
    in_company: bool,
    /// The term of the last vote that was found at start, and the index after the last entry.
    found_term: u64,
    found_end: u64,
    /// Bytes the journal had been given when a snapshot was last begun.
    snapshot_at: AtomicU64,
}

impl RaftLog {
    /// Reads snapshot and journal, and returns once this node leads and everything it has is in the published image.
    pub(super) async fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        node: NodeId,
        published: Arc<Published>,
        limits: LogLimits,
    ) -> Result<RaftLog, MetadataOpenError> {
        let log = RaftLog::start(disk, dir, node, published, limits, None).await?;
        match log.lead_alone().await {
            Ok(()) => Ok(log),
            Err(error) => {
                log.close().await;
                Err(error)
            }
        }
    }

    /// Reads snapshot and journal. What follows depends on what was found.
    pub(super) async fn start(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        node: NodeId,
        published: Arc<Published>,
        limits: LogLimits,
        road: Option<Road>,
    ) -> Result<RaftLog, MetadataOpenError> {
        let empty = published.image();
        let (place, place_disk) = (dir.clone(), disk.clone());
        let read = tokio::task::spawn_blocking(move || read_disk(place_disk, &place, limits)).await;
        let (snapshots, snapshot, journal) = read.map_err(|error| MetadataOpenError::Raft(error.to_string()))??;
        if let Some(snapshot) = &snapshot {
            published.publish(fold(&empty, &snapshot.records, snapshot.meta.applied)?);
        }
        let contacts = road.as_ref().map(|road| road.contacts.clone()).unwrap_or_default();
        let found_term = journal.vote().map_or(0, |vote| vote.term);
        let found_end = journal.last().map_or(0, |id| id.index + 1);
        contacts.log_ends(found_end);
        let journal = Arc::new(Mutex::new(journal));
        let meta = snapshot.as_ref().map(|snapshot| &snapshot.meta);
        let covered = Arc::new(Covered::new(meta.and_then(|meta| meta.last).map_or(0, |id| id.index + 1)));
        let store = LogStore { journal: journal.clone(), contacts: contacts.clone(), covered: covered.clone() };
        let snapshots = Arc::new(snapshots);
        let places = Places { snapshots: snapshots.clone(), journal: journal.clone(), covered };
        let machine = StateMachine::new(published, places, (*empty).clone(), meta);
        let (in_company, config) = (road.is_some(), Arc::new(library_config(road.is_some())));
        let raft = RaftNode::new(raft_id(node), config, Network(road), store, machine).await;
        let raft = raft.map_err(raft_error)?;
        let snapshot_at = AtomicU64::new(0);
        Ok(RaftLog {
            raft,
            node,
            journal,
            snapshots,
            disk,
            dir,
            limits,
            contacts,
            in_company,
            found_term,
            found_end,
            snapshot_at,
        })
    }

    /// Makes this node the leader, of a new quorum of one if there is none.
    async fn lead_alone(&self) -> Result<(), MetadataOpenError> {
        if self.is_new().await? {
            return self.found("").await;
        }
        let members = self.members();
        self.check_is_member(&members)?;
        // Who was in company has an address, even if nobody has come yet: it registered as a member, and its partitions may have followers.
        if members.addresses.get(&self.node).is_some_and(|address| !address.is_empty()) {
            return Err(MetadataOpenError::NotAlone { voters: members.voters.into_iter().collect() });
        }
        self.lead().await
    }

    /// Whether nothing was on disk: no vote, no entry.
    pub(super) async fn is_new(&self) -> Result<bool, MetadataOpenError> {
        Ok(!self.raft.is_initialized().await.map_err(raft_error)?)
    }

    /// Begins a quorum of one, and leads it.
    pub(super) async fn found(&self, address: &str) -> Result<(), MetadataOpenError> {
        let members = BTreeMap::from([(raft_id(self.node), BasicNode { addr: address.to_owned() })]);
        self.raft.initialize(members).await.map_err(raft_error)?;
        self.wait_until_ready().await
    }

    /// Leads a quorum in which this node is the only voter.
    pub(super) async fn lead(&self) -> Result<(), MetadataOpenError> {
        if self.raft.metrics().borrow().state != ServerState::Leader {
            self.raft.trigger().elect().await.map_err(raft_error)?;
        }
        self.wait_until_ready().await
    }

    async fn wait_until_ready(&self) -> Result<(), MetadataOpenError> {
        let wait = self.raft.wait(Some(OPEN_TIMEOUT));
        let ready = wait.metrics(
            |metrics| {
                let applied = metrics.last_applied.map(|id| id.index);
                metrics.state == ServerState::Leader && applied == metrics.last_log_index
            },
            "leads and has applied its log",
        );
        ready.await.map(|_| ()).map_err(raft_error)
    }

    /// Whether heartbeats are sent and missed ones lead to elections. Off until this is called, and not needed without other members.
    pub(super) fn keep_time(&self, keep: bool) {
        self.raft.runtime_config().tick(keep);
    }

    pub(super) fn leadership(&self) -> Leadership {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        match metrics.current_leader.map(node_id) {
            None => Leadership::Nowhere,
            Some(leader) if leader != self.node => Leadership::At(leader),
            Some(_) => {
                let term = metrics.current_term;
                // The first entry of a term is applied after all that were there before it. Who led when it stopped may go on in the same
                // term, without such an entry.
                let is_complete = |index: u64| term > self.found_term || index + 1 >= self.found_end;
                let applied = metrics.last_applied.is_some_and(|id| id.leader_id.term == term && is_complete(id.index));
                match metrics.state == ServerState::Leader && applied {
                    true => Leadership::Here { term },
                    false => Leadership::Nowhere,
                }
            }
        }
    }

    /// Waits until anything about this node's part in the quorum has changed, or `limit` has passed. `false` once the log has stopped.
    pub(super) async fn wait_for_change(&self, limit: Duration) -> bool {
        let mut metrics = self.raft.metrics();
        metrics.borrow_and_update();
        !matches!(tokio::time::timeout(limit, metrics.changed()).await, Ok(Err(_)))
    }

    /// Answers a call of another member's Raft.
    pub(super) async fn serve(&self, from: NodeId, kind: CallKind, body: Bytes) -> Result<Bytes, CallRefusal> {
        door::serve(&self.raft, from, kind, body).await
    }

    /// Commits a change. When this returns, it is durable on most voters and, if taken, in the published image.
    pub(super) async fn propose(&self, change: Change) -> Result<Proposed, Unavailable> {
        self.check_space(&change)?;
        let write = self.raft.client_write(change);
        let written = match self.in_company {
            false => write.await,
            true => tokio::time::timeout(PROPOSE_LIMIT, write).await.map_err(|_| Unavailable::TimedOut)?,
        };
        match written {
            Ok(response) => {
                self.snapshot_if_due().await;
                Ok(Proposed { index: response.log_id.index, taken: response.data })
            }
            // The lead may have been lost under the change, and the next leader may have it or not.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) if self.in_company => Err(Unavailable::TimedOut),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(Unavailable::NotController),
            Err(error) => {
                tracing::error!(%error, "a metadata change failed");
                Err(Unavailable::Stopped)
            }
        }
    }

    /// Refuses changes before the disk is full: a write that fails would stop the log for good.
    fn check_space(&self, change: &Change) -> Result<(), Unavailable> {
        let urgent = change.records.iter().all(MetadataRecord::is_for_a_full_disk);
        let needed_bytes = if urgent { LAST_RESERVE_BYTES } else { RESERVE_BYTES };
        match self.disk.free_bytes(&self.dir) {
            Ok(free_bytes) if free_bytes < needed_bytes => Err(Unavailable::DiskFull { free_bytes, needed_bytes }),
            // If the question fails, the write decides.
            _ => Ok(()),
        }
    }

    /// Begins to write a snapshot if the journal has grown enough.
    pub(super) async fn snapshot_if_due(&self) {
        let written = match self.in_company {
            false => self.journal.lock().written_bytes(),
            // It is looked at by the clock, too, and again if it is being written to.
            true => match self.journal.try_lock() {
                Some(journal) => journal.written_bytes(),
                None => return,
            },
        };
        if written - self.snapshot_at.load(Ordering::Relaxed) < self.limits.snapshot_after_bytes {
            return;
        }
        self.snapshot_at.store(written, Ordering::Relaxed);
        if let Err(error) = self.raft.trigger().snapshot().await {
            tracing::warn!(%error, "no metadata snapshot");
        }
    }

    /// The quorum as of now; `applied` is the last entry known to be applied, as the library's own figures lag a little.
    pub(super) fn quorum(&self, applied: u64) -> QuorumState {
        let members = self.members();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let high_watermark = metrics.last_applied.map_or(0, |id| id.index + 1).max(applied + 1);
        let log_end = metrics.last_log_index.map_or(0, |index| index + 1).max(high_watermark);
        let leads = metrics.state == ServerState::Leader;
        let member = |(node, address): (&NodeId, &String)| {
            let contact = self.contacts.of(*node);
            let here = *node == self.node;
            QuorumMember {
                node: *node,
                address: address.clone(),
                is_voter: members.settled_voters.contains(node),
                log_end: (here || leads).then_some(if here { log_end } else { contact.end }),
                last_fetch: contact.answered.filter(|_| leads && !here),
                last_caught_up: contact.caught_up.filter(|_| leads && !here),
            }
        };
        QuorumState {
            leader: metrics.current_leader.map(node_id),
            epoch: metrics.current_term,
            high_watermark,
            log_end,
            voters: members.settled_voters.iter().copied().collect(),
            members: members.addresses.iter().map(member).collect(),
        }
    }

    /// Stops. What was acknowledged is durable already.
    pub(super) async fn close(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the metadata log did not stop cleanly");
        }
        // A snapshot may still be under way; nothing may touch the directory once this has returned.
        let (journal, snapshots) = (self.journal.clone(), self.snapshots.clone());
        let closed = tokio::task::spawn_blocking(move || {
            journal.lock().close();
            snapshots.close();
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the metadata log did not stop cleanly");
        }
    }
}

fn raft_error(error: impl std::fmt::Display) -> MetadataOpenError {
    MetadataOpenError::Raft(error.to_string())
}

type OnDisk = (Snapshots, Option<Snapshot>, Journal);

fn read_disk(disk: Arc<dyn Disk>, dir: &Path, limits: LogLimits) -> Result<OnDisk, MetadataOpenError> {
    let failed = |error| MetadataOpenError::Io { path: dir.to_owned(), error };
    disk.create_dir_all(dir).map_err(failed)?;
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent).map_err(failed)?;
    }
    let snapshots = Snapshots::new(disk.clone(), dir.to_owned());
    let snapshot = snapshots.load()?;
    let journal = Journal::open(disk, dir.to_owned(), limits.segment_bytes)?;
    check_together(dir, snapshot.as_ref(), &journal)?;
    Ok((snapshots, snapshot, journal))
}

/// A single member neither sends heartbeats nor loses its leader. For several, ticks are turned on when there are others.
fn library_config(in_company: bool) -> openraft::Config {
    openraft::Config {
        cluster_name: "duolog".to_owned(),
        enable_tick: false,
        enable_heartbeat: in_company,
        enable_elect: in_company,
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: SHORTEST_ELECTION_MS,
        election_timeout_max: LONGEST_ELECTION_MS,
        install_snapshot_timeout: CHUNK_LIMIT_MS,
        snapshot_max_chunk_size: CHUNK_BYTES,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: if in_company { KEPT_ENTRIES } else { 0 },
        ..openraft::Config::default()
    }
}
