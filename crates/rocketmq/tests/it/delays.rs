//! Messages that are delivered later: never before their time, once, whatever is stopped or dies meanwhile.

use crate::admin::ask_with;
use crate::client::{Client, Server, bodies, pull_header, send_header, sent};
use crate::cluster::{Cluster, until};
use crate::consumers::{beat, heartbeat};
use crate::grpc_client::{GrpcClient, GrpcNode, body, code, message, resource, system};
use crate::node;
use bytes::BytesMut;
use duolog_base::{Clock, NodeId, Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::delay;
use duolog_core::metadata::DELAYED_TOPIC;
use duolog_rocketmq_proto::{Code, Message, MessageType, RecallMessageRequest as GrpcRecall};
use duolog_sim::SimClock;
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, Header, NewRecord, batches, decode_batch};
use duolog_wire::remoting::batch::BatchMessage;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{ConsumerSendMessageBackRequest, RecallMessageRequest};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::properties::Properties;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const START: TimestampMs = TimestampMs(1_800_000_000_000);
const LEVELS: &[(&str, &str)] = &[("rocketmq.delay.levels", "1s 5s 10s 30s")];

fn clock() -> Arc<SimClock> {
    Arc::new(SimClock::new(START))
}

async fn server(dir: TempDir, clock: &Arc<SimClock>) -> Server {
    Server::serve(node::open_at(&dir, LEVELS, clock.clone()).await, dir)
}

fn text(properties: &[(&str, &str)]) -> String {
    properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}

async fn send(client: &mut Client, body: &str, properties: &[(&str, &str)]) -> String {
    let answer = client.send("t", 0, body, &text(properties)).await;
    sent(&answer).recall_handle.unwrap_or_default().to_owned()
}

/// Waits until the queue has so many messages; their bodies.
async fn delivered(server: &Server, count: usize) -> Vec<String> {
    until("the messages are delivered", async || server.records("t", 0).len() >= count).await;
    server.records("t", 0).into_iter().map(|(_, body)| body).collect()
}

#[tokio::test]
async fn messages_come_when_their_level_or_their_time_says_and_not_before() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let (at, past) = ((START.0 + 6_000).to_string(), (START.0 - 1).to_string());
    send(&mut client, "level", &[("DELAY", "3")]).await;
    send(&mut client, "highest", &[("DELAY", "99")]).await;
    send(&mut client, "at", &[("TIMER_DELIVER_MS", &at)]).await;
    send(&mut client, "ms", &[("TIMER_DELAY_MS", "5500")]).await;
    send(&mut client, "s", &[("TIMER_DELAY_SEC", "5")]).await;
    send(&mut client, "past", &[("TIMER_DELIVER_MS", &past)]).await;
    let mut expected = vec!["past"];
    assert_eq!(delivered(&server, 1).await, expected);
    for (passes, body) in [(5_000, "s"), (500, "ms"), (500, "at"), (4_000, "level"), (20_000, "highest")] {
        clock.advance(passes - 1);
        assert_eq!(server.records("t", 0).len(), expected.len(), "{body} is not there yet");
        clock.advance(1);
        expected.push(body);
        assert_eq!(delivered(&server, expected.len()).await, expected);
    }
    assert_eq!(bodies(&client.messages("t", 0, 0).await), expected);
    server.stop().await;
}

