//! What gRPC consumers are given: once while they work on it, again if they fail, in order where that is asked for.

use crate::admin_groups::commit_as_kafka;
use crate::client::Client;
use crate::grpc_client::{GROUP, GrpcClient, GrpcNode, body, code, message, resource, seconds, system};
use crate::node::FOR_EVER;
use duolog_base::{Offset, PartitionIndex};
use duolog_rocketmq_proto::{
    Code, FilterExpression, FilterType, ForwardMessageToDeadLetterQueueRequest, Message, MessageType, ReceiveMessageRequest,
};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::DeleteSubscriptionGroupRequest;

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(body).collect()
}

#[tokio::test]
async fn a_message_is_hidden_until_its_time_is_over_and_gone_once_acknowledged() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let (mut one, mut two) = (server.client("one").await, server.client("two").await);
    one.send_all("orders", 0, &["a", "b"]).await;
    let received = one.receive("orders", 32).await;
    assert_eq!(bodies(&received), ["a", "b"]);
    assert!(two.finds_nothing("orders", 0).await);
    assert_eq!(one.acknowledge("orders", &received[1]).await, Code::Ok);
    assert_eq!(one.acknowledge("orders", &received[1]).await, Code::InvalidReceiptHandle);

    let handle = one.hide("orders", &received[0], 1).await.unwrap();
    assert_ne!(Some(&handle), system(&received[0]).receipt_handle.as_ref());
    assert_eq!(one.hide("orders", &received[0], 1).await, Err(Code::InvalidReceiptHandle), "the handle is another one now");
    let again = two.receive("orders", 32).await;
    assert_eq!((bodies(&again), system(&again[0]).delivery_attempt), (vec!["a"], Some(2)));
    assert_eq!(two.acknowledge("orders", &again[0]).await, Code::Ok);
    assert!(one.finds_nothing("orders", 0).await);
    server.stop().await;
}

#[tokio::test]
async fn a_receive_waits_for_messages_of_any_queue() {
    let server = GrpcNode::start().await;
    server.topic("orders", 4).await;
    let (mut consumer, mut producer) = (server.client("consumer").await, server.client("producer").await);
    assert!(consumer.finds_nothing("orders", 0).await);
    let mut waiting = consumer.clone();
    let waiting = tokio::spawn(async move { waiting.receive("orders", 1).await });
    producer.send_all("orders", 3, &["late"]).await;
    let received = tokio::time::timeout(FOR_EVER, waiting).await.unwrap().unwrap();
    assert_eq!((bodies(&received), system(&received[0]).queue_id), (vec!["late"], 3));
    server.stop().await;
}

#[tokio::test]
async fn acknowledgements_outlive_a_restart_and_what_was_not_acknowledged_comes_again() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["a", "b", "c", "d"]).await;
    let received = client.receive("orders", 3).await;
    for message in &received[..2] {
        assert_eq!(client.acknowledge("orders", message).await, Code::Ok);
    }
    drop(client);
    let server = GrpcNode::start_in(server.stop().await, &[]).await;
    let mut client = server.client("c").await;
    assert_eq!(bodies(&client.receive("orders", 32).await), ["c", "d"]);
    assert_eq!(client.acknowledge("orders", &received[2]).await, Code::InvalidReceiptHandle, "of an earlier process");
    server.stop().await;
}

#[tokio::test]
async fn each_acknowledgement_and_attempt_outlives_a_restart_and_a_late_acknowledgement_counts() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["a", "b", "c", "d", "e"]).await;
    let received = client.receive("orders", 32).await;
    for acknowledged in [1, 3] {
        assert_eq!(client.acknowledge("orders", &received[acknowledged]).await, Code::Ok);
    }
    client.hide("orders", &received[4], 1).await.unwrap();
    let again = client.receive("orders", 32).await;
    assert_eq!((bodies(&again), system(&again[0]).delivery_attempt), (vec!["e"], Some(2)));
    drop(client);
    let server = GrpcNode::start_in(server.stop().await, &[]).await;
    let mut client = server.client("c").await;
    assert_eq!(client.acknowledge("orders", &received[0]).await, Code::Ok, "nobody else has it");
    let left = client.receive("orders", 32).await;
    assert_eq!(bodies(&left), ["c", "e"]);
    assert_eq!(system(&left[1]).delivery_attempt, Some(2), "the first one has ended, the second was under way");
    for message in &left {
        assert_eq!(client.acknowledge("orders", message).await, Code::Ok);
    }
    assert_eq!(server.node.committed(GROUP, "orders", PartitionIndex(0)).await.unwrap(), Some(Offset(5)));
    server.stop().await;
}

