//! The image as replication sees it: who is live, which incarnation, and what each partition's leader and followers go by.

use super::image::{MetadataImage, NodeImage, PartitionImage, TopicImage};
use duolog_base::{BrokerEpoch, NodeId};
use duolog_replica::{PartitionState, Peer};

impl NodeImage {
    /// Whether it may hold replicas that count.
    pub fn is_live(&self) -> bool {
        self.membership.as_ref().is_none_or(|membership| !membership.fenced)
    }

    /// Whether it may be made a leader or be taken into an in-sync set.
    pub fn is_available(&self) -> bool {
        self.membership.as_ref().is_none_or(|membership| !membership.fenced && !membership.stopping)
    }
}

impl MetadataImage {
    /// The epoch of the node's present life.
    pub fn broker_epoch(&self, node: NodeId) -> Option<BrokerEpoch> {
        self.nodes.get(&node)?.membership.as_ref().map(|membership| membership.epoch)
    }

    /// The registered nodes, for a leader to judge its followers by.
    pub fn peers(&self) -> Vec<Peer> {
        let peer = |node: &NodeImage| {
            let membership = node.membership.as_ref()?;
            Some(Peer { node: node.id, epoch: membership.epoch, available: node.is_available() })
        };
        self.nodes.values().filter_map(peer).collect()
    }

    /// The leader, if its node is live.
    pub fn live_leader(&self, partition: &PartitionImage) -> Option<NodeId> {
        self.nodes.get(&partition.leader).filter(|node| node.is_live()).map(|node| node.id)
    }
}

impl TopicImage {
    /// In-sync replicas without which nothing of the partition is committed: as configured, but no more than it has replicas.
    /// Replicas that are being added do not count before they are in place.
    pub fn min_in_sync(&self, partition: &PartitionImage) -> usize {
        let settled = partition.replicas.len() - partition.adding.len();
        usize::try_from(self.config.min_insync_replicas).unwrap_or(1).min(settled).max(1)
    }

    pub fn partition_state(&self, partition: &PartitionImage) -> PartitionState {
        PartitionState {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            replicas: partition.replicas.clone(),
            in_sync: partition.in_sync.clone(),
            eligible: partition.eligible.clone(),
            min_in_sync: self.min_in_sync(partition),
            unclean_epoch: partition.unclean_epoch,
        }
    }
}
