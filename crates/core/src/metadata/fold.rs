//! Image plus records gives the next image. Pure; the same records give the same image on every node.
//!
//! Records of one entry are folded together, so that the maps are copied once an entry and not once a record;
//! topics that do not change are shared with the old image.

use super::image::{Endpoint, Membership, MetadataImage, NodeDirectory, NodeImage, PartitionImage, TopicImage};
use super::record::{ConfigOwner, DirectoryRecord, EndpointRecord, MetadataRecord, PartitionRecord};
use super::topic_id::parse_topic_id;
use crate::config::{ConfigError, TopicConfig};
use duolog_base::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, PartitionNumber, TopicId};
use duolog_replica::{Mutant, planted};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A record that does not fit the image before it: the log is damaged, or written by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("not an id: {text}")]
    NotAnId { text: String },
    #[error("topic {name} exists already")]
    TopicExists { name: String },
    #[error("no topic with id {id}")]
    UnknownTopic { id: TopicId },
    #[error("no node {id}")]
    UnknownNode { id: NodeId },
    #[error("topic {name} has no partition {index}")]
    UnknownPartition { name: String, index: i32 },
    #[error("topic {name} has {have} partitions, so none can be added from index {first} on")]
    PartitionGap { name: String, have: usize, first: i32 },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The image after `records`, the last of which has index `applied`.
pub fn fold(image: &MetadataImage, records: &[MetadataRecord], applied: u64) -> Result<MetadataImage, FoldError> {
    fold_into(image.clone(), records, applied)
}

/// As [`fold`], of an image that nobody else needs.
pub(super) fn fold_into(mut image: MetadataImage, records: &[MetadataRecord], applied: u64) -> Result<MetadataImage, FoldError> {
    image.applied = applied;
    records.iter().try_for_each(|record| image.take(record))?;
    Ok(image)
}

impl MetadataImage {
    fn take(&mut self, record: &MetadataRecord) -> Result<(), FoldError> {
        match record {
            MetadataRecord::Cluster { id } => self.cluster_id = id.clone(),
            MetadataRecord::Node { id, rack, directories, endpoints } => {
                let id = NodeId(*id);
                let directories = directories.iter().map(node_directory).collect::<Result<_, _>>()?;
                let endpoints = endpoints.iter().map(endpoint).collect();
                let membership = self.nodes.get(&id).and_then(|known| known.membership.clone());
                self.nodes.insert(id, NodeImage { id, rack: rack.clone(), directories, endpoints, membership });
            }
            MetadataRecord::NodeStarted { id } => self.raise_leader_epochs(NodeId(*id)),
            MetadataRecord::Membership { id, epoch, incarnation, fenced, stopping } => {
                let (epoch, incarnation) = (BrokerEpoch(*epoch), incarnation.clone());
                self.set_membership(NodeId(*id), Membership { epoch, incarnation, fenced: *fenced, stopping: *stopping })?;
            }
            MetadataRecord::NodeRemoved { id } => {
                let id = NodeId(*id);
                self.nodes.remove(&id).ok_or(FoldError::UnknownNode { id })?;
                self.node_config.remove(&id);
            }
            MetadataRecord::Topic { id, name, internal, overrides } => self.add_topic(id, name, *internal, overrides)?,
            MetadataRecord::Partitions { topic, first, partitions } => self.add_partitions(topic, *first, partitions)?,
            MetadataRecord::PartitionChanged { topic, index, partition } => self.change_partition(topic, *index, partition)?,
            MetadataRecord::TopicDeleted { id } => {
                let id = parse(id)?;
                let name = self.topic_names.remove(&id).ok_or(FoldError::UnknownTopic { id })?;
                self.topics.remove(&name);
            }
            MetadataRecord::Config { resource, changes } => self.change_config(resource, changes)?,
            MetadataRecord::ProducerIds { next } => self.next_producer_id = self.next_producer_id.max(*next),
            MetadataRecord::PartitionNumbers { next } => self.next_partition_number = self.next_partition_number.max(*next),
        }
        Ok(())
    }

