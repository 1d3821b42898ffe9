//! Waiting for data: a fetch that found too little is woken when one of its partitions advances, and is told which.
//!
//! [`Observer`] is what the log's writer and syncer call. A partition that nobody waits for costs nothing: it is not
//! in the map, and while the map is empty the writer does not even take its lock. A registration is used up by the
//! first advance, so a watch that nobody looks at any more costs each of its partitions once.

use super::metrics::LogCounters;
use crate::config::FlushMode;
use crate::replication::{Readers, Replication};
use duolog_base::PartitionNumber;
use duolog_log::{Advance, LogFailure, LogObserver};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::{Notify, watch as signal};

/// Where the log reports to.
pub(super) struct Observer {
    /// Entries in `watched`, readable without its lock.
    registrations: AtomicUsize,
    /// Guards who waits for which partition; held for a few map operations.
    watched: Mutex<HashMap<PartitionNumber, SmallVec<[Registration; 1]>>>,
    failed: signal::Sender<Option<LogFailure>>,
    /// Decides what may be shown of partitions with several replicas. Not of a node alone.
    replication: OnceLock<Weak<Replication>>,
    pub(super) counters: LogCounters,
}

/// What makes more of a partition visible.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Log(Advance),
    Committed,
}

struct Registration {
    waiter: Arc<Waiter>,
    wants: Shows,
}

/// Who waits.
#[derive(Default)]
struct Waiter {
    /// Guards the partitions that have advanced, each once; locked after `watched`.
    advanced: Mutex<Vec<PartitionNumber>>,
    signal: Notify,
}

impl Waiter {
    fn tell(&self, partition: PartitionNumber) {
        let mut advanced = self.advanced.lock();
        if advanced.is_empty() {
            self.signal.notify_one();
        }
        advanced.push(partition);
    }
}

impl Observer {
    pub(super) fn new() -> Arc<Observer> {
        Arc::new(Observer {
            registrations: AtomicUsize::new(0),
            watched: Mutex::new(HashMap::new()),
            failed: signal::Sender::new(None),
            replication: OnceLock::new(),
            counters: LogCounters::default(),
        })
    }

    /// What may be shown of replicated partitions is decided there from now on.
    pub(super) fn set_replication(&self, replication: &Arc<Replication>) {
        let _ = self.replication.set(Arc::downgrade(replication));
    }

    fn replication(&self) -> Option<Arc<Replication>> {
        self.replication.get().and_then(Weak::upgrade)
    }

    pub(super) fn failed(&self) -> signal::Receiver<Option<LogFailure>> {
        self.failed.subscribe()
    }

    /// Registers interest in partitions: see [`Watch::add`].
    pub(super) fn watch(self: &Arc<Self>, partitions: impl IntoIterator<Item = (PartitionNumber, FlushMode)>) -> Watch {
        let mut watch = Watch { observer: self.clone(), waiter: Arc::default(), partitions: HashSet::new() };
        watch.add(partitions);
        watch
    }

    fn forget<'a>(&self, waiter: &Arc<Waiter>, partitions: impl IntoIterator<Item = &'a PartitionNumber>) {
        let mut watched = self.watched.lock();
        let mut forgotten = 0;
        for partition in partitions {
            let Some(registrations) = watched.get_mut(partition) else { continue };
            let before = registrations.len();
            registrations.retain(|registration| !Arc::ptr_eq(&registration.waiter, waiter));
            forgotten += before - registrations.len();
            if registrations.is_empty() {
                watched.remove(partition);
            }
        }
        self.registrations.fetch_sub(forgotten, Ordering::SeqCst);
    }
}

impl LogObserver for Observer {
    fn advanced(&self, partitions: &[PartitionNumber], what: Advance) {
        self.counters.advanced(what);
        if let Some(replication) = self.replication() {
            replication.log_advanced(partitions, what);
        }
        self.fire(partitions, Shows::Log(what));
    }

    fn damaged(&self, partition: PartitionNumber) {
        if let Some(replication) = self.replication() {
            replication.found_by_log(partition);
        }
    }

    fn failed(&self, failure: &LogFailure) {
        tracing::error!(%failure, "the log has stopped; the process must be restarted");
        self.failed.send_replace(Some(failure.clone()));
        if let Some(replication) = self.replication() {
            replication.give_up_waiting();
        }
    }
}

impl Readers for Observer {
    fn committed(&self, partition: PartitionNumber) {
        self.fire(&[partition], Shows::Committed);
    }
}

impl Observer {
    /// Tells those who wait for just this.
    fn fire(&self, partitions: &[PartitionNumber], what: Shows) {
        fence(Ordering::SeqCst);
        if self.registrations.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut watched = self.watched.lock();
        let mut used_up = 0;
        for partition in partitions {
            let Some(registrations) = watched.get_mut(partition) else { continue };
            let before = registrations.len();
            registrations.retain(|registration| {
                let fires = registration.wants == what;
                if fires {
                    registration.waiter.tell(*partition);
                }
                !fires
            });
            used_up += before - registrations.len();
            if registrations.is_empty() {
                watched.remove(partition);
            }
        }
        self.registrations.fetch_sub(used_up, Ordering::SeqCst);
    }
}

