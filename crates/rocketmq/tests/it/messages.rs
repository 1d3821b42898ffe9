//! Sending and pulling: what goes in comes out, to RocketMQ's and Kafka's readers alike.

use crate::client::{
    Client, Message, SUBSCRIPTION, SUSPEND, Server, bodies, long_send_header, messages, pull_header, pulled, send_header, sent,
};
use bytes::BytesMut;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::batch::BatchMessage;
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::PullMessageRequest;
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::properties::Properties;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn sent_messages_have_the_same_offsets_for_both_protocols() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    for (offset, body) in [(0, "one"), (1, "two")] {
        let answer = client.send("t", 1, body, "UNIQ_KEY\u{1}id\u{2}TAGS\u{1}a\u{2}WAIT\u{1}true").await;
        let sent = sent(&answer);
        assert_eq!((sent.queue_id, sent.queue_offset, sent.transaction_id), (1, offset, Some("id")));
        assert_eq!(answer.fields.get("TRACE_ON"), Some("true"));
        let id = OffsetMessageId::parse(sent.msg_id).unwrap();
        assert_eq!(id.store_host, server.broker);
        let found = client.messages("t", 1, offset).await;
        assert_eq!(found[0].commit_log_offset, id.commit_log_offset);
        assert_eq!(found[0].properties, "UNIQ_KEY\u{1}id\u{2}TAGS\u{1}a\u{2}");
    }
    assert_eq!(bodies(&client.messages("t", 1, 0).await), ["one", "two"]);
    assert_eq!(server.records("t", 1), [(0, "one".to_owned()), (1, "two".to_owned())]);
    let answer = client.request(request::SEND_MESSAGE, long_send_header("t", 0)).with_body("old");
    let answer = client.call(answer).await;
    assert_eq!(sent(&answer).queue_offset, 0);
    server.stop().await;
}

#[tokio::test]
async fn sends_that_come_together_are_answered_each_by_its_own_offset() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    let mut bytes = BytesMut::new();
    let mut expected = Vec::new();
    for number in 0..40 {
        let body = format!("message {number}");
        // Every fifth is refused: nobody knows when it is due.
        let (properties, queue) = (if number % 5 == 4 { "DELAY\u{1}soon\u{2}" } else { "" }, number % 2);
        let command = client.request(request::SEND_MESSAGE_V2, send_header("t", queue, properties)).with_body(body.clone());
        command.encode(&mut bytes);
        expected.push((command.opaque, queue, body, properties.is_empty()));
    }
    client.stream.write_all(&bytes).await.unwrap();
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..40 {
        let answer = client.read().await;
        answers.insert(answer.opaque, answer);
    }
    for (opaque, queue, body, is_good) in expected {
        let answer = &answers[&opaque];
        if !is_good {
            assert_eq!(answer.code, response::MESSAGE_ILLEGAL);
            continue;
        }
        let offset = sent(answer).queue_offset;
        assert_eq!(client.messages("t", queue, offset).await[0].body, body);
    }
    assert_eq!(server.records("t", 0).len() + server.records("t", 1).len(), 32);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_is_stored_as_a_whole_with_consecutive_offsets() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let mut body = BytesMut::new();
    for number in 0..3 {
        let (text, properties) = (format!("m{number}"), format!("UNIQ_KEY\u{1}k{number}\u{2}"));
        BatchMessage { flag: 0, body: text.as_bytes(), properties: Properties::new(&properties) }.put(&mut body);
    }
    for code in [request::SEND_BATCH_MESSAGE, request::SEND_MESSAGE_V2] {
        let mut header = send_header("t", 0, "");
        header.batch = true;
        let command = client.request(code, header).with_body(body.clone().freeze());
        let answer = client.call(command).await;
        let sent = sent(&answer);
        assert_eq!((sent.msg_id.split(',').count(), sent.transaction_id), (3, Some("k0,k1,k2")));
    }
    assert_eq!(bodies(&client.messages("t", 0, 0).await), ["m0", "m1", "m2", "m0", "m1", "m2"]);
    let cut = client.request(request::SEND_BATCH_MESSAGE, send_header("t", 0, "")).with_body(body.freeze().slice(..40));
    assert_eq!(client.call(cut).await.code, response::MESSAGE_ILLEGAL);
    assert_eq!(server.records("t", 0).len(), 6);
    server.stop().await;
}

