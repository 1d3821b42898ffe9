//! Taking over topics from directories that Apache Kafka or another node wrote, while no server runs.
//!
//! The files are copied and durable before the metadata says that the topics exist, with one record, so a crash leaves topics that
//! are all there or not at all. What it leaves of copies no metadata knows, and the next attempt replaces it.
//! Called by `duolog log import`.

use super::BrokerOptions;
use super::directories::{DataDirectories, DirectoryError};
use crate::metadata::{
    AdoptTopicsError, IdSource, ImageListener, Metadata, MetadataImage, MetadataOpenError, MetadataOptions, NewTopic,
    NodeDirectory, RandomIds, TopicImage,
};
use duolog_base::{Disk, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use duolog_log::dedicated::PartitionName;
use duolog_log::dedicated::import::{self, ImportError, ImportOptions, Imported};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a data directory keeps partitions that have files of their own.
const DEDICATED: &str = "dedicated";
/// What only a partition that was opened has.
const MANIFEST: &str = "duolog.manifest";

/// A topic to be taken over.
#[derive(Clone, Debug)]
pub struct AdoptedTopic {
    pub name: String,
    /// A new one if there is none, or if another topic has it.
    pub id: Option<TopicId>,
    /// The directory of each partition, by index.
    pub partitions: Vec<PathBuf>,
    /// Configuration besides the layout.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was taken over.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub topic: Arc<TopicImage>,
    /// By index.
    pub partitions: Vec<Imported>,
}

#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("metadata: {0}")]
    Metadata(#[from] MetadataOpenError),
    #[error(transparent)]
    Topics(#[from] AdoptTopicsError),
}

/// Takes over all of the topics or none. Takes the data directories as a server does, and gives them back. Of a node alone only: the
/// other nodes of a cluster would have to be there.
pub async fn adopt(options: BrokerOptions, topics: Vec<AdoptedTopic>) -> Result<Vec<Adopted>, AdoptError> {
    let BrokerOptions { data_dirs, config, disk, clock, .. } = options;
    let DataDirectories { known: directories, locks } = DataDirectories::take(disk.as_ref(), &data_dirs, &RandomIds)?;
    let node = NodeId(config.node_id);
    let metadata = Metadata::open(MetadataOptions {
        dir: directories[0].path.join("meta"),
        directories: directories.clone(),
        node,
        disk: disk.clone(),
        static_config: Arc::new(config),
        listener: Arc::new(Nobody),
        clock,
    })
    .await?;
    let mut copier = Copier { disk: disk.as_ref(), directories: &directories, node, done: Vec::new() };
    let wanted = wanted(&metadata.image(), &topics);
    let adopted = metadata.adopt_topics(wanted, |created| copier.copy(&topics, created)).await;
    metadata.close().await;
    drop(locks);
    let mut done = copier.done.into_iter();
    Ok(adopted?
        .into_iter()
        .map(|topic| Adopted { partitions: done.by_ref().take(topic.partitions.len()).map(|(_, one)| one).collect(), topic })
        .collect())
}

/// The topics as the metadata is asked for them.
fn wanted(image: &MetadataImage, topics: &[AdoptedTopic]) -> Vec<(TopicId, NewTopic)> {
    let wanted = |topic: &AdoptedTopic| {
        let free = topic.id.filter(|id| *id != TopicId::NONE && image.topic_by_id(*id).is_none());
        let mut configs = topic.configs.clone();
        configs.insert("duolog.layout".to_owned(), "dedicated".to_owned());
        let partitions = topic.partitions.len() as i32;
        let new = NewTopic { partitions, replication_factor: 1, configs, ..NewTopic::with_defaults(&topic.name) };
        (free.unwrap_or_else(|| RandomIds.next_id()), new)
    };
    topics.iter().map(wanted).collect()
}

/// No partition is open that would follow the metadata.
struct Nobody;

impl ImageListener for Nobody {
    fn image_changed(&self, _: &MetadataImage, _: &MetadataImage) {}
}

/// Copies the partitions to where they were placed.
struct Copier<'a> {
    disk: &'a dyn Disk,
    directories: &'a [NodeDirectory],
    node: NodeId,
    /// The directory of each copied partition, and what is in it.
    done: Vec<(PathBuf, Imported)>,
}

impl Copier<'_> {
    fn copy(
        &mut self,
        topics: &[AdoptedTopic],
        created: &[Arc<TopicImage>],
    ) -> Result<(Vec<Vec<LeaderEpoch>>, i64), ImportError> {
        let copied: Result<Vec<_>, ImportError> =
            topics.iter().zip(created).map(|(topic, created)| self.topic(topic, created)).collect();
        if copied.is_err() {
            // What cannot be removed now is replaced by the next attempt.
            self.done.drain(..).for_each(|(path, _)| _ = remove(self.disk, &path));
        }
        let last = self.done.iter().map(|(_, one)| one.last_producer_id).max().unwrap_or(-1);
        copied.map(|epochs| (epochs, last))
    }

    fn topic(&mut self, topic: &AdoptedTopic, created: &TopicImage) -> Result<Vec<LeaderEpoch>, ImportError> {
        let mut epochs = Vec::new();
        for (index, (from, partition)) in (0..).zip(topic.partitions.iter().zip(&created.partitions)) {
            let home = partition.directory_of(self.node);
            let place = self.directories.iter().find(|known| Some(known.id) == home).unwrap_or(&self.directories[0]);
            let root = place.path.join(DEDICATED);
            let name = PartitionName { topic: topic.name.clone(), index: PartitionIndex(index) };
            let target = root.join(name.to_string());
            let made = self.disk.create_dir_all(&root).and_then(|()| self.disk.sync_dir(&place.path));
            let cleared = made.and_then(|()| clear_leftover(self.disk, &target));
            cleared.map_err(|error| ImportError::Io { path: target.clone(), error })?;
            let options = ImportOptions { name: Some(name), topic_id: Some(created.id) };
            let imported = import::import(self.disk, from, &root, options)?;
            epochs.push(imported.leader_epoch);
            self.done.push((target, imported));
        }
        Ok(epochs)
    }
}

/// Removes what an interrupted attempt left under the name of a topic that does not exist. A partition that was ever opened stays.
fn clear_leftover(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    match disk.list(dir) {
        Ok(names) if names.iter().all(|name| name != MANIFEST) => remove(disk, dir),
        _ => Ok(()),
    }
}

fn remove(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.list(dir)?.iter().try_for_each(|name| disk.remove(&dir.join(name)))?;
    disk.remove_dir(dir)
}
