//! Scenarios of whole messages: headers, versions that lack a field, tagged fields nobody knows, records left out.

use duolog_wire::kafka::api::api;
use duolog_wire::kafka::frame::{
    begin_frame, decode_request_header, encode_response_header, finish_frame, request_header_version, response_header_version,
};
use duolog_wire::kafka::messages::api_keys::APIS;
use duolog_wire::kafka::messages::api_versions_request::ApiVersionsRequest;
use duolog_wire::kafka::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use duolog_wire::kafka::messages::list_offsets_response::ListOffsetsTopicResponse;
use duolog_wire::kafka::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsResponse};
use duolog_wire::kafka::messages::metadata_request::MetadataRequest;
use duolog_wire::kafka::messages::produce_request::ProduceRequest;
use duolog_wire::kafka::{DecodeError, Decoder, EncodeError, Encoder, Records};

#[test]
fn headers_follow_from_key_and_version() {
    // ApiVersions is flexible from version 3, its response's header never is.
    assert_eq!((request_header_version(18, 2), response_header_version(18, 2)), (1, 0));
    assert_eq!((request_header_version(18, 3), response_header_version(18, 3)), (2, 0));
    // Produce is flexible from version 9.
    assert_eq!((request_header_version(0, 8), response_header_version(0, 8)), (1, 0));
    assert_eq!((request_header_version(0, 9), response_header_version(0, 9)), (2, 1));
    // SaslHandshake never is.
    assert_eq!((request_header_version(17, 1), response_header_version(17, 1)), (1, 0));
    // ControlledShutdown, version 0.
    assert_eq!(request_header_version(7, 0), 0);
}

#[test]
fn a_request_header_is_read_and_the_body_follows() {
    let mut frame = vec![0, 18, 0, 3, 0, 0, 0, 42, 0, 3];
    frame.extend(b"cli");
    frame.push(0);
    frame.extend([5, b'n', b'a', b'm', b'e', 2, b'1', 0]);
    let (header, mut body) = decode_request_header(&frame).unwrap();
    assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (18, 3, 42));
    assert_eq!(header.client_id, Some("cli"));
    let request = ApiVersionsRequest::decode(&mut body, 3).unwrap();
    assert_eq!((request.client_software_name, request.client_software_version), ("name", "1"));
    body.finish().unwrap();
}

#[test]
fn the_header_of_a_version_from_the_future_can_be_read() {
    let frame = [0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0];
    let (header, _) = decode_request_header(&frame).unwrap();
    assert_eq!((header.request_api_version, header.correlation_id, header.client_id), (99, 1, None));
}

#[test]
fn a_key_that_is_no_request_is_refused() {
    for key in [-1i16, 4, 7, 1000] {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend([0; 20]);
        assert_eq!(decode_request_header(&frame).unwrap_err(), DecodeError::UnknownApi { key });
    }
}

#[test]
fn the_table_is_sorted_and_knows_unstable_versions() {
    assert!(APIS.is_sorted_by(|left, right| left.key < right.key));
    let produce = api(0).unwrap();
    assert_eq!((produce.name, produce.min_version, produce.max_version, produce.flexible_from), ("Produce", 3, 13, 9));
    assert_eq!(produce.max_version, ProduceRequest::MAX_VERSION);
    assert!(api(22).unwrap().latest_version_unstable);
    assert!(api(4).is_none());
}

#[test]
fn a_version_outside_of_the_range_is_refused() {
    let unsupported = DecodeError::UnsupportedVersion { message: "ProduceRequest", version: 2 };
    assert_eq!(ProduceRequest::decode(&mut Decoder::new(&[0; 100]), 2), Err(unsupported));
    let unsupported = EncodeError::UnsupportedVersion { message: "ProduceRequest", version: 14 };
    assert_eq!(ProduceRequest::default().encode(&mut Encoder::new(), 14), Err(unsupported));
}

#[test]
fn a_value_that_the_version_cannot_carry_is_refused() {
    let response = FetchResponse { session_id: 5, ..Default::default() };
    let refused = EncodeError::UnsupportedField { message: "FetchResponse", field: "session_id", version: 4 };
    assert_eq!(response.encode(&mut Encoder::new(), 4), Err(refused));
    // The error code is ignorable: older clients simply do not see it.
    let response = FetchResponse { error_code: 5, ..Default::default() };
    response.encode(&mut Encoder::new(), 4).unwrap();
}

