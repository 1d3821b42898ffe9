//! The current image, where readers find it and the log's entries arrive.

use super::fold::{FoldError, fold, fold_into};
use super::image::MetadataImage;
use super::node::ImageListener;
use super::record::{Change, FEATURE_LEVEL};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// The image and those who follow it. Written by the Raft state machine only, so in log order.
pub(super) struct Published {
    image: ArcSwap<MetadataImage>,
    changes: watch::Sender<u64>,
    listener: Arc<dyn ImageListener>,
    /// While the log is replayed at start the listener is not told; it then gets the result as one change.
    live: AtomicBool,
}

/// An entry that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Fold(#[from] FoldError),
    #[error("records of level {found} were written by a newer version, this binary reads up to {supported}")]
    NewerLevel { found: u32, supported: u32 },
}

impl Published {
    pub(super) fn new(image: MetadataImage, listener: Arc<dyn ImageListener>) -> Published {
        let changes = watch::Sender::new(image.applied);
        Published { image: ArcSwap::from_pointee(image), changes, listener, live: AtomicBool::new(false) }
    }

    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Folds one entry and tells the followers.
    pub(super) fn apply(&self, index: u64, change: &Change) -> Result<(), ApplyError> {
        if change.level > FEATURE_LEVEL {
            return Err(ApplyError::NewerLevel { found: change.level, supported: FEATURE_LEVEL });
        }
        let next = match self.live.load(Ordering::Acquire) {
            true => fold(&self.image.load(), &change.records, index)?,
            // Nobody looks yet, so the image can be changed in place: a replay costs no copies.
            false => fold_into(Arc::unwrap_or_clone(self.image.swap(Arc::default())), &change.records, index)?,
        };
        self.publish(next);
        Ok(())
    }

    /// Puts another image in place of the current one.
    pub(super) fn publish(&self, next: MetadataImage) {
        let next = Arc::new(next);
        let old = self.image.swap(next.clone());
        if self.live.load(Ordering::Acquire) {
            self.listener.image_changed(&old, &next);
        }
        self.changes.send_replace(next.applied);
    }

    /// Ends the replay: the listener sees everything found as one change, and from then on each change.
    /// Called once, when no entry is on its way.
    pub(super) fn go_live(&self, before: &MetadataImage) {
        self.listener.image_changed(before, &self.image.load());
        self.live.store(true, Ordering::Release);
    }
}
