//! What remoting members give back reaches the gRPC members of their group.

use crate::client::Client;
use crate::consumers::{beat, heartbeat};
use crate::grpc_client::{GROUP, GrpcClient, GrpcNode, body, code, resource, seconds, system};
use duolog_base::{Offset, PartitionIndex};
use duolog_rocketmq_proto::{Code, ForwardMessageToDeadLetterQueueRequest, Message, ReceiveMessageRequest};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::ConsumerSendMessageBackRequest;

const RETRIES: &str = "%RETRY%workers";

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(body).collect()
}

/// A remoting member of the group reads a message, and cannot do anything with it.
async fn give_back(client: &mut Client, topic: &str, offset: i64) {
    beat(client, &heartbeat("old", GROUP, &[topic])).await;
    let message = client.messages(topic, 0, offset).await.remove(0);
    let back = ConsumerSendMessageBackRequest { offset: message.commit_log_offset, group: GROUP, ..Default::default() };
    assert_eq!(client.ask(request::CONSUMER_SEND_MSG_BACK, back).await.code, 0);
}

/// A server whose group has read these topics to their ends, and a client of each protocol.
async fn server_with(topics: &[(&str, &[&str])]) -> (GrpcNode, GrpcClient, Client) {
    let server = GrpcNode::start().await;
    let (mut client, remoting) = (server.client("c").await, Client::connect(server.remoting).await);
    for (name, bodies) in topics {
        server.topic(name, 1).await;
        client.send_all(name, 0, bodies).await;
        for message in client.receive(name, 32).await {
            assert_eq!(client.acknowledge(name, &message).await, Code::Ok);
        }
    }
    (server, client, remoting)
}

#[tokio::test]
async fn a_message_that_was_given_back_is_received_under_its_topic_and_acknowledged_for_good() {
    let (server, mut client, mut remoting) = server_with(&[("orders", &["a", "b"])]).await;
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.receive("orders", 1).await });
    give_back(&mut remoting, "orders", 0).await;
    give_back(&mut remoting, "orders", 1).await;
    let first = waiting.await.unwrap().remove(0);
    assert_eq!((body(&first), first.topic.as_ref()), ("a", resource("orders").as_ref()));
    assert_eq!((system(&first).message_id.as_str(), system(&first).delivery_attempt), ("id-a", Some(2)));
    let second = client.receive("orders", 32).await;
    assert_eq!(bodies(&second), ["b"]);
    assert!(client.finds_nothing("orders", 0).await);
    assert_eq!(client.acknowledge("orders", &first).await, Code::Ok);
    assert_eq!(client.acknowledge("orders", &first).await, Code::InvalidReceiptHandle);
    let again = client.hide("orders", &second[0], 1).await;
    assert!(again.is_ok(), "{again:?}");
    let third = client.receive("orders", 32).await;
    assert_eq!((bodies(&third), system(&third[0]).delivery_attempt), (vec!["b"], Some(3)));
    drop((client, remoting));

    let server = GrpcNode::start_in(server.stop().await, &[]).await;
    assert_eq!(server.node.committed(GROUP, RETRIES, PartitionIndex(0)).await.unwrap(), Some(Offset(1)));
    let mut client = server.client("c").await;
    assert_eq!(bodies(&client.receive("orders", 32).await), ["b"], "it was never acknowledged");
    server.stop().await;
}

#[tokio::test]
async fn each_message_goes_to_those_who_receive_its_topic() {
    let (server, mut client, mut remoting) = server_with(&[("orders", &["o1", "o2"]), ("bills", &["b1"])]).await;
    give_back(&mut remoting, "bills", 0).await;
    give_back(&mut remoting, "orders", 1).await;
    let orders = client.receive("orders", 32).await;
    assert_eq!(bodies(&orders), ["o2"]);
    assert_eq!(client.acknowledge("orders", &orders[0]).await, Code::Ok);
    assert!(client.finds_nothing("orders", 0).await);
    drop((client, remoting));

    // Nobody has had the bill.
    let server = GrpcNode::start_in(server.stop().await, &[]).await;
    assert_eq!(server.node.committed(GROUP, RETRIES, PartitionIndex(0)).await.unwrap(), Some(Offset(0)));
    let mut client = server.client("c").await;
    let bills = client.receive("bills", 32).await;
    assert_eq!(bodies(&bills), ["b1"]);
    assert_eq!(client.acknowledge("bills", &bills[0]).await, Code::Ok);
    assert!(client.finds_nothing("orders", 0).await, "what lies behind the bill was acknowledged");
    assert_eq!(server.node.committed(GROUP, RETRIES, PartitionIndex(0)).await.unwrap(), Some(Offset(2)));
    server.stop().await;
}

