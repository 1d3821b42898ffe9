//! Applies committed entries to the published image, and writes the image out as snapshots.

use super::covered::Covered;
use super::types::{RaftMembership, StorageError, StorageFault, Types, log_id, membership, stored_id, stored_members};
use crate::metadata::fold::fold;
use crate::metadata::image::MetadataImage;
use crate::metadata::published::Published;
use crate::metadata::record::FEATURE_LEVEL;
use crate::metadata::storage::{EntryId, Journal, Snapshot, SnapshotMeta, Snapshots};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, BasicNode, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, StoredMembership};
use parking_lot::Mutex;
use std::io::{self, Cursor};
use std::sync::Arc;

/// The image as a Raft state machine. Memory only: it is rebuilt from the snapshot and the log.
pub(super) struct StateMachine {
    published: Arc<Published>,
    places: Places,
    /// The image before any record, for snapshots that replace everything.
    empty: MetadataImage,
    applied: Option<LogId<u64>>,
    members: RaftMembership,
}

/// Where snapshots are kept, and who must know of them.
#[derive(Clone)]
pub(super) struct Places {
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) covered: Arc<Covered>,
}

/// Writes one snapshot.
pub(super) struct SnapshotWriter {
    places: Places,
    image: Arc<MetadataImage>,
    applied: Option<LogId<u64>>,
    members: RaftMembership,
}

type RaftSnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;

impl StateMachine {
    /// Begins with the snapshot that was found, if any.
    pub(super) fn new(
        published: Arc<Published>,
        places: Places,
        empty: MetadataImage,
        found: Option<&SnapshotMeta>,
    ) -> StateMachine {
        let applied = found.and_then(|meta| meta.last).map(log_id);
        let members = found.map(stored_membership).unwrap_or_default();
        StateMachine { published, places, empty, applied, members }
    }

    /// Puts a snapshot of another node in place. Gives the image that is in it.
    async fn install(&self, bytes: Vec<u8>, last: Option<EntryId>) -> io::Result<MetadataImage> {
        let snapshot = Snapshot::decode(&bytes)?;
        if snapshot.meta.level > FEATURE_LEVEL || snapshot.meta.last != last {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the snapshot is of a newer version, or of another entry"));
        }
        let image = fold(&self.empty, &snapshot.records, snapshot.meta.applied).map_err(io::Error::other)?;
        let places = self.places.clone();
        let saved = blocking(move || {
            // Until the library has told the journal to forget what the snapshot replaces, it does not reach as far.
            if let Some(last) = last {
                places.journal.lock().begin_installing(last)?;
            }
            places.snapshots.save(last.map_or(0, |last| last.index), &bytes)
        });
        saved.await?;
        Ok(image)
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotWriter;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, RaftMembership), StorageError> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<bool>, StorageError>
    where
        I: IntoIterator<Item = openraft::Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let taken = match entry.payload {
                EntryPayload::Blank => true,
                EntryPayload::Normal(change) => {
                    let applied = self.published.apply(entry.log_id.index, &change);
                    applied.map_err(|error| {
                        tracing::error!(index = entry.log_id.index, %error, "a metadata record cannot be taken");
                        StorageFault::apply(entry.log_id, AnyError::new(&error))
                    })?
                }
                EntryPayload::Membership(members) => {
                    self.members = StoredMembership::new(Some(entry.log_id), members);
                    true
                }
            };
            self.applied = Some(entry.log_id);
            answers.push(taken);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotWriter {
        SnapshotWriter {
            places: self.places.clone(),
            image: self.published.image(),
            applied: self.applied,
            members: self.members.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &RaftSnapshotMeta, data: Box<Cursor<Vec<u8>>>) -> Result<(), StorageError> {
        let installed = self.install(data.into_inner(), meta.last_log_id.map(stored_id)).await;
        self.places.covered.written(end_of(meta.last_log_id), &installed);
        let fault = |error: io::Error| StorageFault::write_snapshot(Some(meta.signature()), AnyError::new(&error));
        let image = installed.map_err(fault)?;
        tracing::info!(applied = image.applied, "took over a metadata snapshot of the leader");
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        self.published.publish(image);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<openraft::Snapshot<Types>>, StorageError> {
        let snapshots = self.places.snapshots.clone();
        let fault = |error: io::Error| StorageFault::read_snapshot(None, AnyError::new(&error));
        let Some(bytes) = blocking(move || snapshots.newest_bytes()).await.map_err(fault)? else { return Ok(None) };
        let meta = Snapshot::decode(&bytes).map_err(fault)?.meta;
        Ok(Some(raft_snapshot(&meta, bytes)))
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotWriter {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<Types>, StorageError> {
        let meta = SnapshotMeta {
            last: self.applied.map(stored_id),
            members: stored_members(self.members.membership()),
            members_from: self.members.log_id().map(stored_id),
            applied: self.image.applied,
            level: FEATURE_LEVEL,
        };
        let (snapshots, image) = (self.places.snapshots.clone(), self.image.clone());
        let written = blocking(move || {
            let snapshot = Snapshot { meta, records: image.to_records() };
            let bytes = snapshot.encode()?;
            snapshots.save(snapshot.meta.last.map_or(0, |id| id.index), &bytes)?;
            tracing::debug!(bytes = bytes.len(), applied = snapshot.meta.applied, "wrote a metadata snapshot");
            Ok(raft_snapshot(&snapshot.meta, bytes))
        });
        let written = written.await;
        self.places.covered.written(end_of(self.applied), &written);
        Ok(written.map_err(|error| StorageFault::write_snapshot(None, AnyError::new(&error)))?)
    }
}

fn end_of(last: Option<LogId<u64>>) -> u64 {
    last.map_or(0, |id| id.index + 1)
}

fn raft_snapshot(meta: &SnapshotMeta, bytes: Vec<u8>) -> openraft::Snapshot<Types> {
    let id = meta.last.map_or(0, |id| id.index);
    let meta = RaftSnapshotMeta {
        last_log_id: meta.last.map(log_id),
        last_membership: stored_membership(meta),
        snapshot_id: format!("{id}"),
    };
    openraft::Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }
}

fn stored_membership(meta: &SnapshotMeta) -> RaftMembership {
    StoredMembership::new(meta.members_from.map(log_id), membership(meta.members.clone()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
