//! What the replicas of this node are doing, for whoever shows it.

use super::Replication;
use super::slot::Slot;
use crate::metadata::TopicImage;
use duolog_base::{LeaderEpoch, NodeId, Offset, PartitionIndex, PartitionNumber};
use duolog_replica::Role;
use std::sync::Arc;

/// A replicated partition as this node sees it.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub topic: Arc<TopicImage>,
    pub index: PartitionIndex,
    /// The epoch in which this node leads, if it does.
    pub leads: Option<LeaderEpoch>,
    pub high_watermark: Offset,
    pub log_end: Offset,
    pub log_start: Offset,
    /// As the leader has it; empty if this node does not lead.
    pub in_sync: Vec<NodeId>,
    /// How many offsets each follower lacks, known to the leader only.
    pub followers: Vec<(NodeId, i64)>,
    /// This node does not follow any more, although it should, or cannot vouch for its log.
    pub quarantined: bool,
    /// What is wrong with the replica, if anything is.
    pub problem: Option<String>,
}

impl Replication {
    /// How many committed records the replica of this node lacks, as far as its leader has told it; 0 of one that leads.
    pub(crate) fn lag(&self, partition: PartitionNumber) -> i64 {
        let Some(slot) = self.slot(partition) else { return 0 };
        let state = slot.lock();
        let Some(view) = self.view(&slot, &state).filter(|_| slot.leads().is_none()) else { return 0 };
        (state.leader_high_watermark.0 - view.end.0).max(0)
    }

    /// All replicated partitions of this node, in the order of their numbers.
    pub(crate) fn status(&self) -> Vec<ReplicaStatus> {
        self.all().iter().filter_map(|slot| self.status_of(slot)).collect()
    }

    fn status_of(&self, slot: &Slot) -> Option<ReplicaStatus> {
        let state = slot.lock();
        let view = self.view(slot, &state)?;
        let (in_sync, followers) = match state.replica.role() {
            Role::Leader(leader) => {
                let lag = |end: Option<Offset>| view.end.0 - end.unwrap_or(view.start).0.clamp(view.start.0, view.end.0);
                let followers = leader.followers().map(|(node, durable)| (node, lag(durable))).collect();
                (leader.in_sync().to_vec(), followers)
            }
            Role::Follower(_) | Role::Idle => (Vec::new(), Vec::new()),
        };
        Some(ReplicaStatus {
            topic: state.topic.clone(),
            index: slot.index,
            leads: slot.leads(),
            high_watermark: slot.high_watermark(),
            log_end: view.end,
            log_start: view.start,
            in_sync,
            followers,
            quarantined: state.quarantined.is_some() || state.damaged.is_some(),
            problem: state.problem().cloned(),
        })
    }
}
