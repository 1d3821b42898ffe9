//! What the unanswered requests of one connection take up, counted so that the connection stops reading in time.

use duolog_net::{Charge, Room};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts of one connection. Each is on its own: a moment's mixture only lets one more request in, or waits for one more signal.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    allowance: AtomicUsize,
    /// Told whenever something was given back.
    changed: Notify,
}

impl Unanswered {
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn allowance(&self) -> usize {
        self.allowance.load(Ordering::Relaxed)
    }

    /// Resolves when something was given back since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Counts one more request, until it is answered.
    pub(super) fn begin(self: &Arc<Self>) -> Waiting {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Counts the bytes of a request.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize, charge: Charge) -> Held {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.allowance.fetch_add(charge.allowance, Ordering::Relaxed);
        Held { unanswered: self.clone(), bytes, allowance: charge.allowance, room: charge.room }
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Unanswered>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Release);
        self.0.changed.notify_one();
    }
}

/// The bytes of a request, and the room they take.
#[derive(Debug)]
pub(crate) struct Held {
    unanswered: Arc<Unanswered>,
    bytes: usize,
    allowance: usize,
    room: Room,
}

/// Of a request that another node holds the room for.
impl Default for Held {
    fn default() -> Self {
        Held { unanswered: Arc::default(), bytes: 0, allowance: 0, room: Room::default() }
    }
}

impl Held {
    /// Gives everything back; nothing the second time.
    pub(super) fn release(&mut self) {
        let (bytes, allowance) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.allowance));
        self.room = Room::default();
        self.unanswered.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.unanswered.allowance.fetch_sub(allowance, Ordering::Relaxed);
        if bytes > 0 {
            self.unanswered.changed.notify_one();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}
