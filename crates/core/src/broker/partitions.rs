//! Follows the metadata: opens partitions that appear, drops those that are gone, raises leader epochs.
//!
//! Called in the order of the metadata log, before the change is answered to whoever asked for it.

use crate::metadata::{ImageListener, MetadataImage, NodeDirectory, PartitionImage, TopicImage};
use crate::replication::Replication;
use duolog_base::{NodeId, PartitionEpoch, PartitionIndex, PartitionNumber};
use duolog_log::dedicated::{PartitionHome, PartitionName};
use duolog_log::{Layout, LogPosition, PartitionError, Place, Store};
use hashbrown::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

/// Where the first data directory holds the metadata.
pub(super) const METADATA_DIR: &str = "meta";

/// Applies changes of the image to the logs.
pub(super) struct PartitionOpener {
    pub(super) node: NodeId,
    pub(super) log: Arc<Store>,
    /// In the order of the store, the one that holds the metadata first.
    pub(super) directories: Vec<NodeDirectory>,
    /// Whether the node is in a cluster: leaders of several replicas are then made by replication.
    pub(super) in_cluster: bool,
    /// Told after the logs; not before the node is registered.
    pub(super) replication: OnceLock<Weak<Replication>>,
}

/// A partition's batches are in a data directory where they do not belong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "data directory {found} holds batches of partition {partition}, which lives in {expected}: were files moved between directories?"
)]
pub struct Misplaced {
    pub partition: PartitionNumber,
    pub found: PathBuf,
    pub expected: PathBuf,
}

/// The metadata does not know of a partition that a log holds: the end of it is lost, since no number is given out before it is on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "data directory {found} holds batches of partition {partition}, but the metadata in {metadata} has given out numbers below {next} \
     only: it is older than the data, which is left untouched; bring back the metadata that belongs to it"
)]
pub struct MetadataBehind {
    pub partition: PartitionNumber,
    pub found: PathBuf,
    pub metadata: PathBuf,
    pub next: u32,
}

/// Why the logs cannot be brought in line with the metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReconcileError {
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    #[error(transparent)]
    MetadataBehind(#[from] MetadataBehind),
}

impl ImageListener for PartitionOpener {
    fn image_changed(&self, old: &MetadataImage, new: &MetadataImage) {
        for topic in new.topics.values() {
            let before = old.topic_by_id(topic.id);
            if before.is_none_or(|before| !Arc::ptr_eq(before, topic)) {
                self.open_changed(before, topic);
            }
        }
        let replication = self.replication.get().and_then(Weak::upgrade);
        if let Some(replication) = replication {
            replication.image_changed(old, new);
            if replication.may_act_on(new) {
                self.drop_left(old, new);
            }
        }
        for topic in old.topics.values() {
            if new.topic_by_id(topic.id).is_none() {
                for partition in &topic.partitions {
                    not_dropped(partition.number, self.log.drop_partition(partition.number));
                }
            }
        }
    }
}

impl PartitionOpener {
    /// Opens what is new in a topic and passes on new leader epochs.
    fn open_changed(&self, before: Option<&Arc<TopicImage>>, topic: &TopicImage) {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let known = before.and_then(|before| before.partitions.get(index));
            let led = known.is_some_and(|known| known.leader_epoch == partition.leader_epoch && known.leader == partition.leader)
                && known.and_then(|known| self.place(known)) == self.place(partition);
            let cut = partition.layout == Layout::Shared
                || before.is_some_and(|before| before.config.segments == topic.config.segments);
            if !(led && cut) {
                self.open(topic, PartitionIndex(index as i32), partition);
            }
        }
    }

    fn open(&self, topic: &TopicImage, index: PartitionIndex, partition: &PartitionImage) {
        let Some(place) = self.place(partition) else { return };
        match place.layout {
            // It has changed since it was made: this node may have held a replica before.
            Layout::Shared if self.in_cluster && partition.partition_epoch > PartitionEpoch(0) => {
                self.log.open_shared_anew(partition.number, place.directory);
            }
            Layout::Shared => self.log.open_shared(partition.number, place.directory),
            Layout::Dedicated => {
                let name = PartitionName { topic: topic.name.clone(), index };
                let home = PartitionHome { name, topic_id: topic.id, policy: topic.config.segments };
                if let Err(failure) = self.log.open_dedicated(partition.number, place.directory, home) {
                    // The log has stopped, which its observer has told to everybody.
                    tracing::debug!(topic = topic.name, %index, %failure, "partition not opened");
                    return;
                }
            }
        }
        let replicated = self.in_cluster && partition.replicas.len() > 1;
        if partition.leader == self.node && !replicated {
            self.log.set_leader_epoch(partition.number, partition.leader_epoch);
        }
    }

    /// Drops the partitions of which this node holds no replica any more.
    fn drop_left(&self, old: &MetadataImage, new: &MetadataImage) {
        for topic in new.topics.values() {
            let Some(before) = old.topic_by_id(topic.id).filter(|before| !Arc::ptr_eq(before, topic)) else { continue };
            for (known, partition) in before.partitions.iter().zip(&topic.partitions) {
                if known.replicas.contains(&self.node) && !partition.replicas.contains(&self.node) {
                    not_dropped(partition.number, self.log.drop_partition(partition.number));
                }
            }
        }
    }

    /// Where this node keeps the partition; `None` if it does not, or not in any directory that is there.
    fn place(&self, partition: &PartitionImage) -> Option<Place> {
        if !partition.replicas.contains(&self.node) {
            return None;
        }
        let directory = match partition.directory_of(self.node) {
            // From before partitions had a directory: there was one only.
            None => 0,
            Some(id) => self.directories.iter().position(|known| known.id == id)?,
        };
        Some(Place { directory, layout: partition.layout })
    }

    /// Brings the logs in line with the image: what a crash between the two left over. Returns what was dropped. If batches are
    /// found where they do not belong, or the metadata is older than they are, nothing is touched.
    pub(super) fn reconcile(&self, image: &MetadataImage) -> Result<usize, ReconcileError> {
        let mut expected = HashMap::new();
        for partition in image.topics.values().flat_map(|topic| &topic.partitions) {
            if let Some(place) = self.place(partition) {
                expected.insert(partition.number, place);
            }
        }
        let mut orphans = Vec::new();
        for (partition, found) in self.log.partitions() {
            match expected.get(&partition) {
                None if partition.0 >= image.next_partition_number => return Err(self.behind(partition, found, image).into()),
                None => orphans.push((partition, found)),
                Some(place) if *place == found => {}
                Some(place) => return Err(self.misplaced(partition, found, *place).into()),
            }
        }
        for (partition, place) in &orphans {
            not_dropped(*partition, self.log.drop_found(*partition, *place));
        }
        Ok(orphans.len())
    }

    fn misplaced(&self, partition: PartitionNumber, found: Place, expected: Place) -> Misplaced {
        let path = |place: Place| self.directories[place.directory].path.clone();
        Misplaced { partition, found: path(found), expected: path(expected) }
    }

    fn behind(&self, partition: PartitionNumber, found: Place, image: &MetadataImage) -> MetadataBehind {
        MetadataBehind {
            partition,
            found: self.directories[found.directory].path.clone(),
            metadata: self.directories[0].path.join(METADATA_DIR),
            next: image.next_partition_number,
        }
    }
}

/// A stopped log is reported by its observer; the partition is dropped at the next start.
fn not_dropped(partition: PartitionNumber, dropped: Result<LogPosition, PartitionError>) {
    if let Err(error) = dropped {
        tracing::debug!(%partition, %error, "partition not dropped");
    }
}
