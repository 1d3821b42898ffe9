//! The replicated log: the only module that knows the Raft library.
//!
//! [`RaftLog`] is what the rest sees: open, propose, look at the quorum, close. A node alone elects itself at once and
//! has no timers: without other members there is nobody to send heartbeats to, and no leader that could be lost.

mod log_store;
mod network;
mod state_machine;
mod types;

use self::log_store::LogStore;
use self::network::Alone;
use self::state_machine::StateMachine;
use self::types::{RaftNode, node_id, raft_id};
use super::error::{MetadataOpenError, Unavailable};
use super::fold::fold;
use super::node::QuorumState;
use super::published::Published;
use super::record::{Change, MetadataRecord};
use super::storage::{Journal, Snapshot, Snapshots, check_together};
use duolog_base::{Disk, NodeId};
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
/// How long a node waits at start until it leads and has applied its log.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// The metadata log of one node.
pub(super) struct RaftLog {
    raft: RaftNode,
    journal: Arc<Mutex<Journal>>,
    snapshots: Arc<Snapshots>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: LogLimits,
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
        let empty = published.image();
        let (place, place_disk) = (dir.clone(), disk.clone());
        let read = tokio::task::spawn_blocking(move || read_disk(place_disk, &place, limits)).await;
        let (snapshots, snapshot, journal) = read.map_err(|error| MetadataOpenError::Raft(error.to_string()))??;
        if let Some(snapshot) = &snapshot {
            published.publish(fold(&empty, &snapshot.records, snapshot.meta.applied)?);
        }
        let journal = Arc::new(Mutex::new(journal));
        let store = LogStore { journal: journal.clone() };
        let meta = snapshot.as_ref().map(|snapshot| &snapshot.meta);
        let snapshots = Arc::new(snapshots);
        let machine = StateMachine::new(published, snapshots.clone(), (*empty).clone(), meta);
        let raft = RaftNode::new(raft_id(node), Arc::new(library_config()), Alone, store, machine).await;
        let raft = raft.map_err(raft_error)?;
        let log = RaftLog { raft, journal, snapshots, disk, dir, limits, snapshot_at: AtomicU64::new(0) };
        match log.lead(node).await {
            Ok(()) => Ok(log),
            Err(error) => {
                log.close().await;
                Err(error)
            }
        }
    }

    /// Makes this node the leader, of a new quorum of one if there is none.
    async fn lead(&self, node: NodeId) -> Result<(), MetadataOpenError> {
        if !self.raft.is_initialized().await.map_err(raft_error)? {
            let members = BTreeMap::from([(raft_id(node), BasicNode::default())]);
            self.raft.initialize(members).await.map_err(raft_error)?;
            return self.wait_until_ready().await;
        }
        let (voters, state) = self.members();
        if !voters.contains(&node) {
            let found = voters.first().copied().unwrap_or_default();
            return Err(MetadataOpenError::OtherNode { dir: self.dir.clone(), found, expected: node });
        }
        if state != ServerState::Leader {
            self.raft.trigger().elect().await.map_err(raft_error)?;
        }
        self.wait_until_ready().await
    }

    fn members(&self) -> (Vec<NodeId>, ServerState) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        (metrics.membership_config.membership().voter_ids().map(node_id).collect(), metrics.state)
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

    /// Commits a change. When this returns, it is durable and in the published image.
    pub(super) async fn propose(&self, change: Change) -> Result<(), Unavailable> {
        self.check_space(&change)?;
        match self.raft.client_write(change).await {
            Ok(_) => {
                self.snapshot_if_due().await;
                Ok(())
            }
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

    async fn snapshot_if_due(&self) {
        let written = self.journal.lock().written_bytes();
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
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let high_watermark = metrics.last_applied.map_or(0, |id| id.index + 1).max(applied + 1);
        QuorumState {
            leader: metrics.current_leader.map(node_id),
            epoch: metrics.current_term,
            high_watermark,
            log_end: metrics.last_log_index.map_or(0, |index| index + 1).max(high_watermark),
            voters: metrics.membership_config.membership().voter_ids().map(node_id).collect(),
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

/// No ticks: a single member neither sends heartbeats nor loses its leader.
fn library_config() -> openraft::Config {
    openraft::Config {
        cluster_name: "duolog".to_owned(),
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..openraft::Config::default()
    }
}
