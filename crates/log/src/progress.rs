//! How far a log has come and who waits for it: the part of a log's state that is the same in both layouts.
//!
//! It lies behind the log's own lock, since the ends of partitions are derived from it, and decides without waiting for anything.
//! `shell` acts on it.

use crate::waiters::Waiters;
use crate::{AppendError, LogFailure};
use duolog_base::{PartitionNumber, Position};
use tokio::sync::oneshot;

/// Queued bytes that are written while a sync is under way; less waits for the end of the sync.
pub(crate) const BESIDE_SYNC_BYTES: usize = 256 << 10;
/// How far the writer may be ahead of the syncer. Recovery relies on it: evidence that a damaged byte was durable lies within this
/// distance of it.
pub(crate) const MAX_UNSYNCED_BYTES: u64 = 64 << 20;

pub(crate) struct Progress {
    /// Payload bytes that are not written yet, those the writer is busy with included.
    pub queued_bytes: usize,
    pub written: u64,
    pub durable: u64,
    /// Partitions with batches between `durable` and `written`; may name one twice.
    pub unsynced: Vec<PartitionNumber>,
    /// Somebody waits for the page cache up to here, so that the writer does not leave it to the syncer.
    write_wanted: u64,
    /// Somebody waits for durability up to here, so that the syncer need not wait for company.
    sync_wanted: u64,
    written_waiters: Waiters,
    durable_waiters: Waiters,
    /// The housekeeping thread has something to do.
    pub house_wanted: bool,
    /// No new appends.
    closing: bool,
    /// The threads shall end.
    stopping: bool,
    failure: Option<LogFailure>,
}

impl Progress {
    /// Of a log that is on disk up to `end`.
    pub fn new(end: u64) -> Progress {
        Progress {
            queued_bytes: 0,
            written: end,
            durable: end,
            unsynced: Vec::new(),
            write_wanted: 0,
            sync_wanted: 0,
            written_waiters: Waiters::default(),
            durable_waiters: Waiters::default(),
            house_wanted: false,
            closing: false,
            stopping: false,
            failure: None,
        }
    }

    /// Whether appends are refused.
    pub fn is_stopped(&self) -> bool {
        self.closing || self.failure.is_some()
    }

    /// Why so many bytes cannot be queued now.
    pub fn refusal(&self, bytes: usize, limit_bytes: usize) -> Option<AppendError> {
        if self.is_stopped() {
            return Some(AppendError::Stopped);
        }
        // A request larger than the whole limit is taken when nothing else waits.
        let is_full = self.queued_bytes > 0 && self.queued_bytes + bytes > limit_bytes;
        is_full.then_some(AppendError::Overloaded { queued_bytes: self.queued_bytes })
    }

    /// Whether the threads shall end.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What has stopped the log, if anything has.
    pub fn check(&self) -> Result<(), LogFailure> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Whether the files may belong to somebody else by now.
    pub fn is_closed(&self) -> Result<bool, LogFailure> {
        self.check().map(|()| self.stopping)
    }

    pub fn is_synced(&self) -> bool {
        self.written == self.durable
    }

    pub fn is_far_ahead(&self) -> bool {
        self.written - self.durable > MAX_UNSYNCED_BYTES
    }

    /// Whether what is queued must not wait for the syncer: somebody waits for the page cache only, or it is so much that it is
    /// better written beside a sync.
    pub fn wants_writer(&self) -> bool {
        self.write_wanted > self.written || self.queued_bytes >= BESIDE_SYNC_BYTES
    }

    /// Whether a sync may wait for more to sync.
    pub fn has_time_for_company(&self) -> bool {
        self.sync_wanted <= self.durable && !self.closing && !self.has_failed()
    }

    /// Takes in somebody who waits for the page cache; true if the writer must know.
    pub fn wait_written(&mut self, position: Position, waiter: oneshot::Sender<()>) -> bool {
        let waits = !self.has_failed() && self.written_waiters.add(position, waiter, Position(self.written));
        if waits {
            self.write_wanted = self.write_wanted.max(position.0);
        }
        waits
    }

