//! The cluster as a data directory's metadata says, for tools that look at it while no node does.

use super::storage::{Body, Journal, Snapshots};
use super::{MetadataImage, MetadataOpenError, fold};
use crate::config::BrokerConfig;
use duolog_base::Disk;
use std::path::PathBuf;
use std::sync::Arc;

/// No segment is begun by who only reads.
const SEGMENT_BYTES: u64 = u64::MAX;

/// Reads snapshot and journal in `dir`. Tidies the directory as a start would, so it is given a copy of one that
/// belongs to somebody else. An entry that was never committed may be in the image.
pub fn read_image(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<MetadataImage, MetadataOpenError> {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    let mut next = 0;
    if let Some(snapshot) = Snapshots::new(disk.clone(), dir.clone()).load()? {
        image = fold(&image, &snapshot.records, snapshot.meta.applied)?;
        next = snapshot.meta.last.map_or(0, |last| last.index + 1);
    }
    let journal = Journal::open(disk, dir.clone(), SEGMENT_BYTES)?;
    let entries = journal.read(next, u64::MAX).map_err(|error| MetadataOpenError::Io { path: dir, error })?;
    for entry in entries {
        if let Body::Change(change) = entry.body {
            image = fold(&image, &change.records, entry.id.index)?;
        }
    }
    Ok(image)
}
