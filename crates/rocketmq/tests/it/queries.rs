//! Finding messages by where they lie and by their keys, and what tools see of a queue.

use crate::client::{Client, Server, bodies, messages, sent};
use crate::consumers::{beat, heartbeat};
use crate::node::FOR_EVER;
use duolog_wire::remoting::body::{ConsumeQueueResponse, from_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{ConsumeQueueRequest, QueryMessageRequest, RouteRequest, ViewMessageRequest};
use duolog_wire::remoting::message_id::OffsetMessageId;

#[tokio::test]
async fn a_message_is_found_by_its_id_after_a_restart() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    let mut client = server.client().await;
    let mut ids = Vec::new();
    for (queue, body) in [(0, "a"), (1, "b"), (1, "c")] {
        let answer = client.send("t", queue, body, "KEYS\u{1}k\u{2}").await;
        ids.push((OffsetMessageId::parse(sent(&answer).msg_id).unwrap().commit_log_offset, body));
    }
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    let mut client = server.client().await;
    for (offset, body) in &ids {
        for topic in [None, Some("t"), Some("another")] {
            let answer = client.ask(request::VIEW_MESSAGE_BY_ID, ViewMessageRequest { topic, offset: *offset }).await;
            assert_eq!(answer.code, 0, "{:?}", answer.remark);
            let found = messages(&answer);
            assert_eq!((bodies(&found), found[0].commit_log_offset), (vec![*body], *offset));
        }
    }
    for offset in [-1, i64::MAX, ids[2].0 + 1] {
        let answer = client.ask(request::VIEW_MESSAGE_BY_ID, ViewMessageRequest { topic: None, offset }).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_queue_is_shown_as_an_index() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let mut client = server.client().await;
    for properties in ["TAGS\u{1}a\u{2}", "TAGS\u{1}b\u{2}", ""] {
        client.send("t", 0, "body", properties).await;
    }
    let header = |index, count, consumer_group| ConsumeQueueRequest {
        topic: Some("t"),
        queue_id: Some(0),
        index: Some(index),
        count: Some(count),
        consumer_group,
    };
    let answer = client.ask(request::QUERY_CONSUME_QUEUE, header(0, 2, Some("g"))).await;
    let shown: ConsumeQueueResponse = from_json(&answer.body).unwrap();
    assert_eq!((shown.min_queue_index, shown.max_queue_index, shown.queue_data.len()), (0, 3, 2));
    assert_eq!(shown.filter_data.as_deref(), Some("g@t is not online!"));
    let mut wants_a = heartbeat("c1", "g", &["t"]);
    wants_a.consumer_data_set[0].subscription_data_set[0].sub_string = "a".to_owned();
    beat(&mut client, &wants_a).await;
    let answer = client.ask(request::QUERY_CONSUME_QUEUE, header(0, 10, Some("g"))).await;
    let shown: ConsumeQueueResponse = from_json(&answer.body).unwrap();
    let entries: Vec<(i64, bool)> = shown.queue_data.iter().map(|entry| (entry.tags_code, entry.eval)).collect();
    assert_eq!(entries, [(97, true), (98, false), (0, false)]);
    let all = client.messages("t", 0, 0).await;
    assert_eq!(shown.queue_data[2].physic_offset, all[2].commit_log_offset);
    assert!(shown.queue_data[2].physic_size > 91 && shown.subscription_data.is_some());
    for index in [-1, 3] {
        let answer = client.ask(request::QUERY_CONSUME_QUEUE, header(index, 10, None)).await;
        let shown: ConsumeQueueResponse = from_json(&answer.body).unwrap();
        assert!(answer.code == 0 && shown.queue_data.is_empty() && answer.remark.is_some());
    }
    server.stop().await;
}

#[tokio::test]
async fn traces_have_a_topic_before_anybody_makes_it() {
    let server = Server::start_with(&[("auto.create.topics.enable", "false")]).await;
    let mut client = server.client().await;
    let trace = "RMQ_SYS_TRACE_TOPIC";
    let route = RouteRequest { topic: trace, ..RouteRequest::default() };
    assert_eq!(client.ask(request::GET_ROUTEINFO_BY_TOPIC, route).await.code, 0);
    let fields = "Pub\u{1}1700000000000\u{1}DefaultRegion\u{1}producers\u{1}t\u{1}id\u{2}";
    let answer = client.send(trace, 0, fields, "KEYS\u{1}id k\u{2}").await;
    assert_eq!(sent(&answer).queue_offset, 0);
    assert_eq!(answer.fields.get("TRACE_ON"), Some("true"));
    let traces = client.messages(trace, 0, 0).await;
    assert_eq!(bodies(&traces), [fields]);
    assert_eq!(traces[0].properties, "KEYS\u{1}id k\u{2}");
    assert_eq!(found(&mut client, query(trace, "id")).await.unwrap(), [fields]);
    server.stop().await;
}

pub fn query(topic: &'static str, key: &'static str) -> QueryMessageRequest<'static> {
    QueryMessageRequest { topic, key, max_num: 64, end_timestamp: i64::MAX, ..QueryMessageRequest::default() }
}

