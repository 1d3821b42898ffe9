//! What a produce request costs the server in instructions, from the socket to the answer.
//!
//! A server in this process, and one client that sends the same request again and again and waits for each answer. The batches of a
//! request hold one message of 1 KB each, for a partition each. Times say little on a busy machine; instructions repeat:
//!
//! `valgrind --tool=callgrind target/release/deps/produce-... <partitions> <requests> [acks]`
//!
//! Two runs that differ in the number of requests give the cost of one. Data lies below the temporary directory (`TMPDIR`).

use bytes::BytesMut;
use duolog_base::{RealDisk, SystemClock};
use duolog_core::broker::{Broker, BrokerOptions};
use duolog_core::config::{BrokerConfig, Source};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::NewTopic;
use duolog_core::share::ShareGroups;
use duolog_kafka::{KafkaServer, Services};
use duolog_net::{Bound, ConnectionLimits, Door, Listener};
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::{Encoder, Records, frame};
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

const TOPIC: &str = "measured";
const PRODUCE: i16 = 0;
/// The last version that names topics.
const VERSION: i16 = 12;
const MESSAGE_BYTES: usize = 1024;

/// What the command line asks for.
struct Plan {
    partitions: i32,
    requests: u32,
    acks: i16,
}

impl Plan {
    fn from_arguments() -> Plan {
        // `cargo bench` adds an argument of its own.
        let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<i32>().ok());
        Plan {
            partitions: numbers.next().unwrap_or(1),
            requests: numbers.next().unwrap_or(1_000) as u32,
            acks: numbers.next().unwrap_or(1) as i16,
        }
    }
}

fn main() {
    let plan = Plan::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let reserve = ("log.disk.reserve.bytes".to_owned(), "0".to_owned(), Source::Flag);
    let (broker, address, stop) = runtime.block_on(async {
        let options = BrokerOptions {
            data_dirs: vec![dir.path().to_owned()],
            config: BrokerConfig::from_values(vec![reserve]).expect("sound values"),
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock::default()),
            cluster: None,
        };
        let broker = Broker::open(options).await.expect("an empty directory");
        let topic =
            NewTopic { name: TOPIC.to_owned(), partitions: plan.partitions, replication_factor: -1, ..Default::default() };
        broker.metadata().create_topics(vec![topic], false).await.remove(0).expect("a new topic");
        let (groups, delays) = (GroupCoordinator::start(&broker), Delays::start(&broker));
        let services = Arc::new(Services { broker: broker.clone(), groups, share: ShareGroups::start(&broker), delays });
        let listener = Listener { name: "kafka".to_owned(), address: SocketAddr::from(([127, 0, 0, 1], 0)), advertised: None };
        let server = KafkaServer::listen(
            vec![Bound::one(listener).expect("a free port")],
            services,
            Door::new(ConnectionLimits::default()),
        )
        .expect("a free port");
        let address = server.local_addresses()[0];
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.serve(stopped));
        (broker, address, stop)
    });
    let request = request(plan.partitions, plan.acks);
    let begun = Instant::now();
    run(address, &request, plan.requests);
    let messages = u64::from(plan.requests) * plan.partitions as u64;
    println!("{messages} messages in requests of {}, {:?} a request", plan.partitions, begun.elapsed() / plan.requests.max(1));
    stop.send_replace(true);
    runtime.block_on(broker.close());
}

/// A produce request as it goes over the wire.
fn request(partitions: i32, acks: i16) -> Vec<u8> {
    let mut batch = BytesMut::new();
    let mut builder = BatchBuilder::new(Compression::None);
    let timestamp = duolog_base::Clock::now(&SystemClock::default());
    builder.push(NewRecord { timestamp, key: None, value: Some(&[b'v'; MESSAGE_BYTES]), headers: &[] }).expect("it fits");
    builder.build(&mut batch).expect("it is built");
    let partition = |index| PartitionProduceData { index, records: Some(Records::Borrowed(&batch)) };
    let topic = TopicProduceData { name: TOPIC, partition_data: (0..partitions).map(partition).collect(), ..Default::default() };
    let body = ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data: vec![topic] };
    let mut encoder = Encoder::new();
    frame::begin_frame(&mut encoder);
    let header =
        RequestHeader { request_api_key: PRODUCE, request_api_version: VERSION, correlation_id: 1, client_id: Some("bench") };
    header.encode(&mut encoder, frame::request_header_version(PRODUCE, VERSION)).expect("a version that is served");
    body.encode(&mut encoder, VERSION).expect("a version that is served");
    frame::finish_frame(&mut encoder).expect("a request of usual size");
    encoder.buffer().to_vec()
}

fn run(address: SocketAddr, request: &[u8], requests: u32) {
    let mut stream = TcpStream::connect(address).expect("a server");
    stream.set_nodelay(true).expect("a socket");
    let mut answer = Vec::new();
    for _ in 0..requests {
        stream.write_all(request).expect("a server that reads");
        let mut size = [0; 4];
        stream.read_exact(&mut size).expect("an answer");
        answer.resize(i32::from_be_bytes(size) as usize, 0);
        stream.read_exact(&mut answer).expect("a whole answer");
    }
}
