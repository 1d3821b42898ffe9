//! Transactional messages: seen by nobody before their producer says so, once then, and asked about if it says nothing.

use crate::client::{Client, Server, bodies, pull_header, send_header, sent};
use crate::cluster::until;
use crate::consumers::beat;
use crate::node;
use bytes::BytesMut;
use duolog_base::PartitionIndex;
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_sim::SimClock;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::batch::BatchMessage;
use duolog_wire::remoting::body::{Heartbeat, ProducerData};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CheckTransactionStateRequest, EndTransactionRequest, Header};
use duolog_wire::remoting::message::{StoredMessage, sys_flag};
use duolog_wire::remoting::properties::Properties;
use std::sync::Arc;
use tempfile::TempDir;

pub const GROUP: &str = "payers";
const START: duolog_base::TimestampMs = duolog_base::TimestampMs(1_800_000_000_000);
pub const COMMIT: i32 = sys_flag::TRANSACTION_COMMIT;
pub const ROLLBACK: i32 = sys_flag::TRANSACTION_ROLLBACK;

fn text(properties: &[(&str, &str)]) -> String {
    properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

/// A half message as a client remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    commit_log_offset: i64,
    table_offset: i64,
    id: String,
}

pub async fn prepare_with(client: &mut Client, queue: i32, body: &str, more: &[(&str, &str)]) -> Half {
    let id = format!("id-{body}");
    let own = [("TRAN_MSG", "true"), ("PGROUP", GROUP), ("UNIQ_KEY", id.as_str())];
    let properties = text(&[&own[..], more].concat());
    let header = duolog_wire::remoting::header::SendMessageRequestV2 {
        producer_group: GROUP,
        sys_flag: sys_flag::TRANSACTION_PREPARED,
        ..send_header("t", queue, &properties)
    };
    let command = client.request(request::SEND_MESSAGE_V2, header).with_body(body.as_bytes().to_vec());
    let answer = client.call(command).await;
    let sent = sent(&answer);
    assert_eq!((sent.queue_id, sent.transaction_id), (queue, Some(id.as_str())));
    let named = duolog_wire::remoting::message_id::OffsetMessageId::parse(sent.msg_id).unwrap();
    Half { commit_log_offset: named.commit_log_offset, table_offset: sent.queue_offset, id }
}

pub async fn prepare(client: &mut Client, queue: i32, body: &str) -> Half {
    prepare_with(client, queue, body, &[]).await
}

fn end(half: &Half, what: i32) -> EndTransactionRequest<'_> {
    EndTransactionRequest {
        topic: Some("t"),
        producer_group: GROUP,
        tran_state_table_offset: half.table_offset,
        commit_log_offset: half.commit_log_offset,
        commit_or_rollback: what,
        from_transaction_check: false,
        msg_id: &half.id,
        transaction_id: Some(&half.id),
    }
}

pub async fn finish(client: &mut Client, half: &Half, what: i32) -> i32 {
    client.ask(request::END_TRANSACTION, end(half, what)).await.code
}

pub async fn produce_as(client: &mut Client, id: &str, group: &str) {
    let producer_data_set = vec![ProducerData { group_name: group.to_owned() }];
    beat(client, &Heartbeat { client_id: id.to_owned(), producer_data_set, ..Heartbeat::default() }).await;
}

/// The next question to a producer: which half, and how often was asked.
pub fn asked(told: &Command) -> (Half, String) {
    assert_eq!(told.code, request::CHECK_TRANSACTION_STATE);
    assert!(told.is_one_way());
    let header = CheckTransactionStateRequest::from_fields(&told.fields).unwrap();
    let message = StoredMessage::take(&mut &told.body[..]).unwrap();
    assert_eq!((message.topic, message.properties.get("PGROUP")), ("t", Some(GROUP)));
    assert_eq!(message.properties.get("UNIQ_KEY"), header.transaction_id);
    let half = Half {
        commit_log_offset: header.commit_log_offset,
        table_offset: header.tran_state_table_offset,
        id: header.transaction_id.unwrap().to_owned(),
    };
    (half, message.properties.get("TRANSACTION_CHECK_TIMES").unwrap().to_owned())
}

async fn committed(server: &Server, count: usize) -> Vec<String> {
    until("the messages are there", async || server.records("t", 0).len() >= count).await;
    server.records("t", 0).into_iter().map(|(_, body)| body).collect()
}

/// Waits until so many messages are given up.
async fn put_aside(server: &Server, count: usize) {
    let aside = async || {
        let image = server.node.broker.image();
        image.topic("TRANS_CHECK_MAX_TIME_TOPIC").is_some() && server.records("TRANS_CHECK_MAX_TIME_TOPIC", 0).len() == count
    };
    until("the messages are put aside", aside).await;
}