    fn set_membership(&mut self, id: NodeId, membership: Membership) -> Result<(), FoldError> {
        let node = self.nodes.get_mut(&id).ok_or(FoldError::UnknownNode { id })?;
        let before = node.membership.replace(membership.clone());
        let is_new_life = before.is_none_or(|before| before.epoch != membership.epoch);
        if is_new_life && !planted(Mutant::RestartWithSameEpoch) {
            self.raise_leader_epochs(id);
        }
        Ok(())
    }

    fn change_partition(&mut self, topic: &str, index: i32, record: &PartitionRecord) -> Result<(), FoldError> {
        let topic = self.topic_mut(parse(topic)?)?;
        let place = usize::try_from(index).ok().and_then(|index| topic.partitions.get_mut(index));
        let Some(place) = place else { return Err(FoldError::UnknownPartition { name: topic.name.clone(), index }) };
        *place = partition(record)?;
        Ok(())
    }

    /// The node leads its partitions anew.
    fn raise_leader_epochs(&mut self, node: NodeId) {
        for topic in self.topics.values_mut() {
            if topic.partitions.iter().all(|partition| partition.leader != node) {
                continue;
            }
            for partition in &mut Arc::make_mut(topic).partitions {
                if partition.leader == node {
                    partition.leader_epoch.0 += 1;
                    partition.partition_epoch.0 += 1;
                }
            }
        }
    }

    fn add_topic(&mut self, id: &str, name: &str, internal: bool, overrides: &BTreeMap<String, String>) -> Result<(), FoldError> {
        let id = parse(id)?;
        if self.topics.contains_key(name) || self.topic_names.contains_key(&id) {
            return Err(FoldError::TopicExists { name: name.to_owned() });
        }
        let topic = TopicImage {
            id,
            name: name.to_owned(),
            partitions: Vec::new(),
            overrides: overrides.clone(),
            config: self.topic_config(overrides)?,
            internal,
        };
        let name: Arc<str> = name.into();
        self.topics.insert(name.clone(), Arc::new(topic));
        self.topic_names.insert(id, name);
        Ok(())
    }

    /// Topics without overrides share one configuration.
    fn topic_config(&self, overrides: &BTreeMap<String, String>) -> Result<Arc<TopicConfig>, FoldError> {
        match overrides.is_empty() {
            true => Ok(self.config.topic.clone()),
            false => Ok(Arc::new(TopicConfig::resolve(overrides, &self.config)?)),
        }
    }

    fn add_partitions(&mut self, topic: &str, first: i32, added: &[PartitionRecord]) -> Result<(), FoldError> {
        let topic = self.topic_mut(parse(topic)?)?;
        let have = topic.partitions.len();
        if usize::try_from(first) != Ok(have) {
            return Err(FoldError::PartitionGap { name: topic.name.clone(), have, first });
        }
        topic.partitions.reserve(added.len());
        for record in added {
            topic.partitions.push(partition(record)?);
        }
        let next = added.iter().map(|partition| partition.number.saturating_add(1)).max().unwrap_or(0);
        self.next_partition_number = self.next_partition_number.max(next);
        Ok(())
    }

    /// The topic, copied first if the old image still has it.
    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, FoldError> {
        let name = self.topic_names.get(&id).ok_or(FoldError::UnknownTopic { id })?;
        self.topics.get_mut(name).map(Arc::make_mut).ok_or(FoldError::UnknownTopic { id })
    }

    fn change_config(&mut self, owner: &ConfigOwner, changes: &BTreeMap<String, Option<String>>) -> Result<(), FoldError> {
        match owner {
            ConfigOwner::Cluster => {
                apply(&mut self.cluster_config, changes);
                self.resolve_node()
            }
            ConfigOwner::Node(id) => {
                let values = self.node_config.entry(NodeId(*id)).or_default();
                apply(values, changes);
                if values.is_empty() {
                    self.node_config.remove(&NodeId(*id));
                }
                self.resolve_node()
            }
            ConfigOwner::Topic(id) => {
                let config = self.config.clone();
                let topic = self.topic_mut(parse(id)?)?;
                apply(&mut topic.overrides, changes);
                topic.config = Arc::new(TopicConfig::resolve(&topic.overrides, &config)?);
                Ok(())
            }
            ConfigOwner::Group(name) => {
                apply_to(&mut self.group_config, name, changes);
                Ok(())
            }
            ConfigOwner::NameServer(namespace) => {
                apply_to(&mut self.name_server, namespace, changes);
                Ok(())
            }
        }
    }