#[tokio::test]
async fn one_way_messages_are_stored_and_not_answered() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let one_way = client.request(request::SEND_MESSAGE_V2, send_header("t", 0, "")).with_body("quiet").one_way();
    client.write(&one_way).await;
    let bad = client.request(request::SEND_MESSAGE_V2, send_header("t", 7, "")).with_body("nowhere").one_way();
    client.write(&bad).await;
    let answer = client.send("t", 0, "loud", "").await;
    assert_eq!(sent(&answer).queue_offset, 1, "the answer is the last request's");
    assert_eq!(bodies(&client.messages("t", 0, 0).await), ["quiet", "loud"]);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_code_that_clients_expect() {
    let server = Server::start_with(&[("rocketmq.max.message.bytes", "2048")]).await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let long = "x".repeat(2049);
    let cases = [
        ("t", 1, "x", "", response::INVALID_PARAMETER),
        ("t", 0, long.as_str(), "", response::MESSAGE_ILLEGAL),
        ("t", 0, "x", "TIMER_DELAY_SEC\u{1}three\u{2}", response::MESSAGE_ILLEGAL),
        ("SCHEDULE_TOPIC_XXXX", 0, "x", "", response::NO_PERMISSION),
        ("../../etc", 0, "x", "", response::MESSAGE_ILLEGAL),
        ("a b", 0, "x", "", response::MESSAGE_ILLEGAL),
        ("__consumer_offsets", 0, "x", "", response::TOPIC_NOT_EXIST),
    ];
    server.node.broker.metadata().ensure_offsets_topic().await.unwrap();
    for (topic, queue, body, properties, code) in cases {
        let answer = client.send(topic, queue, body, properties).await;
        assert_eq!(answer.code, code, "{topic} {:?}", answer.remark);
        assert!(answer.remark.is_some());
    }
    assert_eq!(server.records("t", 0), []);
    server.stop().await;
}

#[tokio::test]
async fn a_topic_is_created_by_sending_with_as_many_queues_as_the_client_wants() {
    let server = Server::start().await;
    let mut client = server.client().await;
    assert_eq!(sent(&client.send("fresh", 3, "first", "").await).queue_id, 3);
    assert_eq!(server.node.broker.image().topic("fresh").unwrap().partitions.len(), 4);
    let mut header = send_header("other", 0, "");
    header.default_topic = "fresh";
    let command = client.request(request::SEND_MESSAGE_V2, header).with_body("x");
    assert_eq!(client.call(command).await.code, response::TOPIC_NOT_EXIST, "nothing is inherited from this one");
    server.stop().await;
    let server = Server::start_with(&[("auto.create.topics.enable", "false")]).await;
    let mut client = server.client().await;
    assert_eq!(client.send("fresh", 0, "first", "").await.code, response::TOPIC_NOT_EXIST);
    server.stop().await;
}

#[tokio::test]
async fn a_pull_outside_of_the_queue_says_where_it_is() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let answer = client.pull(pull_header("t", 0, 5)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_OFFSET_MOVED, 0));
    let answer = client.pull(pull_header("t", 0, 0)).await;
    assert_eq!(answer.code, response::PULL_NOT_FOUND);
    for number in 0..3 {
        client.send("t", 0, &number.to_string(), "").await;
    }
    let answer = client.pull(pull_header("t", 0, 9)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_OFFSET_MOVED, 3));
    let image = server.node.broker.image();
    let topic = image.topic("t").unwrap();
    server.node.broker.delete_records(topic, duolog_base::PartitionIndex(0), Some(duolog_base::Offset(2))).await.unwrap();
    let answer = client.pull(pull_header("t", 0, 0)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_OFFSET_MOVED, 2));
    let answer = client.pull(pull_header("t", 0, 2)).await;
    assert_eq!(bodies(&messages(&answer)), ["2"]);
    let ends = pulled(&answer);
    assert_eq!((ends.min_offset, ends.max_offset, ends.next_begin_offset, ends.suggest_which_broker_id), (2, 3, 3, 0));
    assert_eq!(client.pull(pull_header("t", 1, 0)).await.code, response::INVALID_PARAMETER);
    assert_eq!(client.pull(pull_header("nothing", 0, 0)).await.code, response::TOPIC_NOT_EXIST);
    server.stop().await;
}

fn waiting<'a>(topic: &'a str, from: i64, subscription: &'a str, wait_ms: i64) -> PullMessageRequest<'a> {
    PullMessageRequest {
        sys_flag: SUSPEND | SUBSCRIPTION,
        subscription: Some(subscription),
        suspend_timeout_millis: wait_ms,
        ..pull_header(topic, 0, from)
    }
}

