//! A client of RocketMQ's gRPC protocol, for one topic and one group.

use crate::rocketmq::address;
use crate::server::Server;
use duolog_rocketmq_proto::messaging_service_client::MessagingServiceClient;
use duolog_rocketmq_proto::{
    AckMessageEntry, AckMessageRequest, Code, FilterExpression, FilterType, Message, MessageQueue, MessageType,
    ReceiveMessageRequest, Resource, SendMessageRequest, SystemProperties, receive_message_response::Content,
};
use tonic::transport::{Channel, Error};
use tonic::{Request, Status};

pub(crate) const LISTENER: [&str; 2] = ["--listen", "grpc://127.0.0.1:0"];
pub(crate) const GROUP: &str = "workers";
/// Longer than any test takes: what was received comes again after a restart only.
const HIDDEN_SECONDS: i64 = 3600;

#[derive(Clone)]
pub(crate) struct GrpcClient {
    client: MessagingServiceClient<Channel>,
    topic: &'static str,
}

/// A message that was received.
pub(crate) struct Received {
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) body: String,
    handle: String,
}

pub(crate) fn grpc_address(server: &Server) -> String {
    address(server, "grpc")
}

fn resource(name: &str) -> Option<Resource> {
    Some(Resource { resource_namespace: String::new(), name: name.to_owned() })
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-mq-client-id", "test".parse().unwrap());
    request
}

impl GrpcClient {
    pub(crate) async fn connect(address: &str, topic: &'static str) -> Result<GrpcClient, Error> {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await?;
        Ok(GrpcClient { client: MessagingServiceClient::new(channel), topic })
    }

    /// Sends bodies, each to its queue; the offsets that they got.
    pub(crate) async fn send(&mut self, bodies: &[(i32, String)]) -> Result<Vec<i64>, Status> {
        let message = |(queue_id, body): &(i32, String)| Message {
            topic: resource(self.topic),
            system_properties: Some(SystemProperties {
                message_id: body.chars().take(30).collect(),
                message_type: MessageType::Normal.into(),
                queue_id: *queue_id,
                born_host: "test".to_owned(),
                ..SystemProperties::default()
            }),
            body: body.clone().into_bytes().into(),
            ..Message::default()
        };
        let messages = bodies.iter().map(message).collect();
        let answer = self.client.send_message(request(SendMessageRequest { messages })).await?.into_inner();
        let is_stored = answer.entries.iter().all(|entry| entry.status.as_ref().is_some_and(|status| status.code() == Code::Ok));
        // The server is about to end, or had to refuse some; which were stored is not looked into.
        if !is_stored || answer.entries.len() != bodies.len() {
            return Err(Status::unknown(format!("{:?}", answer.status)));
        }
        Ok(answer.entries.iter().map(|entry| entry.offset).collect())
    }

    /// Receives up to so many messages, and waits so long for the first.
    pub(crate) async fn receive(&mut self, batch_size: i32, wait_seconds: i64) -> Result<Vec<Received>, Status> {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let receive = ReceiveMessageRequest {
            group: resource(GROUP),
            message_queue: Some(MessageQueue { topic: resource(self.topic), id: -1, ..MessageQueue::default() }),
            filter_expression: Some(FilterExpression { r#type: FilterType::Tag.into(), expression: "*".to_owned() }),
            batch_size,
            invisible_duration: seconds(HIDDEN_SECONDS),
            long_polling_timeout: seconds(wait_seconds),
            ..ReceiveMessageRequest::default()
        };
        let mut answers = self.client.receive_message(request(receive)).await?.into_inner();
        let mut messages = Vec::new();
        while let Some(answer) = answers.message().await? {
            match answer.content.unwrap() {
                Content::Message(message) => messages.push(received(message)),
                Content::Status(status) => assert!(matches!(status.code(), Code::Ok | Code::MessageNotFound), "{status:?}"),
                Content::DeliveryTimestamp(_) => {}
            }
        }
        Ok(messages)
    }

    pub(crate) async fn acknowledge(&mut self, message: &Received) -> Result<(), Status> {
        let receipt_handle = message.handle.clone();
        let entries = vec![AckMessageEntry { receipt_handle, ..AckMessageEntry::default() }];
        let acknowledge = AckMessageRequest { group: resource(GROUP), topic: resource(self.topic), entries };
        let answer = self.client.ack_message(request(acknowledge)).await?.into_inner();
        assert_eq!(answer.status.map(|status| status.code()), Some(Code::Ok));
        Ok(())
    }
}

fn received(message: Message) -> Received {
    let system = message.system_properties.unwrap();
    Received {
        queue: system.queue_id,
        offset: system.queue_offset.unwrap(),
        body: String::from_utf8(message.body.to_vec()).unwrap(),
        handle: system.receipt_handle.unwrap(),
    }
}