pub fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(START))
}

async fn server_at(dir: TempDir, clock: &Arc<SimClock>, values: &[(&str, &str)]) -> Server {
    Server::serve(node::open_at(&dir, values, clock.clone()).await, dir)
}

#[tokio::test]
async fn a_message_comes_once_it_is_committed_and_never_if_it_is_rolled_back() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let kept = prepare(&mut client, 0, "kept").await;
    let lost = prepare(&mut client, 0, "lost").await;
    let open = prepare(&mut client, 0, "open").await;
    assert_eq!(server.records("t", 0), [], "nobody sees them, Kafka's consumers included");
    assert_eq!(finish(&mut client, &lost, ROLLBACK).await, 0);
    assert_eq!(finish(&mut client, &open, 0).await, 0, "not decided");
    assert_eq!(finish(&mut client, &kept, COMMIT).await, 0);
    assert_eq!(committed(&server, 1).await, ["kept"]);
    // Said again, and too late: no error, and nothing changes.
    for (half, what) in [(&kept, COMMIT), (&kept, ROLLBACK), (&lost, COMMIT), (&lost, ROLLBACK)] {
        assert_eq!(finish(&mut client, half, what).await, 0);
    }
    // The usual way is one that is not answered.
    let one_way = client.request(request::END_TRANSACTION, end(&open, COMMIT)).one_way();
    client.write(&one_way).await;
    assert_eq!(committed(&server, 2).await, ["kept", "open"]);
    assert_eq!(bodies(&client.messages("t", 0, 0).await), ["kept", "open"]);
    server.stop().await;
}

