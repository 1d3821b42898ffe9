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
/// has every entry in its journal before it is in a snapshot.
pub(super) fn check_together(dir: &Path, snapshot: Option<&Snapshot>, journal: &Journal) -> Result<(), MetadataOpenError> {
    let next = |id: Option<EntryId>| id.map_or(0, |id| id.index + 1);
    let covered = next(snapshot.and_then(|snapshot| snapshot.meta.last));
    if next(journal.purged()) > covered {
        let problem = "the snapshot that replaces the entries before this index is missing";
        return Err(corrupt(dir, next(journal.purged()), problem));
    }
    match next(journal.last()) < covered {
        true => Err(corrupt(dir, next(journal.last()), "the journal ends at this index, before the snapshot does")),
        false => Ok(()),
    }
}
