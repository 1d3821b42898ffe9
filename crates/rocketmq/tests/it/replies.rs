//! A question, and the reply to it.

use crate::client::{Client, Server, bodies, send_header, sent};
use crate::relay::asked;
use duolog_wire::remoting::Command;
use duolog_wire::remoting::body::{Heartbeat, ProducerData, to_json};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CommonFields, RouteRequest};
use duolog_wire::remoting::properties::Properties;

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";
const QUESTION: &str = "CORRELATION_ID\u{1}7\u{2}REPLY_TO_CLIENT\u{1}p1\u{2}TTL\u{1}3000\u{2}";

async fn producer(server: &Server, id: &str) -> Client {
    let mut producer = server.client().await;
    let heartbeat = Heartbeat {
        client_id: id.to_owned(),
        producer_data_set: vec![ProducerData { group_name: "producers".to_owned() }],
        ..Heartbeat::default()
    };
    let beat = producer.request(request::HEART_BEAT, CommonFields::default()).with_body(to_json(&heartbeat));
    assert_eq!(producer.call(beat).await.code, 0);
    producer
}

fn reply(consumer: &mut Client, body: &'static str, properties: &str) -> Command {
    consumer.request(request::SEND_REPLY_MESSAGE_V2, send_header(REPLIES, 0, properties)).with_body(body)
}

#[tokio::test]
async fn a_reply_reaches_the_one_who_asked_and_is_stored() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let (mut asker, mut consumer) = (producer(&server, "p1").await, server.client().await);
    assert_eq!(sent(&asker.send("t", 0, "how late is it?", QUESTION).await).queue_offset, 0);
    asker.send("t", 0, "by the way", "").await;
    let messages = consumer.messages("t", 0, 0).await;
    assert_eq!(Properties::new(&messages[0].properties).get("CLUSTER"), Some("DefaultCluster"));
    assert_eq!(Properties::new(&messages[1].properties).get("CLUSTER"), None);
    let route = RouteRequest { topic: REPLIES, ..RouteRequest::default() };
    assert_eq!(consumer.ask(request::GET_ROUTEINFO_BY_TOPIC, route).await.code, 0);
    let command = reply(&mut consumer, "noon", QUESTION);
    consumer.write(&command).await;
    let pushed = asked(&mut asker, request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
    assert_eq!((&pushed.body[..], pushed.fields.get("topic")), (&b"noon"[..], Some(REPLIES)));
    let properties = Properties::new(pushed.fields.get("properties").unwrap());
    assert_eq!(properties.get("CORRELATION_ID"), Some("7"));
    assert!(properties.get("PUSH_REPLY_TIME").unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
    assert_eq!(pushed.fields.get("bornHost").unwrap(), consumer.stream.local_addr().unwrap().to_string());
    asker.write(&pushed.answer(0)).await;
    let answer = consumer.read().await;
    assert_eq!((answer.opaque, sent(&answer).queue_offset), (command.opaque, 0));
    assert_eq!(bodies(&consumer.messages(REPLIES, 0, 0).await), ["noon"]);
    server.stop().await;
}

#[tokio::test]
async fn a_reply_that_nobody_takes_is_stored_and_its_sender_told() {
    let server = Server::start().await;
    server.topic("t", 1).await;
    let (mut asker, mut consumer) = (producer(&server, "p1").await, server.client().await);
    let command = reply(&mut consumer, "one", QUESTION);
    consumer.write(&command).await;
    let pushed = asked(&mut asker, request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
    asker.write(&pushed.answer(response::SYSTEM_ERROR).with_remark("too late")).await;
    let answer = consumer.read().await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    assert!(answer.remark.unwrap().contains("too late"));
    // A producer that has connected anew is found where it is now.
    let mut again = producer(&server, "p1").await;
    drop(asker);
    let command = reply(&mut consumer, "two", QUESTION);
    consumer.write(&command).await;
    let pushed = asked(&mut again, request::PUSH_REPLY_MESSAGE_TO_CLIENT).await;
    again.write(&pushed.answer(0)).await;
    assert_eq!(consumer.read().await.code, 0);
    drop(again);
    for (body, properties) in [("three", QUESTION), ("four", "CORRELATION_ID\u{1}7\u{2}")] {
        let command = reply(&mut consumer, body, properties);
        assert_eq!(consumer.call(command).await.code, response::SYSTEM_ERROR);
    }
    assert_eq!(bodies(&consumer.messages(REPLIES, 0, 0).await), ["one", "two", "three", "four"]);
    server.stop().await;
}
