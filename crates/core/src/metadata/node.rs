//! [`Metadata`]: this node's view of the cluster, and the requests that change it.
//!
//! One request is decided at a time, on the newest image, and the next one only after its records are in the image;
//! so decisions never see half of another. All waiting is here and, where there are other nodes, in `cluster`; `decide` does the thinking.

mod member;

use super::cluster::{Cluster, Fate};
use super::decide::{
    ConfigChange, Decided, Decision, Election, FreeSpace, NewPartitions, NewTopic, Reassignment, TopicReference, decide_configs,
    decide_create_partitions, decide_create_topics, decide_delete_topics, decide_elections, decide_reassignments,
};
use super::error::{
    AdoptTopicsError, AllocateProducerIdsError, AlterConfigError, CreatePartitionsError, CreateTopicError, DeleteTopicError,
    ElectLeaderError, MetadataOpenError, ReassignError, Unavailable,
};
use super::image::{MetadataImage, NodeDirectory, NodeImage, TopicImage};
use super::name::{DELAYED_TOPIC, OFFSETS_TOPIC, SHARE_STATE_TOPIC};
use super::published::Published;
use super::raft::{LogLimits, RaftLog};
use super::record::{Change, MetadataRecord};
use super::topic_id::{GivenIds, IdSource, RandomIds};
use crate::config::BrokerConfig;
use duolog_base::{BrokerEpoch, Clock, DirectoryId, Disk, LeaderEpoch, NodeId, PartitionIndex, TimestampMs, TopicId};
use duolog_log::dedicated::import::ImportError;
use duolog_replica::PartitionState;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::Instant;

/// Partitions that one record of the log changes at most, as far as a client says which.
const MAX_CHANGED_PARTITIONS: usize = 1_000;
/// Partitions of `__delayed_messages`: its leaders share the work, and nothing belongs to one of them.
const DELAYED_PARTITIONS: i32 = 8;

/// Told of every new image. Called in log order, before the request that caused the change is answered.
pub trait ImageListener: Send + Sync {
    /// The first call has an image without topics as `old` and everything that was found on disk as `new`.
    fn image_changed(&self, old: &MetadataImage, new: &MetadataImage);
}

/// What the metadata is opened with.
pub struct MetadataOptions {
    /// Directory of its own.
    pub dir: PathBuf,
    /// The node's data directories, the one that holds the metadata first.
    pub directories: Vec<NodeDirectory>,
    pub node: NodeId,
    pub disk: Arc<dyn Disk>,
    /// What the node was started with.
    pub static_config: Arc<BrokerConfig>,
    pub listener: Arc<dyn ImageListener>,
    pub clock: Arc<dyn Clock>,
}

/// The state of the quorum, as DescribeQuorum shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    pub leader: Option<NodeId>,
    /// Raft term; Kafka's leader epoch.
    pub epoch: u64,
    /// Index after the last entry that is committed.
    pub high_watermark: u64,
    /// Index after the last entry of this node's log.
    pub log_end: u64,
    /// Those who vote however a change ends that is under way.
    pub voters: Vec<NodeId>,
    /// Voters and observers.
    pub members: Vec<QuorumMember>,
}

/// A voter or observer of the quorum. What it has is known to the leader only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumMember {
    pub node: NodeId,
    /// Of its listener for other nodes; empty of a node alone.
    pub address: String,
    /// Observers follow the log without a vote.
    pub is_voter: bool,
    /// Index after the last entry that it is known to have.
    pub log_end: Option<u64>,
    /// When it last answered, and when it last had all there was; `None` of the leader itself.
    pub last_fetch: Option<TimestampMs>,
    pub last_caught_up: Option<TimestampMs>,
}