    /// Takes in somebody who waits for the disk; true if the syncer must know.
    pub fn wait_durable(&mut self, position: Position, waiter: oneshot::Sender<()>) -> bool {
        let waits = !self.has_failed() && self.durable_waiters.add(position, waiter, Position(self.durable));
        if waits {
            self.sync_wanted = self.sync_wanted.max(position.0);
        }
        waits
    }

    /// Notes that somebody wants to learn of durability through the observer; true if the syncer must know.
    pub fn want_durable(&mut self, position: Position) -> bool {
        let is_new = position.0 > self.durable.max(self.sync_wanted);
        if is_new {
            self.sync_wanted = position.0;
        }
        is_new
    }

    /// The writer has come to `end`, with so many payload bytes and batches of these partitions.
    pub fn wrote(
        &mut self,
        end: u64,
        payload_bytes: usize,
        partitions: &[PartitionNumber],
        reached: &mut Vec<oneshot::Sender<()>>,
    ) {
        assert!(end >= self.written, "the writer only goes forward");
        self.written = end;
        self.queued_bytes -= payload_bytes;
        self.unsynced.extend_from_slice(partitions);
        self.written_waiters.take_reached(Position(end), reached);
    }

    /// The syncer has come to `target`.
    pub fn synced(&mut self, target: u64, reached: &mut Vec<oneshot::Sender<()>>) {
        self.durable = target;
        self.durable_waiters.take_reached(Position(target), reached);
    }

    /// Ends the appends; false if the log was closed before.
    pub fn close(&mut self) -> bool {
        self.closing = true;
        !self.stopping
    }

    /// Ends the threads.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Stops the log; those who wait learn it.
    pub fn fail(&mut self, failure: LogFailure) {
        self.failure = Some(failure);
        self.written_waiters.clear();
        self.durable_waiters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn waiter() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        oneshot::channel()
    }

    #[test]
    fn what_is_queued_is_left_to_the_syncer_unless_somebody_waits_for_the_page_cache_or_it_is_much() {
        let mut progress = Progress::new(100);
        progress.queued_bytes = BESIDE_SYNC_BYTES - 1;
        assert!(progress.wait_durable(Position(200), waiter().0));
        assert!(!progress.wants_writer());
        let (sender, mut receiver) = waiter();
        assert!(progress.wait_written(Position(150), sender) && progress.wants_writer());
        let mut reached = Vec::new();
        progress.wrote(150, 0, &[], &mut reached);
        reached.drain(..).for_each(|waiter| waiter.send(()).unwrap());
        assert!(receiver.try_recv().is_ok() && !progress.wants_writer());
        progress.queued_bytes += 1;
        assert!(progress.wants_writer());
    }

    #[test]
    fn a_sync_has_time_until_somebody_wants_what_is_not_durable_yet() {
        let mut progress = Progress::new(100);
        assert!(!progress.wait_durable(Position(100), waiter().0) && progress.has_time_for_company());
        assert!(progress.want_durable(Position(200)) && !progress.has_time_for_company());
        assert!(!progress.want_durable(Position(150)), "that is wanted already");
        progress.wrote(200, 0, &[], &mut Vec::new());
        progress.synced(200, &mut Vec::new());
        assert!(progress.is_synced() && progress.has_time_for_company());
        assert!(progress.close() && !progress.has_time_for_company(), "who closes waits for nobody");
        progress.stop();
        assert!(!progress.close(), "a second time");
    }

    #[test]
    fn whoever_waits_when_a_log_fails_or_later_is_not_told() {
        let mut progress = Progress::new(100);
        let ((early, mut told_early), (late, mut told_late)) = (waiter(), waiter());
        assert!(progress.wait_durable(Position(200), early));
        let error = Arc::new(io::Error::other("broken"));
        progress.fail(LogFailure { operation: "sync", path: PathBuf::from("log"), error });
        assert!(progress.is_stopped() && progress.check().is_err() && progress.is_closed().is_err());
        assert!(!progress.wait_durable(Position(50), late), "not even what is durable");
        assert!(told_early.try_recv().is_err() && told_late.try_recv().is_err());
    }
}
