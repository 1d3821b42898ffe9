//! Images become roles: in the order of the metadata log, and only images in which this node is registered as the life that it is.

use super::Replication;
use super::slot::{Slot, SlotState};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use duolog_base::{LeaderEpoch, NodeId, PartitionIndex, PartitionNumber};
use duolog_replica::{Replica, Role};
use std::sync::Arc;

impl Replication {
    /// Whether this image may be obeyed. See [`duolog_replica::Incarnation::may_act_on`].
    pub(crate) fn may_act_on(&self, image: &MetadataImage) -> bool {
        self.me.get().is_some_and(|me| me.may_act_on(image.broker_epoch(me.node)))
    }

    /// Takes the roles that the present image gives.
    pub(super) fn act_on_all(self: &Arc<Self>) {
        let _turn = self.acting.lock();
        let image = self.around.metadata.image();
        if self.may_act_on(&image) {
            for topic in image.topics.values() {
                self.obey_topic(None, topic);
            }
        }
    }

    /// Takes the roles that have changed between two images. The log knows of the partitions of the new one already.
    pub(crate) fn image_changed(self: &Arc<Self>, old: &MetadataImage, new: &MetadataImage) {
        let _turn = self.acting.lock();
        if !self.may_act_on(new) {
            return;
        }
        for topic in new.topics.values() {
            let before = old.topic_by_id(topic.id);
            if before.is_none_or(|before| !Arc::ptr_eq(before, topic)) {
                self.obey_topic(before, topic);
            }
        }
        for topic in old.topics.values().filter(|topic| new.topic_by_id(topic.id).is_none()) {
            topic.partitions.iter().for_each(|partition| self.forget(partition.number));
        }
        if old.nodes != new.nodes {
            // Who is fenced leaves the in-sync sets.
            self.propose_now.notify_one();
        }
    }

    fn obey_topic(self: &Arc<Self>, before: Option<&Arc<TopicImage>>, topic: &Arc<TopicImage>) {
        let same_config = before.is_some_and(|before| Arc::ptr_eq(&before.config, &topic.config));
        for (index, partition) in (0..).map(PartitionIndex).zip(&topic.partitions) {
            let known = before.and_then(|before| before.partition(index));
            if !(same_config && known == Some(partition)) {
                self.obey(topic, index, partition);
            }
        }
    }

    fn obey(self: &Arc<Self>, topic: &Arc<TopicImage>, index: PartitionIndex, partition: &PartitionImage) {
        if !partition.replicas.contains(&self.around.node) {
            return self.forget(partition.number);
        }
        if let Some(slot) = self.slot(partition.number) {
            return self.assume(&slot, &mut slot.lock(), topic, partition);
        }
        if partition.replicas.len() > 1 {
            self.create(topic, index, partition);
        }
    }

    /// No append of the partition is under way while it gets its slot.
    fn create(self: &Arc<Self>, topic: &Arc<TopicImage>, index: PartitionIndex, partition: &PartitionImage) {
        let Some(me) = self.me.get() else { return };
        let mut slots = self.slots.write();
        let ends = self.around.log.ends(partition.number);
        // The log has stopped, which its observer has told to everybody.
        let Some(ends) = ends else { return };
        let view =
            duolog_replica::LogView { start: ends.start, durable: ends.durable, end: ends.end, last_epoch: ends.last_epoch };
        let slot = Arc::new(Slot::new(partition.number, index, Replica::new(*me, view), topic.clone()));
        if let Some(reason) = self.around.log.quarantine(partition.number) {
            self.found_damaged(&slot, &mut slot.lock(), reason);
        }
        self.assume(&slot, &mut slot.lock(), topic, partition);
        slots.insert(partition.number, slot);
    }

    fn assume(self: &Arc<Self>, slot: &Slot, state: &mut SlotState, topic: &Arc<TopicImage>, partition: &PartitionImage) {
        state.topic = topic.clone();
        state.replicas = partition.replicas.len();
        let Some(view) = self.view(slot, state) else { return };
        let (before, led) = (following(&state.replica), slot.leads());
        let assumed = state.replica.assume(&topic.partition_state(partition), view, self.now_ms());
        if let Some(epoch) = assumed.leads {
            self.around.log.set_leader_epoch(slot.number, epoch);
        }
        if state.replica.damage().is_some() {
            self.healer.wake();
        }
        state.answer(assumed.resigned);
        self.after(slot, state);
        let now = following(&state.replica);
        if (before, led) == (now, slot.leads()) {
            return;
        }
        // A new role: what was wrong in the old one is judged anew, and who waits here is told.
        state.quarantined = None;
        state.tell_followers(slot.number, true);
        let leaders = [before, now].map(|role| role.map(|(leader, _)| leader));
        leaders.into_iter().flatten().for_each(|leader| self.fetchers.want(self, leader, slot.number));
        self.around.log.set_stable_end(slot.number, state.replica.high_watermark());
        self.around.readers.committed(slot.number);
    }

    /// The node holds no replica any more.
    fn forget(self: &Arc<Self>, partition: PartitionNumber) {
        let Some(slot) = self.slots.write().remove(&partition) else { return };
        let mut state = slot.lock();
        state.gone = true;
        // Its producers learn that nobody knows what will become of what they sent.
        state.resign();
        state.tell_followers(partition, true);
        slot.publish(&state);
        if let Some((leader, _)) = following(&state.replica) {
            self.fetchers.want(self, leader, partition);
        }
        drop(state);
        self.around.readers.committed(partition);
    }
}

/// Whom the replica follows, and in which epoch.
fn following(replica: &Replica) -> Option<(NodeId, LeaderEpoch)> {
    match replica.role() {
        Role::Follower(follower) => Some((follower.leader(), follower.epoch())),
        Role::Leader(_) | Role::Idle => None,
    }
}
