//! Follows the metadata: opens partitions that appear, drops those that are gone, raises leader epochs.
//!
//! Called in the order of the metadata log, before the change is answered to whoever asked for it.

use crate::metadata::{ImageListener, MetadataImage, PartitionImage, TopicImage};
use duolog_base::{NodeId, PartitionNumber};
use duolog_log::Log;
use hashbrown::HashSet;
use std::sync::Arc;

/// Applies changes of the image to the log.
pub(super) struct PartitionOpener {
    pub(super) node: NodeId,
    pub(super) log: Arc<Log>,
}

impl ImageListener for PartitionOpener {
    fn image_changed(&self, old: &MetadataImage, new: &MetadataImage) {
        for topic in new.topics.values() {
            let before = old.topic_by_id(topic.id);
            if before.is_none_or(|before| !Arc::ptr_eq(before, topic)) {
                self.open_changed(before, topic);
            }
        }
        for topic in old.topics.values() {
            if new.topic_by_id(topic.id).is_none() {
                topic.partitions.iter().for_each(|partition| self.drop_partition(partition.number));
            }
        }
    }
}

impl PartitionOpener {
    /// Opens what is new in a topic and passes on new leader epochs.
    fn open_changed(&self, before: Option<&Arc<TopicImage>>, topic: &TopicImage) {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let known = before.and_then(|before| before.partitions.get(index));
            if known.is_none_or(|known| known.leader_epoch != partition.leader_epoch || known.leader != partition.leader) {
                self.open(partition);
            }
        }
    }

    fn open(&self, partition: &PartitionImage) {
        if !partition.replicas.contains(&self.node) {
            return;
        }
        self.log.open_partition(partition.number);
        if partition.leader == self.node {
            self.log.set_leader_epoch(partition.number, partition.leader_epoch);
        }
    }

    fn drop_partition(&self, partition: PartitionNumber) {
        if let Err(error) = self.log.drop_partition(partition) {
            // A stopped log is reported by its observer; the partition is dropped at the next start.
            tracing::debug!(%partition, %error, "partition not dropped");
        }
    }

    /// Brings the log in line with the image: what a crash between the two left over. Returns what was dropped.
    pub(super) fn reconcile(&self, image: &MetadataImage) -> usize {
        let mut known = HashSet::new();
        for partition in image.topics.values().flat_map(|topic| &topic.partitions) {
            self.open(partition);
            known.insert(partition.number);
        }
        let orphans: Vec<_> = self.log.partitions().into_iter().filter(|number| !known.contains(number)).collect();
        orphans.iter().for_each(|number| self.drop_partition(*number));
        orphans.len()
    }
}
