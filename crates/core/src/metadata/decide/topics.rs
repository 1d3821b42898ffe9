//! Creating, growing and deleting topics.
//!
//! Where nobody has set how safe a topic is, it is as safe as the cluster allows: three replicas in a cluster of three live nodes, and then
//! two in sync for `acks=all`. That minimum becomes a value of the topic itself, so that it is shown and stays when nodes come and go.

use super::Decision;
use super::placement::{FreeSpace, Placement};
use super::settle::is_available;
use super::spread::Spread;
use crate::config::{BrokerConfig, ConfigError, Source, TopicConfig, validate_topic_overrides};
use crate::metadata::error::{AssignmentProblem, CreatePartitionsError, CreateTopicError, DeleteTopicError};
use crate::metadata::fold::partition_record;
use crate::metadata::image::{MetadataImage, PartitionImage, TopicImage};
use crate::metadata::name::{
    DELAYED_TOPIC, NameRules, OFFSETS_TOPIC, SHARE_STATE_TOPIC, collision_form, is_internal_topic, may_collide,
};
use crate::metadata::record::MetadataRecord;
use crate::metadata::topic_id::IdSource;
use duolog_base::{NodeId, PartitionIndex, PartitionNumber, TopicId};
use duolog_log::Layout;
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Partitions one request may create.
pub const MAX_NEW_PARTITIONS: usize = 100_000;
/// Partition numbers that are given at most; the rest of the range marks "none".
const LAST_PARTITION_NUMBER: u32 = u32::MAX - 1;

/// Replicas of a topic if nobody says how many and there are as many live nodes; else it has one.
const SAFE_FACTOR: usize = 3;
/// In-sync replicas that `acks=all` needs of a topic with so many replicas or more, if nobody says.
const SAFE_MIN_IN_SYNC: &str = "2";
const MIN_IN_SYNC: &str = "min.insync.replicas";
const DEFAULT_FACTOR: &str = "default.replication.factor";
const OFFSETS_FACTOR: &str = "offsets.topic.replication.factor";
const SHARE_STATE_FACTOR: &str = "share.coordinator.state.topic.replication.factor";

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    pub name: String,
    pub rules: NameRules,
    /// -1 for the broker's default.
    pub partitions: i32,
    /// -1 for the broker's default.
    pub replication_factor: i16,
    /// Replicas by hand; empty lets the controller choose.
    pub assignment: Vec<(PartitionIndex, Vec<NodeId>)>,
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn with_defaults(name: &str) -> NewTopic {
        NewTopic { name: name.to_owned(), partitions: -1, replication_factor: -1, ..NewTopic::default() }
    }
}

/// Partitions to be added to a topic.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions {
    pub topic: String,
    /// How many partitions the topic shall have then.
    pub total: i32,
    /// Replicas of the added ones by hand; empty lets the controller choose.
    pub assignment: Vec<Vec<NodeId>>,
}

/// A topic as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicReference {
    Name(String),
    Id(TopicId),
}

/// What has been given away while a request is decided.
struct Grants<'a> {
    image: &'a MetadataImage,
    next_number: u32,
    partitions: usize,
    spread: Spread,
    placement: Placement,
}

impl Grants<'_> {
    fn new<'a>(image: &'a MetadataImage, free: &FreeSpace) -> Grants<'a> {
        let (spread, placement) = (Spread::new(image), Placement::new(image, free));
        Grants { image, next_number: image.next_partition_number, partitions: 0, spread, placement }
    }

    /// Whether `count` more partitions can be had; says what the request would come to.
    fn check(&self, count: usize) -> Result<(), usize> {
        let total = self.partitions.saturating_add(count);
        let numbers = (LAST_PARTITION_NUMBER - self.next_number) as usize;
        match total <= MAX_NEW_PARTITIONS && count <= numbers {
            true => Ok(()),
            false => Err(total),
        }
    }

    fn partition(&mut self, replicas: Vec<NodeId>, layout: Layout) -> PartitionImage {
        let number = PartitionNumber(self.next_number);
        self.next_number += 1;
        self.partitions += 1;
        let available = |node: &NodeId| is_available(&self.image.nodes, *node);
        let mut in_sync: Vec<NodeId> = replicas.iter().copied().filter(available).collect();
        if in_sync.is_empty() {
            in_sync.clone_from(&replicas);
        }
        PartitionImage {
            number,
            leader: in_sync[0],
            in_sync,
            directories: self.placement.place(&replicas),
            replicas,
            layout,
            ..PartitionImage::default()
        }
    }

    /// Partitions whose replicas nobody has chosen.
    fn spread_partitions(&mut self, count: usize, factor: usize, layout: Layout) -> Vec<PartitionImage> {
        let mut partition = || {
            let replicas = self.spread.next(factor);
            self.partition(replicas, layout)
        };
        (0..count).map(|_| partition()).collect()
    }

    /// Partitions whose replicas were chosen by hand.
    fn assigned_partitions(&mut self, assignment: Vec<Vec<NodeId>>, layout: Layout) -> Vec<PartitionImage> {
        assignment.iter().for_each(|replicas| self.spread.count(replicas));
        assignment.into_iter().map(|replicas| self.partition(replicas, layout)).collect()
    }
}

