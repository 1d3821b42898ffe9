//! Share groups by hand: what members are told, sessions and their errors, and what becomes of acknowledgements.

use crate::client::{Client, Response, Server, batch, values};
use duolog_base::TopicId;
use duolog_core::broker::Broker;
use duolog_core::metadata::{AlterConfigError, ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_wire::kafka::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as AcknowledgedBatch, ShareAcknowledgeRequest,
};
use duolog_wire::kafka::messages::share_acknowledge_response::ShareAcknowledgeResponse;
use duolog_wire::kafka::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest,
};
use duolog_wire::kafka::messages::share_fetch_response::ShareFetchResponse;
use duolog_wire::kafka::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use duolog_wire::kafka::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use duolog_wire::kafka::{DecodeError, Decoder, ErrorCode};
use std::time::Duration;

const HEARTBEAT: i16 = 76;
const FETCH: i16 = 78;
const ACKNOWLEDGE: i16 = 79;
const VERSION: i16 = 2;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;
const RENEW: i8 = 4;
/// What a controller does not do when asked so often will not be done.
const MAX_ATTEMPTS: usize = 100;
/// Longer than anything here takes: what waits so long was not woken.
const LONG_MS: i32 = 60_000;

/// Has a group begin at the start of its topics.
pub async fn from_the_start(broker: &Broker, group: &str) {
    set(broker, group, "share.auto.offset.reset", "earliest").await;
}

async fn set(broker: &Broker, group: &str, key: &str, value: &str) {
    let update = ConfigUpdate::Incremental(vec![(key.to_owned(), ConfigOperation::Set(Some(value.to_owned())))]);
    let change = ConfigChange { resource: ConfigResource::Group(group.to_owned()), update };
    for _ in 0..MAX_ATTEMPTS {
        match broker.metadata().alter_configs(vec![change.clone()], false).await.remove(0) {
            Ok(()) => return,
            // The controller is another one now, or has too much to do.
            Err(AlterConfigError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(refusal) => panic!("{refusal}"),
        }
    }
    panic!("{group} cannot be configured");
}

fn read<'a, T>(response: &'a Response, decode: impl FnOnce(&mut Decoder<'a>, i16) -> Result<T, DecodeError>, version: i16) -> T {
    let (_, mut decoder) = response.body();
    let decoded = decode(&mut decoder, version).expect("a response that fits its version");
    decoder.finish().expect("nothing after the response");
    decoded
}

/// What a member was told with a heartbeat.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub code: i16,
    pub epoch: i32,
    /// Partitions, if they have changed.
    pub share: Option<Vec<(TopicId, Vec<i32>)>>,
}

/// A heartbeat; with topics it joins.
pub async fn beat(client: &mut Client, group: &str, member: &str, epoch: i32, topics: Option<Vec<&str>>) -> Told {
    let request = ShareGroupHeartbeatRequest {
        group_id: group,
        member_id: member,
        member_epoch: epoch,
        rack_id: None,
        subscribed_topic_names: topics,
    };
    let response = client.call(HEARTBEAT, 1, |e| request.encode(e, 1).unwrap()).await;
    let answer = read(&response, ShareGroupHeartbeatResponse::decode, 1);
    let share =
        answer.assignment.map(|share| share.topic_partitions.into_iter().map(|one| (one.topic_id, one.partitions)).collect());
    Told { code: answer.error_code, epoch: answer.member_epoch, share }
}

/// What a member has of one partition, and what it says of it.
type Said<'a> = &'a [(i64, i64, &'a [i8])];

/// A member's way to its node.
struct Member {
    client: Client,
    group: &'static str,
    id: &'static str,
    /// The epoch of the next request.
    session: i32,
    topic: TopicId,
}

/// What came with a fetch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    code: i16,
    partitions: Vec<Partition>,
}

#[derive(Debug, PartialEq, Eq)]
struct Partition {
    index: i32,
    code: i16,
    acknowledged: i16,
    values: Vec<String>,
    /// First and last offset, and how often they were delivered.
    acquired: Vec<(i64, i64, i16)>,
}

impl Came {
    fn refused(code: ErrorCode) -> Came {
        Came { code: code as i16, partitions: Vec::new() }
    }

    fn acquired(&self) -> Vec<(i64, i64, i16)> {
        self.partitions.iter().flat_map(|partition| partition.acquired.clone()).collect()
    }
}

/// A fetch of partition 0 that does not wait.
fn wanting(topic: TopicId) -> ShareFetchRequest<'static> {
    ShareFetchRequest {
        min_bytes: 1,
        max_bytes: 1 << 20,
        max_records: 100,
        batch_size: 100,
        topics: naming(topic, &[0]),
        ..Default::default()
    }
}

