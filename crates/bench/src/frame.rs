//! Produce requests as bytes, made once and sent many times, and what their answers say.

use crate::failure::Failure;
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_wire::kafka::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use duolog_wire::kafka::messages::produce_response::ProduceResponse;
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{Decoder, Encoder, Records, frame};
use duolog_wire::record::{BatchBuilder, Compression, NewRecord};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Both brokers serve it, and it names topics by name.
const VERSION: i16 = 9;
const TIMEOUT_MS: i32 = 30_000;
/// Largest answer that is read: more than 100,000 partitions need.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// A request with a batch of one message for each of these partitions.
pub(crate) fn produce_request(topic: &str, messages: &[(i32, &[u8])], acks: i16) -> Result<Vec<u8>, Failure> {
    let batches: Vec<(i32, BytesMut)> =
        messages.iter().map(|(partition, value)| Ok((*partition, batch(value)?))).collect::<Result<_, Failure>>()?;
    let partition_data =
        batches.iter().map(|(index, bytes)| PartitionProduceData { index: *index, records: Some(Records::Borrowed(bytes)) });
    let data = TopicProduceData { name: topic, partition_data: partition_data.collect(), ..Default::default() };
    let request = ProduceRequest { transactional_id: None, acks, timeout_ms: TIMEOUT_MS, topic_data: vec![data] };
    let header = RequestHeader {
        request_api_key: ProduceRequest::API_KEY,
        request_api_version: VERSION,
        correlation_id: 0,
        client_id: Some("duolog-bench"),
    };
    let mut encoder = Encoder::new();
    frame::begin_frame(&mut encoder);
    header.encode(&mut encoder, frame::request_header_version(ProduceRequest::API_KEY, VERSION))?;
    request.encode(&mut encoder, VERSION)?;
    frame::finish_frame(&mut encoder)?;
    Ok(encoder.buffer().to_vec())
}

fn batch(value: &[u8]) -> Result<BytesMut, Failure> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let timestamp = TimestampMs(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(NewRecord { timestamp, value: Some(value), ..NewRecord::default() })?;
    let mut bytes = BytesMut::new();
    builder.build(&mut bytes)?;
    Ok(bytes)
}

/// Reads one answer into `buffer`; gives how many of its batches were refused.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> std::io::Result<u64> {
    let announced = stream.read_i32().await?;
    let bytes = usize::try_from(announced).ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES);
    buffer.resize(bytes.ok_or_else(|| std::io::Error::other(format!("an answer of {announced} bytes")))?, 0);
    stream.read_exact(buffer).await?;
    refused(buffer).map_err(std::io::Error::other)
}

fn refused(answer: &[u8]) -> Result<u64, duolog_wire::kafka::DecodeError> {
    let mut decoder = Decoder::new(answer);
    ResponseHeader::decode(&mut decoder, frame::response_header_version(ProduceRequest::API_KEY, VERSION))?;
    let response = ProduceResponse::decode(&mut decoder, VERSION)?;
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    Ok(partitions.filter(|partition| partition.error_code != 0).count() as u64)
}
