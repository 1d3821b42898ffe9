//! Frames that mean no good, and requests that nobody serves.

use crate::client::{Server, sent};
use duolog_wire::remoting::code::{request, response};
use duolog_wire::remoting::header::{CommonFields, ConsumerGroupRequest, QueryConsumerOffsetRequest};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn malformed_frames_close_the_connection_and_harm_nobody_else() {
    let server = Server::start().await;
    let frames: &[&[u8]] = &[
        b"\x00\x00\x00\x03\x00\x00\x00",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\x00\x00\x00\x08\x00\x00\x00\x09{}{}",
        b"\x00\x00\x00\x08\x07\x00\x00\x04{}{}",
        b"\x00\x00\x00\x08\x00\x00\x00\x04[[[[",
        b"\x00\x00\x00\x06\x00\x00\x00\x02\xff\xfe",
    ];
    for frame in frames {
        let mut client = server.client().await;
        client.stream.write_all(frame).await.unwrap();
        assert!(client.closed().await, "{frame:?}");
    }
    let mut client = server.client().await;
    assert_eq!(sent(&client.send("fresh", 0, "x", "").await).queue_offset, 0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_served_is_said_to_be_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for code in [0, -1, 99_999, request::REGISTER_BROKER] {
        let answer = client.ask(code, CommonFields::default()).await;
        assert_eq!(answer.code, response::REQUEST_CODE_NOT_SUPPORTED);
        assert!(answer.remark.unwrap().contains(&code.to_string()));
    }
    let one_way = client.request(99_999, CommonFields::default()).one_way();
    client.write(&one_way).await;
    let answer = client.ask(request::GET_CONSUMER_LIST_BY_GROUP, ConsumerGroupRequest { consumer_group: "g" }).await;
    assert_eq!(answer.code, response::SYSTEM_ERROR);
    server.stop().await;
}

#[tokio::test]
async fn requests_without_their_fields_and_bodies_are_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for code in [request::SEND_MESSAGE, request::SEND_MESSAGE_V2, request::PULL_MESSAGE, request::QUERY_CONSUMER_OFFSET] {
        let answer = client.ask(code, CommonFields::default()).await;
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert!(answer.remark.unwrap().contains("is missing"));
    }
    for code in [request::HEART_BEAT, request::LOCK_BATCH_MQ, request::CHECK_CLIENT_CONFIG] {
        let command = client.request(code, CommonFields::default()).with_body("{\"clientID\":");
        assert_eq!(client.call(command).await.code, response::SYSTEM_ERROR, "{code}");
    }
    let odd = QueryConsumerOffsetRequest { consumer_group: "../g", topic: "../../etc/passwd", ..Default::default() };
    assert_eq!(client.ask(request::QUERY_CONSUMER_OFFSET, odd).await.code, response::TOPIC_NOT_EXIST);
    let names = [("../../x", response::SYSTEM_ERROR), ("a b", response::SYSTEM_ERROR), ("good", response::SUCCESS)];
    for (group, code) in names {
        let body = format!("{{\"clientID\":\"c\",\"consumerDataSet\":[{{\"groupName\":\"{group}\"}}]}}");
        let command = client.request(request::HEART_BEAT, CommonFields::default()).with_body(body);
        assert_eq!(client.call(command).await.code, code, "{group}");
    }
    server.stop().await;
}
