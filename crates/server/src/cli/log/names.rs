//! Which topic a partition number of the log belongs to, from the data directory's own metadata.

use super::Failure;
use duolog_base::{PartitionNumber, RealDisk};
use duolog_core::metadata::{MetadataImage, OFFSETS_TOPIC, read_image};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where a data directory keeps the metadata.
const METADATA: &str = "meta";

/// Topic and index of each partition that there is. Those of deleted topics are not known any more.
#[derive(Default)]
pub(super) struct Names(BTreeMap<PartitionNumber, (String, i32)>);

impl Names {
    pub(super) fn read(data: &Path) -> Result<Names, Failure> {
        let image = image(data)?;
        let mut names = BTreeMap::new();
        for topic in image.topics.values() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                names.insert(partition.number, (topic.name.clone(), index));
            }
        }
        Ok(Names(names))
    }

    pub(super) fn of(&self, partition: PartitionNumber) -> Option<(&str, i32)> {
        self.0.get(&partition).map(|(topic, index)| (topic.as_str(), *index))
    }

    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.0.values().any(|(name, _)| name == topic)
    }

    /// Whether its records are those of `__consumer_offsets`.
    pub(super) fn holds_offsets(&self, partition: PartitionNumber) -> bool {
        self.of(partition).is_some_and(|(topic, _)| topic == OFFSETS_TOPIC)
    }
}

/// Whether the data directory is the one with the metadata.
pub(super) fn has_metadata(data: &Path) -> bool {
    data.join(METADATA).is_dir()
}

/// Reads a copy of the metadata: reading it tidies it, and a server may be using the original.
pub(super) fn image(data: &Path) -> Result<MetadataImage, Failure> {
    let source = data.join(METADATA);
    let failed = |error| Failure::Input { path: source.clone(), error };
    let copy = copied(&source).map_err(failed)?;
    let image = read_image(Arc::new(RealDisk), copy.clone());
    let removed = std::fs::remove_dir_all(&copy);
    let image = image.map_err(|error| Failure::Metadata { path: source.clone(), error: Box::new(error) })?;
    removed.map_err(|error| Failure::Input { path: copy, error })?;
    Ok(image)
}

/// A copy of a directory's files in a new temporary one.
fn copied(source: &Path) -> io::Result<std::path::PathBuf> {
    let copy = std::env::temp_dir().join(format!("duolog-log-dump-{}", std::process::id()));
    match std::fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let files = std::fs::read_dir(source)?;
    std::fs::create_dir(&copy)?;
    for file in files {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name()))?;
        }
    }
    Ok(copy)
}