#[tokio::test]
async fn a_delivered_message_is_what_the_original_shows() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let sent_with =
        [("KEYS", "k"), ("TAGS", "a"), ("UNIQ_KEY", "u1"), ("color", "red"), ("DELAY", "1"), ("TIMER_DELAY_SEC", "9")];
    let answer = client.send("t", 0, "level", &text(&sent_with)).await;
    let answer = sent(&answer);
    assert_eq!((answer.queue_id, answer.transaction_id, answer.msg_id.len()), (0, Some("u1"), 32));
    let later = [("KEYS", "k"), ("TAGS", "b"), ("TIMER_DELAY_MS", "2000")];
    send(&mut client, "time", &later).await;
    clock.advance(1_000);
    delivered(&server, 1).await;
    clock.advance(1_000);
    delivered(&server, 2).await;
    let answer = client.pull(pull_header("t", 0, 0)).await;
    let mut rest = &answer.body[..];
    let level = StoredMessage::take(&mut rest).unwrap();
    let time = StoredMessage::take(&mut rest).unwrap();
    let born = send_header("t", 0, "").born_timestamp;
    for (message, at) in [(&level, START.0 + 1_000), (&time, START.0 + 2_000)] {
        assert_eq!((message.born_timestamp, message.store_timestamp, message.topic), (born, at, "t"));
        assert_eq!(message.properties.get("REAL_TOPIC"), Some("t"));
        assert_eq!(message.properties.get("REAL_QID"), Some("0"));
        assert_eq!(message.properties.get("DELAY"), None);
        assert_eq!(message.properties.get("KEYS"), Some("k"));
    }
    assert_eq!((level.properties.get("color"), level.properties.get("TIMER_DELAY_SEC")), (Some("red"), None));
    assert_eq!(time.properties.get("TIMER_OUT_MS"), Some((START.0 + 2_000).to_string().as_str()));
    let tagged =
        client.pull(duolog_wire::remoting::header::PullMessageRequest { subscription: Some("b"), ..pull_header("t", 0, 0) });
    assert_eq!(bodies(&crate::client::messages(&tagged.await)), ["time"]);
    // Retention counts from the delivery, by the timestamp that Kafka's clients see.
    let image = server.node.broker.image();
    let fetched = server.node.broker.read(image.topic("t").unwrap(), PartitionIndex(0), Offset(0), 1 << 20, true, None).unwrap();
    let bytes = fetched.plan.materialize().unwrap();
    let (_, first) = batches(&bytes).next().unwrap().unwrap();
    let batch = decode_batch(&bytes[first], DecompressLimits::default()).unwrap();
    assert_eq!(batch.records().next().unwrap().unwrap().timestamp, TimestampMs(START.0 + 1_000));
    server.stop().await;
}

