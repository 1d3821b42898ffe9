//! How far groups have come, as tools ask: of one group in all topics, and of all groups in one topic. Groups of Kafka's clients
//! are among them.

use crate::message::EmptyBody;
use crate::node::Node;
use crate::pull::{Pulled, Wanted};
use crate::queues::ask_each;
use crate::remoting::Refusal;
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::filter::Subscription;
use duolog_core::group::{CommittedTopic, FetchRequest, FetchTopic, GroupError, ListFilter};
use duolog_core::metadata::{OFFSETS_TOPIC, TopicImage};
use duolog_wire::remoting::message::StoredMessage;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Offsets by queue.
pub(crate) type QueueOffsets = BTreeMap<i32, Offset>;

/// The time over which the rate of a topic is measured.
const RATE_MS: i64 = 60_000;

impl Node {
    /// The offsets of a group whose home this is, by topic.
    pub(crate) async fn progress_here(&self, group: &str) -> Result<BTreeMap<String, QueueOffsets>, GroupError> {
        self.groups.store_noted(&self.broker.image()).await;
        if !self.has_offsets() {
            return Ok(BTreeMap::new());
        }
        let found = self.groups.fetch(FetchRequest { group_id: group.to_owned(), topics: None }).await?;
        Ok(found.into_iter().map(|topic| (topic.name.clone(), offsets(&topic))).collect())
    }

    /// The offsets in a topic, by group, of groups that are at home here; those without any are left out.
    pub(crate) async fn topic_progress_here(&self, topic: &TopicImage) -> Result<BTreeMap<String, QueueOffsets>, GroupError> {
        self.groups.store_noted(&self.broker.image()).await;
        let partitions: Vec<PartitionIndex> = (0..topic.partitions.len() as i32).map(PartitionIndex).collect();
        let mut groups = BTreeMap::new();
        for group_id in self.coordinated_groups().await? {
            let topics = Some(vec![FetchTopic { name: topic.name.clone(), partitions: partitions.clone() }]);
            let found = self.groups.fetch(FetchRequest { group_id: group_id.clone(), topics }).await?;
            let offsets: QueueOffsets = found.iter().flat_map(offsets).collect();
            if !offsets.is_empty() {
                groups.insert(group_id, offsets);
            }
        }
        Ok(groups)
    }

    /// The groups that somebody has configured, is in, or has offsets in, as far as this node knows.
    pub(crate) async fn group_names_here(&self) -> Result<BTreeSet<String>, GroupError> {
        self.groups.store_noted(&self.broker.image()).await;
        let mut names = self.coordinated_groups().await?;
        names.extend(self.broker.image().group_config.keys().cloned());
        names.extend(self.clients.consumer_groups());
        Ok(names)
    }

    /// Whether anybody has configured the group, is in it, or has offsets in it. This is its home.
    pub(crate) async fn has_group_here(&self, group: &str) -> Result<bool, GroupError> {
        let is_known = self.broker.image().group_config.contains_key(group);
        if is_known || self.clients.with_consumers(group, |_| ()).is_some() {
            return Ok(true);
        }
        self.groups.store_noted(&self.broker.image()).await;
        Ok(self.has_offsets() && self.groups.describe(group).await?.is_some())
    }

    async fn coordinated_groups(&self) -> Result<BTreeSet<String>, GroupError> {
        match self.has_offsets() {
            true => Ok(self.groups.list(ListFilter::default()).await?.into_iter().map(|group| group.group_id).collect()),
            false => Ok(BTreeSet::new()),
        }
    }

    /// A question must not create the topic of the offsets.
    fn has_offsets(&self) -> bool {
        self.broker.image().topic(OFFSETS_TOPIC).is_some()
    }

    /// When the message at the offset, or the next one that is there, was stored; `None` if there is none.
    pub(crate) async fn stored_here(
        &self,
        topic: &Arc<TopicImage>,
        queue: PartitionIndex,
        offset: Offset,
    ) -> Result<Option<i64>, Refusal> {
        let wanted = Wanted {
            topic: topic.clone(),
            queue,
            from: offset,
            max_messages: 1,
            max_bytes: 0,
            subscription: Arc::new(Subscription::all()),
            store_host: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            empty_body: EmptyBody::AsItIs,
        };
        Ok(match self.pull(&wanted).await?.pulled {
            Pulled::Found { messages, .. } => StoredMessage::take(&mut &messages[..]).ok().map(|first| first.store_timestamp),
            Pulled::NoneWanted | Pulled::Nothing | Pulled::Moved => None,
        })
    }

    /// The messages a second that a topic was given in the last minute, by the time of their birth.
    pub(crate) async fn put_rate(self: &Arc<Self>, topic: &Arc<TopicImage>) -> Result<f64, Refusal> {
        let since = TimestampMs(self.broker.clock().now().0 - RATE_MS);
        let messages = ask_each((0..topic.partitions.len() as i32).map(PartitionIndex), |queue| {
            let (node, topic) = (self.clone(), topic.clone());
            async move { node.born_since(&topic, queue, since).await }
        });
        Ok(messages.await?.iter().sum::<i64>() as f64 * 1000.0 / RATE_MS as f64)
    }

    /// Messages of a queue from the first one on that was born then or later.
    async fn born_since(&self, topic: &TopicImage, queue: PartitionIndex, since: TimestampMs) -> Result<i64, Refusal> {
        let Some(first) = self.offset_at(topic, queue, since).await? else { return Ok(0) };
        let ends = self.queue_ends(topic, queue).await?;
        Ok((ends.high_watermark.0 - first.0).max(0))
    }
}

fn offsets(topic: &CommittedTopic) -> QueueOffsets {
    let committed = topic.partitions.iter().filter_map(|one| Some((one.partition.0, one.committed.as_ref()?.offset)));
    committed.collect()
}
