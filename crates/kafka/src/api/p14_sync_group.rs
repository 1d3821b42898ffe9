//! SyncGroup (14): members come for their share of the partitions; the leader brings everybody's.
//!
//! *Behavior*: answers when the leader has brought the assignment and it is stored, or with an error if the group
//! starts to rebalance first.
//!
//! *Version notes*: 0-5; 3 adds static members (KIP-345), 5 the protocol's type and name, which must then be given and be
//! those of the group (KIP-559).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use bytes::Bytes;
use duolog_core::group::{GroupError, SyncAnswer, SyncRequest};
use duolog_wire::kafka::messages::sync_group_request::SyncGroupRequest;
use duolog_wire::kafka::messages::sync_group_response::SyncGroupResponse;

pub(super) const API: Api = Api { key: 14, name: "SyncGroup", min: 0, max: 5, handle };

/// The first version that names the protocol.
const NAMES_PROTOCOL: i16 = 5;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(mut call: Call) -> Result<Reply, CallError> {
    let request = {
        let request = SyncGroupRequest::decode(&mut call.decoder(), call.version)?;
        let assignments = request.assignments.iter();
        SyncRequest {
            group_id: request.group_id.to_owned(),
            generation: request.generation_id,
            member_id: request.member_id.to_owned(),
            instance_id: request.group_instance_id.map(str::to_owned),
            protocol_type: request.protocol_type.map(str::to_owned),
            protocol_name: request.protocol_name.map(str::to_owned),
            assignments: assignments.map(|one| (one.member_id.to_owned(), Bytes::copy_from_slice(one.assignment))).collect(),
        }
    };
    call.release();
    let names_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    let answer = if call.version >= NAMES_PROTOCOL && !names_protocol {
        Err(GroupError::InconsistentProtocol)
    } else {
        call.services().groups.sync(request).await
    };
    let mut encoder = call.response();
    response(&answer).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response(answer: &Result<SyncAnswer, GroupError>) -> SyncGroupResponse<'_> {
    match answer {
        Ok(answer) => SyncGroupResponse {
            protocol_type: answer.protocol_type.as_deref(),
            protocol_name: answer.protocol_name.as_deref(),
            assignment: &answer.assignment,
            ..Default::default()
        },
        Err(failure) => SyncGroupResponse { error_code: error::group(failure) as i16, ..Default::default() },
    }
}