#[tokio::test]
async fn a_committed_message_is_what_the_original_shows() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let half = prepare_with(&mut client, 0, "m", &[("KEYS", "k1 k2"), ("TAGS", "paid"), ("color", "red")]).await;
    assert_eq!(finish(&mut client, &half, COMMIT).await, 0);
    committed(&server, 1).await;
    let subscription = Some("paid");
    let pull = duolog_wire::remoting::header::PullMessageRequest { subscription, ..pull_header("t", 0, 0) };
    let answer = client.pull(pull).await;
    let message = StoredMessage::take(&mut &answer.body[..]).unwrap();
    assert_eq!((message.topic, message.queue_id, message.queue_offset, message.body), ("t", 0, 0, &b"m"[..]));
    assert_eq!(message.sys_flag & sys_flag::TRANSACTION_MASK, COMMIT);
    assert_eq!(message.born_timestamp, send_header("t", 0, "").born_timestamp);
    let expected = [
        ("KEYS", "k1 k2"),
        ("TAGS", "paid"),
        ("color", "red"),
        ("UNIQ_KEY", "id-m"),
        ("__transactionId__", "id-m"),
        ("TRAN_MSG", "true"),
        ("PGROUP", GROUP),
        ("REAL_TOPIC", "t"),
        ("REAL_QID", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(message.properties.get(name), Some(value), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_the_producers_own_cannot_be_ended() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let half = prepare(&mut client, 0, "m").await;
    let delayed = client.send("t", 0, "later", &text(&[("TIMER_DELAY_SEC", "3600"), ("UNIQ_KEY", "u")])).await;
    let delayed = sent(&delayed);
    let named = duolog_wire::remoting::message_id::OffsetMessageId::parse(delayed.msg_id).unwrap();
    let right = end(&half, COMMIT);
    let wrong = [
        EndTransactionRequest { producer_group: "others", ..right },
        EndTransactionRequest { transaction_id: Some("other"), ..right },
        EndTransactionRequest { tran_state_table_offset: half.table_offset + 1, ..right },
        EndTransactionRequest { tran_state_table_offset: -1, ..right },
        EndTransactionRequest { commit_log_offset: half.commit_log_offset + 1, ..right },
        EndTransactionRequest {
            commit_log_offset: half.commit_log_offset + 1000,
            tran_state_table_offset: half.table_offset + 1000,
            ..right
        },
        EndTransactionRequest { commit_log_offset: 5, tran_state_table_offset: 5, ..right },
        EndTransactionRequest { commit_log_offset: -1, ..right },
        EndTransactionRequest { commit_or_rollback: 7, ..right },
        EndTransactionRequest {
            commit_log_offset: named.commit_log_offset,
            tran_state_table_offset: delayed.queue_offset,
            ..right
        },
    ];
    for header in wrong {
        let answer = client.ask(request::END_TRANSACTION, header).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{header:?}");
        assert!(answer.remark.is_some());
    }
    assert_eq!(server.records("t", 0), []);
    assert_eq!(client.ask(request::END_TRANSACTION, EndTransactionRequest { transaction_id: None, ..right }).await.code, 0);
    assert_eq!(committed(&server, 1).await, ["m"]);
    server.stop().await;
}

#[tokio::test]
async fn transactions_are_neither_delayed_nor_in_batches_and_need_a_topic_that_can_be_written() {
    let server = Server::start_with(&[("rocketmq.delay.levels", "1h")]).await;
    server.topic("t", 1).await;
    server.topic("closed", 1).await;
    let update = ConfigUpdate::Incremental(vec![("rocketmq.perm".to_owned(), ConfigOperation::Set(Some("4".to_owned())))]);
    let change = ConfigChange { resource: ConfigResource::Topic("closed".to_owned()), update };
    server.node.broker.metadata().alter_configs(vec![change], false).await.remove(0).unwrap();
    let mut client = server.client().await;
    let prepared = ("TRAN_MSG", "true");
    let cases = [
        ("t", text(&[prepared, ("DELAY", "1")]), response::MESSAGE_ILLEGAL),
        ("t", text(&[prepared, ("TIMER_DELAY_SEC", "5")]), response::MESSAGE_ILLEGAL),
        ("t", text(&[prepared, ("PGROUP", &"g".repeat(300))]), response::MESSAGE_ILLEGAL),
        ("closed", text(&[prepared]), response::NO_PERMISSION),
        ("nowhere.at.all", text(&[prepared]), response::MESSAGE_ILLEGAL),
        ("RMQ_SYS_TRANS_HALF_TOPIC", text(&[prepared]), response::NO_PERMISSION),
    ];
    for (topic, properties, expected) in cases {
        let answer = client.send(topic, 0, "x", &properties).await;
        assert_eq!(answer.code, expected, "{properties:?} {:?}", answer.remark);
    }
    // Consumers of old clients give back what was committed as it is.
    let given_back = text(&[prepared, ("DELAY", "1")]);
    let again =
        duolog_wire::remoting::header::SendMessageRequestV2 { reconsume_times: Some(1), ..send_header("t", 0, &given_back) };
    let command = client.request(request::SEND_MESSAGE_V2, again).with_body(b"again".to_vec());
    assert!(sent(&client.call(command).await).recall_handle.is_some(), "it is delayed");
    let mut batch = BytesMut::new();
    let properties = text(&[prepared]);
    BatchMessage { flag: 0, body: b"m", properties: Properties::new(&properties) }.put(&mut batch);
    let command = client.request(request::SEND_BATCH_MESSAGE, send_header("t", 0, "")).with_body(batch.freeze());
    assert_eq!(client.call(command).await.code, response::MESSAGE_ILLEGAL);
    let flagged = duolog_wire::remoting::header::SendMessageRequestV2 {
        sys_flag: sys_flag::TRANSACTION_PREPARED,
        ..send_header("t", 0, "")
    };
    let command = client.request(request::SEND_MESSAGE_V2, flagged).with_body(b"m".to_vec());
    assert_eq!(client.call(command).await.code, response::MESSAGE_ILLEGAL);
    assert_eq!(server.records("t", 0), []);
    server.stop().await;
}

#[tokio::test]
async fn producers_are_asked_in_time_and_again_and_what_nobody_knows_is_put_aside() {
    let clock = clock();
    let values = [("rocketmq.transaction.check.max", "3")];
    let server = server_at(tempfile::tempdir().unwrap(), &clock, &values).await;
    server.topic("t", 1).await;
    let (mut sender, mut producer) = (server.client().await, server.client().await);
    produce_as(&mut producer, "p1", GROUP).await;
    let first = prepare(&mut sender, 0, "first").await;
    let second = prepare_with(&mut sender, 0, "second", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "10")]).await;
    clock.advance(5_999);
    let not_yet = producer.request(request::END_TRANSACTION, end(&first, 0));
    assert_eq!(producer.call(not_yet).await.code, 0);
    clock.advance(1);
    assert_eq!(asked(&producer.told().await), (first.clone(), "1".to_owned()));
    clock.advance(4_000);
    assert_eq!(asked(&producer.told().await), (second.clone(), "1".to_owned()));
    clock.advance(26_000);
    assert_eq!(asked(&producer.told().await), (first.clone(), "2".to_owned()));
    assert_eq!(finish(&mut producer, &first, COMMIT).await, 0);
    assert_eq!(committed(&server, 1).await, ["first"]);
    for times in ["2", "3"] {
        clock.advance(30_000);
        assert_eq!(asked(&producer.told().await), (second.clone(), times.to_owned()));
    }
    clock.advance(30_000);
    put_aside(&server, 1).await;
    assert_eq!(server.records("TRANS_CHECK_MAX_TIME_TOPIC", 0)[0].1, "second");
    assert_eq!(server.records("t", 0).len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn halves_and_how_often_was_asked_survive_restarts() {
    let clock = clock();
    let values = [("rocketmq.transaction.check.max", "2")];
    let mut server = server_at(tempfile::tempdir().unwrap(), &clock, &values).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let mut halves = Vec::new();
    for number in 0..8 {
        halves.push(prepare(&mut client, 0, &format!("m{number}")).await);
    }
    server = server_at(server.stop().await, &clock, &values).await;
    let mut client = server.client().await;
    for (number, half) in halves.iter().enumerate() {
        let what = if number % 2 == 0 { COMMIT } else { 0 };
        assert_eq!(finish(&mut client, half, what).await, 0);
    }
    server = server_at(server.stop().await, &clock, &values).await;
    let mut bodies = committed(&server, 4).await;
    bodies.sort();
    assert_eq!(bodies, ["m0", "m2", "m4", "m6"]);
    for (passes, times) in [(6_000, "1"), (30_000, "2")] {
        let mut producer = server.client().await;
        produce_as(&mut producer, "p", GROUP).await;
        clock.advance(passes);
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let (half, asked) = asked(&producer.told().await);
            assert_eq!(asked, times);
            seen.push(half.id);
        }
        seen.sort();
        assert_eq!(seen, ["id-m1", "id-m3", "id-m5", "id-m7"]);
        server = server_at(server.stop().await, &clock, &values).await;
    }
    // Nobody knows what is to become of them. What is said of one then comes too late.
    clock.advance(30_000);
    put_aside(&server, 4).await;
    let mut client = server.client().await;
    assert_eq!(finish(&mut client, &halves[1], COMMIT).await, 0);
    let last = prepare(&mut client, 0, "last").await;
    assert_eq!(finish(&mut client, &last, COMMIT).await, 0);
    assert!(committed(&server, 5).await.contains(&"last".to_owned()));
    assert_eq!(server.records("t", 0).len(), 5);
    server.stop().await;
}

/// Records of all timers and halves so far.
fn written(server: &Server) -> i64 {
    let image = server.node.broker.image();
    let topic = image.topic(duolog_core::metadata::DELAYED_TOPIC).unwrap();
    let ends = (0..topic.partitions.len()).map(|index| server.node.broker.ends(topic, PartitionIndex(index as i32)).unwrap());
    ends.map(|ends| ends.high_watermark.0).sum()
}

#[tokio::test]
async fn what_nobody_knows_is_dropped_if_that_is_configured() {
    let values = [
        ("rocketmq.transaction.check.max", "0"),
        ("rocketmq.transaction.timeout.ms", "0"),
        ("rocketmq.transaction.unresolved", "drop"),
    ];
    let server = Server::start_with(&values).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let half = prepare(&mut client, 0, "m").await;
    // The half, the question, and two tombstones.
    until("the half is dropped", async || written(&server) == 4).await;
    assert_eq!(finish(&mut client, &half, COMMIT).await, 0, "it is too late");
    assert_eq!(written(&server), 4);
    assert!(server.node.broker.image().topic("TRANS_CHECK_MAX_TIME_TOPIC").is_none());
    server.stop().await;
}

#[tokio::test]
async fn another_producer_of_the_group_is_asked_when_the_first_is_gone() {
    let server =
        Server::start_with(&[("rocketmq.transaction.timeout.ms", "300"), ("rocketmq.transaction.check.interval.ms", "300")])
            .await;
    server.topic("t", 1).await;
    let mut first = server.client().await;
    produce_as(&mut first, "p1", GROUP).await;
    let half = prepare(&mut first, 0, "m").await;
    drop(first);
    let (mut stranger, mut second) = (server.client().await, server.client().await);
    produce_as(&mut stranger, "s", "others").await;
    produce_as(&mut second, "p2", GROUP).await;
    assert_eq!(asked(&second.told().await).0, half);
    assert_eq!(asked(&second.told().await).0, half, "it says nothing and is asked again");
    let from_check = EndTransactionRequest { from_transaction_check: true, ..end(&half, COMMIT) };
    let one_way = second.request(request::END_TRANSACTION, from_check).one_way();
    second.write(&one_way).await;
    assert_eq!(committed(&server, 1).await, ["m"]);
    server.stop().await;
}
