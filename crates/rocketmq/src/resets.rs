//! Offsets that somebody has set for a group while its members go by what they remember.
//!
//! A member learns of it at its next pull, which is answered with the new offset; until then nothing that members say of their
//! offsets counts. In memory only: the offsets themselves are stored, and after a restart members that did not pull in between may
//! say their old ones again.

use duolog_base::{Offset, PartitionIndex};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Queues whose members are yet to be told, all groups together.
const RESETS: usize = 100_000;

/// Offsets of one group, by topic and queue.
type GroupResets = HashMap<String, HashMap<i32, Offset>>;

#[derive(Default)]
pub struct Resets {
    /// Guards what is yet to be told; held for one look-up.
    groups: Mutex<HashMap<String, GroupResets>>,
    /// How many there are, so that a pull need not lock to learn that there are none.
    count: AtomicUsize,
}

/// There are too many queues whose members have not pulled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the members of {RESETS} queues have not been told of their new offsets yet")]
pub struct TooManyResets;

impl Resets {
    /// Notes the new offsets of a group's queues. If there is no room, those of groups that are no longer `alive` are forgotten.
    pub fn add(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(PartitionIndex, Offset)],
        alive: impl Fn(&str) -> bool,
    ) -> Result<(), TooManyResets> {
        let mut groups = self.groups.lock();
        if self.count.load(Ordering::Relaxed) + offsets.len() > RESETS {
            groups.retain(|group, _| alive(group));
            self.recount(&groups);
        }
        if self.count.load(Ordering::Relaxed) + offsets.len() > RESETS {
            return Err(TooManyResets);
        }
        let queues = groups.entry_ref(group).or_default().entry_ref(topic).or_default();
        queues.extend(offsets.iter().map(|(queue, offset)| (queue.0, *offset)));
        self.recount(&groups);
        Ok(())
    }

    /// Takes them back.
    pub fn forget(&self, group: &str, topic: &str, offsets: &[(PartitionIndex, Offset)]) {
        for (queue, _) in offsets {
            self.take(group, topic, *queue);
        }
    }

    /// The new offset that a member of the group is yet to be told of; it is told only once.
    pub fn take(&self, group: &str, topic: &str, queue: PartitionIndex) -> Option<Offset> {
        if self.is_empty() {
            return None;
        }
        let mut groups = self.groups.lock();
        let topics = groups.get_mut(group)?;
        let queues = topics.get_mut(topic)?;
        let offset = queues.remove(&queue.0)?;
        if queues.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            groups.remove(group);
        }
        self.count.fetch_sub(1, Ordering::Release);
        Some(offset)
    }

    /// Whether members are yet to be told of a new offset.
    pub fn holds(&self, group: &str, topic: &str, queue: PartitionIndex) -> bool {
        let find = |groups: &HashMap<String, GroupResets>| groups.get(group)?.get(topic)?.get(&queue.0).copied();
        !self.is_empty() && find(&self.groups.lock()).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn recount(&self, groups: &HashMap<String, GroupResets>) {
        let count = groups.values().flat_map(HashMap::values).map(HashMap::len).sum();
        self.count.store(count, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(queues: std::ops::Range<i32>) -> Vec<(PartitionIndex, Offset)> {
        queues.map(|queue| (PartitionIndex(queue), Offset(i64::from(queue) * 10))).collect()
    }

    #[test]
    fn each_queue_is_told_once() {
        let resets = Resets::default();
        resets.add("g", "t", &offsets(0..3), |_| true).unwrap();
        assert_eq!(resets.take("other", "t", PartitionIndex(1)), None);
        assert_eq!(resets.take("g", "other", PartitionIndex(1)), None);
        assert!(resets.holds("g", "t", PartitionIndex(1)));
        assert_eq!(resets.take("g", "t", PartitionIndex(1)), Some(Offset(10)));
        assert_eq!(resets.take("g", "t", PartitionIndex(1)), None);
        assert!(!resets.holds("g", "t", PartitionIndex(1)) && resets.holds("g", "t", PartitionIndex(2)));
        resets.add("g", "t", &[(PartitionIndex(2), Offset(7))], |_| true).unwrap();
        assert_eq!(resets.take("g", "t", PartitionIndex(2)), Some(Offset(7)));
        resets.forget("g", "t", &offsets(0..3));
        assert!(resets.is_empty() && resets.groups.lock().is_empty());
    }

    #[test]
    fn groups_that_are_gone_make_room() {
        let resets = Resets::default();
        resets.add("dead", "t", &offsets(0..RESETS as i32 / 2), |_| true).unwrap();
        resets.add("alive", "t", &offsets(0..RESETS as i32 / 2), |_| true).unwrap();
        assert_eq!(resets.add("new", "t", &offsets(0..1), |_| true), Err(TooManyResets));
        assert_eq!(resets.add("new", "t", &offsets(0..1), |group| group != "dead"), Ok(()));
        assert!(resets.holds("alive", "t", PartitionIndex(0)) && resets.holds("new", "t", PartitionIndex(0)));
        assert!(!resets.holds("dead", "t", PartitionIndex(0)));
    }
}