fn naming(topic_id: TopicId, partitions: &[i32]) -> Vec<FetchTopic> {
    let partitions = partitions.iter().map(|index| FetchPartition { partition_index: *index, ..Default::default() });
    vec![FetchTopic { topic_id, partitions: partitions.collect() }]
}

impl Member {
    async fn new(server: &Server, topic: TopicId, id: &'static str) -> Member {
        Member::of(server, topic, "workers", id).await
    }

    async fn of(server: &Server, topic: TopicId, group: &'static str, id: &'static str) -> Member {
        let mut client = server.client().await;
        assert_eq!(beat(&mut client, group, id, 0, Some(vec!["orders"])).await.code, 0);
        Member { client, group, id, session: 0, topic }
    }

    async fn send_fetch(&mut self, request: ShareFetchRequest<'static>) {
        let request = ShareFetchRequest {
            group_id: Some(self.group),
            member_id: Some(self.id),
            share_session_epoch: self.session,
            ..request
        };
        self.client.send(FETCH, VERSION, |e| request.encode(e, VERSION).unwrap()).await;
    }

    async fn receive(&mut self) -> Came {
        let response = self.client.receive(FETCH, VERSION).await;
        let answer = read(&response, ShareFetchResponse::decode, VERSION);
        if answer.error_code == 0 {
            self.session += 1;
        }
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|data| Partition {
            index: data.partition_index,
            code: data.error_code,
            acknowledged: data.acknowledge_error_code,
            values: values(data.records.as_ref().and_then(|records| records.bytes()).unwrap_or_default()),
            acquired: data.acquired_records.iter().map(|one| (one.first_offset, one.last_offset, one.delivery_count)).collect(),
        });
        Came { code: answer.error_code, partitions: partitions.collect() }
    }

    async fn fetch_with(&mut self, request: ShareFetchRequest<'static>) -> Came {
        self.send_fetch(request).await;
        self.receive().await
    }

    async fn fetch(&mut self) -> Came {
        self.fetch_with(wanting(self.topic)).await
    }

    /// Says what became of records, with the next fetch.
    async fn fetch_saying(&mut self, said: Said<'_>) -> Came {
        let mut request = wanting(self.topic);
        request.topics[0].partitions[0].acknowledgement_batches = said
            .iter()
            .map(|(first_offset, last_offset, types)| AcknowledgementBatch {
                first_offset: *first_offset,
                last_offset: *last_offset,
                acknowledge_types: types.to_vec(),
            })
            .collect();
        self.fetch_with(request).await
    }

    /// Says what became of records: the error of the whole and of each partition.
    async fn say(&mut self, epoch: i32, said: Said<'_>) -> (i16, Vec<i16>) {
        let batches = said.iter().map(|(first_offset, last_offset, types)| AcknowledgedBatch {
            first_offset: *first_offset,
            last_offset: *last_offset,
            acknowledge_types: types.to_vec(),
        });
        let partitions = vec![AcknowledgePartition { partition_index: 0, acknowledgement_batches: batches.collect() }];
        let topics = if said.is_empty() { Vec::new() } else { vec![AcknowledgeTopic { topic_id: self.topic, partitions }] };
        let request = ShareAcknowledgeRequest {
            group_id: Some(self.group),
            member_id: Some(self.id),
            share_session_epoch: epoch,
            is_renew_ack: said.iter().any(|(_, _, types)| types.contains(&RENEW)),
            topics,
        };
        let response = self.client.call(ACKNOWLEDGE, VERSION, |e| request.encode(e, VERSION).unwrap()).await;
        let answer = read(&response, ShareAcknowledgeResponse::decode, VERSION);
        if answer.error_code == 0 {
            self.session += 1;
        }
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        (answer.error_code, partitions.map(|partition| partition.error_code).collect())
    }
}

