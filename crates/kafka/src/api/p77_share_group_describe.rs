//! ShareGroupDescribe (77): the state of share groups, and who reads what. (KIP-932)
//!
//! *Behavior*: a group that does not exist, or is of another kind, is dead and GROUP_ID_NOT_FOUND.
//!
//! *Version notes*: 1 only; 0 was never final.

use super::Api;
use super::admin::{ALL_GROUP_OPERATIONS, NOT_ASKED};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::GroupError;
use duolog_core::group::share::{DescribedShareGroup, DescribedShareMember};
use duolog_core::metadata::MetadataImage;
use duolog_wire::kafka::messages::share_group_describe_request::ShareGroupDescribeRequest;
use duolog_wire::kafka::messages::share_group_describe_response::{
    Assignment, DescribedGroup, Member, ShareGroupDescribeResponse, TopicPartitions,
};

pub(super) const API: Api = Api { key: 77, name: "ShareGroupDescribe", min: 1, max: 1, handle };

const DEAD: &str = "Dead";

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = ShareGroupDescribeRequest::decode(&mut call.decoder(), call.version)?;
    let operations = if request.include_authorized_operations { ALL_GROUP_OPERATIONS } else { NOT_ASKED };
    let mut described = Vec::with_capacity(request.group_ids.len());
    for group_id in &request.group_ids {
        described.push(call.services().groups.share_describe(group_id).await);
    }
    let image = call.services().broker.image();
    let groups = request.group_ids.iter().zip(&described).map(|(id, found)| group(&image, id, found, operations));
    let response = ShareGroupDescribeResponse { groups: groups.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn group<'a>(
    image: &'a MetadataImage,
    id: &'a str,
    found: &'a Result<DescribedShareGroup, GroupError>,
    authorized_operations: i32,
) -> DescribedGroup<'a> {
    match found {
        Ok(found) => DescribedGroup {
            group_id: id,
            group_state: found.state,
            group_epoch: found.group_epoch,
            assignment_epoch: found.assignment_epoch,
            assignor_name: found.assignor,
            members: found.members.iter().map(|one| member(image, one)).collect(),
            authorized_operations,
            ..Default::default()
        },
        Err(failure) => DescribedGroup {
            error_code: error::group(failure) as i16,
            error_message: (*failure == GroupError::GroupNotFound).then_some("no such share group"),
            group_id: id,
            group_state: DEAD,
            authorized_operations: NOT_ASKED,
            ..Default::default()
        },
    }
}

fn member<'a>(image: &'a MetadataImage, member: &'a DescribedShareMember) -> Member<'a> {
    // Topics that were deleted meanwhile have no name any more.
    let topics = member.assignment.iter().filter_map(|(topic_id, partitions)| {
        let topic_name = &image.topic_by_id(*topic_id)?.name;
        Some(TopicPartitions { topic_id: *topic_id, topic_name, partitions: partitions.iter().map(|one| one.0).collect() })
    });
    Member {
        member_id: &member.member_id,
        rack_id: member.rack.as_deref(),
        member_epoch: member.member_epoch,
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.topics.iter().map(String::as_str).collect(),
        assignment: Assignment { topic_partitions: topics.collect() },
    }
}
