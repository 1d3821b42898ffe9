//! Raft's log and vote, kept in the journal. Disk work runs on the blocking pool.

use super::covered::Covered;
use super::network::Contacts;
use super::types::{StorageError, StorageFault, Types, log_id, raft_entry, raft_vote, stored_entry, stored_id, stored_vote};
use crate::metadata::storage::Journal;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogId, LogState, OptionalSend, RaftLogReader, Vote};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The journal, shared by the Raft task and its readers. The lock is held for one disk operation at a time.
#[derive(Clone)]
pub(super) struct LogStore {
    pub(super) journal: Arc<Mutex<Journal>>,
    /// Told how far the log reaches.
    pub(super) contacts: Arc<Contacts>,
    pub(super) covered: Arc<Covered>,
}

impl LogStore {
    /// Runs `work` where it may block.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Journal) -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let journal = self.journal.clone();
        tokio::task::spawn_blocking(move || work(&mut journal.lock())).await.map_err(io::Error::other)?
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<openraft::Entry<Types>>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let entries = self.run(move |journal| journal.read(from, to)).await;
        let entries = entries.map_err(|error| StorageFault::read_logs(AnyError::new(&error)))?;
        Ok(entries.into_iter().map(raft_entry).collect())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let journal = self.journal.lock();
        Ok(LogState { last_purged_log_id: journal.purged().map(log_id), last_log_id: journal.last().map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        let vote = stored_vote(vote);
        let saved = self.run(move |journal| journal.save_vote(vote)).await;
        Ok(saved.map_err(|error| StorageFault::write_vote(AnyError::new(&error)))?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        Ok(self.journal.lock().vote().map(raft_vote))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = openraft::Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().map(stored_entry).collect();
        if let Some(last) = entries.last() {
            self.contacts.log_ends(last.id.index + 1);
        }
        let appended = self.run(move |journal| journal.append(entries)).await;
        if let Err(error) = &appended {
            tracing::error!(%error, "the metadata log cannot be written");
        }
        let fault = appended.as_ref().err().map(|error| StorageFault::write_logs(AnyError::new(error)));
        callback.log_io_completed(appended);
        match fault {
            None => Ok(()),
            Some(fault) => Err(fault.into()),
        }
    }

    async fn truncate(&mut self, from: LogId<u64>) -> Result<(), StorageError> {
        self.contacts.log_ends(from.index);
        let truncated = self.run(move |journal| journal.truncate(from.index)).await;
        Ok(truncated.map_err(|error| StorageFault::write_logs(AnyError::new(&error)))?)
    }

    async fn purge(&mut self, upto: LogId<u64>) -> Result<(), StorageError> {
        let id = stored_id(upto);
        let purged = match self.covered.wait_for(id.index + 1).await {
            Ok(()) => self.run(move |journal| journal.purge(id)).await,
            Err(error) => Err(error),
        };
        Ok(purged.map_err(|error| StorageFault::write_logs(AnyError::new(&error)))?)
    }
}
