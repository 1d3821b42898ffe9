//! Messages with a priority: the queue is the priority, and the highest queue is received from first.

use crate::client::{Client, sent};
use crate::grpc_client::{GROUP, GrpcNode, body, code, message, resource, system};
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_rocketmq_proto::{Code, Message, MessageType};

async fn priority_topic(server: &GrpcNode, name: &str, queues: i32) {
    server.topic(name, queues).await;
    let value = ConfigOperation::Set(Some("PRIORITY".to_owned()));
    let update = ConfigUpdate::Incremental(vec![("rocketmq.message.type".to_owned(), value)]);
    let change = ConfigChange { resource: ConfigResource::Topic(name.to_owned()), update };
    server.node.broker.metadata().alter_configs(vec![change], false).await.remove(0).unwrap();
}

fn with_priority(text: &str, priority: i32) -> Message {
    let mut message = message("jobs", text, text);
    let system = message.system_properties.as_mut().unwrap();
    system.message_type = MessageType::Priority.into();
    system.priority = Some(priority);
    message
}

#[tokio::test]
async fn what_is_urgent_is_received_first() {
    let server = GrpcNode::start().await;
    priority_topic(&server, "jobs", 3).await;
    let mut client = server.client("c").await;
    for (text, priority) in [("low", 0), ("middle", 1), ("high", 2), ("higher", 9), ("low again", 0)] {
        assert_eq!(code(&client.send(vec![with_priority(text, priority)]).await.status), Code::Ok);
    }
    let mut old = Client::connect(server.remoting).await;
    let answer = old.send("jobs", 0, "by remoting", "_SYS_MSG_PRIORITY_\u{1}1\u{2}").await;
    assert_eq!((sent(&answer).queue_id, sent(&answer).queue_offset), (1, 1));
    let mut texts = Vec::new();
    while texts.len() < 6 {
        for message in client.receive("jobs", 1).await {
            assert_eq!(system(&message).message_type(), MessageType::Priority);
            assert_eq!(client.acknowledge("jobs", &message).await, Code::Ok);
            texts.push((body(&message).to_owned(), system(&message).priority.unwrap(), system(&message).queue_id));
        }
    }
    let texts: Vec<_> = texts.iter().map(|(text, priority, queue)| (text.as_str(), *priority, *queue)).collect();
    let expected =
        [("high", 2, 2), ("higher", 9, 2), ("middle", 1, 1), ("by remoting", 1, 1), ("low", 0, 0), ("low again", 0, 0)];
    assert_eq!(texts, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_group_can_do_without_priorities() {
    let server = GrpcNode::start().await;
    priority_topic(&server, "jobs", 2).await;
    server.configure_group(GROUP, "rocketmq.attributes", r#"{"attributes":{"priority.factor":"0"}}"#).await;
    let mut client = server.client("c").await;
    for (text, priority) in [("low", 0), ("high", 1)] {
        assert_eq!(code(&client.send(vec![with_priority(text, priority)]).await.status), Code::Ok);
    }
    assert_eq!(body(&client.receive("jobs", 1).await[0]), "low");
    server.stop().await;
}

#[tokio::test]
async fn a_topic_takes_the_kind_of_messages_that_it_is_for() {
    let server = GrpcNode::start().await;
    priority_topic(&server, "jobs", 2).await;
    let mut client = server.client("c").await;
    let answer = client.send(vec![message("jobs", "plain", "plain")]).await;
    assert_eq!(code(&answer.status), Code::MessagePropertyConflictWithType);
    assert_eq!(code(&client.send(vec![with_priority("negative", -1)]).await.status), Code::BadRequest);
    server.topic("plain", 2).await;
    let mut urgent = with_priority("urgent", 1);
    urgent.topic = resource("plain");
    assert_eq!(code(&client.send(vec![urgent]).await.status), Code::MessagePropertyConflictWithType);
    // Over remoting the kind of a topic does not matter, as in the original.
    let mut old = Client::connect(server.remoting).await;
    assert_eq!(sent(&old.send("plain", 0, "urgent", "_SYS_MSG_PRIORITY_\u{1}7\u{2}").await).queue_id, 1);
    let in_order = "_SYS_MSG_PRIORITY_\u{1}7\u{2}__SHARDINGKEY\u{1}k\u{2}";
    assert_eq!(sent(&old.send("plain", 0, "in order", in_order).await).queue_id, 0);
    server.stop().await;
}
