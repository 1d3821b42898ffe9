//! ShareFetch (78): gives a member of a share group records that nobody else has, and takes what it says of those it had. (KIP-932)
//!
//! *Behavior*: acknowledgements first, then records of the partitions of the member's session, waiting for them if asked to. Partitions take
//! turns in who is read first. Records come in whole batches, of which those count that the answer names as acquired; what is
//! acquired is never more than what is sent. A batch with more records than asked for is acquired as a whole, unless the client wants the
//! limit kept. The group's lock time is told with every answer. A wish to renew locks brings no records. Batch sizes are the producers':
//! the size that the client would like is not looked at.
//!
//! *Version notes*: 1-2; 0 was never final. From 2 on the limit can be strict (KIP-1206) and locks can be renewed (KIP-1222).

use super::Api;
use super::leadership::LeaderHint;
use super::nodes::{NodeAddress, hinted_nodes};
use super::share::{Acknowledgements, Outcomes, RENEWS_FROM, acknowledge, by_topic, lock_timeout_ms, member, release, verdict};
use crate::call::{Call, CallError, Context, Handled, Message, Reply, ResponseStart};
use crate::share_fetch::{Found, Limits, Taken, take};
use crate::share_sessions::{FINAL_EPOCH, INITIAL_EPOCH, Member, Place};
use duolog_base::{Offset, PartitionIndex};
use duolog_core::broker::Broker;
use duolog_core::config::ShareGroupConfig;
use duolog_core::metadata::MetadataImage;
use duolog_core::share::{Acknowledgement, AcquiredRange, ShareError};
use duolog_log::ReadPart;
use duolog_wire::kafka::messages::share_fetch_request::{AcknowledgementBatch, ShareFetchRequest};
use duolog_wire::kafka::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchResponse, ShareFetchableTopicResponse,
};
use duolog_wire::kafka::{ErrorCode, Records};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

pub(super) const API: Api = Api { key: 78, name: "ShareFetch", min: 1, max: 2, handle };

/// Kafka's number for the way of acquiring that keeps the limit of records.
const RECORD_LIMIT: i8 = 1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(share_fetch(call)))
}

/// What a request wants.
struct Asked {
    member: Member,
    wanted: Acknowledgements,
    renews: bool,
    is_last: bool,
    /// To be read, in this order.
    places: Vec<Place>,
    limits: Limits,
}

async fn share_fetch(call: Call) -> Result<Reply, CallError> {
    let start = call.response_start();
    let context = call.context.clone();
    let asked = {
        let request = ShareFetchRequest::decode(&mut call.decoder(), call.version)?;
        begin(&call, &request)
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(code) => {
            let mut encoder = start.encoder();
            ShareFetchResponse { error_code: code as i16, ..Default::default() }.encode(&mut encoder, start.version)?;
            return Ok(Reply::plain(encoder));
        }
    };
    // The frame is not needed while the request waits.
    drop(call);
    let services = context.shared.services.clone();
    let image = services.broker.image();
    let outcomes = acknowledge(&services, &image, &asked.member, asked.wanted, asked.renews).await;
    let taken = match asked.is_last {
        true => {
            if let Some(partitions) = context.shared.share_sessions.close(&asked.member) {
                release(&services, &asked.member, partitions, false);
            }
            Taken::new()
        }
        false => take(&services, &asked.member, &asked.places, &asked.limits).await,
    };
    respond(start, &context, &services.broker.image(), &asked.member, &outcomes, taken)
}

/// Who asks for what, with its session brought up to it.
fn begin(call: &Call, request: &ShareFetchRequest<'_>) -> Result<Asked, ErrorCode> {
    let member = member(request.group_id, request.member_id)?;
    let renews = call.version >= RENEWS_FROM && request.is_renew_ack;
    let asks_for_records =
        [request.max_wait_ms, request.min_bytes, request.max_bytes, request.max_records].iter().any(|most| *most != 0);
    let wanted = acknowledgements(request);
    if (renews && asks_for_records) || (request.share_session_epoch == INITIAL_EPOCH && !wanted.is_empty()) {
        return Err(ErrorCode::InvalidRequest);
    }
    let places = session_places(call, request, &member)?;
    let broker = &call.services().broker;
    let limits = limits(request, broker, &broker.image().share_config(&member.group));
    let is_last = request.share_session_epoch == FINAL_EPOCH;
    Ok(Asked { member, wanted, renews, is_last, places: if renews { Vec::new() } else { places }, limits })
}

fn session_places(call: &Call, request: &ShareFetchRequest<'_>, member: &Member) -> Result<Vec<Place>, ErrorCode> {
    let place = |topic, index: &i32| (topic, PartitionIndex(*index));
    let named = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |partition| place(topic.topic_id, &partition.partition_index)));
    let left_out = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |index| place(topic.topic_id, index)));
    let sessions = call.share_sessions();
    match request.share_session_epoch {
        INITIAL_EPOCH => {
            let partitions: BTreeSet<Place> = named.collect();
            let places = partitions.iter().copied().collect();
            sessions.open(member, partitions, call.peer().connection)?;
            Ok(places)
        }
        FINAL_EPOCH if sessions.is_open(member) => Ok(Vec::new()),
        FINAL_EPOCH => Err(ErrorCode::ShareSessionNotFound),
        epoch => sessions.go_on(member, epoch, named, left_out),
    }
}