#[test]
fn null_is_refused_at_versions_that_need_a_value() {
    // Before version 1 all topics were asked for by an empty list, not by null.
    let request = MetadataRequest { topics: None, ..Default::default() };
    let refused = EncodeError::UnexpectedNull { message: "MetadataRequest", field: "topics" };
    assert_eq!(request.encode(&mut Encoder::new(), 0), Err(refused));
    request.encode(&mut Encoder::new(), 1).unwrap();
}

#[test]
fn unknown_tagged_fields_are_skipped() {
    let request = ApiVersionsRequest { client_software_name: "n", client_software_version: "v", ..Default::default() };
    let mut e = Encoder::new();
    request.encode(&mut e, 3).unwrap();
    let mut bytes = e.buffer().to_vec();
    assert_eq!(bytes.pop(), Some(0), "no tagged field is set");
    bytes.extend([2, 0x80, 0x01, 3, 1, 2, 3, 0xff, 0x01, 0]);
    let mut d = Decoder::new(&bytes);
    assert_eq!(ApiVersionsRequest::decode(&mut d, 3), Ok(request));
    d.finish().unwrap();
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    let mut e = Encoder::new();
    FetchResponse::default().encode(&mut e, 16).unwrap();
    let mut bytes = e.buffer().to_vec();
    assert_eq!(bytes.pop(), Some(0));
    // Tag 0 holds an empty list of endpoints, one byte, and announces two.
    bytes.extend([1, 0, 2, 1, 1]);
    let refused = FetchResponse::decode(&mut Decoder::new(&bytes), 16);
    assert!(matches!(refused, Err(DecodeError::TaggedFieldLength { .. })), "{refused:?}");
}

#[test]
fn a_fetch_response_with_external_records_is_the_one_with_copied_records() {
    let batches = [&b"first batch"[..], &b"second"[..]];
    let response = |records: [Records<'static>; 2]| {
        let partitions = records.map(|records| PartitionData { records: Some(records), ..Default::default() }).to_vec();
        FetchResponse { responses: vec![FetchableTopicResponse { partitions, ..Default::default() }], ..Default::default() }
    };
    for version in FetchResponse::MIN_VERSION..=FetchResponse::MAX_VERSION {
        let mut copied = Encoder::new();
        response(batches.map(Records::Borrowed)).encode(&mut copied, version).unwrap();
        let mut cut = Encoder::new();
        response(batches.map(|batch| Records::External(batch.len()))).encode(&mut cut, version).unwrap();
        assert_eq!(cut.total_bytes(), copied.total_bytes());

        let (buffer, cuts) = cut.into_parts();
        let mut joined = Vec::new();
        let mut sent = 0;
        for (cut, batch) in cuts.iter().zip(batches) {
            joined.extend_from_slice(&buffer[sent..cut.at]);
            joined.extend_from_slice(batch);
            sent = cut.at;
        }
        joined.extend_from_slice(&buffer[sent..]);
        assert_eq!(joined, copied.buffer(), "version {version}");
    }
}

#[test]
fn a_frame_announces_its_size_with_the_external_bytes() {
    let mut e = Encoder::new();
    begin_frame(&mut e);
    encode_response_header(&mut e, 1, 12, 7).unwrap();
    e.records(Records::External(100), true).unwrap();
    finish_frame(&mut e).unwrap();
    // Header version 1: correlation id and no tagged fields; then the compact length, one more than 100.
    assert_eq!(e.buffer(), [0, 0, 0, 106, 0, 0, 0, 7, 0, 101]);
}

#[test]
fn defaults_are_those_of_the_protocol() {
    let partition = ListOffsetsPartitionResponse::default();
    assert_eq!((partition.timestamp, partition.offset, partition.leader_epoch), (-1, -1, -1));
    let topic = ListOffsetsTopicResponse { name: "t", partitions: vec![partition] };
    let response = ListOffsetsResponse { throttle_time_ms: 0, topics: vec![topic] };
    let mut e = Encoder::new();
    response.encode(&mut e, 1).unwrap();
    let mut expected = vec![0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    expected.extend([0xff; 16]);
    assert_eq!(e.buffer(), expected);
}
