//! Who leads a partition: whether a request is at the right node, and where it should go if not.

use duolog_base::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use duolog_core::broker::Broker;
use duolog_core::metadata::{MetadataImage, PartitionImage};
use duolog_wire::kafka::ErrorCode;

/// Another replica that a consumer in this rack should read from: in sync and live, where the leader is in another rack.
pub(super) fn nearer_replica(image: &MetadataImage, rack: &str, partition: &PartitionImage) -> Option<NodeId> {
    if rack.is_empty() || !image.config.reads_by_rack {
        return None;
    }
    let is_near =
        |node: &&NodeId| image.nodes.get(*node).is_some_and(|node| node.is_live() && node.rack.as_deref() == Some(rack));
    match is_near(&&partition.leader) {
        true => None,
        false => partition.in_sync.iter().find(is_near).copied(),
    }
}

/// Whether this node leads the partition, or follows it at least, in the leader epoch that the client knows.
pub(super) fn check_place(broker: &Broker, partition: &PartitionImage, known: LeaderEpoch) -> Result<bool, ErrorCode> {
    if !partition.replicas.contains(&broker.node()) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    check_epoch(partition, known)?;
    Ok(broker.leads(partition).is_some())
}

/// As [`check_place`], where only the leader will do.
pub(super) fn check_leads(broker: &Broker, partition: &PartitionImage, known: LeaderEpoch) -> Result<(), ErrorCode> {
    match check_place(broker, partition, known)? {
        true => Ok(()),
        false => Err(ErrorCode::NotLeaderOrFollower),
    }
}

/// A client that knows another leader epoch has stale metadata, or this node has (KIP-320).
fn check_epoch(partition: &PartitionImage, known: LeaderEpoch) -> Result<(), ErrorCode> {
    match known {
        LeaderEpoch::NONE => Ok(()),
        known if known < partition.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
        known if known > partition.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Who leads the partition, for an answer that refuses to: the node if it is live, and the epoch. (KIP-951)
pub(super) fn leader_hint(image: &MetadataImage, topic: TopicId, index: PartitionIndex) -> Option<LeaderHint> {
    let partition = image.topic_by_id(topic)?.partition(index)?;
    Some(LeaderHint::of(image, partition))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// [`NodeId::NONE`] if there is no live one.
    pub(super) leader: NodeId,
    pub(super) epoch: LeaderEpoch,
}

impl LeaderHint {
    pub(super) fn of(image: &MetadataImage, partition: &PartitionImage) -> LeaderHint {
        LeaderHint { leader: image.live_leader(partition).unwrap_or(NodeId::NONE), epoch: partition.leader_epoch }
    }
}
