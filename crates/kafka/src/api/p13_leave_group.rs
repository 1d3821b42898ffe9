//! LeaveGroup (13): members leave, or an administrator removes static ones.
//!
//! *Behavior*: the group rebalances without them at once. A static member may be named by its instance id alone.
//!
//! *Version notes*: 0-2 name one member, whose outcome is that of the request; 3 and later several, each with an outcome
//! of its own (KIP-345); 5 adds a reason (KIP-800).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::{Departed, Departure, GroupError, LeaveRequest};
use duolog_wire::kafka::messages::leave_group_request::LeaveGroupRequest;
use duolog_wire::kafka::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};

pub(super) const API: Api = Api { key: 13, name: "LeaveGroup", min: 0, max: 5, handle };

/// The first version that names several members.
const BATCHED: i16 = 3;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = {
        let request = LeaveGroupRequest::decode(&mut call.decoder(), call.version)?;
        LeaveRequest { group_id: request.group_id.to_owned(), members: departures(&request, call.version) }
    };
    let outcome = call.services().groups.leave(request).await;
    let mut encoder = call.response();
    response(&outcome, call.version).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn departures(request: &LeaveGroupRequest<'_>, version: i16) -> Vec<Departure> {
    if version < BATCHED {
        return vec![Departure { member_id: request.member_id.to_owned(), instance_id: None, reason: None }];
    }
    let departures = request.members.iter().map(|member| Departure {
        member_id: member.member_id.to_owned(),
        instance_id: member.group_instance_id.map(str::to_owned),
        reason: member.reason.map(str::to_owned),
    });
    departures.collect()
}

fn response(outcome: &Result<Vec<Departed>, GroupError>, version: i16) -> LeaveGroupResponse<'_> {
    match outcome {
        Err(failure) => LeaveGroupResponse { error_code: error::group(failure) as i16, ..Default::default() },
        Ok(departed) if version < BATCHED => {
            let code = departed.first().map_or(0, code);
            LeaveGroupResponse { error_code: code, ..Default::default() }
        }
        Ok(departed) => {
            let members = departed.iter().map(|departed| MemberResponse {
                member_id: &departed.member_id,
                group_instance_id: departed.instance_id.as_deref(),
                error_code: code(departed),
            });
            LeaveGroupResponse { members: members.collect(), ..Default::default() }
        }
    }
}

fn code(departed: &Departed) -> i16 {
    departed.outcome.as_ref().map_or_else(|failure| error::group(failure) as i16, |()| 0)
}