/// Decides a request to create topics. `Ok` holds each topic as it will be.
pub fn decide_create_topics(
    image: &MetadataImage,
    topics: Vec<NewTopic>,
    ids: &dyn IdSource,
    free: &FreeSpace,
) -> Decision<Arc<TopicImage>, CreateTopicError> {
    let mut named: HashMap<String, usize> = HashMap::new();
    topics.iter().for_each(|topic| *named.entry(topic.name.clone()).or_default() += 1);
    let mut forms = collision_forms(image, &topics);
    let mut grants = Grants::new(image, free);
    let mut decision = Decision::new();
    for topic in topics {
        let result = match named.get(&topic.name) {
            Some(2..) => Err(CreateTopicError::Repeated { name: topic.name.clone() }),
            _ => create_topic(image, &topic, &forms, &mut grants),
        };
        let result = result.map(|parts| {
            forms.insert(collision_form(&topic.name), topic.name.as_str().into());
            let created = describe_new(topic, ids.next_id(), parts);
            decision.records.push(topic_record(&created));
            decision.records.push(partitions_record(created.id, 0, &created.partitions));
            Arc::new(created)
        });
        decision.results.push(result);
    }
    decision
}

/// Names by the form in which they collide; empty if no new name can collide.
fn collision_forms(image: &MetadataImage, topics: &[NewTopic]) -> HashMap<String, Arc<str>> {
    match topics.iter().any(|topic| may_collide(&topic.name)) {
        true => image.topics.keys().filter(|name| may_collide(name)).map(|name| (collision_form(name), name.clone())).collect(),
        false => HashMap::new(),
    }
}

/// What is decided of a topic.
struct NewTopicParts {
    partitions: Vec<PartitionImage>,
    overrides: BTreeMap<String, String>,
    config: Arc<TopicConfig>,
}

fn create_topic(
    image: &MetadataImage,
    topic: &NewTopic,
    forms: &HashMap<String, Arc<str>>,
    grants: &mut Grants,
) -> Result<NewTopicParts, CreateTopicError> {
    topic.rules.check(&topic.name).map_err(|problem| CreateTopicError::InvalidName { problem })?;
    if image.topics.contains_key(topic.name.as_str()) {
        return Err(CreateTopicError::Exists { name: topic.name.clone() });
    }
    if let Some(existing) = forms.get(&collision_form(&topic.name)).filter(|_| may_collide(&topic.name)) {
        return Err(CreateTopicError::Collision { name: topic.name.clone(), existing: existing.to_string() });
    }
    validate_topic_overrides(&topic.configs)?;
    let resolve = |overrides: &BTreeMap<String, String>| -> Result<_, ConfigError> {
        Ok(Arc::new(TopicConfig::resolve(overrides, &image.config)?))
    };
    let (mut overrides, mut config) = (topic.configs.clone(), resolve(&topic.configs)?);
    let too_many = |partitions| CreateTopicError::TooManyPartitions { partitions, limit: MAX_NEW_PARTITIONS };
    let partitions = match topic.assignment.is_empty() {
        true => {
            let (count, factor) = chosen_counts(image, topic)?;
            grants.check(count).map_err(too_many)?;
            grants.spread_partitions(count, factor, config.layout)
        }
        false => {
            let assignment = assigned_replicas(image, topic)?;
            grants.check(assignment.len()).map_err(too_many)?;
            grants.assigned_partitions(assignment, config.layout)
        }
    };
    let factor = partitions.first().map_or(0, |partition| partition.replicas.len());
    if let Some((key, value)) = safe_min_in_sync(image, &overrides, factor) {
        overrides.insert(key.to_owned(), value.to_owned());
        config = resolve(&overrides)?;
    }
    Ok(NewTopicParts { partitions, overrides, config })
}

