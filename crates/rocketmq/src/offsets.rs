//! How far groups have come. The offsets lie with those of Kafka's groups, in the coordinator.
//!
//! Pulls carry an offset with them, and clients repeat all of theirs every 5 s without waiting for an answer. Such offsets are
//! noted here and stored together a moment later; a question finds them at once. What a client waits for is stored before it is
//! answered. A crash costs what was noted in the last moment, which the clients send again.

use crate::node::Node;
use crate::resets::{Resets, TooManyResets};
use duolog_base::{LeaderEpoch, Offset, PartitionIndex};
use duolog_core::group::{CommitPartition, CommitRequest, CommitTopic, FetchRequest, FetchTopic, GroupCoordinator, GroupError};
use duolog_core::metadata::{MetadataImage, TopicImage};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// How often what was noted is stored.
pub(crate) const STORE_PERIOD: Duration = Duration::from_millis(500);
/// Offsets noted and not stored at most; those of more are left to the next time the client says them.
const NOTED_OFFSETS: usize = 200_000;

/// A new group begins at the beginning of a queue of fewer bytes.
const YOUNG_QUEUE_BYTES: u64 = 1 << 30;

/// Offsets of one group, by topic and queue.
type GroupOffsets = HashMap<String, HashMap<i32, Offset>>;

/// Offsets that are on their way to the coordinator.
#[derive(Default)]
pub struct Offsets {
    /// What was set while members go by what they remember.
    pub(crate) resets: Resets,
    /// Guards what was noted; held for one look-up.
    noted: Mutex<Noted>,
    /// Held by the one who stores.
    storing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Noted {
    groups: HashMap<String, GroupOffsets>,
    count: usize,
    /// Noted before, and being stored now.
    storing: Arc<HashMap<String, GroupOffsets>>,
}

impl Offsets {
    /// Notes an offset; it is stored a moment later. One that the member says of the time before it learns of a new one is not.
    pub fn note(&self, group: &str, topic: &str, queue: PartitionIndex, offset: Offset) {
        let mut noted = self.noted.lock();
        if self.resets.holds(group, topic, queue) {
            return;
        }
        if noted.count == NOTED_OFFSETS {
            return;
        }
        let topics = noted.groups.entry_ref(group).or_default();
        if topics.entry_ref(topic).or_default().insert(queue.0, offset).is_none() {
            noted.count += 1;
        }
    }

    fn noted(&self, group: &str, topic: &str, queue: PartitionIndex) -> Option<Offset> {
        let noted = self.noted.lock();
        let find = |groups: &HashMap<String, GroupOffsets>| groups.get(group)?.get(topic)?.get(&queue.0).copied();
        find(&noted.groups).or_else(|| find(&noted.storing))
    }

    fn is_storing(&self, group: &str, topic: &str, queue: PartitionIndex) -> bool {
        let noted = self.noted.lock();
        noted.storing.get(group).and_then(|topics| topics.get(topic)).is_some_and(|queues| queues.contains_key(&queue.0))
    }

    fn begin_storing(&self) -> Arc<HashMap<String, GroupOffsets>> {
        let mut noted = self.noted.lock();
        noted.storing = Arc::new(std::mem::take(&mut noted.groups));
        noted.count = 0;
        noted.storing.clone()
    }

    fn forget(&self, group: &str, topic: &str, queue: PartitionIndex) {
        let mut noted = self.noted.lock();
        let queues = noted.groups.get_mut(group).and_then(|topics| topics.get_mut(topic));
        if queues.is_some_and(|queues| queues.remove(&queue.0).is_some()) {
            noted.count -= 1;
        }
    }
}

impl Node {
    /// The offset a group has come to; `None` if it has none there.
    pub async fn committed(&self, group: &str, topic: &str, queue: PartitionIndex) -> Result<Option<Offset>, GroupError> {
        if let Some(offset) = self.offsets.noted(group, topic, queue) {
            return Ok(Some(offset));
        }
        let topics = Some(vec![FetchTopic { name: topic.to_owned(), partitions: vec![queue] }]);
        let found = self.groups.fetch(FetchRequest { group_id: group.to_owned(), topics }).await?;
        let mut partitions = found.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions.find_map(|partition| partition.committed.as_ref()).map(|committed| committed.offset))
    }

