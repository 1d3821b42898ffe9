//! A data directory's metadata for tools that look at it while no node does: `duolog log dump` and `duolog log verify`.
//!
//! Reads only. Damage is told from a torn end by the same code as at a start. What a running server writes meanwhile may be missed, or
//! taken for damage if files come and go.

use super::storage::{Body, Journal, Snapshots, check_together};
use super::{MetadataImage, MetadataOpenError, fold};
use crate::config::BrokerConfig;
use duolog_base::Disk;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads snapshot and journal in `dir`. An entry that was never committed may be in the image.
pub fn read_image(disk: Arc<dyn Disk>, dir: PathBuf) -> Result<MetadataImage, MetadataOpenError> {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    let mut next = 0;
    let snapshot = Snapshots::new(disk.clone(), dir.clone()).inspect()?;
    let journal = Journal::inspect(disk, dir.clone())?;
    check_together(&dir, snapshot.as_ref(), &journal)?;
    if let Some(snapshot) = snapshot {
        image = fold(&image, &snapshot.records, snapshot.meta.applied)?;
        next = snapshot.meta.last.map_or(0, |last| last.index + 1);
    }
    let entries = journal.read(next, u64::MAX).map_err(|error| MetadataOpenError::Io { path: dir, error })?;
    for entry in entries {
        if let Body::Change(change) = entry.body {
            image = fold(&image, &change.records, entry.id.index)?;
        }
    }
    Ok(image)
}

/// What a verification of the metadata found.
#[derive(Debug)]
pub struct MetadataReport {
    /// Files that a start reads.
    pub files: usize,
    /// Each says which file it is about. If every file is sound by itself, at most one: that they do not belong together.
    pub problems: Vec<MetadataOpenError>,
    /// What the files say, if they are sound.
    pub image: Option<MetadataImage>,
}

/// Reads all that a start would read in `dir`, and holds it to its checksums and to each other.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<MetadataReport> {
    let (segments, mut problems) = Journal::damaged_files(&*disk, dir)?;
    let snapshot = Snapshots::new(disk.clone(), dir.to_owned()).inspect();
    let files = segments + usize::from(!matches!(snapshot, Ok(None)));
    problems.extend(snapshot.err());
    let mut image = None;
    if problems.is_empty() {
        match read_image(disk, dir.to_owned()) {
            Ok(read) => image = Some(read),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(MetadataReport { files, problems, image })
}