/// A server with a topic whose first partition has these records, and a group that begins at the start.
async fn start(records: &[&str]) -> (Server, TopicId) {
    let server = Server::start().await;
    let topic = server.topic("orders", &[]).await.id;
    from_the_start(&server.broker, "workers").await;
    if !records.is_empty() {
        append(&server, 0, records).await;
    }
    (server, topic)
}

async fn append(server: &Server, partition: i32, records: &[&str]) {
    assert_eq!(server.client().await.produce("orders", partition, -1, &batch(records)).await.error, 0);
}

#[tokio::test]
async fn a_record_is_delivered_to_one_member_at_a_time() {
    let (server, topic) = start(&["a", "b", "c", "d"]).await;
    let (mut first, mut second) = (Member::new(&server, topic, "first").await, Member::new(&server, topic, "second").await);
    let came = first.fetch().await;
    assert_eq!((came.acquired(), came.partitions[0].values.len()), (vec![(0, 3, 1)], 4));
    assert_eq!(second.fetch().await.acquired(), []);
    // One accepted, one given back, one rejected, one kept.
    assert_eq!(first.say(1, &[(0, 2, &[ACCEPT, RELEASE, REJECT])]).await, (0, vec![0]));
    assert_eq!(second.fetch().await.acquired(), [(1, 1, 2)]);
    let wrong = ErrorCode::InvalidRecordState as i16;
    assert_eq!(first.say(2, &[(1, 1, &[ACCEPT])]).await, (0, vec![wrong]), "another one has it");
    let came = second.fetch_saying(&[(1, 1, &[ACCEPT])]).await;
    assert_eq!((came.partitions[0].acknowledged, came.acquired()), (0, vec![]));
    assert_eq!(first.say(-1, &[(3, 3, &[RELEASE])]).await, (0, vec![0]));
    assert_eq!(second.fetch().await.acquired(), [(3, 3, 2)]);
    server.stop().await;
}

