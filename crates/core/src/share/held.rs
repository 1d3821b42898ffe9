//! A share-partition as its leader holds it in memory, in one leadership: empty until its state is read, and over once somebody else may go on.

use super::partition::Partition;
use super::work::Work;
use super::{Limits, ShareError, SharePartition};
use duolog_base::LeaderEpoch;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};

pub(super) struct Held {
    pub(super) at: SharePartition,
    /// The leadership that it belongs to.
    pub(super) epoch: LeaderEpoch,
    /// As whoever came first has them.
    pub(super) limits: Limits,
    pub(super) loaded: OnceCell<Loaded>,
    written: watch::Sender<Written>,
}

/// What was read of it, and has happened since.
pub(super) struct Loaded {
    pub(super) state_epoch: i32,
    /// Guards the partition; held for one decision.
    pub(super) work: Mutex<Work>,
}

/// How far the changes are stored.
#[derive(Default)]
struct Written {
    changes: u64,
    /// Why nothing will be stored any more.
    over: Option<ShareError>,
}

impl Loaded {
    pub(super) fn new(state_epoch: i32, partition: Partition) -> Loaded {
        Loaded { state_epoch, work: Mutex::new(Work::new(partition)) }
    }
}

impl Held {
    pub(super) fn new(at: SharePartition, epoch: LeaderEpoch, limits: Limits) -> Held {
        Held { at, epoch, limits, loaded: OnceCell::new(), written: watch::Sender::default() }
    }

    /// So many changes are stored.
    pub(super) fn stored(&self, changes: u64) {
        self.written.send_modify(|written| written.changes = written.changes.max(changes));
    }

    /// Nothing more is stored; who waits is told why.
    pub(super) fn end(&self, error: ShareError) {
        self.written.send_modify(|written| {
            written.over.get_or_insert(error);
        });
    }

    pub(super) fn is_over(&self) -> bool {
        self.written.borrow().over.is_some()
    }

    /// Waits until so many changes are stored.
    pub(super) async fn until_stored(&self, changes: u64) -> Result<(), ShareError> {
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|written| written.changes >= changes || written.over.is_some()).await;
        match reached {
            Ok(written) if written.changes >= changes => Ok(()),
            Ok(written) => Err(written.over.clone().unwrap_or(ShareError::NotLeader)),
            // The sender lives as long as this does.
            Err(_) => Err(ShareError::NotLeader),
        }
    }
}