/// A registered interest in some partitions; ends when it is dropped.
pub struct Watch {
    observer: Arc<Observer>,
    waiter: Arc<Waiter>,
    /// What was added and may still be registered.
    partitions: HashSet<PartitionNumber>,
}

impl Watch {
    /// Registers interest in the next advance of partitions. Whoever reads a partition after this misses nothing: what
    /// the read does not see is told. A partition that is registered already stays so, for the flush mode given last.
    pub fn add(&mut self, partitions: impl IntoIterator<Item = (PartitionNumber, FlushMode)>) {
        // Before the lock: replication calls the observer with its own locks held. Whoever waits for the log of a partition that gets other
        // replicas is told too early once.
        let replication = self.observer.replication();
        let is_replicated = |partition| replication.as_ref().is_some_and(|replication| replication.has_slot(partition));
        let wanted = partitions.into_iter().map(|(partition, flush)| match flush {
            _ if is_replicated(partition) => (partition, Shows::Committed),
            FlushMode::Sync => (partition, Shows::Log(Advance::Durable)),
            FlushMode::Async => (partition, Shows::Log(Advance::Written)),
        });
        let wanted: SmallVec<[_; 4]> = wanted.collect();
        let mut watched = self.observer.watched.lock();
        let mut added = 0;
        for (partition, wants) in wanted {
            let registrations = watched.entry(partition).or_default();
            match registrations.iter_mut().find(|registration| Arc::ptr_eq(&registration.waiter, &self.waiter)) {
                Some(registration) => registration.wants = wants,
                None => {
                    registrations.push(Registration { waiter: self.waiter.clone(), wants });
                    added += 1;
                }
            }
            self.partitions.insert(partition);
        }
        self.observer.registrations.fetch_add(added, Ordering::SeqCst);
        drop(watched);
        // Pairs with the fence in `advanced`: either the log sees this registration, or the caller's next read sees the data.
        fence(Ordering::SeqCst);
    }

    /// Ends the interest in one partition. It may still be told once.
    pub fn remove(&mut self, partition: PartitionNumber) {
        if self.partitions.remove(&partition) {
            self.observer.forget(&self.waiter, [&partition]);
        }
    }

    /// Resolves when there is something to take.
    pub async fn changed(&self) {
        while self.waiter.advanced.lock().is_empty() {
            self.waiter.signal.notified().await;
        }
    }

    /// The partitions that have advanced since they were added. To hear of them again they must be added again.
    pub fn take(&self) -> Vec<PartitionNumber> {
        std::mem::take(&mut *self.waiter.advanced.lock())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.forget(&self.waiter, &self.partitions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: PartitionNumber = PartitionNumber(1);
    const ASYNC: PartitionNumber = PartitionNumber(2);

    fn fired(watch: &Watch) -> Vec<PartitionNumber> {
        let waker = std::task::Waker::noop();
        let future = std::pin::pin!(watch.changed());
        let ready = future.poll(&mut std::task::Context::from_waker(waker)).is_ready();
        let taken = watch.take();
        assert_eq!(ready, !taken.is_empty());
        taken
    }

    #[test]
    fn a_watch_tells_what_its_flush_mode_shows() {
        let observer = Observer::new();
        let watch = observer.watch([(SYNC, FlushMode::Sync)]);
        observer.advanced(&[SYNC], Advance::Written);
        assert_eq!(fired(&watch), []);
        observer.advanced(&[SYNC], Advance::Durable);
        assert_eq!(fired(&watch), [SYNC]);

        let watch = observer.watch([(ASYNC, FlushMode::Async)]);
        observer.advanced(&[SYNC], Advance::Written);
        assert_eq!(fired(&watch), []);
        observer.advanced(&[SYNC, ASYNC], Advance::Written);
        assert_eq!(fired(&watch), [ASYNC]);
    }

    #[test]
    fn a_partition_is_told_once_for_each_time_it_was_added() {
        let observer = Observer::new();
        let mut watch = observer.watch([(SYNC, FlushMode::Sync), (ASYNC, FlushMode::Async)]);
        for _ in 0..3 {
            observer.advanced(&[SYNC], Advance::Durable);
        }
        assert_eq!(fired(&watch), [SYNC]);
        assert_eq!(observer.registrations.load(Ordering::SeqCst), 1);
        watch.add([(SYNC, FlushMode::Sync), (SYNC, FlushMode::Async)]);
        observer.advanced(&[SYNC], Advance::Durable);
        assert_eq!(fired(&watch), [], "the mode given last counts");
        observer.advanced(&[SYNC, ASYNC], Advance::Written);
        assert_eq!(fired(&watch), [SYNC, ASYNC]);
        watch.add([(SYNC, FlushMode::Sync)]);
        watch.remove(SYNC);
        observer.advanced(&[SYNC], Advance::Durable);
        assert_eq!(fired(&watch), []);
    }

    #[test]
    fn dropped_watches_leave_nothing_behind() {
        let observer = Observer::new();
        let first = observer.watch([(SYNC, FlushMode::Sync), (ASYNC, FlushMode::Async)]);
        let second = observer.watch([(SYNC, FlushMode::Sync)]);
        drop(first);
        observer.advanced(&[SYNC], Advance::Durable);
        assert_eq!(fired(&second), [SYNC]);
        drop(second);
        assert_eq!(observer.registrations.load(Ordering::SeqCst), 0);
        assert!(observer.watched.lock().is_empty());
    }
}
