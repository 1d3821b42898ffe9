//! Waiting until records of a share-partition may be had again: somebody gave some back, a lock expired, there is room for more, or this node
//! leads the partition no more. New records are not told here: for those the broker's own watch is there.

use super::SharePartition;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Notify;

/// Who waits for what. Guards the waiting; held for a few map operations.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<SharePartition, Vec<Arc<Notify>>>>);

impl Watches {
    pub(super) fn watch(self: &Arc<Self>, partitions: impl IntoIterator<Item = SharePartition>) -> ShareWatch {
        let signal = Arc::new(Notify::new());
        let partitions: Vec<SharePartition> = partitions.into_iter().collect();
        let mut waiting = self.0.lock();
        for partition in &partitions {
            waiting.entry(partition.clone()).or_default().push(signal.clone());
        }
        drop(waiting);
        ShareWatch { watches: self.clone(), signal, partitions }
    }

    /// Wakes all who wait for the share-partition.
    pub(super) fn fire(&self, at: &SharePartition) {
        if let Some(waiting) = self.0.lock().get(at) {
            waiting.iter().for_each(|signal| signal.notify_one());
        }
    }
}

/// A registered interest in some share-partitions; ends when it is dropped.
pub struct ShareWatch {
    watches: Arc<Watches>,
    signal: Arc<Notify>,
    partitions: Vec<SharePartition>,
}

impl ShareWatch {
    /// Resolves when one of the share-partitions is worth another look, once for all that happened since the last time.
    pub async fn changed(&self) {
        self.signal.notified().await;
    }
}

impl Drop for ShareWatch {
    fn drop(&mut self) {
        let mut waiting = self.watches.0.lock();
        for partition in &self.partitions {
            if let Some(signals) = waiting.get_mut(partition) {
                signals.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
                if signals.is_empty() {
                    waiting.remove(partition);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::{PartitionIndex, TopicId};

    fn place(partition: i32) -> SharePartition {
        SharePartition { group: Arc::from("g"), topic: TopicId(1), partition: PartitionIndex(partition) }
    }

    fn is_told(watch: &ShareWatch) -> bool {
        let waker = std::task::Waker::noop();
        std::pin::pin!(watch.changed()).poll(&mut std::task::Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn who_waits_is_told_once_and_a_dropped_watch_leaves_nothing_behind() {
        let watches = Arc::new(Watches::default());
        let (both, one) = (watches.watch([place(0), place(1)]), watches.watch([place(1)]));
        watches.fire(&place(0));
        watches.fire(&place(0));
        assert_eq!((is_told(&both), is_told(&both), is_told(&one)), (true, false, false));
        watches.fire(&place(1));
        assert_eq!((is_told(&both), is_told(&one)), (true, true));
        drop((both, one));
        assert!(watches.0.lock().is_empty());
    }
}
