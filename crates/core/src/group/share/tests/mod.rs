//! Share groups driven by hand, in virtual time.

mod epochs;
mod kinds;
mod offsets;

use super::super::tests::World;
use super::super::{GroupError, ListFilter};
use super::request::{DescribedShareGroup, ShareAssignment, ShareHeartbeatAnswer, ShareHeartbeatRequest};
use super::{JOIN_EPOCH, LEAVE_EPOCH};
use crate::config::{BrokerConfig, TopicConfig};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use duolog_base::TopicId;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: &str = "workers";
const SESSION_MS: u64 = 45_000;

/// An image with topics of so many partitions; the id of each is its place, counted from 1.
fn image(topics: &[(&str, usize)]) -> MetadataImage {
    let mut image = MetadataImage::empty(Arc::new(BrokerConfig::default()));
    for (at, (name, partitions)) in topics.iter().enumerate() {
        let (id, shared): (TopicId, Arc<str>) = (TopicId(at as u128 + 1), Arc::from(*name));
        let topic = TopicImage {
            id,
            name: (*name).to_owned(),
            partitions: vec![PartitionImage::default(); *partitions],
            overrides: BTreeMap::new(),
            config: Arc::new(TopicConfig::default()),
            internal: false,
        };
        image.topics.insert(shared.clone(), Arc::new(topic));
        image.topic_names.insert(id, shared);
    }
    image
}

fn request(member: &str, epoch: i32, topics: Option<&[&str]>) -> ShareHeartbeatRequest {
    ShareHeartbeatRequest {
        group_id: GROUP.into(),
        member_id: member.into(),
        member_epoch: epoch,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rack: None,
        topics: topics.map(|topics| topics.iter().map(|name| (*name).to_owned()).collect()),
    }
}

type Answer = Result<ShareHeartbeatAnswer, GroupError>;

impl World {
    fn beat_once(&mut self, request: &ShareHeartbeatRequest, image: &MetadataImage) -> Answer {
        self.ask(|shard, ticket, now, out| shard.share_heartbeat(request, SESSION_MS, image, ticket, now, out))
            .take()
            .expect("answered at once")
    }

    fn initialized(&mut self, partitions: &ShareAssignment) {
        let mut answer = self.ask(|shard, ticket, _, out| shard.share_initialized(GROUP, partitions, ticket, out));
        assert_eq!(answer.take(), Some(Ok(())));
    }

    /// A heartbeat as the service carries it out: what has no state is given one on the way.
    fn beat(&mut self, member: &str, epoch: i32, topics: Option<&[&str]>, image: &MetadataImage) -> Answer {
        let request = request(member, epoch, topics);
        let answer = self.beat_once(&request, image)?;
        if answer.uninitialized.is_empty() {
            return Ok(answer);
        }
        self.initialized(&answer.uninitialized);
        self.beat_once(&request, image)
    }

    fn joins(&mut self, member: &str, topics: &[&str], image: &MetadataImage) -> ShareHeartbeatAnswer {
        self.beat(member, JOIN_EPOCH, Some(topics), image).expect("a member that joins")
    }

    fn leaves(&mut self, member: &str, image: &MetadataImage) -> Answer {
        self.beat_once(&request(member, LEAVE_EPOCH, None), image)
    }

    fn described(&mut self) -> Result<DescribedShareGroup, GroupError> {
        self.ask(|shard, ticket, _, out| shard.share_describe(GROUP, ticket, out)).take().expect("answered at once")
    }

    fn listed(&mut self, filter: ListFilter) -> Vec<(String, &'static str, &'static str)> {
        let listed = self.ask(|shard, ticket, _, out| shard.list(&filter, ticket, out)).take().expect("answered at once");
        listed.into_iter().map(|group| (group.group_id, group.group_type, group.state)).collect()
    }
}

/// How many partitions a share has.
fn count(share: &ShareAssignment) -> usize {
    share.values().map(|partitions| partitions.len()).sum()
}
