//! ShareAcknowledge (79): says what became of records that were fetched by ShareFetch, and ends share sessions. (KIP-932)
//!
//! *Behavior*: one outcome for each partition, told once it is stored. Epoch -1 ends the session after that, and what the member still has
//! is given back. A session is opened by ShareFetch only, so epoch 0 is refused.
//!
//! *Version notes*: 1-2; 0 was never final. From 2 on locks can be renewed, and the answer says how long they last (KIP-1222).

use super::Api;
use super::leadership::LeaderHint;
use super::nodes::{NodeAddress, hinted_nodes};
use super::share::{Acknowledgements, Outcomes, RENEWS_FROM, acknowledge, by_topic, lock_timeout_ms, member, release, verdict};
use crate::call::{Call, CallError, Handled, Reply};
use crate::share_sessions::{FINAL_EPOCH, INITIAL_EPOCH, Member};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::metadata::MetadataImage;
use duolog_core::share::Acknowledgement;
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::share_acknowledge_request::{AcknowledgementBatch, ShareAcknowledgeRequest};
use duolog_wire::kafka::messages::share_acknowledge_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse,
};

pub(super) const API: Api = Api { key: 79, name: "ShareAcknowledge", min: 1, max: 2, handle };

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(answer(call)))
}

async fn answer(call: Call) -> Result<Reply, CallError> {
    let asked = {
        let request = ShareAcknowledgeRequest::decode(&mut call.decoder(), call.version)?;
        begin(&call, &request)
    };
    let (member, wanted, renews, is_last) = match asked {
        Ok(asked) => asked,
        Err(code) => {
            let mut encoder = call.response();
            ShareAcknowledgeResponse { error_code: code as i16, ..Default::default() }.encode(&mut encoder, call.version)?;
            return Ok(Reply::plain(encoder));
        }
    };
    let services = call.services();
    let image = services.broker.image();
    let outcomes = acknowledge(services, &image, &member, wanted, renews).await;
    if is_last && let Some(partitions) = call.share_sessions().close(&member) {
        release(services, &member, partitions, false);
    }
    respond(&call, &image, &member, &outcomes)
}

type Asked = (Member, Acknowledgements, bool, bool);

/// Who asks for what, if its session is at that epoch.
fn begin(call: &Call, request: &ShareAcknowledgeRequest<'_>) -> Result<Asked, ErrorCode> {
    let member = member(request.group_id, request.member_id)?;
    let (sessions, epoch) = (call.share_sessions(), request.share_session_epoch);
    match epoch {
        INITIAL_EPOCH => return Err(ErrorCode::InvalidShareSessionEpoch),
        FINAL_EPOCH if sessions.is_open(&member) => {}
        FINAL_EPOCH => return Err(ErrorCode::ShareSessionNotFound),
        _ => drop(sessions.go_on(&member, epoch, [], [])?),
    }
    let mut wanted = Acknowledgements::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let batches = partition.acknowledgement_batches.iter().map(acknowledgement);
            wanted.entry((topic.topic_id, PartitionIndex(partition.partition_index))).or_default().extend(batches);
        }
    }
    Ok((member, wanted, call.version >= RENEWS_FROM && request.is_renew_ack, epoch == FINAL_EPOCH))
}

fn acknowledgement(batch: &AcknowledgementBatch) -> Acknowledgement {
    Acknowledgement { first: Offset(batch.first_offset), last: Offset(batch.last_offset), types: batch.acknowledge_types.clone() }
}

fn respond(call: &Call, image: &MetadataImage, member: &Member, outcomes: &Outcomes) -> Result<Reply, CallError> {
    let mut hints = Vec::new();
    let partitions = outcomes.iter().map(|(place, outcome)| {
        let (code, hint) = verdict(image, *place, outcome);
        hints.extend(hint);
        (*place, (code, hint))
    });
    let topics = by_topic(partitions).into_iter().map(|(topic_id, partitions)| ShareAcknowledgeTopicResponse {
        topic_id,
        partitions: partitions.into_iter().map(|(partition, (code, hint))| data(partition, code, hint)).collect(),
    });
    let responses = topics.collect();
    let nodes = hinted_nodes(&call.context, image, hints);
    let response = ShareAcknowledgeResponse {
        acquisition_lock_timeout_ms: if call.version >= RENEWS_FROM { lock_timeout_ms(image, &member.group) } else { 0 },
        responses,
        node_endpoints: nodes.iter().map(node_endpoint).collect(),
        ..Default::default()
    };
    let mut encoder = call.response();
    response.encode(&mut encoder, call.version)?;
    Ok(Reply::plain(encoder))
}

fn data(partition: PartitionIndex, code: ErrorCode, hint: Option<LeaderHint>) -> PartitionData<'static> {
    PartitionData {
        partition_index: partition.0,
        error_code: code as i16,
        current_leader: hint.map_or_else(LeaderIdAndEpoch::default, |hint| LeaderIdAndEpoch {
            leader_id: hint.leader.0,
            leader_epoch: hint.epoch.0,
        }),
        ..Default::default()
    }
}

fn node_endpoint(node: &NodeAddress) -> NodeEndpoint<'_> {
    NodeEndpoint { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}