/// What is set for a topic with so many replicas where nobody has said how many must be in sync.
pub(super) fn safe_min_in_sync(
    image: &MetadataImage,
    overrides: &BTreeMap<String, String>,
    factor: usize,
) -> Option<(&'static str, &'static str)> {
    let is_open = !overrides.contains_key(MIN_IN_SYNC) && is_default(&image.config, MIN_IN_SYNC);
    (factor >= SAFE_FACTOR && is_open).then_some((MIN_IN_SYNC, SAFE_MIN_IN_SYNC))
}

/// Whether nobody has set a key of the broker.
fn is_default(config: &BrokerConfig, key: &str) -> bool {
    config.value(key).is_none_or(|(_, source)| source == Source::Default)
}

/// How many replicas a topic has if the request does not say.
pub(super) fn default_factor(image: &MetadataImage, topic: &str) -> i16 {
    let config = &image.config;
    let own_key = match topic {
        OFFSETS_TOPIC | DELAYED_TOPIC => Some(OFFSETS_FACTOR),
        SHARE_STATE_TOPIC => Some(SHARE_STATE_FACTOR),
        _ => None,
    };
    if let Some(factor) = own_key.and_then(|key| config.value(key)?.0.parse().ok()) {
        return factor;
    }
    let live = image.nodes.values().filter(|node| node.is_available()).count();
    match is_default(config, DEFAULT_FACTOR) && live >= SAFE_FACTOR {
        true => SAFE_FACTOR as i16,
        false => config.default_replication_factor,
    }
}

/// How many partitions with how many replicas, where the request only says so.
fn chosen_counts(image: &MetadataImage, topic: &NewTopic) -> Result<(usize, usize), CreateTopicError> {
    let partitions = match topic.partitions {
        -1 => image.config.default_partitions,
        count if count > 0 => count,
        count => return Err(CreateTopicError::InvalidPartitions { count }),
    };
    let factor = match topic.replication_factor {
        -1 => default_factor(image, &topic.name),
        factor if factor > 0 => factor,
        factor => return Err(CreateTopicError::InvalidReplicationFactor { factor }),
    };
    let nodes = image.nodes.len();
    match factor as usize > nodes {
        true => Err(CreateTopicError::TooFewNodes { factor, nodes }),
        false => Ok((partitions as usize, factor as usize)),
    }
}

