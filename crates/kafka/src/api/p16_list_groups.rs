//! ListGroups (16): all groups of this node.
//!
//! *Behavior*: every group, or those in some states and of some types; upper and lower case are the same.
//!
//! *Version notes*: 0-5; 4 adds states (KIP-518), 5 types, of which "classic" and "share" are served.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::{GroupError, ListFilter, ListedGroup as Listed};
use duolog_wire::kafka::messages::list_groups_request::ListGroupsRequest;
use duolog_wire::kafka::messages::list_groups_response::{ListGroupsResponse, ListedGroup};

pub(super) const API: Api = Api { key: 16, name: "ListGroups", min: 0, max: 5, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let filter = {
        let request = ListGroupsRequest::decode(&mut call.decoder(), call.version)?;
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ListFilter { states: owned(&request.states_filter), types: owned(&request.types_filter) }
    };
    let listed = call.services().groups.list(filter).await;
    let mut encoder = call.response();
    response(&listed).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response(listed: &Result<Vec<Listed>, GroupError>) -> ListGroupsResponse<'_> {
    match listed {
        Ok(listed) => {
            let groups = listed.iter().map(|group| ListedGroup {
                group_id: &group.group_id,
                protocol_type: &group.protocol_type,
                group_state: group.state,
                group_type: group.group_type,
            });
            ListGroupsResponse { groups: groups.collect(), ..Default::default() }
        }
        Err(failure) => ListGroupsResponse { error_code: error::group(failure) as i16, ..Default::default() },
    }
}
