//! A server of both of RocketMQ's protocols in this process, and the generated client.

use crate::node::{self, Served};
use duolog_core::metadata::{ConfigChange, ConfigOperation, ConfigResource, ConfigUpdate};
use duolog_rocketmq::{GrpcServer, Node, RocketMqServer};
use duolog_rocketmq_proto::messaging_service_client::MessagingServiceClient;
use duolog_rocketmq_proto::{
    AckMessageEntry, AckMessageRequest, ChangeInvisibleDurationRequest, Code, FilterExpression, FilterType, Message,
    MessageQueue, MessageType, ReceiveMessageRequest, Resource, SendMessageRequest, SendMessageResponse, Status,
    SystemProperties, receive_message_response::Content,
};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch::Receiver;
use tonic::Request;
use tonic::transport::Channel;

pub const GROUP: &str = "workers";

pub struct GrpcNode {
    pub node: Arc<Node>,
    pub address: SocketAddr,
    /// Where remoting is spoken.
    pub remoting: SocketAddr,
    served: Served,
}

impl GrpcNode {
    pub async fn start() -> GrpcNode {
        GrpcNode::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    pub async fn start_in(dir: TempDir, values: &[(&str, &str)]) -> GrpcNode {
        let node = node::open(&dir, values).await;
        GrpcNode::serve(node, dir)
    }

    pub fn serve(node: Arc<Node>, dir: TempDir) -> GrpcNode {
        let door = node::door();
        let old = RocketMqServer::listen(node::listener("rocketmq"), Vec::new(), node.clone(), door.clone()).unwrap();
        let server = GrpcServer::listen(node::listener("grpc"), node.clone(), door).unwrap();
        let (address, remoting) = (server.local_addresses()[0], old.broker_addresses()[0]);
        let serve = |stopped: Receiver<bool>| async move {
            tokio::try_join!(old.serve(stopped.clone()), server.serve(stopped)).map(|_| ())
        };
        let served = Served::start(node.clone(), dir, serve);
        GrpcNode { node, address, remoting, served }
    }

    /// Stops gracefully and gives back the directory.
    pub async fn stop(self) -> TempDir {
        self.served.stop().await
    }

    pub async fn topic(&self, name: &str, queues: i32) {
        self.node.create_topic(name, queues).await.unwrap();
    }

    pub async fn ordered_group(&self, group: &str) {
        self.configure_group(group, "rocketmq.consume.orderly", "true").await;
    }

    pub async fn configure_group(&self, group: &str, key: &str, value: &str) {
        let update = ConfigUpdate::Incremental(vec![(key.to_owned(), ConfigOperation::Set(Some(value.to_owned())))]);
        let change = ConfigChange { resource: ConfigResource::Group(group.to_owned()), update };
        self.node.broker.metadata().alter_configs(vec![change], false).await.remove(0).unwrap();
    }

    pub async fn client(&self, id: &'static str) -> GrpcClient {
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        GrpcClient { client: MessagingServiceClient::new(channel), id }
    }
}

#[derive(Clone)]
pub struct GrpcClient {
    pub client: MessagingServiceClient<Channel>,
    pub id: &'static str,
}

pub fn resource(name: &str) -> Option<Resource> {
    Some(Resource { resource_namespace: String::new(), name: name.to_owned() })
}

pub fn queue(topic: &str, id: i32) -> Option<MessageQueue> {
    Some(MessageQueue { topic: resource(topic), id, ..MessageQueue::default() })
}

pub fn message(topic: &str, id: &str, body: &str) -> Message {
    let system = SystemProperties {
        message_id: id.to_owned(),
        message_type: MessageType::Normal.into(),
        born_host: "test".to_owned(),
        ..SystemProperties::default()
    };
    Message {
        topic: resource(topic),
        system_properties: Some(system),
        body: body.as_bytes().to_vec().into(),
        ..Message::default()
    }
}

pub fn code(status: &Option<Status>) -> Code {
    status.as_ref().unwrap().code()
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Properties that this message has by now, as a consumer.
pub fn system(message: &Message) -> &SystemProperties {
    message.system_properties.as_ref().unwrap()
}

pub fn body(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

impl GrpcClient {
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-mq-client-id", self.id.parse().unwrap());
        request
    }

    pub async fn send(&mut self, messages: Vec<Message>) -> SendMessageResponse {
        let request = self.request(SendMessageRequest { messages });
        self.client.send_message(request).await.unwrap().into_inner()
    }

    /// Sends bodies to a queue, one by one.
    pub async fn send_all(&mut self, topic: &str, queue: i32, bodies: &[&str]) {
        for text in bodies {
            let mut message = message(topic, &format!("id-{text}"), text);
            message.system_properties.as_mut().unwrap().queue_id = queue;
            let answer = self.send(vec![message]).await;
            assert_eq!(code(&answer.status), Code::Ok, "{answer:?}");
        }
    }

    pub fn receiving(topic: &str, queue_id: i32, batch_size: i32) -> ReceiveMessageRequest {
        ReceiveMessageRequest {
            group: resource(GROUP),
            message_queue: queue(topic, queue_id),
            filter_expression: Some(FilterExpression { r#type: FilterType::Tag.into(), expression: "*".to_owned() }),
            batch_size,
            invisible_duration: seconds(30),
            long_polling_timeout: seconds(50),
            ..ReceiveMessageRequest::default()
        }
    }

    pub async fn receive_as(&mut self, request: ReceiveMessageRequest) -> (Status, Vec<Message>) {
        let request = self.request(request);
        let mut answers = self.client.receive_message(request).await.unwrap().into_inner();
        let (mut status, mut messages) = (None, Vec::new());
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.content.unwrap() {
                Content::Status(given) => status = Some(given),
                Content::Message(message) => messages.push(message),
                Content::DeliveryTimestamp(_) => {}
            }
        }
        (status.unwrap(), messages)
    }

    /// Receives up to so many messages, and waits for the first.
    pub async fn receive(&mut self, topic: &str, batch_size: i32) -> Vec<Message> {
        let (status, messages) = self.receive_as(GrpcClient::receiving(topic, -1, batch_size)).await;
        assert_eq!(status.code(), Code::Ok, "{status:?}");
        messages
    }

    /// Whether there is nothing to receive now.
    pub async fn finds_nothing(&mut self, topic: &str, queue: i32) -> bool {
        let request = ReceiveMessageRequest { long_polling_timeout: seconds(0), ..GrpcClient::receiving(topic, queue, 32) };
        let (status, messages) = self.receive_as(request).await;
        assert_eq!(status.code() == Code::MessageNotFound, messages.is_empty(), "{status:?}");
        messages.is_empty()
    }

    pub async fn acknowledge(&mut self, topic: &str, message: &Message) -> Code {
        let entry = AckMessageEntry {
            message_id: system(message).message_id.clone(),
            receipt_handle: system(message).receipt_handle.clone().unwrap(),
            lite_topic: None,
        };
        let request = AckMessageRequest { group: resource(GROUP), topic: resource(topic), entries: vec![entry] };
        let answer = self.client.ack_message(self.request(request)).await.unwrap().into_inner();
        assert_eq!(code(&answer.status), code(&answer.entries[0].status));
        code(&answer.status)
    }

    /// Hides a message for so long; the new handle, or why not.
    pub async fn hide(&mut self, topic: &str, message: &Message, milliseconds: i32) -> Result<String, Code> {
        let request = ChangeInvisibleDurationRequest {
            group: resource(GROUP),
            topic: resource(topic),
            receipt_handle: system(message).receipt_handle.clone().unwrap(),
            invisible_duration: Some(prost_types::Duration { seconds: 0, nanos: milliseconds * 1_000_000 }),
            message_id: system(message).message_id.clone(),
            ..ChangeInvisibleDurationRequest::default()
        };
        let answer = self.client.change_invisible_duration(self.request(request)).await.unwrap().into_inner();
        match code(&answer.status) {
            Code::Ok => Ok(answer.receipt_handle),
            refused => Err(refused),
        }
    }
}