    /// Lays the dynamic configuration over this node's own, and resolves the topics anew if their defaults changed.
    fn resolve_node(&mut self) -> Result<(), FoldError> {
        let none = BTreeMap::new();
        let own = self.node_config.get(&NodeId(self.config.node_id)).unwrap_or(&none);
        let config = self.config.with_dynamic(&self.cluster_config, own)?;
        let defaults_changed = config.topic != self.config.topic;
        self.config = Arc::new(config);
        if defaults_changed {
            for topic in self.topics.values_mut() {
                let resolved = match topic.overrides.is_empty() {
                    true => self.config.topic.clone(),
                    false => Arc::new(TopicConfig::resolve(&topic.overrides, &self.config)?),
                };
                Arc::make_mut(topic).config = resolved;
            }
        }
        Ok(())
    }

    /// The records that build this image from an empty one: a snapshot.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut records = vec![MetadataRecord::Cluster { id: self.cluster_id.clone() }];
        records.extend(self.nodes.values().map(NodeImage::to_record));
        records.extend(self.nodes.values().filter_map(NodeImage::membership_record));
        records.extend(self.config_records());
        for topic in self.topics.values() {
            let id = topic.id.to_string();
            records.push(MetadataRecord::Topic {
                id: id.clone(),
                name: topic.name.clone(),
                internal: topic.internal,
                overrides: topic.overrides.clone(),
            });
            let partitions = topic.partitions.iter().map(partition_record).collect();
            records.push(MetadataRecord::Partitions { topic: id, first: 0, partitions });
        }
        records.push(MetadataRecord::PartitionNumbers { next: self.next_partition_number });
        records.push(MetadataRecord::ProducerIds { next: self.next_producer_id });
        records
    }

    fn config_records(&self) -> Vec<MetadataRecord> {
        let cluster = [(ConfigOwner::Cluster, &self.cluster_config)];
        let nodes = self.node_config.iter().map(|(id, values)| (ConfigOwner::Node(id.0), values));
        let groups = self.group_config.iter().map(|(name, values)| (ConfigOwner::Group(name.clone()), values));
        let namespaces = self.name_server.iter().map(|(name, values)| (ConfigOwner::NameServer(name.clone()), values));
        let owners = cluster.into_iter().chain(nodes).chain(groups).chain(namespaces).filter(|(_, values)| !values.is_empty());
        owners
            .map(|(resource, values)| {
                let changes = values.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
                MetadataRecord::Config { resource, changes }
            })
            .collect()
    }
}

fn parse(text: &str) -> Result<TopicId, FoldError> {
    parse_topic_id(text).ok_or_else(|| FoldError::NotAnId { text: text.to_owned() })
}

fn apply(values: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => values.insert(key.clone(), value.clone()),
            None => values.remove(key),
        };
    }
}

/// The same for one of many owners, which is forgotten with its last value.
fn apply_to(owners: &mut BTreeMap<String, BTreeMap<String, String>>, name: &str, changes: &BTreeMap<String, Option<String>>) {
    let values = owners.entry(name.to_owned()).or_default();
    apply(values, changes);
    if values.is_empty() {
        owners.remove(name);
    }
}

impl NodeImage {
    pub(super) fn to_record(&self) -> MetadataRecord {
        let record = |directory: &NodeDirectory| DirectoryRecord {
            id: directory.id.to_string(),
            path: directory.path.to_string_lossy().into_owned(),
        };
        let directories = self.directories.iter().map(record).collect();
        let endpoints = self.endpoints.iter().map(endpoint_record).collect();
        MetadataRecord::Node { id: self.id.0, rack: self.rack.clone(), directories, endpoints }
    }

    pub(super) fn membership_record(&self) -> Option<MetadataRecord> {
        let Membership { epoch, incarnation, fenced, stopping } = self.membership.clone()?;
        Some(MetadataRecord::Membership { id: self.id.0, epoch: epoch.0, incarnation, fenced, stopping })
    }
}

fn endpoint(record: &EndpointRecord) -> Endpoint {
    let EndpointRecord { name, scheme, host, port } = record.clone();
    Endpoint { name, scheme, host, port }
}