fn acknowledgements(request: &ShareFetchRequest<'_>) -> Acknowledgements {
    let mut wanted = Acknowledgements::new();
    for topic in &request.topics {
        for partition in topic.partitions.iter().filter(|partition| !partition.acknowledgement_batches.is_empty()) {
            let batches = partition.acknowledgement_batches.iter().map(acknowledgement);
            wanted.entry((topic.topic_id, PartitionIndex(partition.partition_index))).or_default().extend(batches);
        }
    }
    wanted
}

fn acknowledgement(batch: &AcknowledgementBatch) -> Acknowledgement {
    Acknowledgement { first: Offset(batch.first_offset), last: Offset(batch.last_offset), types: batch.acknowledge_types.clone() }
}

fn limits(request: &ShareFetchRequest<'_>, broker: &Broker, group: &ShareGroupConfig) -> Limits {
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(broker.config().fetch_max_bytes);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    Limits {
        max_bytes,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        max_records: usize::try_from(request.max_records).unwrap_or(0),
        keeps_records_limit: request.share_acquire_mode == RECORD_LIMIT,
        is_read_committed: group.is_read_committed,
        is_ordered_by_key: group.is_ordered_by_key,
        deadline: (!wait.is_zero()).then(|| Instant::now() + wait),
    }
}

/// What is told of a partition.
#[derive(Default)]
struct Told<'a> {
    acknowledged: Option<&'a Result<(), ShareError>>,
    found: Option<Found>,
}

fn respond(
    start: ResponseStart,
    context: &Context,
    image: &MetadataImage,
    member: &Member,
    outcomes: &Outcomes,
    taken: Taken,
) -> Result<Reply, CallError> {
    let mut told: BTreeMap<Place, Told<'_>> = BTreeMap::new();
    for (place, outcome) in outcomes {
        told.entry(*place).or_default().acknowledged = Some(outcome);
    }
    for (place, found) in taken {
        told.entry(place).or_default().found = Some(found);
    }
    let (mut external, mut hints, mut bytes_out) = (Vec::new(), Vec::new(), 0);
    let mut responses = Vec::new();
    for (topic_id, partitions) in by_topic(told) {
        let partitions = partitions.into_iter().map(|(partition, told)| {
            let data = partition_data(image, (topic_id, partition), told, &mut external, &mut hints);
            if let Some(Records::External(bytes)) = data.records {
                bytes_out += bytes;
            }
            data
        });
        responses.push(ShareFetchableTopicResponse { topic_id, partitions: partitions.collect() });
    }
    let nodes = hinted_nodes(context, image, hints);
    let response = ShareFetchResponse {
        acquisition_lock_timeout_ms: lock_timeout_ms(image, &member.group),
        responses,
        node_endpoints: nodes.iter().map(node_endpoint).collect(),
        ..Default::default()
    };
    let mut encoder = start.encoder();
    response.encode(&mut encoder, start.version)?;
    context.shared.services.broker.metrics().bytes_out.add(bytes_out as u64);
    Ok(Reply::Message(Message { encoder, external }))
}

fn partition_data(
    image: &MetadataImage,
    place: Place,
    told: Told<'_>,
    external: &mut Vec<Vec<ReadPart>>,
    hints: &mut Vec<LeaderHint>,
) -> PartitionData<'static> {
    let (acknowledge_code, acknowledge_hint) =
        told.acknowledged.map_or((ErrorCode::None, None), |outcome| verdict(image, place, outcome));
    let mut data = PartitionData {
        partition_index: place.1.0,
        acknowledge_error_code: acknowledge_code as i16,
        records: Some(Records::Borrowed(&[])),
        ..Default::default()
    };
    let mut hint = acknowledge_hint;
    match told.found {
        Some(Found::Records { plan, acquired }) => {
            data.records = Some(Records::External(plan.bytes));
            data.acquired_records = acquired.iter().map(acquired_records).collect();
            external.push(plan.parts);
        }
        Some(Found::Failed(failure)) => {
            let (code, elsewhere) = verdict(image, place, &Err(failure));
            data.error_code = code as i16;
            hint = hint.or(elsewhere);
        }
        None => {}
    }
    if let Some(hint) = hint {
        data.current_leader = LeaderIdAndEpoch { leader_id: hint.leader.0, leader_epoch: hint.epoch.0 };
        hints.push(hint);
    }
    data
}

fn acquired_records(range: &AcquiredRange) -> AcquiredRecords {
    AcquiredRecords { first_offset: range.first.0, last_offset: range.last.0, delivery_count: range.delivery_count }
}

fn node_endpoint(node: &NodeAddress) -> NodeEndpoint<'_> {
    NodeEndpoint { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}
