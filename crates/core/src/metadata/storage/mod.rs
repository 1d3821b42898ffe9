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
