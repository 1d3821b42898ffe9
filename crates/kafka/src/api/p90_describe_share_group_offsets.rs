//! DescribeShareGroupOffsets (90): where share groups begin to read, and how far they are behind. (KIP-932, KIP-1226)
//!
//! *Behavior*: without a list of topics, all that the group has a state of. A partition that the group has not read has the start -1.
//! The lag leaves out what is acknowledged already. It is -1 where the start is, and where this node holds no replica of the partition.
//!
//! *Version notes*: 0-1; 1 adds the lag.

use super::Api;
use super::share::{by_topic, share_partition};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use crate::share_sessions::Place;
use duolog_base::PartitionIndex;
use duolog_core::group::GroupError;
use duolog_core::metadata::MetadataImage;
use duolog_core::share::{ShareError, ShareSummary};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use duolog_wire::kafka::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use std::sync::Arc;

pub(super) const API: Api = Api { key: 90, name: "DescribeShareGroupOffsets", min: 0, max: 1, handle };

/// The first version with a lag.
const LAG_FROM: i16 = 1;
/// What stands for no offset, and for no lag.
const UNKNOWN: i64 = -1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

/// What is known of a group, or why there is nothing.
type Described = Result<Vec<(Place, Start)>, GroupError>;

/// Where a group begins in a partition.
struct Start {
    summary: Result<Option<ShareSummary>, ShareError>,
    lag: i64,
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = DescribeShareGroupOffsetsRequest::decode(&mut call.decoder(), call.version)?;
    let image = call.services().broker.image();
    let mut described = Vec::with_capacity(request.groups.len());
    for group in &request.groups {
        described.push(describe(&call, &image, group).await);
    }
    let groups = request.groups.iter().zip(described).map(|(group, described)| response(&image, group, described, call.version));
    let response = DescribeShareGroupOffsetsResponse { groups: groups.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

async fn describe(call: &Call, image: &MetadataImage, asked: &DescribeShareGroupOffsetsRequestGroup<'_>) -> Described {
    let known = call.services().groups.share_partitions(asked.group_id).await?;
    let places: Vec<Place> = match &asked.topics {
        None => known.initialized.iter().flat_map(|(topic, partitions)| partitions.iter().map(|one| (*topic, *one))).collect(),
        Some(topics) => topics.iter().filter_map(|topic| places(image, topic)).flatten().collect(),
    };
    let group: Arc<str> = Arc::from(asked.group_id);
    let mut starts = Vec::with_capacity(places.len());
    for place in places {
        let is_known = known.initialized.get(&place.0).is_some_and(|partitions| partitions.contains(&place.1));
        let summary = match is_known {
            true => call.services().share.read_summary(&share_partition(&group, place)).await.map(Some),
            false => Ok(None),
        };
        let lag = summary.as_ref().ok().and_then(Option::as_ref).and_then(|summary| lag(call, image, place, summary));
        starts.push((place, Start { summary, lag: lag.unwrap_or(UNKNOWN) }));
    }
    Ok(starts)
}

/// The partitions that are asked for of a topic that exists.
fn places(image: &MetadataImage, asked: &DescribeShareGroupOffsetsRequestTopic<'_>) -> Option<Vec<Place>> {
    let topic = image.topic(asked.topic_name)?.id;
    Some(asked.partitions.iter().map(|index| (topic, PartitionIndex(*index))).collect())
}

/// Records that the group has not done with.
fn lag(call: &Call, image: &MetadataImage, place: Place, summary: &ShareSummary) -> Option<i64> {
    let end = call.services().broker.ends(image.topic_by_id(place.0)?, place.1)?.high_watermark;
    Some((end.0 - summary.start_offset?.0 - i64::from(summary.delivery_complete_count)).max(0))
}

fn response<'a>(
    image: &'a MetadataImage,
    asked: &DescribeShareGroupOffsetsRequestGroup<'a>,
    described: Described,
    version: i16,
) -> DescribeShareGroupOffsetsResponseGroup<'a> {
    let described = match described {
        Ok(described) => described,
        Err(failure) => {
            return DescribeShareGroupOffsetsResponseGroup {
                group_id: asked.group_id,
                error_code: error::group(&failure) as i16,
                error_message: (failure == GroupError::GroupNotFound).then_some("no such share group"),
                ..Default::default()
            };
        }
    };
    let known = by_topic(described).into_iter().map(|(topic_id, partitions)| DescribeShareGroupOffsetsResponseTopic {
        // A topic that has gone since has no name.
        topic_name: image.topic_by_id(topic_id).map_or("", |topic| topic.name.as_str()),
        topic_id,
        partitions: partitions.into_iter().map(|(index, start)| partition(index, &start, version)).collect(),
    });
    let unknown = asked.topics.iter().flatten().filter(|topic| image.topic(topic.topic_name).is_none()).map(unknown_topic);
    DescribeShareGroupOffsetsResponseGroup {
        group_id: asked.group_id,
        topics: known.chain(unknown).collect(),
        ..Default::default()
    }
}

fn partition(index: PartitionIndex, start: &Start, version: i16) -> DescribeShareGroupOffsetsResponsePartition<'static> {
    let summary = start.summary.as_ref().ok().and_then(Option::as_ref);
    DescribeShareGroupOffsetsResponsePartition {
        partition_index: index.0,
        start_offset: summary.and_then(|summary| summary.start_offset).map_or(UNKNOWN, |offset| offset.0),
        leader_epoch: summary.map_or(0, |summary| summary.leader_epoch.0),
        lag: if version >= LAG_FROM { start.lag } else { UNKNOWN },
        error_code: start.summary.as_ref().err().map_or(ErrorCode::None, error::share) as i16,
        error_message: None,
    }
}

fn unknown_topic<'a>(asked: &DescribeShareGroupOffsetsRequestTopic<'a>) -> DescribeShareGroupOffsetsResponseTopic<'a> {
    let partitions = asked.partitions.iter().map(|index| DescribeShareGroupOffsetsResponsePartition {
        partition_index: *index,
        start_offset: UNKNOWN,
        lag: UNKNOWN,
        error_code: ErrorCode::UnknownTopicOrPartition as i16,
        ..Default::default()
    });
    DescribeShareGroupOffsetsResponseTopic {
        topic_name: asked.topic_name,
        partitions: partitions.collect(),
        ..Default::default()
    }
}