#[tokio::test]
async fn a_pull_waits_for_a_message_that_its_subscription_wants() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut consumer = server.client().await;
    let mut producer = server.client().await;
    let pull = consumer.request(request::PULL_MESSAGE, waiting("t", 0, "b", 30_000));
    consumer.write(&pull).await;
    // The same connection serves others meanwhile.
    assert_eq!(consumer.pull(pull_header("t", 0, 0)).await.code, response::PULL_NOT_FOUND);
    producer.send("t", 0, "unwanted", "TAGS\u{1}a\u{2}").await;
    producer.send("t", 0, "wanted", "TAGS\u{1}b\u{2}").await;
    let answer = consumer.read().await;
    assert_eq!((answer.opaque, answer.code), (pull.opaque, 0));
    assert_eq!(bodies(&messages(&answer)), ["wanted"]);
    assert_eq!(pulled(&answer).next_begin_offset, 2);
    server.stop().await;
}

#[tokio::test]
async fn a_pull_that_waited_in_vain_says_how_far_it_has_looked() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let answer = client.pull(waiting("t", 0, "*", 10)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_NOT_FOUND, 0));
    client.send("t", 0, "unwanted", "TAGS\u{1}a\u{2}").await;
    let answer = client.pull(waiting("t", 0, "b", 10)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_RETRY_IMMEDIATELY, 1));
    let answer = client.pull(PullMessageRequest { subscription: Some("b"), ..pull_header("t", 0, 0) }).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_RETRY_IMMEDIATELY, 1), "without waiting");
    let mut sql = waiting("t", 0, "TAGS = 'a'", 10);
    sql.expression_type = Some("SQL92");
    assert_eq!(bodies(&messages(&client.pull(sql).await)), ["unwanted"]);
    let mut broken = waiting("t", 0, "TAGS =", 10);
    broken.expression_type = Some("SQL92");
    assert_eq!(client.pull(broken).await.code, response::SUBSCRIPTION_PARSE_FAILED);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_answers_those_who_wait() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    let pull = client.request(request::PULL_MESSAGE, waiting("t", 0, "*", 30_000));
    client.write(&pull).await;
    assert_eq!(client.pull(pull_header("t", 0, 0)).await.code, response::PULL_NOT_FOUND);
    server.stop().await;
    let answer = client.read().await;
    assert_eq!((answer.opaque, answer.code), (pull.opaque, response::PULL_NOT_FOUND));
    assert!(client.closed().await);
}

#[tokio::test]
async fn messages_are_there_after_a_restart_and_read_from_files() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let body = "x".repeat(3000);
    for number in 0..100 {
        client.send("t", 0, &format!("{number} {body}"), "").await;
    }
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client: Client = server.client().await;
    let mut next = 0;
    while next < 100 {
        for message in client.messages("t", 0, next).await {
            assert_eq!(message.body, format!("{next} {body}"));
            assert_eq!(message.offset, next);
            next += 1;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_read_ahead_is_not_given_once_it_is_deleted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for number in 0..20 {
        client.send("t", 0, &number.to_string(), "").await;
    }
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    let one = |from| PullMessageRequest { max_msg_nums: 1, ..pull_header("t", 0, from) };
    for number in 0..3 {
        assert_eq!(bodies(&messages(&client.pull(one(number)).await)), [number.to_string()]);
    }
    let image = server.node.broker.image();
    let topic = image.topic("t").unwrap();
    server.node.broker.delete_records(topic, duolog_base::PartitionIndex(0), Some(duolog_base::Offset(10))).await.unwrap();
    let answer = client.pull(one(3)).await;
    assert_eq!((answer.code, pulled(&answer).next_begin_offset), (response::PULL_OFFSET_MOVED, 10));
    assert_eq!(bodies(&messages(&client.pull(one(10)).await)), ["10"]);
    server.stop().await;
}

#[tokio::test]
async fn an_old_java_client_is_given_a_body_where_there_is_none() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    client.send("t", 0, "", "").await;
    client.send("t", 0, "full", "").await;
    let shown =
        |messages: Vec<Message>| messages.into_iter().map(|message| (message.body, message.properties)).collect::<Vec<_>>();
    let pull = client.request(request::PULL_MESSAGE, pull_header("t", 0, 0));
    let old = client.call(Command { version: 409, ..pull }).await;
    let text = |body: &str, properties: &str| (body.to_owned(), properties.to_owned());
    assert_eq!(shown(messages(&old)), [text(" ", "duolog.empty.body\u{1}true\u{2}"), text("full", "")]);
    assert_eq!(shown(client.messages("t", 0, 0).await), [text("", ""), text("full", "")]);
    let again = client.send("t", 0, " ", "duolog.empty.body\u{1}true\u{2}").await;
    assert_eq!(server.records("t", 0)[sent(&again).queue_offset as usize], (2, String::new()));
    server.stop().await;
}
