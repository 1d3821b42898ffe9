//! What the metadata log keeps on disk: a journal of frames in segments, and snapshots.
//!
//! ```text
//! meta/
//!   journal-00000000000000000003    segments; the last one is written to
//!   snapshot-00000000000000000871   the image as of the entry of that index
//! ```
//! Everything here is synchronous and knows neither Raft nor records beyond their stored form. A failed write or
//! sync stops the journal for good; the process is expected to exit.

mod format;
mod journal;
mod segment;
mod snapshot;

pub(super) use format::{Body, Entry, EntryId, Members, Vote};
pub(super) use journal::Journal;
pub(super) use snapshot::{Snapshot, SnapshotMeta, Snapshots};

use super::error::MetadataOpenError;
use std::io;
use std::path::Path;

fn io_error(path: &Path, error: io::Error) -> MetadataOpenError {
    MetadataOpenError::Io { path: path.to_owned(), error }
}

fn corrupt(path: &Path, position: u64, problem: &'static str) -> MetadataOpenError {
    MetadataOpenError::Corrupt { path: path.to_owned(), position, problem }
}

/// Whether snapshot and journal are of one time: what the journal has forgotten is in the snapshot, and it reaches as far. A node alone
/// has every entry in its journal before it is in a snapshot; only one that another node sent may reach further, and the journal says so.
pub(super) fn check_together(dir: &Path, snapshot: Option<&Snapshot>, journal: &Journal) -> Result<(), MetadataOpenError> {
    let next = |id: Option<EntryId>| id.map_or(0, |id| id.index + 1);
    let covered = next(snapshot.and_then(|snapshot| snapshot.meta.last));
    if next(journal.purged()) > covered {
        let problem = "the snapshot that replaces the entries before this index is missing";
        return Err(corrupt(dir, next(journal.purged()), problem));
    }
    let installed = next(journal.installing()) >= covered;
    match next(journal.last()) < covered && !installed {
        true => Err(corrupt(dir, next(journal.last()), "the journal ends at this index, before the snapshot does")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::record::FEATURE_LEVEL;
    use duolog_base::RealDisk;
    use std::sync::Arc;

    #[test]
    fn only_a_snapshot_of_another_node_may_reach_further_than_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Journal::open(Arc::new(RealDisk), dir.path().to_owned(), 1 << 20).unwrap();
        let last = EntryId { term: 2, node: 3, index: 7 };
        let meta =
            SnapshotMeta { last: Some(last), members: Members::default(), members_from: None, applied: 7, level: FEATURE_LEVEL };
        let snapshot = Snapshot { meta, records: Vec::new() };
        let mut journal = open();
        assert!(check_together(dir.path(), Some(&snapshot), &journal).is_err());
        journal.begin_installing(EntryId { index: 6, ..last }).unwrap();
        assert!(check_together(dir.path(), Some(&snapshot), &journal).is_err(), "that was an earlier one");
        journal.begin_installing(last).unwrap();
        drop(journal);
        // The power failed before the journal was told to forget what the snapshot replaces.
        let mut journal = open();
        assert!(check_together(dir.path(), Some(&snapshot), &journal).is_ok());
        journal.purge(last).unwrap();
        drop(journal);
        let journal = open();
        assert!(check_together(dir.path(), Some(&snapshot), &journal).is_ok());
        assert_eq!(journal.last(), Some(last));
    }
}
