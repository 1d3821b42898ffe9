//! Waiting for data: a fetch that found too little is woken when one of its partitions advances.
//!
//! [`Observer`] is what the log's writer and syncer call. A partition that nobody waits for costs nothing: it is not
//! in the map, and while the map is empty the writer does not even take its lock.

use super::metrics::LogCounters;
use crate::config::FlushMode;
use duolog_base::PartitionNumber;
use duolog_log::{Advance, LogFailure, LogObserver};
use hashbrown::HashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use tokio::sync::{Notify, watch as signal};

/// Where the log reports to.
pub(super) struct Observer {
    /// Entries in `watched`, readable without its lock.
    registrations: AtomicUsize,
    /// Guards who waits for which partition; held for a few map operations.
    watched: Mutex<HashMap<PartitionNumber, SmallVec<[Registration; 1]>>>,
    failed: signal::Sender<Option<LogFailure>>,
    pub(super) counters: LogCounters,
}

struct Registration {
    waiter: Arc<Notify>,
    wants: Advance,
}

impl Observer {
    pub(super) fn new() -> Arc<Observer> {
        Arc::new(Observer {
            registrations: AtomicUsize::new(0),
            watched: Mutex::new(HashMap::new()),
            failed: signal::Sender::new(None),
            counters: LogCounters::default(),
        })
    }

    pub(super) fn failed(&self) -> signal::Receiver<Option<LogFailure>> {
        self.failed.subscribe()
    }

    /// Registers interest in partitions; what happens from now on is not missed.
    pub(super) fn watch(self: &Arc<Self>, partitions: impl IntoIterator<Item = (PartitionNumber, FlushMode)>) -> Watch {
        let waiter = Arc::new(Notify::new());
        let mut registered = Vec::new();
        let mut watched = self.watched.lock();
        for (partition, flush) in partitions {
            let wants = match flush {
                FlushMode::Sync => Advance::Durable,
                FlushMode::Async => Advance::Written,
            };
            watched.entry(partition).or_default().push(Registration { waiter: waiter.clone(), wants });
            registered.push(partition);
        }
        self.registrations.fetch_add(registered.len(), Ordering::SeqCst);
        drop(watched);
        // Pairs with the fence in `advanced`: either the log sees this registration, or the caller's next read sees the data.
        fence(Ordering::SeqCst);
        Watch { observer: self.clone(), waiter, partitions: registered }
    }

    fn forget(&self, waiter: &Arc<Notify>, partitions: &[PartitionNumber]) {
        let mut watched = self.watched.lock();
        for partition in partitions {
            let Some(registrations) = watched.get_mut(partition) else { continue };
            registrations.retain(|registration| !Arc::ptr_eq(&registration.waiter, waiter));
            if registrations.is_empty() {
                watched.remove(partition);
            }
        }
        self.registrations.fetch_sub(partitions.len(), Ordering::SeqCst);
    }
}

impl LogObserver for Observer {
    fn advanced(&self, partitions: &[PartitionNumber], what: Advance) {
        self.counters.advanced(what);
        fence(Ordering::SeqCst);
        if self.registrations.load(Ordering::SeqCst) == 0 {
            return;
        }
        let watched = self.watched.lock();
        for partition in partitions {
            for registration in watched.get(partition).into_iter().flatten() {
                if registration.wants == what {
                    registration.waiter.notify_one();
                }
            }
        }
    }

    fn failed(&self, failure: &LogFailure) {
        tracing::error!(%failure, "the log has stopped; the process must be restarted");
        self.failed.send_replace(Some(failure.clone()));
    }
}

/// A registered interest in some partitions; ends when it is dropped.
pub struct Watch {
    observer: Arc<Observer>,
    waiter: Arc<Notify>,
    partitions: Vec<PartitionNumber>,
}

impl Watch {
    /// Resolves when one of the partitions has advanced since the registration, or since the last call returned.
    pub async fn changed(&self) {
        self.waiter.notified().await;
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

    fn fired(watch: &Watch) -> bool {
        let waker = std::task::Waker::noop();
        let future = std::pin::pin!(watch.changed());
        future.poll(&mut std::task::Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn a_watch_fires_for_what_its_flush_mode_shows() {
        let observer = Observer::new();
        let watch = observer.watch([(SYNC, FlushMode::Sync)]);
        observer.advanced(&[SYNC], Advance::Written);
        assert!(!fired(&watch));
        observer.advanced(&[SYNC], Advance::Durable);
        assert!(fired(&watch));
        assert!(!fired(&watch), "one advance wakes once");

        let watch = observer.watch([(ASYNC, FlushMode::Async)]);
        observer.advanced(&[SYNC], Advance::Written);
        assert!(!fired(&watch));
        observer.advanced(&[SYNC, ASYNC], Advance::Written);
        assert!(fired(&watch));
    }

    #[test]
    fn dropped_watches_leave_nothing_behind() {
        let observer = Observer::new();
        let first = observer.watch([(SYNC, FlushMode::Sync), (ASYNC, FlushMode::Async)]);
        let second = observer.watch([(SYNC, FlushMode::Sync)]);
        drop(first);
        observer.advanced(&[SYNC], Advance::Durable);
        assert!(fired(&second));
        drop(second);
        assert_eq!(observer.registrations.load(Ordering::SeqCst), 0);
        assert!(observer.watched.lock().is_empty());
    }
}