/// The cluster's state and the door to change it.
pub struct Metadata {
    published: Arc<Published>,
    log: Arc<RaftLog>,
    ids: Arc<dyn IdSource>,
    /// Held from the look at the image until the records that follow from it are in the image.
    deciding: Arc<Mutex<()>>,
    disk: Arc<dyn Disk>,
    node: NodeId,
    /// This node's.
    directories: Vec<NodeDirectory>,
    /// `None` of a node alone.
    cluster: Option<Arc<Cluster>>,
    /// Of this life of the node, if it has registered as a member.
    epoch: OnceLock<BrokerEpoch>,
}

impl Metadata {
    /// Reads what is on disk, or founds a cluster of one node if there is nothing.
    pub async fn open(options: MetadataOptions) -> Result<Arc<Metadata>, MetadataOpenError> {
        Metadata::open_with_ids(options, Arc::new(RandomIds)).await
    }

    /// As [`Metadata::open`], with another source of ids.
    pub async fn open_with_ids(options: MetadataOptions, ids: Arc<dyn IdSource>) -> Result<Arc<Metadata>, MetadataOpenError> {
        Metadata::open_with_limits(options, ids, LogLimits::default()).await
    }

    /// As [`Metadata::open_with_ids`], with other limits of the log.
    pub(super) async fn open_with_limits(
        options: MetadataOptions,
        ids: Arc<dyn IdSource>,
        limits: LogLimits,
    ) -> Result<Arc<Metadata>, MetadataOpenError> {
        let MetadataOptions { dir, directories, node, disk, static_config, listener, clock: _ } = options;
        let empty = MetadataImage::empty(static_config.clone());
        let published = Arc::new(Published::new(empty.clone(), listener));
        let log = Arc::new(RaftLog::open(disk.clone(), dir, node, published.clone(), limits).await?);
        let (deciding, epoch) = (Arc::default(), OnceLock::new());
        let metadata = Metadata { published, log, ids, deciding, disk, node, directories, cluster: None, epoch };
        if let Err(error) = metadata.register(node, &static_config).await {
            metadata.close().await;
            return Err(error);
        }
        metadata.published.go_live(&empty);
        Ok(Arc::new(metadata))
    }

    /// Founds the cluster if it is new, and brings this node's registration up to date.
    async fn register(&self, node: NodeId, config: &BrokerConfig) -> Result<(), MetadataOpenError> {
        let turn = self.turn().await;
        let image = self.image();
        check_directories(&image, node, &self.directories)?;
        let mut records = Vec::new();
        if image.cluster_id.is_empty() {
            records.push(MetadataRecord::Cluster { id: self.ids.next_id().to_string() });
        }
        let known = image.nodes.get(&node);
        let membership = known.and_then(|known| known.membership.clone());
        let present = NodeImage {
            id: node,
            rack: config.rack.clone(),
            directories: self.directories.clone(),
            endpoints: Vec::new(),
            membership,
        };
        if known != Some(&present) {
            records.push(present.to_record());
        }
        if !image.topics.is_empty() {
            records.push(MetadataRecord::NodeStarted { id: node.0 });
        }
        self.commit(turn, records).await.map_err(|error| MetadataOpenError::Raft(error.to_string()))
    }

