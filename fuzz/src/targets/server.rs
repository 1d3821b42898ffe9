//! A server in this process that takes whatever frames come: no task of it may panic, and every answer must be one.
//!
//! Batches in produce requests get the checksum they should have, and a certain topic id stands for the topic that is there,
//! so that what is behind those checks is reached, too. Requests that wait (Fetch, JoinGroup) are left waiting.

use crate::codecs;
use duolog_base::{RealDisk, SystemClock, TopicId};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::NewTopic;
use duolog_core::share::ShareGroups;
use duolog_kafka::{KafkaServer, Services};
use duolog_net::{Bound, ConnectionLimits, Door, Listener};
use duolog_wire::kafka::api::api;
use duolog_wire::kafka::frame::{decode_request_header, response_header_version};
use duolog_wire::kafka::messages::produce_request::ProduceRequest;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{Decoder, Encoder};
use duolog_wire::record::{ATTRIBUTES_AT, CRC_AT, batches};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long an answer is awaited before the connection is given up.
const PATIENCE: Duration = Duration::from_millis(20);
/// Inputs after which the server begins anew: topics and groups pile up.
const INPUTS_A_SERVER: usize = 2_000;
const LARGEST_ANSWER_BYTES: usize = 64 << 20;
pub(super) const TOPIC: &str = "t";
/// In an input, the id of [`TOPIC`].
pub(super) const TOPIC_ID: TopicId = TopicId(0xaaaa_aaaa_aaaa_aaaa_aaaa_aaaa_aaaa_aaaa);

struct Server {
    runtime: Runtime,
    broker: Arc<Broker>,
    groups: Arc<GroupCoordinator>,
    share: Arc<ShareGroups>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    topic_id: TopicId,
    inputs: usize,
    _directory: TempDir,
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// A frame without its size.
pub(super) fn run(input: &[u8]) {
    SERVER.with_borrow_mut(|slot| {
        if let Some(worn) = slot.take_if(|server| server.inputs >= INPUTS_A_SERVER) {
            worn.stop();
        }
        let server = slot.get_or_insert_with(Server::start);
        server.inputs += 1;
        let request = mended(input, server.topic_id);
        let answer = server.runtime.block_on(exchange(server.address, &request));
        if let Some(answer) = answer {
            check(&request, &answer);
        }
    });
}

impl Server {
    fn start() -> Server {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_str().expect("a path in UTF-8");
        let values = [
            ("data.dir", path),
            ("log.file.bytes", "8388608"),
            ("log.disk.reserve.bytes", "0"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("offsets.topic.num.partitions", "2"),
        ];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned(), Source::Flag));
        let options = BrokerOptions {
            data_dirs: vec![directory.path().to_owned()],
            config: BrokerConfig::from_values(values.to_vec()).expect("good values"),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::default()),
            cluster: None,
        };
        let (stop, stopped) = watch::channel(false);
        let (broker, groups, share, address, topic_id) = runtime.block_on(async {
            let broker = Broker::open(options).await.expect("an empty directory");
            let topic = NewTopic {
                name: TOPIC.to_owned(),
                partitions: 2,
                replication_factor: -1,
                configs: [("flush".to_owned(), "async".to_owned())].into(),
                ..Default::default()
            };
            let topic = broker.metadata().create_topics(vec![topic], false).await.remove(0).expect("a new topic");
            let (groups, delays) = (GroupCoordinator::start(&broker), Delays::start(&broker));
            let share = ShareGroups::start(&broker);
            let services = Arc::new(Services { broker: broker.clone(), groups: groups.clone(), share: share.clone(), delays });
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = Listener { name: "kafka".to_owned(), address, advertised: None };
            let server = KafkaServer::listen(
                vec![Bound::one(listener).expect("a free port")],
                services,
                Door::new(ConnectionLimits::default()),
            )
            .expect("a free port");
            let address = server.local_addresses()[0];
            tokio::spawn(server.serve(stopped));
            (broker, groups, share, address, topic.id)
        });
        Server { runtime, broker, groups, share, address, stop, topic_id, inputs: 0, _directory: directory }
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.broker.stop_waiting();
        self.runtime.block_on(async {
            self.groups.close().await;
            self.share.close().await;
            self.broker.close().await;
        });
    }
}

/// Sends one request; the answer, if one comes in time.
async fn exchange(address: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let size = (request.len() as i32).to_be_bytes();
    let answer = async {
        stream.write_all(&[&size[..], request].concat()).await.ok()?;
        let size = usize::try_from(stream.read_i32().await.ok()?).expect("an answer has a size");
        assert!(size <= LARGEST_ANSWER_BYTES, "an answer of {size} bytes");
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    timeout(PATIENCE, answer).await.ok().flatten()
}

/// The answer is of the request's kind and version, and as long as it says.
fn check(request: &[u8], answer: &[u8]) {
    let (header, _) = decode_request_header(request).expect("only what has a header is answered");
    let (key, version) = (header.request_api_key, header.request_api_version);
    let info = api(key).expect("only what is known is answered");
    if !(info.min_version..=info.max_version).contains(&version) {
        // ApiVersions, in the version that everybody reads.
        return;
    }
    let codec = codecs::find(&format!("{}Response", info.name)).expect("every request has a response");
    let mut decoder = Decoder::of_response(answer);
    let got = ResponseHeader::decode(&mut decoder, response_header_version(key, version)).expect("an answer has a header");
    assert_eq!(got.correlation_id, header.correlation_id);
    let decoded = (codec.recode)(&mut decoder, version, &mut Encoder::new());
    assert_eq!(decoded, Ok(Ok(())), "{} {version}", codec.name);
    assert_eq!(decoder.remaining(), 0, "{} {version} leaves bytes", codec.name);
}

/// The request with the topic's real id, and batches with the checksum that fits them.
fn mended(input: &[u8], topic_id: TopicId) -> Vec<u8> {
    let (marker, id) = (TOPIC_ID.0.to_be_bytes(), topic_id.0.to_be_bytes());
    let mut request = input.to_vec();
    let mut at = 0;
    while at + marker.len() <= request.len() {
        if request[at..].starts_with(&marker) {
            request[at..at + marker.len()].copy_from_slice(&id);
        }
        at += 1;
    }
    for (at, crc) in checksums(&request) {
        request[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    }
    request
}

/// Where checksums of batches lie in a produce request, and what they should be.
fn checksums(request: &[u8]) -> Vec<(usize, u32)> {
    let Ok((header, mut body)) = decode_request_header(request) else { return Vec::new() };
    if header.request_api_key != ProduceRequest::API_KEY {
        return Vec::new();
    }
    let Ok(produce) = ProduceRequest::decode(&mut body, header.request_api_version) else { return Vec::new() };
    let partitions = produce.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let mut found = Vec::new();
    for records in partitions.filter_map(|partition| partition.records?.bytes()) {
        let start = records.as_ptr() as usize - request.as_ptr() as usize;
        for (_, range) in batches(records).flatten() {
            let covered = &records[range.start + ATTRIBUTES_AT..range.end];
            found.push((start + range.start + CRC_AT, duolog_log::fuzzing::checksum(covered)));
        }
    }
    found
}
