//! DescribeGroups (15): the state of groups and their members.
//!
//! *Behavior*: a group that does not exist is described as dead. Subscriptions are told while the group is stable.
//!
//! *Version notes*: 0-6; 3 adds the operations the asker may do, 4 static members' instance ids, 6 says of a group that
//! does not exist that it does not (KIP-1043).

use super::Api;
use super::admin::{ALL_GROUP_OPERATIONS, NOT_ASKED};
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::{DescribedGroup as Described, GroupError};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::describe_groups_request::DescribeGroupsRequest;
use duolog_wire::kafka::messages::describe_groups_response::{DescribeGroupsResponse, DescribedGroup, DescribedGroupMember};

pub(super) const API: Api = Api { key: 15, name: "DescribeGroups", min: 0, max: 6, handle };

/// The first version that says that a group does not exist.
const SAYS_NOT_FOUND: i16 = 6;
const DEAD: &str = "Dead";

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = DescribeGroupsRequest::decode(&mut call.decoder(), call.version)?;
    let operations = if request.include_authorized_operations { ALL_GROUP_OPERATIONS } else { NOT_ASKED };
    let mut described = Vec::with_capacity(request.groups.len());
    for group_id in &request.groups {
        described.push(call.services().groups.describe(group_id).await);
    }
    let groups = request.groups.iter().zip(&described).map(|(id, found)| group(id, found, operations, call.version));
    let response = DescribeGroupsResponse { groups: groups.collect(), ..Default::default() };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn group<'a>(
    id: &'a str,
    found: &'a Result<Option<Described>, GroupError>,
    authorized_operations: i32,
    version: i16,
) -> DescribedGroup<'a> {
    let unknown = DescribedGroup { group_id: id, group_state: DEAD, authorized_operations, ..Default::default() };
    match found {
        Ok(Some(found)) => DescribedGroup {
            group_id: id,
            group_state: found.state,
            protocol_type: &found.protocol_type,
            protocol_data: &found.protocol_name,
            members: members(found),
            authorized_operations,
            ..Default::default()
        },
        Ok(None) if version >= SAYS_NOT_FOUND => {
            DescribedGroup { error_code: ErrorCode::GroupIdNotFound as i16, error_message: Some("no such group"), ..unknown }
        }
        Ok(None) => unknown,
        Err(failure) => DescribedGroup {
            error_code: error::group(failure) as i16,
            group_id: id,
            authorized_operations: NOT_ASKED,
            ..Default::default()
        },
    }
}

fn members(group: &Described) -> Vec<DescribedGroupMember<'_>> {
    let members = group.members.iter().map(|member| DescribedGroupMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: &member.metadata,
        member_assignment: &member.assignment,
    });
    members.collect()
}