    /// The cluster as of now. Never waits.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.published.image()
    }

    /// Holds [`MetadataImage::applied`] of the current image.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.published.changes()
    }

    /// The quorum as this node sees it.
    pub fn quorum(&self) -> QuorumState {
        self.log.quorum(self.image().applied)
    }

    /// Whether the voters are not being changed, as far as this node knows: until then most of the old ones are needed, too.
    pub fn has_settled_voters(&self) -> bool {
        self.log.members().changing_to.is_none()
    }

    /// Creates topics; an answer for each, in order. With `validate_only` nothing is created and the ids mean nothing.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Vec<Result<Arc<TopicImage>, CreateTopicError>> {
        let decide = |image: &MetadataImage| decide_create_topics(image, topics.clone(), &*self.ids, &self.free_space());
        self.settle(validate_only, decide).await
    }

    /// Creates topics, each with its id, once `bring` has put the files of all of them in place. It is told the topics as they will be,
    /// and answers the highest leader epoch in the files of each partition and the highest producer id in any: later ones must be
    /// higher. All of them or none.
    pub async fn adopt_topics(
        &self,
        topics: Vec<(TopicId, NewTopic)>,
        bring: impl FnOnce(&[Arc<TopicImage>]) -> Result<(Vec<Vec<LeaderEpoch>>, i64), ImportError>,
    ) -> Result<Vec<Arc<TopicImage>>, AdoptTopicsError> {
        let turn = self.turn().await;
        let (ids, topics): (Vec<_>, Vec<_>) = topics.into_iter().unzip();
        let image = self.image();
        if let Some(id) = ids.iter().find(|id| image.topic_by_id(**id).is_some()) {
            return Err(AdoptTopicsError::KnownId { id: *id });
        }
        let decision = decide_create_topics(&image, topics, &GivenIds::new(ids), &self.free_space());
        let adopted = decision.results.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (epochs, last_producer_id) = bring(&adopted)?;
        let mut records = decision.records;
        if last_producer_id >= image.next_producer_id {
            records.push(MetadataRecord::ProducerIds { next: last_producer_id.saturating_add(1) });
        }
        for (topic, epochs) in adopted.iter().zip(epochs) {
            raise_epochs(&mut records, topic.id, &epochs);
        }
        self.commit_once(turn, image.applied, records).await.map_err(CreateTopicError::from)?;
        Ok(adopted)
    }

    /// Adds partitions to topics; an answer for each, in order.
    pub async fn create_partitions(
        &self,
        requests: Vec<NewPartitions>,
        validate_only: bool,
    ) -> Vec<Result<(), CreatePartitionsError>> {
        let decide = |image: &MetadataImage| decide_create_partitions(image, requests.clone(), &self.free_space());
        self.settle(validate_only, decide).await
    }

    /// Deletes topics; an answer for each, in order: the topic that is gone.
    pub async fn delete_topics(&self, topics: Vec<TopicReference>) -> Vec<Result<Arc<TopicImage>, DeleteTopicError>> {
        self.settle(false, |image| decide_delete_topics(image, topics.clone())).await
    }

    /// Alters configurations; an answer for each, in order.
    pub async fn alter_configs(&self, changes: Vec<ConfigChange>, validate_only: bool) -> Vec<Result<(), AlterConfigError>> {
        self.settle(validate_only, |image| decide_configs(image, changes.clone())).await
    }

    /// The topic of this name, created with the defaults (an internal topic: with its own) if it does not exist.
    pub async fn ensure_topic(&self, name: &str) -> Result<Arc<TopicImage>, CreateTopicError> {
        if let Some(topic) = self.image().topic(name) {
            return Ok(topic.clone());
        }
        self.ensure_topics(&[name]).await.pop().unwrap_or(Err(Unavailable::Stopped.into()))
    }

    /// As [`Metadata::ensure_topic`] for several names, with one write; an answer for each, in order.
    pub async fn ensure_topics(&self, names: &[&str]) -> Vec<Result<Arc<TopicImage>, CreateTopicError>> {
        let config = self.image().config.clone();
        let topics = names.iter().map(|name| new_topic_by_name(name, &config)).collect();
        let results = self.create_topics(topics, false).await;
        let image = self.image();
        // What somebody else created in between is as good.
        let settle = |result| match result {
            Err(CreateTopicError::Exists { name }) => image.topic(&name).cloned().ok_or(CreateTopicError::Exists { name }),
            result => result,
        };
        results.into_iter().map(settle).collect()
    }

    /// `__consumer_offsets`.
    pub async fn ensure_offsets_topic(&self) -> Result<Arc<TopicImage>, CreateTopicError> {
        self.ensure_topic(OFFSETS_TOPIC).await
    }

    /// Elects leaders; an answer for each, in order: who leads then.
    pub async fn elect_leaders(
        &self,
        partitions: &[(String, PartitionIndex)],
        election: Election,
    ) -> Vec<Result<NodeId, ElectLeaderError>> {
        let mut results = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(MAX_CHANGED_PARTITIONS) {
            results.extend(self.settle(false, |image| decide_elections(image, some, election)).await);
        }
        results
    }

    /// Gives partitions other replicas, or takes that back; an answer for each, in order: the partition as it is then.
    pub async fn reassign(&self, requests: &[Reassignment]) -> Vec<Result<PartitionState, ReassignError>> {
        let mut results = Vec::with_capacity(requests.len());
        for some in requests.chunks(MAX_CHANGED_PARTITIONS) {
            results.extend(self.settle(false, |image| decide_reassignments(image, some, &self.free_space())).await);
        }
        results
    }

    /// Ids that were never given before; durable before this returns.
    pub async fn allocate_producer_ids(&self, count: i64) -> Result<Range<i64>, AllocateProducerIdsError> {
        let decide = |image: &MetadataImage| -> Result<Decided<Range<i64>>, AllocateProducerIdsError> {
            let first = image.next_producer_id;
            let next = first.checked_add(count.max(0)).ok_or(AllocateProducerIdsError::Exhausted)?;
            Ok(Decided { answer: first..next, records: vec![MetadataRecord::ProducerIds { next }] })
        };
        self.settle_one(decide).await
    }

    /// Takes no more changes and lets go of the files. The image stays readable.
    pub async fn close(&self) {
        if let Some(cluster) = &self.cluster {
            // Who holds the turn may be waiting for a leader; with the log it ends.
            cluster.stop();
            return self.log.close().await;
        }
        let _turn = self.turn().await;
        self.log.close().await;
    }

    /// Free bytes of this node's data directories; where there is only one, nobody asks.
    fn free_space(&self) -> FreeSpace {
        if self.directories.len() < 2 {
            return FreeSpace::new();
        }
        // A directory that cannot be looked at counts as full.
        let free = |known: &NodeDirectory| (known.id, self.disk.free_bytes(&known.path).unwrap_or(0));
        self.directories.iter().map(free).collect()
    }

    /// Decides on the newest image and commits what follows, again as long as another node's change comes in between. If that fails, the
    /// answers that depended on it become failures.
    async fn settle<T, E: From<Unavailable>>(
        &self,
        validate_only: bool,
        decide: impl Fn(&MetadataImage) -> Decision<T, E>,
    ) -> Vec<Result<T, E>> {
        let deadline = self.cluster.as_ref().map(|cluster| cluster.deadline());
        loop {
            let turn = self.turn().await;
            let image = self.image();
            let Decision { results, records } = decide(&image);
            if validate_only {
                return results;
            }
            match self.commit_on(turn, image.applied, records, deadline).await {
                Ok(Fate::Taken) => return results,
                Ok(Fate::Stale) => {}
                Err(unavailable) => {
                    let fail = |result: Result<T, E>| result.and_then(|_| Err(E::from(unavailable.clone())));
                    return results.into_iter().map(fail).collect();
                }
            }
        }
    }

    /// As [`Metadata::settle`], for one answer.
    async fn settle_one<T, E: From<Unavailable>>(
        &self,
        decide: impl Fn(&MetadataImage) -> Result<Decided<T>, E>,
    ) -> Result<T, E> {
        let decide = |image: &MetadataImage| match decide(image) {
            Ok(Decided { answer, records }) => Decision { results: vec![Ok(answer)], records },
            Err(error) => Decision { results: vec![Err(error)], records: Vec::new() },
        };
        self.settle(false, decide).await.pop().unwrap_or(Err(Unavailable::Stopped.into()))
    }

    async fn turn(&self) -> Turn {
        self.deciding.clone().lock_owned().await
    }

    /// Commits records that were decided on the present image, under the same turn.
    async fn commit(&self, turn: Turn, records: Vec<MetadataRecord>) -> Result<(), Unavailable> {
        self.commit_once(turn, self.image().applied, records).await
    }

    /// As [`Metadata::commit_on`], where what was decided cannot be decided again.
    async fn commit_once(&self, turn: Turn, applied: u64, records: Vec<MetadataRecord>) -> Result<(), Unavailable> {
        let deadline = self.cluster.as_ref().map(|cluster| cluster.deadline());
        match self.commit_on(turn, applied, records, deadline).await? {
            Fate::Taken => Ok(()),
            Fate::Stale => Err(Unavailable::NotController),
        }
    }

    /// Commits records that were decided on the image with this `applied`. In a task of its own: a caller that goes away must not let the
    /// next decision look at an image that lacks them.
    async fn commit_on(
        &self,
        turn: Turn,
        applied: u64,
        records: Vec<MetadataRecord>,
        deadline: Option<Instant>,
    ) -> Result<Fate, Unavailable> {
        if records.is_empty() && self.cluster.is_none() {
            return Ok(Fate::Taken);
        }
        let change = Change::new(records).decided_on(applied);
        let (log, cluster) = (self.log.clone(), self.cluster.clone());
        let committed = tokio::spawn(async move {
            let _turn = turn;
            match cluster.zip(deadline) {
                // Others had the turn for too long.
                Some((_, deadline)) if deadline <= Instant::now() => Err(Unavailable::NotController),
                Some((cluster, deadline)) => cluster.propose(change, deadline).await,
                None => log.propose(change).await.map(|proposed| if proposed.taken { Fate::Taken } else { Fate::Stale }),
            }
        });
        committed.await.unwrap_or(Err(Unavailable::Stopped))
    }
}