/// Bodies of what is found, or the code.
pub async fn found(client: &mut Client, header: QueryMessageRequest<'_>) -> Result<Vec<String>, i32> {
    let answer = client.ask(request::QUERY_MESSAGE, header).await;
    match answer.code {
        0 => Ok(messages(&answer).into_iter().map(|message| message.body).collect()),
        code => Err(code),
    }
}

#[tokio::test]
async fn messages_are_found_by_key_and_by_unique_id_in_a_span_of_time() {
    let server = Server::start().await;
    server.topic("t", 2).await;
    server.topic("u", 1).await;
    let mut client = server.client().await;
    for (topic, queue, body, properties) in [
        ("t", 0, "a", "KEYS\u{1}one two\u{2}UNIQ_KEY\u{1}id-a\u{2}"),
        ("t", 1, "b", "KEYS\u{1}two\u{2}UNIQ_KEY\u{1}id-b\u{2}"),
        ("t", 0, "c", "UNIQ_KEY\u{1}two\u{2}"),
        ("u", 0, "d", "KEYS\u{1}two\u{2}"),
    ] {
        assert_eq!(client.send(topic, queue, body, properties).await.code, 0);
    }
    look_for_keys(&mut client).await;
    drop(client);
    let server = Server::start_in(server.stop().await, &[]).await;
    look_for_keys(&mut server.client().await).await;
    server.stop().await;
}

/// Comes back when all of the log is indexed.
async fn indexed(client: &mut Client) {
    let is_indexed = async {
        loop {
            let answer = client.ask(request::QUERY_MESSAGE, query("t", "nobody's")).await;
            if answer.remark.is_some_and(|remark| !remark.contains("being built")) {
                return;
            }
        }
    };
    tokio::time::timeout(FOR_EVER, is_indexed).await.expect("the index is built");
}

async fn look_for_keys(client: &mut Client) {
    indexed(client).await;
    let unique = |key| QueryMessageRequest { unique_key_query: true, ..query("t", key) };
    let mut two = found(client, query("t", "two")).await.unwrap();
    two.sort();
    assert_eq!(two, ["a", "b", "c"]);
    assert_eq!(found(client, query("t", "one")).await.unwrap(), ["a"]);
    assert_eq!(found(client, query("u", "two")).await.unwrap(), ["d"]);
    assert_eq!(found(client, unique("id-b")).await.unwrap(), ["b"]);
    assert_eq!(found(client, unique("two")).await.unwrap(), ["c"]);
    let newest = QueryMessageRequest { max_num: 1, ..query("t", "two") };
    assert_eq!(found(client, newest).await.unwrap().len(), 1);
    let before = QueryMessageRequest { end_timestamp: 1_700_000_000_000, ..query("t", "two") };
    let behind = QueryMessageRequest { begin_timestamp: i64::MAX - 1, ..query("t", "two") };
    for missing in [before, behind, query("t", "three"), query("nowhere", "two"), unique("one")] {
        assert_eq!(found(client, missing).await, Err(response::QUERY_NOT_FOUND));
    }
}
