//! The decoders of the metadata's files as the fuzz targets reach them. Not part of the interface.

use super::storage::{Journal, Snapshot};
use super::{FoldError, MetadataImage, MetadataOpenError, fold};
use crate::config::BrokerConfig;
use bytes::Bytes;
use duolog_base::Disk;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads the bytes of a snapshot and writes them again; `None` if they are none.
pub fn recode_snapshot(bytes: &[u8]) -> Option<io::Result<Vec<u8>>> {
    Snapshot::decode(bytes).ok().map(|snapshot| snapshot.encode())
}

/// The records of a snapshot folded into an image, which is then written as records and folded again.
pub fn fold_snapshot(bytes: &[u8]) -> Option<Result<[MetadataImage; 2], FoldError>> {
    let snapshot = Snapshot::decode(bytes).ok()?;
    let empty = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    let applied = snapshot.meta.applied;
    let images =
        fold(&empty, &snapshot.records, applied).and_then(|image| Ok([fold(&empty, &image.to_records(), applied)?, image]));
    Some(images)
}

/// The bytes as each call between nodes, and each answer to one, that they are; written again.
pub fn recode_calls(bytes: &[u8]) -> Vec<Bytes> {
    let mut recoded = super::raft::recode_raft(bytes);
    recoded.extend(super::cluster::recode_calls(bytes));
    recoded
}

/// Opens the journal in `dir` and reads all that it has. Gives the number of entries.
pub fn read_journal(disk: Arc<dyn Disk>, dir: PathBuf, segment_bytes: u64) -> Result<usize, MetadataOpenError> {
    let journal = Journal::open(disk, dir.clone(), segment_bytes)?;
    let entries = journal.read(0, u64::MAX).map_err(|error| MetadataOpenError::Io { path: dir, error })?;
    Ok(entries.len())
}