fn endpoint_record(endpoint: &Endpoint) -> EndpointRecord {
    let Endpoint { name, scheme, host, port } = endpoint.clone();
    EndpointRecord { name, scheme, host, port }
}

fn directory_id(text: &str) -> Result<DirectoryId, FoldError> {
    DirectoryId::parse(text).ok_or_else(|| FoldError::NotAnId { text: text.to_owned() })
}

fn node_directory(record: &DirectoryRecord) -> Result<NodeDirectory, FoldError> {
    Ok(NodeDirectory { id: directory_id(&record.id)?, path: PathBuf::from(&record.path) })
}

fn partition(record: &PartitionRecord) -> Result<PartitionImage, FoldError> {
    Ok(PartitionImage {
        number: PartitionNumber(record.number),
        leader: NodeId(record.leader),
        leader_epoch: LeaderEpoch(record.leader_epoch),
        replicas: record.replicas.iter().copied().map(NodeId).collect(),
        in_sync: record.in_sync.iter().copied().map(NodeId).collect(),
        directories: record.directories.iter().map(|id| directory_id(id)).collect::<Result<_, _>>()?,
        layout: record.layout.into(),
        partition_epoch: PartitionEpoch(record.partition_epoch),
        eligible: record.eligible.iter().copied().map(NodeId).collect(),
        adding: record.adding.iter().copied().map(NodeId).collect(),
        removing: record.removing.iter().copied().map(NodeId).collect(),
        unclean_epoch: record.unclean_epoch.map(LeaderEpoch),
    })
}

