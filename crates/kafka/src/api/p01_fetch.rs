//! Fetch (1): reads record batches, waiting for them if asked to.
//!
//! *Behavior*: answers at once if there are `min_bytes`, if a partition has an error, or if the client does not wait;
//! else when enough has arrived or `max_wait` is over. A session's fetch reads the partitions that may have changed, and
//! no other. Partitions take turns in who is read first. The first batch found
//! is given whole even if it is larger than the limits (KIP-74). Batches are not decoded: the reply is a list of
//! places in memory and in files. Sessions are those of KIP-227. A request of a follower is refused. With `replica.selector.class` a leader
//! sends consumers of another rack to an in-sync replica there; a follower serves consumers up to the high watermark that it knows, and
//! answers OFFSET_NOT_AVAILABLE beyond (KIP-392).
//!
//! *Version notes*: 4-18. From 7 on sessions, from 9 on leader epochs, from 11 on racks and reading from followers, from 12 on diverging
//! epochs (KIP-595) and the leader beside an error, from 13 on topic ids, from 16 on the leader's address (KIP-951). The high watermark
//! that version 18 brings matters to followers only.

use super::Api;
use super::leadership::{LeaderHint, check_place, nearer_replica};
use super::nodes::{NodeAddress, hinted_nodes};
use crate::call::{Call, CallError, Context, Handled, Message, Reply, ResponseStart};
use crate::check::check;
use crate::error;
use crate::session::{Entry, Look, Session};
use crate::sessions::SessionGuard;
use duolog_base::{LeaderEpoch, NodeId, PartitionIndex};
use duolog_core::broker::{Broker, FetchError, PartitionEnds};
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_log::{ReadError, ReadPart, ReadPlan};
use duolog_wire::kafka::messages::fetch_request::FetchRequest;
use duolog_wire::kafka::messages::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use duolog_wire::kafka::{ErrorCode, Records};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(super) const API: Api = Api { key: 1, name: "Fetch", min: 4, max: 18, handle };

/// From this version on topics are named by id.
const BY_ID_FROM: i16 = 13;
/// From this version on an error may name the leader, and from that on its address.
const LEADER_FROM: i16 = 12;
const LEADER_ADDRESS_FROM: i16 = 16;
/// From this version on consumers say which rack they are in, and may read from followers.
const FOLLOWERS_FROM: i16 = 11;
/// The isolation level that shows committed transactions only.
const READ_COMMITTED: i8 = 1;

fn handle(call: Call) -> Handled {
    Handled::InOrder(Box::pin(fetch(call)))
}

/// What bounds and ends a fetch.
struct Limits {
    max_bytes: usize,
    min_bytes: usize,
    deadline: Option<Instant>,
}

/// Who fetches.
struct Asker {
    /// Empty if the client does not say.
    rack: String,
    may_read_followers: bool,
}

async fn fetch(call: Call) -> Result<Reply, CallError> {
    let start = call.response_start();
    let context = call.context.clone();
    let broker = call.services().broker.clone();
    let (mut guard, asker, limits, committed) = {
        let mut decoder = call.decoder();
        let request = FetchRequest::decode(&mut decoder, call.version)?;
        if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
            return refuse(start, ErrorCode::InvalidRequest);
        }
        let by_id = call.version >= BY_ID_FROM;
        match call.sessions().begin(&request, by_id, broker.clock().monotonic_ms()) {
            Ok(guard) => {
                let asker = Asker { rack: request.rack_id.to_owned(), may_read_followers: call.version >= FOLLOWERS_FROM };
                (guard, asker, limits(&request, &broker), request.isolation_level == READ_COMMITTED)
            }
            Err(code) => return refuse(start, code),
        }
    };
    // A session may be long: the frame is not needed while it waits.
    drop(call);
    let mut found = wait_and_read(&broker, &asker, guard.session_mut(), &limits).await;
    check_files(&broker, guard.session_mut(), &mut found).await;
    respond(start, &context, &mut guard, found, committed)
}

fn limits(request: &FetchRequest<'_>, broker: &Broker) -> Limits {
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(broker.config().fetch_max_bytes);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    Limits {
        max_bytes,
        // More than fits will never be there.
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        deadline: (!wait.is_zero()).then(|| Instant::now() + wait),
    }
}

