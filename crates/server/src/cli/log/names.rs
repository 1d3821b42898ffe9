//! Which topic a partition number of the log belongs to, from the data directory's own metadata.

use super::Failure;
use duolog_base::{PartitionNumber, RealDisk};
use duolog_core::metadata::{MetadataImage, OFFSETS_TOPIC, read_image};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    directory(data).is_dir()
}

pub(super) fn image(data: &Path) -> Result<MetadataImage, Failure> {
    let path = directory(data);
    read_image(Arc::new(RealDisk), path.clone()).map_err(|error| Failure::Metadata { path, error: Box::new(error) })
}

/// Where the metadata is, if the data directory is the one that has it.
pub(super) fn directory(data: &Path) -> PathBuf {
    data.join(METADATA)
}
