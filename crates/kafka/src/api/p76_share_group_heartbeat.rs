//! ShareGroupHeartbeat (76): a member of a share group joins, stays or leaves, and is told what to read. (KIP-932)
//!
//! *Behavior*: a member chooses its own id and joins with epoch 0, naming its topics. The partitions it is to read are in the answer when
//! they have changed, already in that of its first heartbeat. Epoch -1 leaves. A wrong epoch is FENCED_MEMBER_EPOCH, a group of another
//! kind GROUP_ID_NOT_FOUND.
//!
//! *Version notes*: 1 only; 0 was never final.

use super::Api;
use crate::call::{Call, CallError, Handled, Reply};
use crate::error;
use duolog_core::group::GroupError;
use duolog_core::group::share::{ShareHeartbeatAnswer, ShareHeartbeatRequest};
use duolog_wire::kafka::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use duolog_wire::kafka::messages::share_group_heartbeat_response::{Assignment, ShareGroupHeartbeatResponse, TopicPartitions};

pub(super) const API: Api = Api { key: 76, name: "ShareGroupHeartbeat", min: 1, max: 1, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let request = {
        let request = ShareGroupHeartbeatRequest::decode(&mut call.decoder(), call.version)?;
        ShareHeartbeatRequest {
            group_id: request.group_id.to_owned(),
            member_id: request.member_id.to_owned(),
            member_epoch: request.member_epoch,
            client_id: call.client_id()?.unwrap_or_default().to_owned(),
            client_host: format!("/{}", call.peer().remote.ip().to_canonical()),
            rack: request.rack_id.map(str::to_owned),
            topics: request.subscribed_topic_names.map(|names| names.into_iter().map(str::to_owned).collect()),
        }
    };
    let services = call.services();
    let image = services.broker.image();
    let config = image.share_config(&request.group_id);
    let member_id = request.member_id.clone();
    let outcome = services.groups.share_heartbeat(request, config.session_timeout_ms, image, &services.share).await;
    let mut encoder = call.response();
    response(&member_id, config.heartbeat_interval_ms, outcome).encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn response(
    member_id: &str,
    heartbeat_interval_ms: i32,
    outcome: Result<ShareHeartbeatAnswer, GroupError>,
) -> ShareGroupHeartbeatResponse<'_> {
    match outcome {
        Ok(answer) => ShareGroupHeartbeatResponse {
            member_id: Some(member_id),
            member_epoch: answer.member_epoch,
            heartbeat_interval_ms,
            assignment: answer.assignment.map(|share| Assignment {
                topic_partitions: share
                    .into_iter()
                    .map(|(topic_id, partitions)| TopicPartitions {
                        topic_id,
                        partitions: partitions.into_iter().map(|partition| partition.0).collect(),
                    })
                    .collect(),
            }),
            ..Default::default()
        },
        Err(failure) => ShareGroupHeartbeatResponse { error_code: error::group(&failure) as i16, ..Default::default() },
    }
}