/// Lets the partitions of a new topic begin above the epochs that their files have already.
fn raise_epochs(records: &mut [MetadataRecord], id: TopicId, epochs: &[LeaderEpoch]) {
    let id = id.to_string();
    for record in records {
        if let MetadataRecord::Partitions { topic, partitions, .. } = record
            && *topic == id
        {
            for (partition, epoch) in partitions.iter_mut().zip(epochs) {
                partition.leader_epoch = epoch.0.saturating_add(1);
            }
        }
    }
}

/// Refuses to go on without a data directory that partitions of this node live in.
fn check_directories(image: &MetadataImage, node: NodeId, present: &[NodeDirectory]) -> Result<(), MetadataOpenError> {
    let mut missing: BTreeMap<DirectoryId, usize> = BTreeMap::new();
    for partition in image.topics.values().flat_map(|topic| &topic.partitions) {
        if let Some(id) = partition.directory_of(node)
            && present.iter().all(|known| known.id != id)
        {
            *missing.entry(id).or_default() += 1;
        }
    }
    let Some((id, partitions)) = missing.into_iter().next() else { return Ok(()) };
    let registered = image.nodes.get(&node).map_or(&[][..], |known| &known.directories);
    let path = registered.iter().find(|known| known.id == id).map(|known| known.path.clone()).unwrap_or_default();
    Err(MetadataOpenError::MissingDirectory { id, path, partitions })
}

/// The right to decide.
type Turn = OwnedMutexGuard<()>;

/// What a topic that nobody described gets.
fn new_topic_by_name(name: &str, config: &BrokerConfig) -> NewTopic {
    let mut topic = NewTopic::with_defaults(name);
    let partitions = match name {
        OFFSETS_TOPIC => Some(config.offsets_topic_partitions),
        DELAYED_TOPIC => Some(DELAYED_PARTITIONS),
        SHARE_STATE_TOPIC => Some(config.share_state_partitions),
        _ => None,
    };
    if let Some(partitions) = partitions {
        topic.partitions = partitions;
        let configs = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
        topic.configs = configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<BTreeMap<_, _>>();
    }
    topic
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod moves_tests;