#[tokio::test]
async fn a_restart_loses_nothing_and_repeats_nothing() {
    let clock = clock();
    let mut server = self::server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    for number in 0..20 {
        let mut client = server.client().await;
        let seconds = (1 + number % 10).to_string();
        send(&mut client, &format!("m{number}"), &[("TIMER_DELAY_SEC", &seconds)]).await;
    }
    clock.advance(5_000);
    delivered(&server, 10).await;
    for passes in [0, 5_000, 60_000] {
        server = self::server(server.stop().await, &clock).await;
        clock.advance(passes);
        delivered(&server, if passes == 0 { 10 } else { 20 }).await;
    }
    let mut bodies = delivered(&server, 20).await;
    bodies.sort();
    let mut expected: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    expected.sort();
    assert_eq!(bodies, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_recalled_message_never_comes() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    server.topic("other", 1).await;
    let mut client = server.client().await;
    let kept = send(&mut client, "kept", &[("TIMER_DELAY_SEC", "10"), ("UNIQ_KEY", "u-kept")]).await;
    let handle = send(&mut client, "recalled", &[("TIMER_DELAY_SEC", "10"), ("UNIQ_KEY", "u-recalled")]).await;
    let recall = |topic: &'static str, handle: &str| (topic, handle.to_owned());
    let cases = [
        (recall("nowhere", &handle), response::TOPIC_NOT_EXIST),
        (recall("other", &handle), response::ILLEGAL_OPERATION),
        (recall("t", "what"), response::ILLEGAL_OPERATION),
        (recall("t", &handle), response::SUCCESS),
        (recall("t", &handle), response::SUCCESS),
    ];
    for ((topic, recall_handle), expected) in &cases {
        let header = RecallMessageRequest { producer_group: Some("p"), topic, recall_handle };
        let answer = client.ask(request::RECALL_MESSAGE, header).await;
        assert_eq!(answer.code, *expected, "{topic} {:?}", answer.remark);
        if *expected == response::SUCCESS {
            assert_eq!(answer.fields.get("msgId"), Some("u-recalled"));
        }
    }
    let dir = server.stop().await;
    let server = self::server(dir, &clock).await;
    let mut client = server.client().await;
    clock.advance(10_000);
    delivered(&server, 1).await;
    let header = RecallMessageRequest { producer_group: None, topic: "t", recall_handle: &kept };
    assert_eq!(client.ask(request::RECALL_MESSAGE, header).await.code, response::ILLEGAL_OPERATION, "too late");
    // What is sent later goes through the same partitions.
    for number in 0..16 {
        send(&mut client, &format!("m{number}"), &[("TIMER_DELAY_SEC", "1")]).await;
    }
    clock.advance(1_000);
    assert!(!delivered(&server, 17).await.contains(&"recalled".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn a_clock_that_slips_forward_for_a_moment_delivers_nothing_early() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for number in 0..16 {
        send(&mut client, &format!("m{number}"), &[("TIMER_DELAY_SEC", "60")]).await;
    }
    clock.set_wall(TimestampMs(START.0 + 3_600_000));
    // While it lasts, time goes on: what is due is delivered, and nothing else.
    for number in 0..8 {
        send(&mut client, &format!("due {number}"), &[("TIMER_DELAY_MS", "1000")]).await;
    }
    clock.advance(1_000);
    let early = delivered(&server, 8).await;
    assert!(early.iter().all(|body| body.starts_with("due")), "{early:?}");
    clock.set_wall(TimestampMs(START.0 + 1_000));
    clock.advance(58_999);
    assert_eq!(server.records("t", 0).len(), 8);
    // And one that is set back delivers late rather than early.
    clock.set_wall(START);
    clock.advance(1);
    assert_eq!(server.records("t", 0).len(), 8);
    clock.set_wall(TimestampMs(START.0 + 60_000));
    // A step forward is believed once it has lasted.
    until("the messages are delivered", async || {
        clock.advance(100);
        server.records("t", 0).len() == 24
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn messages_that_are_given_back_come_again_after_their_level_and_dead_ones_at_once() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    beat(&mut client, &heartbeat("c1", "g", &["t"])).await;
    client.send("t", 0, "work", "").await;
    let first = client.messages("t", 0, 0).await.remove(0);
    let back = |delay_level, offset| ConsumerSendMessageBackRequest { offset, group: "g", delay_level, ..Default::default() };
    // The server's choice is the third level, then the fourth; the client's is the first.
    for (level, passes, again) in [(0, 10_000, 1), (1, 1_000, 2)] {
        assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back(level, first.commit_log_offset)).await.code, 0);
        clock.advance(passes - 1);
        assert_eq!(server.records("%RETRY%g", 0).len(), again - 1);
        clock.advance(1);
        until("the message is there again", async || server.records("%RETRY%g", 0).len() == again).await;
    }
    let second = client.messages("%RETRY%g", 0, 0).await.remove(0);
    assert_eq!(second.reconsume_times, 1);
    assert!(second.properties.contains("RETRY_TOPIC\u{1}t\u{2}"), "{:?}", second.properties);
    assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back(0, second.commit_log_offset)).await.code, 0);
    clock.advance(29_999);
    assert_eq!(server.records("%RETRY%g", 0).len(), 2);
    clock.advance(1);
    until("the message is there again", async || server.records("%RETRY%g", 0).len() == 3).await;
    assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back(-1, first.commit_log_offset)).await.code, 0);
    assert_eq!(server.records("%DLQ%g", 0).len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_a_kafka_producer_delays_is_pulled_at_its_time_and_its_empty_place_is_passed_over() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let mut builder = BatchBuilder::new(Compression::None);
    let headers =
        [Header { key: delay::DELIVER_AFTER.as_bytes(), value: Some(b"5000") }, Header { key: b"a", value: Some(b"1") }];
    builder.push(NewRecord { timestamp: START, key: Some(b"k"), value: Some(b"later"), headers: &headers }).unwrap();
    let mut batch = BytesMut::new();
    builder.build(&mut batch).unwrap();
    let image = server.node.broker.image();
    let topic = image.topic("t").unwrap();
    let divided =
        delay::divide(topic, PartitionIndex(0), &batch, server.node.delays.now()).unwrap().expect("it has a delayed record");
    let produced = server.node.delays.append_divided(topic, PartitionIndex(0), divided, Acks::All).await.unwrap();
    assert_eq!(produced.base_offset, Offset(0));
    client.send("t", 0, "now", "").await;
    assert_eq!(bodies(&client.messages("t", 0, 0).await), ["now"]);
    clock.advance(5_000);
    assert_eq!(delivered(&server, 2).await, ["now", "later"]);
    let late = client.messages("t", 0, 2).await.remove(0);
    assert_eq!((late.body.as_str(), late.properties.contains("KEYS\u{1}k\u{2}")), ("later", true));
    assert!(late.properties.contains("a\u{1}1\u{2}") && !late.properties.contains("duolog-deliver"), "{:?}", late.properties);
    server.stop().await;
}

