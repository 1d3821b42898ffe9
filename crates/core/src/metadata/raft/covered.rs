//! How far the entries of the log are in a snapshot on disk.
//!
//! The library asks for the entries to be purged that a snapshot of the leader replaces while the snapshot is still being put in place.
//! If power failed in between, neither would be there; so a purge waits here.

use std::io;
use tokio::sync::watch;

/// Told of snapshots that are durable, waited for by purges.
pub(super) struct Covered {
    /// Index after the last entry in the newest snapshot; `None` if one could not be written.
    end: watch::Sender<Option<u64>>,
}

impl Covered {
    pub(super) fn new(end: u64) -> Covered {
        Covered { end: watch::Sender::new(Some(end)) }
    }

    /// What became of writing a snapshot that reaches up to `end`.
    pub(super) fn written<T>(&self, end: u64, result: &io::Result<T>) {
        self.end.send_modify(|known| *known = result.as_ref().ok().and(known.map(|known| known.max(end))));
    }

    /// Returns once all entries before `end` are in a snapshot.
    pub(super) async fn wait_for(&self, end: u64) -> io::Result<()> {
        let mut known = self.end.subscribe();
        let reached = known.wait_for(|known| known.is_none_or(|known| known >= end)).await.map(|known| known.is_some());
        match reached {
            Ok(true) => Ok(()),
            _ => Err(io::Error::other("the snapshot that replaces the entries could not be written")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_purge_waits_until_a_snapshot_reaches_as_far() {
        let covered = Arc::new(Covered::new(5));
        covered.wait_for(5).await.unwrap();
        let waiting = tokio::spawn({
            let covered = covered.clone();
            async move { covered.wait_for(9).await }
        });
        tokio::task::yield_now().await;
        covered.written(7, &Ok(()));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        covered.written(9, &Ok(()));
        waiting.await.unwrap().unwrap();
        covered.written(6, &Ok(()));
        covered.wait_for(9).await.unwrap();
    }

    #[tokio::test]
    async fn a_purge_fails_with_the_snapshot() {
        let covered = Covered::new(5);
        covered.written::<()>(9, &Err(io::ErrorKind::StorageFull.into()));
        assert!(covered.wait_for(5).await.is_err());
        covered.written(9, &Ok(()));
        assert!(covered.wait_for(5).await.is_err(), "it is unknown what is on disk");
    }
}
