//! DeleteGroups (42): deletes groups that have no members, and their offsets.
//!
//! *Behavior*: one outcome for each group, of whatever kind; the order of the request is kept.
//!
//! *Version notes*: 0-3, which differ in form; 3 adds a message, which stays empty.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::GroupError;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::delete_groups_request::DeleteGroupsRequest;
use duolog_wire::kafka::messages::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

pub(super) const API: Api = Api { key: 42, name: "DeleteGroups", min: 0, max: 3, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = DeleteGroupsRequest::decode(&mut call.decoder(), call.version)?;
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in &request.groups_names {
        let code = delete(&call, group_id).await.map_or_else(|failure| error::group(&failure), |()| ErrorCode::None);
        results.push(DeletableGroupResult { group_id, error_code: code as i16, ..Default::default() });
    }
    let mut encoder = call.response();
    DeleteGroupsResponse { results, ..Default::default() }.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

/// An id is one kind of group.
async fn delete(call: &Call, group_id: &str) -> Result<(), GroupError> {
    let services = call.services();
    match services.groups.share_delete(group_id, &services.share).await {
        Err(GroupError::GroupNotFound) => services.groups.delete(group_id).await,
        outcome => outcome,
    }
}