/// Replicas where the request names them.
fn assigned_replicas(image: &MetadataImage, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, CreateTopicError> {
    if topic.partitions != -1 || topic.replication_factor != -1 {
        return Err(CreateTopicError::AssignmentAndCount);
    }
    let mut by_index = BTreeMap::new();
    for (partition, replicas) in &topic.assignment {
        if by_index.insert(partition.0, replicas.clone()).is_some() {
            return Err(AssignmentProblem::RepeatedPartition { partition: partition.0 }.into());
        }
    }
    if let Some((missing, _)) = (0..).zip(by_index.keys()).find(|(expected, index)| expected != *index) {
        return Err(AssignmentProblem::Gap { first: 0, missing }.into());
    }
    let expected = by_index.values().next().map_or(0, Vec::len);
    for (partition, replicas) in &by_index {
        check_replicas(image, *partition, replicas, expected)?;
    }
    Ok(by_index.into_values().collect())
}

fn check_replicas(image: &MetadataImage, partition: i32, nodes: &[NodeId], expected: usize) -> Result<(), AssignmentProblem> {
    if nodes.is_empty() {
        return Err(AssignmentProblem::NoReplicas { partition });
    }
    let mut seen = HashSet::new();
    for node in nodes {
        if !image.nodes.contains_key(node) {
            return Err(AssignmentProblem::UnknownNode { partition, node: *node });
        }
        if !seen.insert(*node) {
            return Err(AssignmentProblem::RepeatedNode { partition, node: *node });
        }
    }
    match nodes.len() == expected {
        true => Ok(()),
        false => Err(AssignmentProblem::UnevenReplicas { partition, found: nodes.len(), expected }),
    }
}

fn describe_new(topic: NewTopic, id: TopicId, parts: NewTopicParts) -> TopicImage {
    let NewTopicParts { partitions, overrides, config } = parts;
    TopicImage { id, internal: is_internal_topic(&topic.name), name: topic.name, partitions, overrides, config }
}

fn topic_record(topic: &TopicImage) -> MetadataRecord {
    MetadataRecord::Topic {
        id: topic.id.to_string(),
        name: topic.name.clone(),
        internal: topic.internal,
        overrides: topic.overrides.clone(),
    }
}

fn partitions_record(topic: TopicId, first: usize, partitions: &[PartitionImage]) -> MetadataRecord {
    let partitions = partitions.iter().map(partition_record).collect();
    MetadataRecord::Partitions { topic: topic.to_string(), first: first as i32, partitions }
}

/// Decides a request to add partitions.
pub(in crate::metadata) fn decide_create_partitions(
    image: &MetadataImage,
    requests: Vec<NewPartitions>,
    free: &FreeSpace,
) -> Decision<(), CreatePartitionsError> {
    let mut named: HashMap<String, usize> = HashMap::new();
    requests.iter().for_each(|request| *named.entry(request.topic.clone()).or_default() += 1);
    let mut grants = Grants::new(image, free);
    let mut decision = Decision::new();
    for request in requests {
        let result = match named.get(&request.topic) {
            Some(2..) => Err(CreatePartitionsError::Repeated { name: request.topic.clone() }),
            _ => create_partitions(image, &request, &mut grants),
        };
        decision.results.push(result.map(|record| decision.records.push(record)));
    }
    decision
}

fn create_partitions(
    image: &MetadataImage,
    request: &NewPartitions,
    grants: &mut Grants,
) -> Result<MetadataRecord, CreatePartitionsError> {
    let name = request.topic.clone();
    let Some(topic) = image.topic(&name) else { return Err(CreatePartitionsError::UnknownTopic { name }) };
    if topic.internal {
        return Err(CreatePartitionsError::Internal { name });
    }
    let have = topic.partitions.len();
    let total = usize::try_from(request.total).unwrap_or(0);
    if total <= have {
        return Err(CreatePartitionsError::NoIncrease { name, have, asked: request.total });
    }
    let too_many = |partitions| CreatePartitionsError::TooManyPartitions { partitions, limit: MAX_NEW_PARTITIONS };
    grants.check(total - have).map_err(too_many)?;
    let layout = topic.config.layout;
    let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len() - partition.adding.len());
    let partitions = match request.assignment.is_empty() {
        true => grants.spread_partitions(total - have, factor, layout),
        false => {
            check_assignment(image, request, have, total - have, factor)?;
            grants.assigned_partitions(request.assignment.clone(), layout)
        }
    };
    Ok(partitions_record(topic.id, have, &partitions))
}

fn check_assignment(
    image: &MetadataImage,
    request: &NewPartitions,
    have: usize,
    added: usize,
    factor: usize,
) -> Result<(), AssignmentProblem> {
    if request.assignment.len() != added {
        return Err(AssignmentProblem::WrongCount { added, assigned: request.assignment.len() });
    }
    for (index, replicas) in request.assignment.iter().enumerate() {
        check_replicas(image, (have + index) as i32, replicas, factor)?;
    }
    Ok(())
}

/// Decides a request to delete topics. `Ok` holds what is deleted.
pub(in crate::metadata) fn decide_delete_topics(
    image: &MetadataImage,
    topics: Vec<TopicReference>,
) -> Decision<Arc<TopicImage>, DeleteTopicError> {
    let found: Vec<_> = topics.iter().map(|topic| delete_topic(image, topic)).collect();
    let mut named: HashMap<TopicId, usize> = HashMap::new();
    found.iter().flatten().for_each(|topic| *named.entry(topic.id).or_default() += 1);
    let mut decision = Decision::new();
    for result in found {
        let result = result.and_then(|topic| match named.get(&topic.id) {
            Some(2..) => Err(DeleteTopicError::Repeated),
            _ => Ok(topic),
        });
        if let Ok(topic) = &result {
            decision.records.push(MetadataRecord::TopicDeleted { id: topic.id.to_string() });
        }
        decision.results.push(result);
    }
    decision
}

fn delete_topic(image: &MetadataImage, topic: &TopicReference) -> Result<Arc<TopicImage>, DeleteTopicError> {
    if !image.config.delete_topics {
        return Err(DeleteTopicError::Disabled);
    }
    let found = match topic {
        TopicReference::Name(name) => image.topic(name).ok_or_else(|| DeleteTopicError::UnknownName { name: name.clone() }),
        TopicReference::Id(id) => image.topic_by_id(*id).ok_or(DeleteTopicError::UnknownId { id: *id }),
    }?;
    match found.internal {
        true => Err(DeleteTopicError::Internal { name: found.name.clone() }),
        false => Ok(found.clone()),
    }
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
