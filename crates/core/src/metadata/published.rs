//! The current image, where readers find it and the log's entries arrive.

use super::fold::{FoldError, fold, fold_into};
use super::image::MetadataImage;
use super::node::ImageListener;
use super::record::{Change, FEATURE_LEVEL};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// The image and those who follow it. Written by the Raft state machine only, so in log order.
pub(super) struct Published {
    image: ArcSwap<MetadataImage>,
    changes: watch::Sender<u64>,
    listener: Arc<dyn ImageListener>,
    /// While the log is replayed at start the listener is not told; it then gets the result as one change.
    /// Held while an image takes the place of another one, until the listener knows.
    live: Mutex<bool>,
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
        Published { image: ArcSwap::from_pointee(image), changes, listener, live: Mutex::new(false) }
    }

    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Folds one entry and tells the followers. `false` if it was decided on another image than the present one, and has no effect.
    pub(super) fn apply(&self, index: u64, change: &Change) -> Result<bool, ApplyError> {
        if change.level > FEATURE_LEVEL {
            return Err(ApplyError::NewerLevel { found: change.level, supported: FEATURE_LEVEL });
        }
        let live = self.live.lock();
        if change.base.is_some_and(|base| base != self.image.load().applied) {
            return Ok(false);
        }
        let next = match *live {
            true => fold(&self.image.load(), &change.records, index)?,
            // Nobody looks yet, so the image can be changed in place: a replay costs no copies.
            false => fold_into(Arc::unwrap_or_clone(self.image.swap(Arc::default())), &change.records, index)?,
        };
        self.put(*live, next);
        Ok(true)
    }

    /// Puts another image in place of the current one.
    pub(super) fn publish(&self, next: MetadataImage) {
        self.put(*self.live.lock(), next);
    }

    fn put(&self, live: bool, next: MetadataImage) {
        let next = Arc::new(next);
        let old = self.image.swap(next.clone());
        if live {
            self.listener.image_changed(&old, &next);
        }
        self.changes.send_replace(next.applied);
    }

    /// Ends the replay: the listener sees everything found as one change, and from then on each change. Called once.
    pub(super) fn go_live(&self, before: &MetadataImage) {
        let mut live = self.live.lock();
        self.listener.image_changed(before, &self.image.load());
        *live = true;
    }
}