#[tokio::test]
async fn what_a_filter_leaves_out_is_done_with() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    for (text, tag) in [("a", "red"), ("b", "blue"), ("c", "red"), ("d", "blue")] {
        let mut message = message("orders", text, text);
        message.system_properties.as_mut().unwrap().tag = Some(tag.to_owned());
        assert_eq!(code(&client.send(vec![message]).await.status), Code::Ok);
    }
    let only = |tag: &str, batch_size| {
        let filter_expression = Some(FilterExpression { r#type: FilterType::Tag.into(), expression: tag.to_owned() });
        ReceiveMessageRequest { filter_expression, ..GrpcClient::receiving("orders", 0, batch_size) }
    };
    let (_, received) = client.receive_as(only("red", 1)).await;
    assert_eq!(bodies(&received), ["a"]);
    let (_, more) = client.receive_as(only("red", 32)).await;
    assert_eq!(bodies(&more), ["c"]);
    for message in received.iter().chain(&more) {
        assert_eq!(client.acknowledge("orders", message).await, Code::Ok);
    }
    assert!(client.finds_nothing("orders", 0).await);
    assert_eq!(server.node.committed(GROUP, "orders", PartitionIndex(0)).await.unwrap(), Some(Offset(4)));
    server.stop().await;
}

#[tokio::test]
async fn a_group_that_is_deleted_with_its_offsets_begins_anew() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["a"]).await;
    let received = client.receive("orders", 32).await;
    assert_eq!(client.acknowledge("orders", &received[0]).await, Code::Ok);
    let mut remoting = Client::connect(server.remoting).await;
    let delete = DeleteSubscriptionGroupRequest { group_name: GROUP, clean_offset: true };
    assert_eq!(remoting.ask(request::DELETE_SUBSCRIPTIONGROUP, delete).await.code, 0);
    let again = async {
        loop {
            let request = ReceiveMessageRequest { long_polling_timeout: seconds(0), ..GrpcClient::receiving("orders", 0, 3) };
            let (_, messages) = client.receive_as(request).await;
            if !messages.is_empty() {
                return messages;
            }
        }
    };
    let again = tokio::time::timeout(FOR_EVER, again).await.expect("the server learns of it");
    assert_eq!(bodies(&again), ["a"]);
    server.stop().await;
}

#[tokio::test]
async fn an_offset_that_somebody_sets_counts_although_members_acknowledge_what_they_have() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["a", "b", "c"]).await;
    let received = client.receive("orders", 3).await;
    assert_eq!(client.acknowledge("orders", &received[0]).await, Code::Ok);
    server.node.store_offsets().await;
    commit_as_kafka(&server.node, GROUP, "orders", 0).await;
    assert_eq!(client.acknowledge("orders", &received[1]).await, Code::Ok);
    server.node.store_offsets().await;
    let committed = server.node.committed(GROUP, "orders", PartitionIndex(0)).await.unwrap();
    assert_eq!(committed, Some(Offset(0)));
    let again = async {
        loop {
            let request = ReceiveMessageRequest { long_polling_timeout: seconds(0), ..GrpcClient::receiving("orders", 0, 3) };
            let (_, messages) = client.receive_as(request).await;
            if !messages.is_empty() {
                return messages;
            }
        }
    };
    let again = tokio::time::timeout(FOR_EVER, again).await.expect("the server learns of the offset");
    assert_eq!(bodies(&again), ["a", "b", "c"]);
    server.stop().await;
}

#[tokio::test]
async fn an_ordered_group_gets_a_queue_in_order_and_one_batch_at_a_time() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    server.ordered_group(GROUP).await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["a", "b", "c"]).await;
    let attempt = |id: &str| ReceiveMessageRequest { attempt_id: Some(id.to_owned()), ..GrpcClient::receiving("orders", 0, 2) };
    let (_, first) = client.receive_as(attempt("1")).await;
    assert_eq!(bodies(&first), ["a", "b"]);
    assert!(client.finds_nothing("orders", 0).await, "c has to wait");
    let (_, repeated) = client.receive_as(attempt("1")).await;
    assert_eq!((bodies(&repeated), system(&repeated[0]).delivery_attempt), (vec!["a", "b"], Some(1)));
    assert_eq!(client.acknowledge("orders", &first[0]).await, Code::InvalidReceiptHandle);

    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.receive("orders", 2).await });
    for message in &repeated {
        assert_eq!(client.acknowledge("orders", message).await, Code::Ok);
    }
    let next = tokio::time::timeout(FOR_EVER, waiting).await.unwrap().unwrap();
    assert_eq!(bodies(&next), ["c"]);
    server.stop().await;
}