#[tokio::test]
async fn sessions_are_held_to_their_epochs() {
    let (server, topic) = start(&["a"]).await;
    let mut member = Member::new(&server, topic, "member").await;
    member.session = 1;
    assert_eq!(member.fetch().await, Came::refused(ErrorCode::ShareSessionNotFound));
    member.session = -1;
    assert_eq!(member.fetch().await, Came::refused(ErrorCode::ShareSessionNotFound));
    assert_eq!(member.say(-1, &[]).await.0, ErrorCode::ShareSessionNotFound as i16);
    assert_eq!(member.say(1, &[]).await.0, ErrorCode::ShareSessionNotFound as i16);
    assert_eq!(member.say(0, &[]).await.0, ErrorCode::InvalidShareSessionEpoch as i16);
    member.session = 0;
    assert_eq!(member.fetch_saying(&[(0, 0, &[ACCEPT])]).await, Came::refused(ErrorCode::InvalidRequest));
    assert_eq!(member.fetch().await.acquired(), [(0, 0, 1)]);
    // The session knows its partitions, and the epoch of the next request.
    append(&server, 0, &["b"]).await;
    let more = ShareFetchRequest { topics: Vec::new(), ..wanting(topic) };
    assert_eq!(member.fetch_with(more.clone()).await.acquired(), [(1, 1, 1)]);
    member.session = 1;
    assert_eq!(member.fetch_with(more.clone()).await, Came::refused(ErrorCode::InvalidShareSessionEpoch));
    assert_eq!(member.say(1, &[(0, 0, &[ACCEPT])]).await.0, ErrorCode::InvalidShareSessionEpoch as i16);
    member.session = 2;
    append(&server, 0, &["c"]).await;
    append(&server, 1, &["d"]).await;
    let other = ShareFetchRequest {
        topics: naming(topic, &[1]),
        forgotten_topics_data: vec![ForgottenTopic { topic_id: topic, partitions: vec![0] }],
        ..wanting(topic)
    };
    let came = member.fetch_with(other).await;
    assert_eq!(came.partitions.iter().map(|partition| partition.index).collect::<Vec<_>>(), [1]);
    // The last fetch says what it has to say, and brings nothing.
    member.session = -1;
    let came = member.fetch_saying(&[(0, 1, &[ACCEPT])]).await;
    assert_eq!(came.partitions.iter().map(|one| (one.acknowledged, one.acquired.len())).collect::<Vec<_>>(), [(0, 0)]);
    member.session = 3;
    assert_eq!(member.fetch_with(more).await, Came::refused(ErrorCode::ShareSessionNotFound));
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (server, topic) = start(&["a"]).await;
    let mut member = Member::new(&server, topic, "member").await;
    let nobody = ShareFetchRequest { group_id: Some("workers"), ..wanting(topic) };
    let response = member.client.call(FETCH, VERSION, |e| nobody.encode(e, VERSION).unwrap()).await;
    assert_eq!(read(&response, ShareFetchResponse::decode, VERSION).error_code, ErrorCode::InvalidRequest as i16);
    let renewing = ShareFetchRequest { is_renew_ack: true, ..wanting(topic) };
    assert_eq!(member.fetch_with(renewing).await, Came::refused(ErrorCode::InvalidRequest), "it wants records, too");
    let mut unknown = wanting(TopicId(99));
    unknown.topics.extend(naming(topic, &[7]));
    let came = member.fetch_with(unknown).await;
    let mut codes: Vec<i16> = came.partitions.iter().map(|partition| partition.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition as i16, ErrorCode::UnknownTopicId as i16]);
    assert_eq!(member.fetch().await.acquired(), [(0, 0, 1)]);
    let malformed = ErrorCode::InvalidRequest as i16;
    let not_held = ErrorCode::InvalidRecordState as i16;
    assert_eq!(member.say(2, &[(0, 0, &[9])]).await, (0, vec![malformed]));
    assert_eq!(member.say(3, &[(1, 0, &[ACCEPT])]).await, (0, vec![malformed]));
    assert_eq!(member.say(4, &[(0, 5, &[ACCEPT])]).await, (0, vec![not_held]), "nothing of it counts");
    assert_eq!(member.say(5, &[(0, 0, &[ACCEPT])]).await, (0, vec![0]));
    assert_eq!(member.say(6, &[(0, 0, &[RELEASE])]).await, (0, vec![0]), "it is done with, whatever is said");
    assert_eq!(member.fetch().await.acquired(), []);
    server.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_for_records_and_for_those_that_are_given_back() {
    let (server, topic) = start(&[]).await;
    let (mut first, mut second) = (Member::new(&server, topic, "first").await, Member::new(&server, topic, "second").await);
    let patient = ShareFetchRequest { max_wait_ms: LONG_MS, ..wanting(topic) };
    first.send_fetch(patient.clone()).await;
    append(&server, 0, &["a"]).await;
    assert_eq!(within(first.receive()).await.acquired(), [(0, 0, 1)]);
    second.send_fetch(patient).await;
    assert_eq!(first.say(1, &[(0, 0, &[RELEASE])]).await, (0, vec![0]));
    assert_eq!(within(second.receive()).await.acquired(), [(0, 0, 2)]);
    // Little is not brought before the time is over.
    let demanding = ShareFetchRequest { max_wait_ms: 200, min_bytes: 1 << 20, ..wanting(topic) };
    append(&server, 0, &["b"]).await;
    assert_eq!(within(first.fetch_with(demanding)).await.acquired(), [(1, 1, 1)]);
    server.stop().await;
}

/// What was woken comes before the time that it would have waited.
async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_millis(LONG_MS as u64 - 10_000), answer).await.expect("it was woken")
}

#[tokio::test]
async fn what_a_lost_connection_had_goes_to_another_member() {
    let (server, topic) = start(&["a", "b"]).await;
    let mut lost = Member::new(&server, topic, "lost").await;
    assert_eq!(lost.fetch().await.acquired(), [(0, 1, 1)]);
    let mut other = Member::new(&server, topic, "other").await;
    other.send_fetch(ShareFetchRequest { max_wait_ms: LONG_MS, ..wanting(topic) }).await;
    drop(lost);
    assert_eq!(within(other.receive()).await.acquired(), [(0, 1, 2)]);
    server.stop().await;
}