#[tokio::test]
async fn a_group_with_a_retry_policy_has_its_own_pauses() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let policy = r#"{"groupName":"g","groupRetryPolicy":{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[3000,7000]}}}"#;
    assert_eq!(ask_with(&mut client, request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, policy).await.code, 0);
    client.send("t", 0, "work", "").await;
    let mut message = client.messages("t", 0, 0).await.remove(0);
    for (pause, times) in [(3_000, 1), (7_000, 2), (7_000, 3)] {
        let back = ConsumerSendMessageBackRequest { offset: message.commit_log_offset, group: "g", ..Default::default() };
        assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back).await.code, 0);
        clock.advance(pause - 1);
        assert_eq!(server.records("%RETRY%g", 0).len(), times - 1);
        clock.advance(1);
        until("the message is there again", async || server.records("%RETRY%g", 0).len() == times).await;
        message = client.messages("%RETRY%g", 0, times as i64 - 1).await.remove(0);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_batch_with_a_delay_is_refused_and_a_topic_that_is_deleted_takes_its_messages_with_it() {
    let clock = clock();
    let server = server(tempfile::tempdir().unwrap(), &clock).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let mut batch = BytesMut::new();
    let properties = text(&[("TIMER_DELAY_SEC", "5")]);
    BatchMessage { flag: 0, body: b"m", properties: Properties::new(&properties) }.put(&mut batch);
    let command = client.request(request::SEND_BATCH_MESSAGE, send_header("t", 0, "")).with_body(batch.freeze());
    assert_eq!(client.call(command).await.code, response::MESSAGE_ILLEGAL);
    for number in 0..8 {
        send(&mut client, &format!("lost {number}"), &[("TIMER_DELAY_SEC", "5")]).await;
    }
    let reference = duolog_core::metadata::TopicReference::Name("t".to_owned());
    server.node.broker.metadata().delete_topics(vec![reference]).await.remove(0).unwrap();
    server.topic("t", 1).await;
    for number in 0..8 {
        send(&mut client, &format!("kept {number}"), &[("TIMER_DELAY_SEC", "6")]).await;
    }
    clock.advance(6_000);
    assert!(delivered(&server, 8).await.iter().all(|body| body.starts_with("kept")));
    server.stop().await;
}

fn later(id: &str, at: i64) -> Message {
    let mut message = message("t", id, id);
    let system = message.system_properties.as_mut().unwrap();
    system.message_type = MessageType::Delay.into();
    system.delivery_timestamp = Some(prost_types::Timestamp { seconds: at / 1000, nanos: (at % 1000 * 1_000_000) as i32 });
    message
}

async fn recall(client: &mut GrpcClient, topic: &str, handle: &str) -> (Code, String) {
    let request = client.request(GrpcRecall { topic: resource(topic), recall_handle: handle.to_owned() });
    let answer = client.client.recall_message(request).await.unwrap().into_inner();
    (code(&answer.status), answer.message_id)
}