fn refuse(start: ResponseStart, code: ErrorCode) -> Result<Reply, CallError> {
    let mut encoder = start.encoder();
    FetchResponse { error_code: code as i16, ..Default::default() }.encode(&mut encoder, start.version)?;
    Ok(Reply::plain(encoder))
}

/// What was read for one partition.
struct Found {
    /// Index of the session's entry.
    entry: u32,
    outcome: Outcome,
}

enum Outcome {
    Read {
        plan: ReadPlan,
        ends: PartitionEnds,
    },
    Diverging {
        epoch: LeaderEpoch,
        end: i64,
        ends: PartitionEnds,
    },
    /// It is better read from another node.
    Elsewhere {
        node: NodeId,
        ends: PartitionEnds,
    },
    Failed {
        code: ErrorCode,
        leader: Option<LeaderHint>,
    },
}

struct Round {
    found: Vec<Found>,
    bytes: usize,
    /// Something must be told at once.
    urgent: bool,
}

impl Round {
    fn enough(&self, limits: &Limits) -> bool {
        self.urgent || self.bytes >= limits.min_bytes
    }
}

async fn wait_and_read(broker: &Broker, asker: &Asker, session: &mut Session, limits: &Limits) -> Vec<Found> {
    if session.incremental() {
        begin_watch(broker, session);
    }
    let mut round = read_round(broker, asker, session, limits);
    let Some(deadline) = limits.deadline else { return round.found };
    if round.enough(limits) {
        return round.found;
    }
    begin_watch(broker, session);
    let mut stopping = broker.stopping();
    let mut images = broker.metadata().changes();
    let mut over = false;
    loop {
        // Reads after the registration, so that nothing that arrives is missed; and once more when time is over.
        round = read_round(broker, asker, session, limits);
        if over || round.enough(limits) {
            break;
        }
        tokio::select! {
            biased;
            () = watch_changed(session) => {}
            _ = images.changed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => over = true,
            () = tokio::time::sleep_until(deadline) => over = true,
        }
    }
    if !session.incremental() {
        // The answer names every partition.
        session.queue_all();
        round = read_round(broker, asker, session, limits);
    }
    round.found
}

fn begin_watch(broker: &Broker, session: &mut Session) {
    if session.watch().is_none() {
        session.watch_with(broker.watch([]));
    }
}