#[tokio::test]
async fn batches_come_whole_unless_the_limit_is_to_be_kept() {
    let (server, topic) = start(&["a", "b", "c"]).await;
    append(&server, 0, &["d", "e"]).await;
    append(&server, 0, &["f", "g"]).await;
    let of = |max_records, share_acquire_mode| ShareFetchRequest { max_records, share_acquire_mode, ..wanting(topic) };
    let mut member = Member::new(&server, topic, "member").await;
    let came = member.fetch_with(of(2, 0)).await;
    assert_eq!((came.acquired(), came.partitions[0].values.len()), (vec![(0, 2, 1)], 3), "the whole of the first batch");
    let came = member.fetch_with(of(3, 0)).await;
    assert_eq!((came.acquired(), came.partitions[0].values.len()), (vec![(3, 4, 1)], 2), "the next one does not fit");
    let came = member.fetch_with(of(1, 1)).await;
    assert_eq!((came.acquired(), came.partitions[0].values.len()), (vec![(5, 5, 1)], 2), "one, in a batch of two");
    let came = member.fetch_with(of(5, 1)).await;
    assert_eq!((came.acquired(), came.partitions[0].values.len()), (vec![(6, 6, 1)], 2));
    let little = ShareFetchRequest { max_bytes: 1, ..wanting(topic) };
    append(&server, 0, &["h"]).await;
    append(&server, 0, &["i"]).await;
    assert_eq!(member.fetch_with(little).await.acquired(), [(7, 7, 1)], "one batch, however large");
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_lock_is_kept_and_tells_how_long() {
    let (server, topic) = start(&["a"]).await;
    let mut member = Member::new(&server, topic, "member").await;
    assert_eq!(member.fetch().await.acquired(), [(0, 0, 1)]);
    assert_eq!(member.say(1, &[(0, 0, &[RENEW])]).await, (0, vec![0]));
    let renewing =
        ShareFetchRequest { is_renew_ack: true, max_wait_ms: 0, min_bytes: 0, max_bytes: 0, max_records: 0, ..wanting(topic) };
    let mut also = renewing.clone();
    also.topics[0].partitions[0].acknowledgement_batches =
        vec![AcknowledgementBatch { first_offset: 0, last_offset: 0, acknowledge_types: vec![RENEW] }];
    let came = member.fetch_with(also).await;
    assert_eq!(came.partitions.iter().map(|one| (one.acknowledged, one.values.len())).collect::<Vec<_>>(), [(0, 0)]);
    set(&server.broker, "workers", "share.renew.acknowledge.enable", "false").await;
    assert_eq!(member.say(3, &[(0, 0, &[RENEW])]).await, (0, vec![ErrorCode::InvalidRequest as i16]));
    assert_eq!(member.say(4, &[(0, 0, &[ACCEPT])]).await, (0, vec![0]));
    server.stop().await;
}

#[tokio::test]
async fn a_group_goes_on_where_it_was_after_a_restart() {
    let (server, topic) = start(&["a", "b", "c", "d"]).await;
    let mut member = Member::new(&server, topic, "member").await;
    assert_eq!(member.fetch().await.acquired(), [(0, 3, 1)]);
    assert_eq!(member.say(1, &[(0, 2, &[ACCEPT, RELEASE, REJECT])]).await, (0, vec![0]));
    let told = beat(&mut member.client, "workers", "member", 0, Some(vec!["orders"])).await;
    drop(member);
    let server = Server::start_in(server.stop().await, Default::default()).await;
    let mut client = server.client().await;
    let again = beat(&mut client, "workers", "member", told.epoch, None).await;
    assert_eq!((again.code, again.epoch, again.share), (0, told.epoch, None), "it still is a member");
    let mut member = Member { client, group: "workers", id: "member", session: 0, topic };
    let offsets: Vec<(i64, i64)> = member.fetch().await.acquired().into_iter().map(|(first, last, _)| (first, last)).collect();
    assert_eq!(offsets, [(1, 1), (3, 3)], "what was accepted or rejected does not come again");
    server.stop().await;
}