#[tokio::test]
async fn grpc_clients_delay_messages_and_recall_them() {
    let clock = clock();
    let dir = tempfile::tempdir().unwrap();
    let server = GrpcNode::serve(node::open_at(&dir, LEVELS, clock.clone()).await, dir);
    server.topic("t", 1).await;
    let mut client = server.client("c").await;
    // A year is no more than a moment.
    let answer =
        client.send(vec![later("year", START.0 + 365 * 86_400_000), later("soon", START.0 + 5_000), later("past", 1)]).await;
    assert_eq!(code(&answer.status), Code::Ok);
    let handles: Vec<&str> = answer.entries.iter().map(|entry| entry.recall_handle.as_str()).collect();
    assert!(!handles[0].is_empty() && !handles[1].is_empty() && handles[2].is_empty());
    let first = client.receive("t", 32).await;
    assert_eq!(first.iter().map(body).collect::<Vec<_>>(), ["past"]);
    assert_eq!(client.acknowledge("t", &first[0]).await, Code::Ok);
    clock.advance(5_000);
    let soon = client.receive("t", 32).await.remove(0);
    assert_eq!((body(&soon), system(&soon).message_type()), ("soon", MessageType::Delay));
    assert_eq!(system(&soon).delivery_timestamp.as_ref().unwrap().seconds, START.0 / 1000 + 5);
    assert_eq!(client.acknowledge("t", &soon).await, Code::Ok);
    assert_eq!(recall(&mut client, "t", handles[0]).await, (Code::Ok, "year".to_owned()));
    assert_ne!(recall(&mut client, "t", handles[1]).await.0, Code::Ok, "it has been delivered");
    assert_ne!(recall(&mut client, "t", "what").await.0, Code::Ok);
    clock.advance(400 * 86_400_000);
    let answer = client.send(vec![later("last", clock.now().0 + 1)]).await;
    assert_eq!(code(&answer.status), Code::Ok);
    clock.advance(1);
    let last = client.receive("t", 32).await;
    assert_eq!(last.iter().map(body).collect::<Vec<_>>(), ["last"], "the recalled one is not among them");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_takes_delayed_messages_for_queues_of_others_and_recalls_them() {
    let cluster = Cluster::start(3).await;
    cluster.topic("t", &[1, 2, 3]).await;
    for (at, member) in cluster.members.iter().enumerate() {
        let mut client = member.client().await;
        for queue in 0..3 {
            let properties = text(&[("TIMER_DELAY_MS", "1500")]);
            assert_eq!(client.send("t", queue, &format!("{at} {queue}"), &properties).await.code, 0);
            let properties = text(&[("TIMER_DELAY_SEC", "3600")]);
            let answer = client.send("t", queue, "recalled", &properties).await;
            let handle = sent(&answer).recall_handle.unwrap().to_owned();
            let mut other = cluster.members[(at + 1) % 3].client().await;
            let header = RecallMessageRequest { producer_group: None, topic: "t", recall_handle: &handle };
            assert_eq!(other.ask(request::RECALL_MESSAGE, header).await.code, 0);
        }
    }
    for queue in 0..3 {
        let number = cluster.members[0].node.broker.image().topic("t").unwrap().partitions[queue].leader;
        let leader = &cluster.members[number.0 as usize - 1];
        let mut client = leader.client().await;
        let mut came = Vec::new();
        while came.len() < 3 {
            let answer = client.pull(crate::cluster::holding("t", queue as i32, came.len() as i64)).await;
            came.extend(crate::client::messages(&answer).into_iter().map(|message| message.body));
        }
        came.sort();
        assert_eq!(came, [0, 1, 2].map(|at| format!("{at} {queue}")));
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_go_on_when_the_node_that_keeps_them_dies() {
    const MESSAGES: usize = 48;
    let mut cluster = Cluster::replicated(3, 3, Duration::from_secs(2)).await;
    let replicas = [NodeId(1), NodeId(2), NodeId(3)];
    cluster.place("t", std::iter::once(replicas.to_vec())).await;
    let mut client = cluster.members[0].client().await;
    let mut dues = Vec::new();
    for number in 0..MESSAGES {
        let at = cluster.members[0].node.delays.now().0 + 1_500 + 50 * number as i64;
        let answer = client.send("t", 0, &number.to_string(), &text(&[("TIMER_DELIVER_MS", &at.to_string())])).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        dues.push(at);
    }
    // Sends go to partitions of the node that takes them; to see another node fail, some of its own.
    let mut other = cluster.members[2].client().await;
    for number in MESSAGES..2 * MESSAGES {
        let at = cluster.members[2].node.delays.now().0 + 1_500 + 50 * number as i64;
        let answer = other.send("t", 0, &number.to_string(), &text(&[("TIMER_DELIVER_MS", &at.to_string())])).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        dues.push(at);
    }
    drop(other);
    assert!(
        cluster.members[0]
            .node
            .broker
            .image()
            .topic(DELAYED_TOPIC)
            .unwrap()
            .partitions
            .iter()
            .all(|partition| { partition.replicas.len() == 3 })
    );
    cluster.members.pop().unwrap().die().await;
    let mut came: Vec<usize> = Vec::new();
    while came.len() < 2 * MESSAGES {
        let answer = client.pull(crate::cluster::holding("t", 0, came.len() as i64)).await;
        let now = cluster.members[0].node.delays.now().0;
        for message in crate::client::messages(&answer) {
            let number: usize = message.body.parse().unwrap();
            assert!(dues[number] <= now, "{number} came early");
            came.push(number);
        }
    }
    came.sort();
    assert_eq!(came, (0..2 * MESSAGES).collect::<Vec<_>>());
    cluster.stop().await;
}