#[tokio::test]
async fn attempts_of_both_protocols_count_until_a_message_is_dead() {
    let (server, mut client, mut remoting) = server_with(&[("orders", &["a", "b"])]).await;
    server.configure_group(GROUP, "rocketmq.retry.max.times", "2").await;
    give_back(&mut remoting, "orders", 0).await;
    give_back(&mut remoting, "orders", 1).await;
    let received = client.receive("orders", 32).await;
    assert_eq!(bodies(&received), ["a", "b"]);
    let forward = ForwardMessageToDeadLetterQueueRequest {
        group: resource(GROUP),
        topic: resource("orders"),
        receipt_handle: system(&received[0]).receipt_handle.clone().unwrap(),
        message_id: system(&received[0]).message_id.clone(),
        ..ForwardMessageToDeadLetterQueueRequest::default()
    };
    let answer = client.client.forward_message_to_dead_letter_queue(client.request(forward)).await.unwrap().into_inner();
    assert_eq!(code(&answer.status), Code::Ok);
    client.hide("orders", &received[1], 1).await.unwrap();
    let last = client.receive("orders", 32).await;
    assert_eq!((bodies(&last), system(&last[0]).delivery_attempt), (vec!["b"], Some(3)));
    client.hide("orders", &last[0], 1).await.unwrap();
    // A receive finds it dead once its time is over, and goes on waiting.
    let mut looking = client.clone();
    let looking = tokio::spawn(async move { looking.receive_as(GrpcClient::receiving("orders", 0, 32)).await });
    let dead = ReceiveMessageRequest { group: resource("undertaker"), ..GrpcClient::receiving("%DLQ%workers", 0, 1) };
    for (expected, offset, attempts, reason) in [("a", "0", "2", "consumer"), ("b", "1", "3", "attempts")] {
        let (_, letters) = client.receive_as(dead.clone()).await;
        assert_eq!(bodies(&letters), [expected]);
        let said = &letters[0].user_properties;
        let said =
            ["duolog.origin.offset", "duolog.dlq.group", "duolog.dlq.attempts", "duolog.dlq.reason"].map(|name| &*said[name]);
        assert_eq!(said, [offset, GROUP, attempts, reason]);
        assert_eq!(system(&letters[0]).dead_letter_queue.as_ref().unwrap().topic, "orders");
    }
    looking.abort();
    server.stop().await;
}

#[tokio::test]
async fn what_was_given_back_is_not_starved_by_what_is_new() {
    let (server, mut client, mut remoting) = server_with(&[("orders", &["old"])]).await;
    give_back(&mut remoting, "orders", 0).await;
    let fresh: Vec<String> = (0..20).map(|number| format!("new-{number}")).collect();
    client.send_all("orders", 0, &fresh.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut received = Vec::new();
    for _ in 0..10 {
        received.extend(client.receive("orders", 1).await);
    }
    assert!(bodies(&received).contains(&"old"), "{:?}", bodies(&received));
    server.stop().await;
}

#[tokio::test]
async fn an_ordered_group_is_given_nothing_of_the_retry_topic() {
    let (server, mut client, mut remoting) = server_with(&[("orders", &["a"])]).await;
    give_back(&mut remoting, "orders", 0).await;
    server.ordered_group(GROUP).await;
    assert!(client.finds_nothing("orders", 0).await);
    let request = ReceiveMessageRequest { long_polling_timeout: seconds(0), ..GrpcClient::receiving(RETRIES, 0, 1) };
    let (_, direct) = client.receive_as(request).await;
    assert_eq!(bodies(&direct), ["a"], "who asks for the topic itself gets it");
    server.stop().await;
}
