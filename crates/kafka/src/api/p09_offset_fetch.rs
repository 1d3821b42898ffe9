//! OffsetFetch (9): how far groups have come.
//!
//! *Behavior*: a partition without a committed offset is answered with -1 and no error, also for groups that do not
//! exist. Answers wait for commits that were accepted before them, so that all offsets told are stable, asked for or not.
//!
//! *Version notes*: 1-7 ask for one group, 8 and later for several; from 2 on no list of topics means all of them; 5 adds
//! the leader epoch, 7 the wish for stable offsets; 10 names topics by id (KIP-848).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_base::{PartitionIndex, TopicId};
use duolog_core::group::{CommittedPartition, CommittedTopic, FetchRequest, FetchTopic, GroupError};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use duolog_wire::kafka::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

pub(super) const API: Api = Api { key: 9, name: "OffsetFetch", min: 1, max: 10, handle };

/// The first version that has an error for the whole answer.
const HAS_TOP_ERROR: i16 = 2;
/// The first version that asks for several groups.
const BATCHED: i16 = 8;
/// The first version that names topics by id.
const BY_ID: i16 = 10;
/// Offset that stands for none.
const NO_OFFSET: i64 = -1;
const NO_EPOCH: i32 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = OffsetFetchRequest::decode(&mut call.decoder(), call.version)?;
    let mut encoder = call.response();
    if call.version >= BATCHED {
        let image = call.services().broker.image();
        let mut found = Vec::with_capacity(request.groups.len());
        for group in &request.groups {
            found.push(Found::fetch(&call, &image, group).await);
        }
        let groups = request.groups.iter().zip(&found).map(|(group, found)| found.response(group, &image, call.version));
        OffsetFetchResponse { groups: groups.collect(), ..Default::default() }.encode(&mut encoder, call.version)?;
    } else {
        let topics = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| wanted(topic.name, &topic.partition_indexes)).collect());
        let found = call.services().groups.fetch(FetchRequest { group_id: request.group_id.to_owned(), topics }).await;
        single(&request, &found, call.version).encode(&mut encoder, call.version)?;
    }
    Ok(Reply::plain(encoder))
}

fn wanted(name: &str, partitions: &[i32]) -> FetchTopic {
    FetchTopic { name: name.to_owned(), partitions: partitions.iter().map(|index| PartitionIndex(*index)).collect() }
}

/// The answer of up to version 7.
fn single<'a>(
    request: &OffsetFetchRequest<'a>,
    found: &'a Result<Vec<CommittedTopic>, GroupError>,
    version: i16,
) -> OffsetFetchResponse<'a> {
    match found {
        Ok(topics) => {
            let topics = topics.iter().map(|topic| OffsetFetchResponseTopic {
                name: &topic.name,
                partitions: topic.partitions.iter().map(single_partition).collect(),
            });
            OffsetFetchResponse { topics: topics.collect(), ..Default::default() }
        }
        Err(failure) => {
            let code = error::group_fetch(failure) as i16;
            let topics = if version >= HAS_TOP_ERROR { &[][..] } else { request.topics.as_deref().unwrap_or_default() };
            let topics = topics.iter().map(|topic| OffsetFetchResponseTopic {
                name: topic.name,
                partitions: topic.partition_indexes.iter().map(|index| failed_partition(*index, code)).collect(),
            });
            OffsetFetchResponse { topics: topics.collect(), error_code: code, ..Default::default() }
        }
    }
}

fn single_partition(found: &CommittedPartition) -> OffsetFetchResponsePartition<'_> {
    let committed = found.committed.as_ref();
    OffsetFetchResponsePartition {
        partition_index: found.partition.0,
        committed_offset: committed.map_or(NO_OFFSET, |committed| committed.offset.0),
        committed_leader_epoch: committed.map_or(NO_EPOCH, |committed| committed.leader_epoch.0),
        metadata: Some(committed.map_or("", |committed| &committed.metadata)),
        error_code: ErrorCode::None as i16,
    }
}

fn failed_partition(partition_index: i32, error_code: i16) -> OffsetFetchResponsePartition<'static> {
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset: NO_OFFSET,
        committed_leader_epoch: NO_EPOCH,
        metadata: Some(""),
        error_code,
    }
}

/// What the coordinator said of one group of a batched request.
struct Found {
    /// Only the topics that were known, in the order asked.
    topics: Result<Vec<CommittedTopic>, GroupError>,
}

impl Found {
    async fn fetch(call: &Call, image: &MetadataImage, group: &OffsetFetchRequestGroup<'_>) -> Found {
        let by_id = call.version >= BY_ID;
        let topics = group.topics.as_ref().map(|topics| {
            let named = topics.iter().filter_map(|topic| {
                let name = if by_id { name_of(image, topic.topic_id)? } else { topic.name };
                Some(wanted(name, &topic.partition_indexes))
            });
            named.collect()
        });
        let request = FetchRequest { group_id: group.group_id.to_owned(), topics };
        Found { topics: call.services().groups.fetch(request).await }
    }

    fn response<'a>(
        &'a self,
        group: &OffsetFetchRequestGroup<'a>,
        image: &MetadataImage,
        version: i16,
    ) -> OffsetFetchResponseGroup<'a> {
        let found = match &self.topics {
            Ok(found) => found,
            Err(failure) => {
                let error_code = error::group_fetch(failure) as i16;
                return OffsetFetchResponseGroup { group_id: group.group_id, error_code, ..Default::default() };
            }
        };
        let by_id = version >= BY_ID;
        let mut topics: Vec<_> = found.iter().filter_map(|topic| committed_topic(topic, image, by_id)).collect();
        let asked = group.topics.iter().flatten();
        for topic in asked.filter(|topic| by_id && name_of(image, topic.topic_id).is_none()) {
            let partitions = topic.partition_indexes.iter().map(|index| unknown_topic(*index)).collect();
            topics.push(OffsetFetchResponseTopics { name: "", topic_id: topic.topic_id, partitions });
        }
        OffsetFetchResponseGroup { group_id: group.group_id, topics, ..Default::default() }
    }
}

fn name_of(image: &MetadataImage, id: TopicId) -> Option<&str> {
    image.topic_by_id(id).map(|topic| topic.name.as_str())
}

/// `None` for a topic that has no id any more, which can only be when all offsets were asked for.
fn committed_topic<'a>(found: &'a CommittedTopic, image: &MetadataImage, by_id: bool) -> Option<OffsetFetchResponseTopics<'a>> {
    let topic_id = match image.topic(&found.name) {
        Some(topic) => topic.id,
        None if by_id => return None,
        None => TopicId::NONE,
    };
    let partitions = found.partitions.iter().map(|found| {
        let single = single_partition(found);
        OffsetFetchResponsePartitions {
            partition_index: single.partition_index,
            committed_offset: single.committed_offset,
            committed_leader_epoch: single.committed_leader_epoch,
            metadata: single.metadata,
            error_code: single.error_code,
        }
    });
    Some(OffsetFetchResponseTopics { name: &found.name, topic_id, partitions: partitions.collect() })
}

fn unknown_topic(partition_index: i32) -> OffsetFetchResponsePartitions<'static> {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: NO_OFFSET,
        committed_leader_epoch: NO_EPOCH,
        metadata: Some(""),
        error_code: ErrorCode::UnknownTopicId as i16,
    }
}