pub(super) fn partition_record(partition: &PartitionImage) -> PartitionRecord {
    PartitionRecord {
        number: partition.number.0,
        leader: partition.leader.0,
        leader_epoch: partition.leader_epoch.0,
        replicas: numbers(&partition.replicas),
        in_sync: numbers(&partition.in_sync),
        directories: partition.directories.iter().map(DirectoryId::to_string).collect(),
        layout: partition.layout.into(),
        partition_epoch: partition.partition_epoch.0,
        eligible: numbers(&partition.eligible),
        adding: numbers(&partition.adding),
        removing: numbers(&partition.removing),
        unclean_epoch: partition.unclean_epoch.map(|epoch| epoch.0),
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

pub(super) fn partition_changed(topic: TopicId, index: PartitionIndex, partition: &PartitionImage) -> MetadataRecord {
    MetadataRecord::PartitionChanged { topic: topic.to_string(), index: index.0, partition: partition_record(partition) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    fn topic(id: u128, name: &str) -> MetadataRecord {
        MetadataRecord::Topic { id: TopicId(id).to_string(), name: name.to_owned(), internal: false, overrides: BTreeMap::new() }
    }

    fn partitions(id: u128, first: i32, numbers: std::ops::Range<u32>) -> MetadataRecord {
        let directories = vec![DirectoryId(5).to_string()];
        let record = |number| PartitionRecord {
            number,
            leader: 1,
            replicas: vec![1],
            in_sync: vec![1],
            directories: directories.clone(),
            ..PartitionRecord::default()
        };
        MetadataRecord::Partitions { topic: TopicId(id).to_string(), first, partitions: numbers.map(record).collect() }
    }

    fn config(resource: ConfigOwner, key: &str, value: Option<&str>) -> MetadataRecord {
        let changes = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
        MetadataRecord::Config { resource, changes }
    }

    fn start() -> MetadataImage {
        let directories = vec![DirectoryRecord { id: DirectoryId(5).to_string(), path: "/data".to_owned() }];
        let node = MetadataRecord::Node { id: 1, rack: None, directories, endpoints: Vec::new() };
        let records = [MetadataRecord::Cluster { id: "c".to_owned() }, node];
        fold(&MetadataImage::empty(Arc::new(BrokerConfig::default())), &records, 1).unwrap()
    }

    #[test]
    fn topics_that_do_not_change_are_shared_with_the_old_image() {
        let before = fold(&start(), &[topic(7, "a"), partitions(7, 0, 0..2), topic(8, "b"), partitions(8, 0, 2..3)], 2).unwrap();
        let after = fold(&before, &[partitions(8, 1, 3..5)], 3).unwrap();
        assert!(Arc::ptr_eq(&before.topics["a"], &after.topics["a"]));
        assert_eq!((before.topics["b"].partitions.len(), after.topics["b"].partitions.len()), (1, 3));
        assert_eq!((after.next_partition_number, after.applied), (5, 3));
    }

    #[test]
    fn a_node_that_starts_leads_its_own_partitions_anew() {
        let before = fold(&start(), &[topic(7, "a"), partitions(7, 0, 0..2)], 2).unwrap();
        let epochs = |image: &MetadataImage| -> Vec<i32> {
            image.topics["a"].partitions.iter().map(|partition| partition.leader_epoch.0).collect()
        };
        let other = fold(&before, &[MetadataRecord::NodeStarted { id: 2 }], 3).unwrap();
        assert!(Arc::ptr_eq(&before.topics["a"], &other.topics["a"]));
        let started = fold(&before, &[MetadataRecord::NodeStarted { id: 1 }], 3).unwrap();
        assert_eq!((epochs(&before), epochs(&started)), (vec![0, 0], vec![1, 1]));
    }

    #[test]
    fn a_deleted_topics_numbers_stay_used() {
        let before = fold(&start(), &[topic(7, "a"), partitions(7, 0, 0..4)], 2).unwrap();
        let after = fold(&before, &[MetadataRecord::TopicDeleted { id: TopicId(7).to_string() }], 3).unwrap();
        assert!(after.topics.is_empty() && after.topic_names.is_empty());
        assert_eq!(after.next_partition_number, 4);
        let again = fold(&start(), &after.to_records(), 3).unwrap();
        assert_eq!(again, after);
    }

    #[test]
    fn a_default_that_changes_reaches_the_topics_that_do_not_override_it() {
        let owner = ConfigOwner::Topic(TopicId(8).to_string());
        let before = fold(&start(), &[topic(7, "a"), topic(8, "b"), config(owner, "retention.ms", Some("5"))], 2).unwrap();
        let set = config(ConfigOwner::Cluster, "log.retention.ms", Some("9"));
        let after = fold(&before, &[set], 3).unwrap();
        assert_eq!((after.topics["a"].config.retention_ms, after.topics["b"].config.retention_ms), (9, 5));
        let undone = fold(&after, &[config(ConfigOwner::Cluster, "log.retention.ms", None)], 4).unwrap();
        assert_eq!(undone.topics["a"].config.retention_ms, 604_800_000);
        let elsewhere = fold(&before, &[config(ConfigOwner::Node(2), "log.retention.ms", Some("9"))], 3).unwrap();
        assert_eq!(elsewhere.topics["a"].config.retention_ms, 604_800_000, "another node's value is not ours");
    }

    #[test]
    fn a_snapshot_folds_back_into_the_same_image() {
        let records = [
            topic(7, "a"),
            partitions(7, 0, 0..3),
            topic(8, "b"),
            config(ConfigOwner::Topic(TopicId(7).to_string()), "flush", Some("async")),
            config(ConfigOwner::Cluster, "log.retention.ms", Some("9")),
            config(ConfigOwner::Node(1), "log.retention.bytes", Some("10")),
            config(ConfigOwner::Group("g".to_owned()), "k", Some("v")),
            MetadataRecord::ProducerIds { next: 2000 },
        ];
        let image = fold(&start(), &records, 9).unwrap();
        let empty = MetadataImage::empty(Arc::new(BrokerConfig::default()));
        assert_eq!(fold(&empty, &image.to_records(), 9).unwrap(), image);
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let id = TopicId(7);
        assert_eq!(fold(&start(), &[partitions(7, 0, 0..1)], 2).unwrap_err(), FoldError::UnknownTopic { id });
        assert_eq!(
            fold(&start(), &[topic(7, "a"), topic(8, "a")], 2).unwrap_err(),
            FoldError::TopicExists { name: "a".to_owned() }
        );
        assert_eq!(
            fold(&start(), &[topic(7, "a"), partitions(7, 1, 0..1)], 2).unwrap_err(),
            FoldError::PartitionGap { name: "a".to_owned(), have: 0, first: 1 }
        );
    }
}
