//! A server in this process, and a client that writes remoting frames by hand.

use crate::node::{self, FOR_EVER, Served};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex};
use duolog_rocketmq::{Node, RocketMqServer};
use duolog_wire::record::{DecompressLimits, batches, decode_batch};
use duolog_wire::remoting::code::request;
use duolog_wire::remoting::header::{
    Header, PullMessageRequest, PullMessageResponse, SendMessageRequest, SendMessageRequestV2, SendMessageResponse,
};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::{Command, HeaderForm};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const SUSPEND: i32 = 2;
pub const SUBSCRIPTION: i32 = 4;

pub struct Server {
    pub node: Arc<Node>,
    pub broker: SocketAddr,
    pub name_server: SocketAddr,
    served: Served,
}

impl Server {
    pub async fn start() -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    pub async fn start_with(values: &[(&str, &str)]) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), values).await
    }

    pub async fn start_in(dir: TempDir, values: &[(&str, &str)]) -> Server {
        let node = node::open(&dir, values).await;
        Server::serve(node, dir)
    }

    pub fn serve(node: Arc<Node>, dir: TempDir) -> Server {
        let (brokers, name_servers) = (node::listener("rocketmq"), node::listener("namesrv"));
        let server = RocketMqServer::listen(brokers, name_servers, node.clone(), node::door()).unwrap();
        let (broker, name_server) = (server.broker_addresses()[0], server.name_server_addresses()[0]);
        let served = Served::start(node.clone(), dir, |stopped| server.serve(stopped));
        Server { node, broker, name_server, served }
    }

    /// Stops gracefully and gives back the directory.
    pub async fn stop(self) -> TempDir {
        self.served.stop().await
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.broker).await
    }

    pub async fn topic(&self, name: &str, queues: i32) {
        self.node.create_topic(name, queues).await.unwrap();
    }

    /// What Kafka clients read of a partition: offset and value of each record.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<(i64, String)> {
        let image = self.node.broker.image();
        let topic = image.topic(topic).unwrap();
        let fetched = self.node.broker.read(topic, PartitionIndex(partition), Offset(0), usize::MAX, true, None).unwrap();
        let bytes = fetched.plan.materialize().unwrap();
        let mut records = Vec::new();
        for batch in batches(&bytes) {
            let batch = decode_batch(&bytes[batch.unwrap().1], DecompressLimits::default()).unwrap();
            for record in batch.records() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
                records.push((record.offset.0, value));
            }
        }
        records
    }
}

pub struct Client {
    pub stream: TcpStream,
    pub form: HeaderForm,
    opaque: i32,
}

/// A message as a pull brings it.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub offset: i64,
    pub body: String,
    pub properties: String,
    pub commit_log_offset: i64,
    pub reconsume_times: i32,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        Client { stream, form: HeaderForm::Json, opaque: 0 }
    }

    pub async fn write(&mut self, command: &Command) {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub fn request<'a>(&mut self, code: i32, header: impl Header<'a>) -> Command {
        self.opaque += 1;
        let mut command = Command::request(code, self.opaque, self.form);
        header.put(&mut command.fields);
        command
    }

    /// The next frame, whatever it is.
    pub async fn read(&mut self) -> Command {
        let read = async {
            let size = self.stream.read_u32().await.unwrap();
            let mut frame = vec![0; size as usize];
            self.stream.read_exact(&mut frame).await.unwrap();
            Command::decode(Bytes::from(frame)).unwrap()
        };
        tokio::time::timeout(FOR_EVER, read).await.expect("a frame comes")
    }

    /// Sends a request and reads up to its answer.
    pub async fn call(&mut self, command: Command) -> Command {
        self.write(&command).await;
        loop {
            let answer = self.read().await;
            if answer.is_response() {
                assert_eq!((answer.opaque, answer.form), (command.opaque, command.form));
                return answer;
            }
        }
    }

    pub async fn ask<'a>(&mut self, code: i32, header: impl Header<'a>) -> Command {
        let command = self.request(code, header);
        self.call(command).await
    }

    /// The next request of the server's own.
    pub async fn told(&mut self) -> Command {
        let told = self.read().await;
        assert!(!told.is_response(), "{told:?}");
        told
    }

    /// Whether the server closes the connection without another byte.
    pub async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        tokio::time::timeout(FOR_EVER, read).await.expect("the connection ends").is_ok() && rest.is_empty()
    }

    pub async fn send(&mut self, topic: &str, queue: i32, body: &str, properties: &str) -> Command {
        let command = self.request(request::SEND_MESSAGE_V2, send_header(topic, queue, properties));
        self.call(command.with_body(body.as_bytes().to_vec())).await
    }

    pub async fn pull(&mut self, header: PullMessageRequest<'_>) -> Command {
        self.ask(request::PULL_MESSAGE, header).await
    }

    /// The messages of a queue from an offset on.
    pub async fn messages(&mut self, topic: &str, queue: i32, from: i64) -> Vec<Message> {
        let answer = self.pull(pull_header(topic, queue, from)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        messages(&answer)
    }
}

pub fn send_header<'a>(topic: &'a str, queue: i32, properties: &'a str) -> SendMessageRequestV2<'a> {
    SendMessageRequestV2 {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: queue,
        born_timestamp: 1_700_000_000_000,
        properties: Some(properties),
        ..SendMessageRequestV2::default()
    }
}

pub fn long_send_header<'a>(topic: &'a str, queue: i32) -> SendMessageRequest<'a> {
    SendMessageRequest {
        producer_group: "producers",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: queue,
        ..SendMessageRequest::default()
    }
}

pub fn pull_header<'a>(topic: &'a str, queue: i32, from: i64) -> PullMessageRequest<'a> {
    PullMessageRequest {
        consumer_group: "consumers",
        topic,
        queue_id: queue,
        queue_offset: from,
        max_msg_nums: 32,
        sys_flag: SUBSCRIPTION,
        suspend_timeout_millis: 20_000,
        subscription: Some("*"),
        ..PullMessageRequest::default()
    }
}

pub fn sent(answer: &Command) -> SendMessageResponse<'_> {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    SendMessageResponse::from_fields(&answer.fields).unwrap()
}

pub fn pulled(answer: &Command) -> PullMessageResponse {
    PullMessageResponse::from_fields(&answer.fields).unwrap()
}

pub fn messages(answer: &Command) -> Vec<Message> {
    let mut rest = &answer.body[..];
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let message = StoredMessage::take(&mut rest).unwrap();
        messages.push(Message {
            offset: message.queue_offset,
            body: String::from_utf8(message.body.to_vec()).unwrap(),
            properties: message.properties.text().to_owned(),
            commit_log_offset: message.commit_log_offset,
            reconsume_times: message.reconsume_times,
        });
    }
    messages
}

pub fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str()).collect()
}
