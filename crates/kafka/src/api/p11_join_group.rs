//! JoinGroup (11): a member wants to be in the group's next generation.
//!
//! *Behavior*: answers when the generation is made, which may take as long as the members' rebalance timeout. The leader
//! is told all members and what they said; the others only who leads. A client that went away is noticed when its
//! session runs out.
//!
//! *Version notes*: 1 adds the rebalance timeout (before, it is the session timeout); 4 the id that a new member must
//! come back with (KIP-394); 5 static members (KIP-345); 7 the protocol type in the answer and a protocol name that may
//! be null; 8 a reason (KIP-800); 9 lets a leader skip the assignment (KIP-814).

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use bytes::Bytes;
use duolog_core::group::{JoinAnswer, JoinRequest, JoinedGeneration, Protocol};
use duolog_wire::kafka::messages::join_group_request::JoinGroupRequest;
use duolog_wire::kafka::messages::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};

pub(super) const API: Api = Api { key: 11, name: "JoinGroup", min: 0, max: 9, handle };

const HAS_REBALANCE_TIMEOUT: i16 = 1;
const TAKES_MEMBER_ID: i16 = 4;
const PROTOCOL_MAY_BE_NULL: i16 = 7;
const CAN_SKIP_ASSIGNMENT: i16 = 9;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(mut call: Call) -> Result<Reply, CallError> {
    let request = {
        let request = JoinGroupRequest::decode(&mut call.decoder(), call.version)?;
        let has_timeout = call.version >= HAS_REBALANCE_TIMEOUT;
        JoinRequest {
            group_id: request.group_id.to_owned(),
            member_id: request.member_id.to_owned(),
            instance_id: request.group_instance_id.map(str::to_owned),
            client_id: call.client_id()?.unwrap_or_default().to_owned(),
            client_host: format!("/{}", call.peer().remote.ip()),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: if has_timeout { request.rebalance_timeout_ms } else { request.session_timeout_ms },
            protocol_type: request.protocol_type.to_owned(),
            protocols: request
                .protocols
                .iter()
                .map(|protocol| Protocol { name: protocol.name.to_owned(), metadata: Bytes::copy_from_slice(protocol.metadata) })
                .collect(),
            reason: request.reason.map(str::to_owned),
            takes_member_id: call.version >= TAKES_MEMBER_ID,
            can_skip_assignment: call.version >= CAN_SKIP_ASSIGNMENT,
        }
    };
    call.release();
    let joined = call.services().groups.join(request).await;
    let mut encoder = call.response();
    response(&joined, call.version).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response(answer: &JoinAnswer, version: i16) -> JoinGroupResponse<'_> {
    let no_protocol = if version >= PROTOCOL_MAY_BE_NULL { None } else { Some("") };
    match &answer.outcome {
        Ok(generation) => JoinGroupResponse {
            generation_id: generation.generation,
            protocol_type: generation.protocol_type.as_deref(),
            protocol_name: generation.protocol_name.as_deref().or(no_protocol),
            leader: &generation.leader,
            skip_assignment: generation.skip_assignment,
            member_id: &answer.member_id,
            members: members(generation),
            ..Default::default()
        },
        Err(failure) => JoinGroupResponse {
            error_code: error::group(failure) as i16,
            protocol_name: no_protocol,
            member_id: &answer.member_id,
            ..Default::default()
        },
    }
}

fn members(generation: &JoinedGeneration) -> Vec<JoinGroupResponseMember<'_>> {
    let members = generation.members.iter().map(|member| JoinGroupResponseMember {
        member_id: &member.member_id,
        group_instance_id: member.instance_id.as_deref(),
        metadata: &member.metadata,
    });
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_core::group::GroupError;
    use duolog_wire::kafka::{Decoder, Encoder, ErrorCode};

    #[test]
    fn every_version_carries_a_refusal_and_a_generation() {
        let refused = JoinAnswer { member_id: "m".into(), outcome: Err(GroupError::MemberIdRequired) };
        let generation = JoinedGeneration {
            generation: 3,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            leader: "m".into(),
            skip_assignment: false,
            members: Vec::new(),
        };
        let joined = JoinAnswer { member_id: "m".into(), outcome: Ok(generation) };
        for version in API.min..=API.max {
            for (answer, code) in [(&refused, ErrorCode::MemberIdRequired), (&joined, ErrorCode::None)] {
                let mut encoder = Encoder::new();
                response(answer, version).encode(&mut encoder, version).expect("fits every version");
                let decoded = JoinGroupResponse::decode(&mut Decoder::new(encoder.buffer()), version).expect("its own bytes");
                assert_eq!(decoded.error_code, code as i16);
                assert_eq!(decoded.member_id, "m");
            }
        }
    }
}
