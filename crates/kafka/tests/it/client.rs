//! A server in this process, and a client that writes requests by hand.

use bytes::BytesMut;
use duolog_base::{Clock, ProducerEpoch, ProducerId, RealDisk, SystemClock, TimestampMs};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::TopicImage;
use duolog_core::share::ShareGroups;
use duolog_kafka::{KafkaServer, Services};
use duolog_net::{Bound, ConnectionLimits, Door, Listener};
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::{PartitionProduceResponse, ProduceResponse};
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{Decoder, Encoder, Records, frame};
use duolog_wire::record::{BatchBuilder, Compression, DecompressLimits, NewRecord, batches, decode_batch};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;

pub struct Server {
    pub broker: Arc<Broker>,
    share: Arc<ShareGroups>,
    pub address: SocketAddr,
    dir: TempDir,
    stop: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Every server here has two data directories, so that the topics of a request lie in different logs.
pub const DATA_DIRECTORIES: [&str; 2] = ["one", "two"];

impl Server {
    pub async fn start() -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), ConnectionLimits::default()).await
    }

    pub async fn start_in(dir: TempDir, limits: ConnectionLimits) -> Server {
        Server::start_at(dir, limits, Arc::new(SystemClock::default())).await
    }

    pub async fn start_at(dir: TempDir, limits: ConnectionLimits, clock: Arc<dyn Clock>) -> Server {
        let values = [("log.file.bytes", "8388608"), ("log.disk.reserve.bytes", "0"), ("group.initial.rebalance.delay.ms", "0")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned(), Source::Flag));
        let options = BrokerOptions {
            data_dirs: DATA_DIRECTORIES.map(|name| dir.path().join(name)).to_vec(),
            config: BrokerConfig::from_values(values.to_vec()).unwrap(),
            disk: Arc::new(RealDisk),
            clock,
            cluster: None,
        };
        let broker = Broker::open(options).await.unwrap();
        let groups = GroupCoordinator::start(&broker);
        let share = ShareGroups::start(&broker);
        let services =
            Arc::new(Services { broker: broker.clone(), groups, share: share.clone(), delays: Delays::start(&broker) });
        let listener = Listener { name: "kafka".to_owned(), address: SocketAddr::from(([127, 0, 0, 1], 0)), advertised: None };
        let server = KafkaServer::listen(Bound::all(vec![listener]).unwrap(), services, Door::new(limits)).unwrap();
        let address = server.local_addresses()[0];
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.serve(stopped));
        Server { broker, share, address, dir, stop, serving }
    }

    /// Stops gracefully and gives back the directory.
    pub async fn stop(self) -> TempDir {
        self.stop.send_replace(true);
        self.broker.stop_waiting();
        self.serving.await.unwrap().unwrap();
        self.share.close().await;
        self.broker.close().await;
        self.dir
    }

    pub async fn topic(&self, name: &str, configs: &[(&str, &str)]) -> Arc<TopicImage> {
        let topic = duolog_core::metadata::NewTopic {
            name: name.to_owned(),
            partitions: 4,
            replication_factor: -1,
            configs: configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            ..Default::default()
        };
        self.broker.metadata().create_topics(vec![topic], false).await.remove(0).unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

pub fn now() -> TimestampMs {
    SystemClock::default().now()
}

pub struct Client {
    pub stream: TcpStream,
    correlation: i32,
}

/// A response's frame, header included.
pub struct Response {
    bytes: Vec<u8>,
    key: i16,
    version: i16,
}

impl Response {
    /// The correlation id, and a decoder that stands at the body.
    pub fn body(&self) -> (i32, Decoder<'_>) {
        let mut decoder = Decoder::new(&self.bytes);
        let version = frame::response_header_version(self.key, self.version);
        let header = ResponseHeader::decode(&mut decoder, version).unwrap();
        (header.correlation_id, decoder)
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client { stream: TcpStream::connect(address).await.unwrap(), correlation: 0 }
    }

    pub async fn send(&mut self, key: i16, version: i16, body: impl FnOnce(&mut Encoder)) -> i32 {
        self.correlation += 1;
        let mut encoder = Encoder::new();
        frame::begin_frame(&mut encoder);
        let header = RequestHeader {
            request_api_key: key,
            request_api_version: version,
            correlation_id: self.correlation,
            client_id: Some("test"),
        };
        header.encode(&mut encoder, frame::request_header_version(key, version)).unwrap();
        body(&mut encoder);
        frame::finish_frame(&mut encoder).unwrap();
        self.stream.write_all(encoder.buffer()).await.unwrap();
        self.correlation
    }

    pub async fn receive(&mut self, key: i16, version: i16) -> Response {
        let size = self.stream.read_i32().await.unwrap();
        let mut bytes = vec![0; size as usize];
        self.stream.read_exact(&mut bytes).await.unwrap();
        Response { bytes, key, version }
    }

    pub async fn call(&mut self, key: i16, version: i16, body: impl FnOnce(&mut Encoder)) -> Response {
        let correlation = self.send(key, version, body).await;
        let response = self.receive(key, version).await;
        assert_eq!(response.body().0, correlation);
        response
    }

    /// Whether the server closes the connection without another byte.
    pub async fn closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
    }

    pub async fn send_batch(&mut self, topic: &str, partition: i32, acks: i16, batch: &[u8]) -> i32 {
        self.send(PRODUCE, 9, |encoder| produce_request(topic, partition, acks, batch).encode(encoder, 9).unwrap()).await
    }

    pub async fn receive_produced(&mut self) -> (i32, Produced) {
        let response = self.receive(PRODUCE, 9).await;
        let (correlation, mut decoder) = response.body();
        let response = ProduceResponse::decode(&mut decoder, 9).unwrap();
        (correlation, produced(&response.responses[0].partition_responses[0]))
    }

    pub async fn produce(&mut self, topic: &str, partition: i32, acks: i16, batch: &[u8]) -> Produced {
        self.send_batch(topic, partition, acks, batch).await;
        self.receive_produced().await.1
    }

    /// Fetches without a session from the beginning and gives the values.
    pub async fn values(&mut self, topic: &str, partition: i32, from: i64) -> Vec<String> {
        let request = fetch_request(topic, &[(partition, from)]);
        let response = self.call(FETCH, 12, |encoder| request.encode(encoder, 12).unwrap()).await;
        let (_, mut decoder) = response.body();
        let response = FetchResponse::decode(&mut decoder, 12).unwrap();
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        values(data.records.and_then(|records| records.bytes()).unwrap_or_default())
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Produced {
    pub error: i16,
    pub base_offset: i64,
    pub message: Option<String>,
}

fn produced(response: &PartitionProduceResponse<'_>) -> Produced {
    Produced { error: response.error_code, base_offset: response.base_offset, message: response.error_message.map(str::to_owned) }
}

pub fn produce_request<'a>(topic: &'a str, partition: i32, acks: i16, batch: &'a [u8]) -> ProduceRequest<'a> {
    let partition_data = vec![PartitionProduceData { index: partition, records: Some(Records::Borrowed(batch)) }];
    let topic_data = vec![TopicProduceData { name: topic, partition_data, ..Default::default() }];
    ProduceRequest { acks, timeout_ms: 30_000, topic_data, ..Default::default() }
}

pub fn fetch_request<'a>(topic: &'a str, partitions: &[(i32, i64)]) -> FetchRequest<'a> {
    let partitions = partitions
        .iter()
        .map(|(partition, from)| FetchPartition {
            partition: *partition,
            fetch_offset: *from,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        })
        .collect();
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 10 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic { topic, partitions, ..Default::default() }],
        ..Default::default()
    }
}

pub fn batch(values: &[&str]) -> BytesMut {
    batch_of(BatchBuilder::new(Compression::None), values)
}

pub fn idempotent_batch(id: i64, epoch: i16, sequence: i32, values: &[&str]) -> BytesMut {
    let builder = BatchBuilder::new(Compression::None).producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    batch_of(builder, values)
}

fn batch_of(mut builder: BatchBuilder, values: &[&str]) -> BytesMut {
    for value in values {
        builder.push(NewRecord { timestamp: now(), key: None, value: Some(value.as_bytes()), headers: &[] }).unwrap();
    }
    let mut bytes = BytesMut::new();
    builder.build(&mut bytes).unwrap();
    bytes
}

/// The values of all records; whole batches only.
pub fn values(bytes: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    for batch in batches(bytes) {
        let (_, range) = batch.unwrap();
        let decoded = decode_batch(&bytes[range], DecompressLimits::default()).unwrap();
        for record in decoded.records() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}
