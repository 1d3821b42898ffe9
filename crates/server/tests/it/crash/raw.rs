//! A connection that pipelines: it sends what it is given and reads answers later, so that a test decides what is in flight
//! when the server dies, and what exactly is sent again afterwards.
//!
//! Blocking, for one thread. A server that is gone is an [`io::Error`]; an answer that makes no sense fails the test.

use crate::server::PATIENCE;
use duolog_base::{ProducerEpoch, ProducerId};
use duolog_wire::kafka::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use duolog_wire::kafka::messages::delete_records_response::DeleteRecordsResponse;
use duolog_wire::kafka::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use duolog_wire::kafka::messages::fetch_response::FetchResponse;
use duolog_wire::kafka::messages::init_producer_id_request::InitProducerIdRequest;
use duolog_wire::kafka::messages::init_producer_id_response::InitProducerIdResponse;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{Decoder, EncodeError, Encoder, ErrorCode, Records, frame};
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub(super) const ACKS_ALL: i16 = -1;
pub(super) const ACKS_LEADER: i16 = 1;
/// The last version that names topics by name.
const PRODUCE_VERSION: i16 = 11;
/// The last version that names topics by name.
const FETCH_VERSION: i16 = 12;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const DELETE_RECORDS_VERSION: i16 = 2;
const SERVER_TIMEOUT_MS: i32 = 30_000;

/// The answer to one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) error: ErrorCode,
    pub(super) base_offset: i64,
}

pub(super) struct Pipe {
    stream: TcpStream,
    sent: i32,
    answered: i32,
}

impl Pipe {
    pub(super) fn open(address: &str) -> io::Result<Pipe> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Pipe { stream, sent: 0, answered: 0 })
    }

    /// Sends a batch as it is and does not wait.
    pub(super) fn produce(&mut self, acks: i16, topic: &str, partition: i32, batch: &[u8]) -> io::Result<()> {
        let partition_data = vec![PartitionProduceData { index: partition, records: Some(Records::Borrowed(batch)) }];
        let topic_data = vec![TopicProduceData { name: topic, partition_data, ..Default::default() }];
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms: SERVER_TIMEOUT_MS, topic_data };
        self.send(ProduceRequest::API_KEY, PRODUCE_VERSION, |e| request.encode(e, PRODUCE_VERSION))
    }

    /// The answer to the oldest batch that has none yet.
    pub(super) fn produced(&mut self) -> io::Result<Answer> {
        let (frame, body) = self.receive(ProduceRequest::API_KEY, PRODUCE_VERSION)?;
        let response = ProduceResponse::decode(&mut Decoder::new(&frame[body..]), PRODUCE_VERSION).unwrap();
        let answer = &response.responses[0].partition_responses[0];
        Ok(Answer { error: ErrorCode::from_code(answer.error_code).unwrap(), base_offset: answer.base_offset })
    }

    pub(super) fn producer_id(&mut self) -> io::Result<(ProducerId, ProducerEpoch)> {
        let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: i32::MAX, ..Default::default() };
        let version = INIT_PRODUCER_ID_VERSION;
        self.send(InitProducerIdRequest::API_KEY, version, |e| request.encode(e, version))?;
        let (frame, body) = self.receive(InitProducerIdRequest::API_KEY, version)?;
        let response = InitProducerIdResponse::decode(&mut Decoder::new(&frame[body..]), version).unwrap();
        assert_eq!(response.error_code, 0);
        Ok((ProducerId(response.producer_id), ProducerEpoch(response.producer_epoch)))
    }

    /// Error of a partition read from an offset on, and how many bytes of records came.
    pub(super) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<(ErrorCode, usize)> {
        let partitions =
            vec![FetchPartition { partition, fetch_offset: offset, partition_max_bytes: i32::MAX, ..Default::default() }];
        let topics = vec![FetchTopic { topic, partitions, ..Default::default() }];
        let request = FetchRequest { topics, ..Default::default() };
        self.send(FetchRequest::API_KEY, FETCH_VERSION, |e| request.encode(e, FETCH_VERSION))?;
        let (frame, body) = self.receive(FetchRequest::API_KEY, FETCH_VERSION)?;
        let response = FetchResponse::decode(&mut Decoder::new(&frame[body..]), FETCH_VERSION).unwrap();
        let answer = &response.responses[0].partitions[0];
        let bytes = match &answer.records {
            Some(Records::Borrowed(records)) => records.len(),
            _ => 0,
        };
        Ok((ErrorCode::from_code(answer.error_code).unwrap(), bytes))
    }

    /// Deletes what lies before `offset`; the partition's new start.
    pub(super) fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> io::Result<i64> {
        let partitions = vec![DeleteRecordsPartition { partition_index: partition, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: SERVER_TIMEOUT_MS };
        let version = DELETE_RECORDS_VERSION;
        self.send(DeleteRecordsRequest::API_KEY, version, |e| request.encode(e, version))?;
        let (frame, body) = self.receive(DeleteRecordsRequest::API_KEY, version)?;
        let response = DeleteRecordsResponse::decode(&mut Decoder::new(&frame[body..]), version).unwrap();
        let answer = &response.topics[0].partitions[0];
        assert_eq!(answer.error_code, 0, "records before {offset} are not deleted");
        Ok(answer.low_watermark)
    }

    fn send(&mut self, key: i16, version: i16, body: impl FnOnce(&mut Encoder) -> Result<(), EncodeError>) -> io::Result<()> {
        self.sent += 1;
        let mut encoder = Encoder::new();
        frame::begin_frame(&mut encoder);
        let header = RequestHeader {
            request_api_key: key,
            request_api_version: version,
            correlation_id: self.sent,
            client_id: Some("crash-test"),
        };
        header.encode(&mut encoder, frame::request_header_version(key, version)).unwrap();
        body(&mut encoder).unwrap();
        frame::finish_frame(&mut encoder).unwrap();
        self.stream.write_all(encoder.buffer())
    }

    /// The next frame, and where its body begins.
    fn receive(&mut self, key: i16, version: i16) -> io::Result<(Vec<u8>, usize)> {
        let mut length = [0; frame::SIZE_BYTES];
        self.stream.read_exact(&mut length)?;
        let mut bytes = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut bytes)?;
        let mut decoder = Decoder::new(&bytes);
        let header = ResponseHeader::decode(&mut decoder, frame::response_header_version(key, version)).unwrap();
        self.answered += 1;
        assert_eq!(header.correlation_id, self.answered, "answers come in the order of their requests");
        let body = decoder.position();
        Ok((bytes, body))
    }
}