#[tokio::test]
async fn message_groups_of_an_ordered_group_do_not_wait_for_each_other() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    server.ordered_group(GROUP).await;
    let mut client = server.client("c").await;
    for (text, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        let mut message = message("orders", text, text);
        let system = message.system_properties.as_mut().unwrap();
        (system.message_type, system.message_group) = (MessageType::Fifo.into(), Some(group.to_owned()));
        assert_eq!(code(&client.send(vec![message]).await.status), Code::Ok);
    }
    let first = client.receive("orders", 1).await;
    assert_eq!(bodies(&first), ["a1"]);
    let others = client.receive("orders", 32).await;
    assert_eq!(bodies(&others), ["b1", "b2"], "those of the other message group go on");
    assert!(client.finds_nothing("orders", 0).await);
    client.hide("orders", &first[0], 1).await.unwrap();
    let again = client.receive("orders", 2).await;
    assert_eq!(bodies(&again), ["a1", "a2"]);
    assert_eq!((system(&again[0]).delivery_attempt, system(&again[1]).delivery_attempt), (Some(2), Some(1)));
    assert!(client.finds_nothing("orders", 0).await, "a3 has to wait");
    for message in others.iter().chain(&again) {
        assert_eq!(client.acknowledge("orders", message).await, Code::Ok);
    }
    assert_eq!(bodies(&client.receive("orders", 32).await), ["a3"]);
    server.stop().await;
}

#[tokio::test]
async fn what_is_given_up_or_fails_too_often_is_a_dead_letter() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    server.configure_group(GROUP, "rocketmq.retry.max.times", "1").await;
    let mut client = server.client("c").await;
    client.send_all("orders", 0, &["hopeless", "unlucky"]).await;
    let received = client.receive("orders", 32).await;
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
    let second = client.receive("orders", 32).await;
    assert_eq!((bodies(&second), system(&second[0]).delivery_attempt), (vec!["unlucky"], Some(2)));
    client.hide("orders", &second[0], 1).await.unwrap();
    // The one who looks next finds it dead; that it is so needs a receive while its time is over.
    let dead = ReceiveMessageRequest { group: resource("undertaker"), ..GrpcClient::receiving("%DLQ%workers", 0, 1) };
    let (_, first) = client.receive_as(dead.clone()).await;
    assert_eq!(bodies(&first), ["hopeless"]);
    let mut other = client.clone();
    let looking = tokio::spawn(async move {
        let request = ReceiveMessageRequest { long_polling_timeout: seconds(50), ..GrpcClient::receiving("orders", 0, 32) };
        other.receive_as(request).await
    });
    let (_, last) = client.receive_as(dead).await;
    assert_eq!(bodies(&last), ["unlucky"]);
    let origin = system(&last[0]).dead_letter_queue.as_ref().unwrap();
    assert_eq!(origin.topic, "orders");
    looking.abort();
    server.stop().await;
}

#[tokio::test]
async fn the_time_a_message_is_hidden_has_bounds() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    for hidden in [0, 9, 13 * 3600] {
        let request = ReceiveMessageRequest { invisible_duration: seconds(hidden), ..GrpcClient::receiving("orders", 0, 1) };
        let (status, _) = client.receive_as(request).await;
        assert_eq!(status.code(), Code::IllegalInvisibleTime, "{hidden}");
    }
    server.stop().await;
}

#[tokio::test]
async fn stopping_ends_receives_that_wait() {
    let server = GrpcNode::start().await;
    server.topic("orders", 1).await;
    let mut client = server.client("c").await;
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.receive_as(GrpcClient::receiving("orders", 0, 1)).await });
    assert!(client.finds_nothing("orders", 0).await);
    server.stop().await;
    let (status, messages) = waiting.await.unwrap();
    assert_eq!((status.code(), messages.len()), (Code::MessageNotFound, 0));
}