    /// Whether a group without an offset begins at 0: nothing was deleted from the queue yet, and it is not large.
    pub fn is_young(&self, topic: &TopicImage, queue: PartitionIndex) -> bool {
        let starts_at_zero = self.broker.ends(topic, queue).is_some_and(|ends| ends.log_start == Offset(0));
        starts_at_zero && self.broker.partition_bytes(topic, queue).is_some_and(|bytes| bytes <= YOUNG_QUEUE_BYTES)
    }

    /// Where a group without an offset begins; `None` if there is no such queue.
    pub fn first_offset(&self, topic: &TopicImage, queue: PartitionIndex) -> Option<Offset> {
        let ends = self.broker.ends(topic, queue)?;
        Some(if self.is_young(topic, queue) { ends.log_start } else { ends.high_watermark })
    }

    /// Stores an offset.
    pub async fn commit(&self, group: &str, topic: &TopicImage, queue: PartitionIndex, offset: Offset) -> Result<(), GroupError> {
        self.offsets.forget(group, &topic.name, queue);
        if self.offsets.is_storing(group, &topic.name, queue) {
            // An older offset of the queue is on its way, and must not come after this one.
            let _turn = self.offsets.storing.lock().await;
        }
        let topics = vec![commit_topic(topic, [(queue.0, offset)])];
        commit(&self.groups, group, topics).await
    }

    /// Sets offsets of a group, whatever its members remember: they are sent there when they pull the next time.
    pub async fn reset(&self, group: &str, topic: &TopicImage, offsets: &[(PartitionIndex, Offset)]) -> Result<(), ResetError> {
        let is_alive = |group: &str| self.clients.with_consumers(group, |_| ()).is_some();
        let resets = &self.offsets.resets;
        resets.add(group, &topic.name, offsets, is_alive)?;
        // What was noted before is neither stored later nor being stored now.
        offsets.iter().for_each(|(queue, _)| self.offsets.forget(group, &topic.name, *queue));
        let _turn = self.offsets.storing.lock().await;
        let topics = vec![commit_topic(topic, offsets.iter().map(|(queue, offset)| (queue.0, *offset)))];
        let outcome = commit(&self.groups, group, topics).await;
        if outcome.is_err() || !is_alive(group) {
            resets.forget(group, &topic.name, offsets);
        }
        Ok(outcome?)
    }

    /// Stores what was noted.
    pub async fn store_offsets(&self) {
        let _turn = self.offsets.storing.lock().await;
        let storing = self.offsets.begin_storing();
        let image = self.broker.image();
        for (group, topics) in &*storing {
            let topics = known_topics(&image, topics);
            if topics.is_empty() {
                continue;
            }
            if let Err(error) = commit(&self.groups, group, topics).await {
                tracing::warn!(group, %error, "offsets of RocketMQ clients are not stored");
            }
        }
        self.offsets.noted.lock().storing = Arc::default();
    }
}

/// Why the offsets of a group are not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    #[error(transparent)]
    TooMany(#[from] TooManyResets),
    #[error(transparent)]
    Group(#[from] GroupError),
}

fn known_topics(image: &MetadataImage, topics: &GroupOffsets) -> Vec<CommitTopic> {
    let queues = |queues: &HashMap<i32, Offset>| queues.iter().map(|(queue, offset)| (*queue, *offset)).collect::<Vec<_>>();
    let known = topics.iter().filter_map(|(name, of)| Some(commit_topic(image.topic(name)?, queues(of))));
    known.filter(|topic| !topic.partitions.is_empty()).collect()
}

/// The queues that exist.
fn commit_topic(topic: &TopicImage, queues: impl IntoIterator<Item = (i32, Offset)>) -> CommitTopic {
    let queues = queues.into_iter().map(|(queue, offset)| (PartitionIndex(queue), offset));
    let partitions = queues.filter(|(partition, _)| topic.partition(*partition).is_some());
    let partitions = partitions.map(|(partition, offset)| CommitPartition {
        partition,
        offset,
        leader_epoch: LeaderEpoch::NONE,
        metadata: String::new(),
    });
    CommitTopic { name: topic.name.clone(), id: topic.id, partitions: partitions.collect() }
}

/// Commits as one who uses the group as a store of offsets only.
async fn commit(groups: &GroupCoordinator, group: &str, topics: Vec<CommitTopic>) -> Result<(), GroupError> {
    let request = CommitRequest {
        group_id: group.to_owned(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        knows_group_not_found: true,
        topics,
    };
    let outcomes = groups.commit(request).await?;
    outcomes.into_iter().flat_map(|topic| topic.partitions).try_for_each(|partition| partition.outcome)
}