async fn watch_changed(session: &Session) {
    match session.watch() {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads the partitions of the session's queue once.
fn read_round(broker: &Broker, asker: &Asker, session: &mut Session, limits: &Limits) -> Round {
    let image = broker.image();
    session.resolve(&image);
    let mut queue = session.begin_round();
    let mut round = Round { found: Vec::with_capacity(queue.len()), bytes: 0, urgent: false };
    let mut looks = Vec::with_capacity(queue.len());
    while let Some(at) = queue.pop_front() {
        let entry = session.entry(at);
        let room = limits.max_bytes.saturating_sub(round.bytes);
        let outcome = read_one(broker, &image, asker, session, entry, room, round.bytes == 0);
        looks.push((at, look(entry, &outcome)));
        match &outcome {
            Outcome::Read { plan, .. } => round.bytes += plan.bytes,
            Outcome::Diverging { .. } | Outcome::Elsewhere { .. } | Outcome::Failed { .. } => round.urgent = true,
        }
        round.found.push(Found { entry: at, outcome });
        if session.incremental() && round.bytes > 0 && round.bytes >= limits.max_bytes {
            // The others have their turn in the next poll.
            break;
        }
    }
    session.settle(&looks, queue);
    round
}

fn look(entry: &Entry, outcome: &Outcome) -> Look {
    match outcome {
        Outcome::Read { plan, .. } if plan.bytes > 0 => Look::Served,
        Outcome::Read { ends, .. } if entry.from >= ends.high_watermark && entry.told == Some(told(ends)) => Look::Idle,
        Outcome::Read { .. } | Outcome::Diverging { .. } | Outcome::Elsewhere { .. } | Outcome::Failed { .. } => Look::Unserved,
    }
}

/// What cannot be read, or is not what was stored, is told as an error while there is still time for one.
async fn check_files(broker: &Broker, session: &Session, found: &mut [Found]) {
    for Found { entry, outcome } in found {
        let Outcome::Read { plan, .. } = outcome else { continue };
        if let Err(error) = check(plan).await {
            let entry = session.entry(*entry);
            tracing::error!(topic = session.topic(entry).name, partition = entry.partition, %error, "reading failed");
            if let Some(image) = &session.topic(entry).image
                && let Some(partition) = image.partition(PartitionIndex(entry.partition))
            {
                broker.suspect(partition.number, entry.from, plan.next, &ReadError::Io(Arc::new(error)));
            }
            *outcome = Outcome::Failed { code: ErrorCode::KafkaStorageError, leader: None };
        }
    }
}

/// What a client is told of the ends.
fn told(ends: &PartitionEnds) -> (i64, i64) {
    (ends.high_watermark.0, ends.log_start.0)
}

fn read_one(
    broker: &Broker,
    image: &MetadataImage,
    asker: &Asker,
    session: &Session,
    entry: &Entry,
    room: usize,
    at_least_one: bool,
) -> Outcome {
    let failed = |code| Outcome::Failed { code, leader: None };
    let Some(topic) = session.topic(entry).image.as_deref() else { return failed(session.unknown_topic()) };
    let index = PartitionIndex(entry.partition);
    let Some(partition) = topic.partition(index) else { return failed(ErrorCode::UnknownTopicOrPartition) };
    let elsewhere = |code| Outcome::Failed { code, leader: Some(LeaderHint::of(image, partition)) };
    let leads = match check_place(broker, partition, entry.leader_epoch) {
        Ok(leads) => leads,
        Err(code) => return elsewhere(code),
    };
    if !leads && !asker.may_read_followers {
        return elsewhere(ErrorCode::NotLeaderOrFollower);
    }
    if let Some(diverging) = diverging(broker, topic, entry) {
        return diverging;
    }
    let nearer = || nearer_replica(image, &asker.rack, partition).filter(|_| leads);
    let max_bytes = usize::try_from(entry.max_bytes).unwrap_or(0).min(room);
    match broker.read(topic, index, entry.from, max_bytes, at_least_one, None) {
        Ok(fetched) => match nearer() {
            Some(node) => Outcome::Elsewhere { node, ends: fetched.ends },
            None if !leads && entry.from > fetched.ends.high_watermark => failed(ErrorCode::OffsetNotAvailable),
            None => Outcome::Read { plan: fetched.plan, ends: fetched.ends },
        },
        // The leader may have what this follower does not have yet.
        Err(FetchError::OutOfRange { asked, ends }) if !leads && asked > ends.high_watermark => {
            failed(ErrorCode::OffsetNotAvailable)
        }
        Err(FetchError::NotLeader) => elsewhere(ErrorCode::NotLeaderOrFollower),
        Err(error) => {
            if let FetchError::Io(error) = &error {
                tracing::error!(topic = topic.name, partition = entry.partition, %error, "reading failed");
            }
            failed(error::fetch(&error))
        }
    }
}

/// Whether what the client has fetched last is no part of this log (KIP-595).
fn diverging(broker: &Broker, topic: &TopicImage, entry: &Entry) -> Option<Outcome> {
    if entry.last_fetched_epoch < LeaderEpoch(0) {
        return None;
    }
    let index = PartitionIndex(entry.partition);
    match broker.epoch_end(topic, index, entry.last_fetched_epoch) {
        Ok(Some(end)) if end.epoch < entry.last_fetched_epoch || end.end < entry.from => {
            let ends = broker.ends(topic, index)?;
            Some(Outcome::Diverging { epoch: end.epoch, end: end.end.0, ends })
        }
        Ok(Some(_)) => None,
        Ok(None) => Some(Outcome::Failed { code: ErrorCode::OffsetOutOfRange, leader: None }),
        Err(error) => Some(Outcome::Failed { code: error::lookup(&error), leader: None }),
    }
}

fn respond(
    start: ResponseStart,
    context: &Context,
    guard: &mut SessionGuard,
    mut found: Vec<Found>,
    committed: bool,
) -> Result<Reply, CallError> {
    let session = guard.session_mut();
    found.retain(|found| must_tell(session, found));
    found.sort_by_key(|found| session.entry(found.entry).topic);
    let mut external: Vec<Vec<ReadPart>> = Vec::new();
    let mut bytes_out = 0;
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let mut last_topic = None;
    let mut hints = Vec::new();
    for Found { entry, outcome } in found {
        let entry = session.entry(entry);
        let data = partition_data(entry, &outcome, committed, start.version);
        if let Outcome::Failed { leader: Some(leader), .. } = outcome {
            hints.push(leader);
        }
        if let Outcome::Read { plan, .. } = outcome
            && plan.bytes > 0
        {
            bytes_out += plan.bytes;
            external.push(plan.parts);
        }
        if last_topic != Some(entry.topic) {
            last_topic = Some(entry.topic);
            let topic = session.topic(entry);
            responses.push(FetchableTopicResponse { topic: &topic.name, topic_id: topic.id, partitions: Vec::new() });
        }
        responses.last_mut().expect("pushed above").partitions.push(data);
    }
    let broker = &context.shared.services.broker;
    let nodes = match start.version >= LEADER_ADDRESS_FROM && !hints.is_empty() {
        true => hinted_nodes(context, &broker.image(), hints),
        false => Vec::new(),
    };
    let node_endpoints = nodes.iter().map(node_endpoint).collect();
    let mut encoder = start.encoder();
    let response = FetchResponse { session_id: session.id, responses, node_endpoints, ..Default::default() };
    response.encode(&mut encoder, start.version)?;
    broker.metrics().bytes_out.add(bytes_out as u64);
    Ok(Reply::Message(Message { encoder, external }))
}

fn node_endpoint(node: &NodeAddress) -> NodeEndpoint<'_> {
    NodeEndpoint { node_id: node.id, host: &node.host, port: node.port, rack: node.rack.as_deref() }
}

/// Whether an incremental response names the partition; notes what the client is told.
fn must_tell(session: &mut Session, found: &Found) -> bool {
    let incremental = session.incremental();
    let entry = session.entry_mut(found.entry);
    match &found.outcome {
        Outcome::Read { plan, ends } => {
            let now = Some(told(ends));
            let changed = entry.told != now;
            entry.told = now;
            !incremental || plan.bytes > 0 || changed
        }
        Outcome::Diverging { .. } | Outcome::Elsewhere { .. } | Outcome::Failed { .. } => {
            // Told again when it is over.
            entry.told = None;
            true
        }
    }
}

fn partition_data(entry: &Entry, outcome: &Outcome, committed: bool, version: i16) -> PartitionData<'static> {
    let empty = PartitionData {
        partition_index: entry.partition,
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        aborted_transactions: committed.then(Vec::new),
        preferred_read_replica: -1,
        records: Some(Records::Borrowed(&[])),
        ..Default::default()
    };
    let with_ends = |ends: &PartitionEnds, data: PartitionData<'static>| PartitionData {
        high_watermark: ends.high_watermark.0,
        last_stable_offset: ends.last_stable.0,
        log_start_offset: ends.log_start.0,
        ..data
    };
    match outcome {
        Outcome::Read { plan, ends } => {
            let records = match plan.bytes {
                0 => Records::Borrowed(&[]),
                bytes => Records::External(bytes),
            };
            with_ends(ends, PartitionData { records: Some(records), ..empty })
        }
        Outcome::Diverging { epoch, end, ends } => {
            let diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: *end };
            with_ends(ends, PartitionData { diverging_epoch, ..empty })
        }
        Outcome::Elsewhere { node, ends } => with_ends(ends, PartitionData { preferred_read_replica: node.0, ..empty }),
        Outcome::Failed { code, leader } => {
            let leader = leader.filter(|_| version >= LEADER_FROM);
            let current_leader = leader.map_or_else(LeaderIdAndEpoch::default, |hint| LeaderIdAndEpoch {
                leader_id: hint.leader.0,
                leader_epoch: hint.epoch.0,
            });
            PartitionData { error_code: *code as i16, current_leader, ..empty }
        }
    }
}
