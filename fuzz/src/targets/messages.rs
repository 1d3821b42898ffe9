//! Kafka's messages at every version: requests as they arrive in a frame, answers as our own client reads them, and records.

use crate::codecs::{self, CODECS, Codec};
use crate::memory::{FREE_BYTES, allowed, within};
use duolog_wire::kafka::api::api;
use duolog_wire::kafka::frame::{decode_request_header, request_header_version, response_header_version};
use duolog_wire::kafka::messages::api_keys::APIS;
use duolog_wire::kafka::messages::request_header::RequestHeader;
use duolog_wire::kafka::messages::response_header::ResponseHeader;
use duolog_wire::kafka::{Decoder, Encoder, RESPONSE_MEMORY_RATIO};

/// How much longer than what was read the canonical form can be: a field that is left out of the bytes stands in memory as
/// its default and is written where a version requires it.
const ENCODED_RATIO: usize = 4;
const ENCODED_FREE_BYTES: usize = 4 << 10;

/// A frame without its size.
pub(super) fn request(frame: &[u8]) {
    let Ok((header, body)) = within(allowed(frame), || decode_request_header(frame)) else { return };
    let (key, version) = (header.request_api_key, header.request_api_version);
    let mut again = Encoder::new();
    header.encode(&mut again, request_header_version(key, version)).expect("a header that was read can be written");
    let (same, rest) = decode_request_header(again.buffer()).expect("a header that was written can be read");
    assert_eq!((same, rest.remaining()), (header, 0));
    let info = api(key).expect("a header without a known key is refused");
    if let Some(codec) = codecs::find(&format!("{}Request", info.name)) {
        round_trip(codec, version, &frame[frame.len() - body.remaining()..], Reader::Requests);
    }
}

/// Key, version, then a frame without its size.
pub(super) fn response(input: &[u8]) {
    let mut start = Decoder::new(input);
    let (Ok(key), Ok(version)) = (start.i16(), start.i16()) else { return };
    let Some(info) = api(key) else { return };
    let frame = &input[start.position()..];
    let mut decoder = Decoder::new(frame);
    let read = within(allowed(frame), || ResponseHeader::decode(&mut decoder, response_header_version(key, version)));
    if let (Ok(_), Some(codec)) = (read, codecs::find(&format!("{}Response", info.name))) {
        round_trip(codec, version, &frame[decoder.position()..], Reader::Responses);
    }
}

/// Number of the message among those that are neither requests nor responses, version, then its bytes.
pub(super) fn record(input: &[u8]) {
    let mut start = Decoder::new(input);
    let (Ok(number), Ok(version)) = (start.u16(), start.i16()) else { return };
    let records: Vec<&Codec> = CODECS.iter().filter(|codec| is_record(codec.name)).collect();
    let codec = records[usize::from(number) % records.len()];
    round_trip(codec, version, &input[start.position()..], Reader::Requests);
}

fn is_record(name: &str) -> bool {
    !name.ends_with("Request") && !name.ends_with("Response")
}

/// Which of the two decoders reads a message, and what it may take.
#[derive(Clone, Copy)]
enum Reader {
    Requests,
    Responses,
}

impl Reader {
    fn decoder(self, bytes: &[u8]) -> Decoder<'_> {
        match self {
            Reader::Requests => Decoder::new(bytes),
            Reader::Responses => Decoder::of_response(bytes),
        }
    }

    fn allowed(self, bytes: &[u8]) -> usize {
        match self {
            Reader::Requests => allowed(bytes),
            Reader::Responses => RESPONSE_MEMORY_RATIO * bytes.len() + FREE_BYTES,
        }
    }
}

/// Decodes, writes what came out, and does so again with that: the bytes must not change any more, nor be refused.
fn round_trip(codec: &Codec, version: i16, bytes: &[u8], reader: Reader) {
    let room = ENCODED_RATIO * bytes.len() + ENCODED_FREE_BYTES;
    // Made before the memory is counted, so that only what decoding takes is.
    let mut first = Encoder::with_capacity(room);
    match within(reader.allowed(bytes), || (codec.recode)(&mut reader.decoder(bytes), version, &mut first)) {
        Err(_) => return,
        Ok(encoded) => encoded.unwrap_or_else(|error| panic!("{} {version} cannot be written: {error}", codec.name)),
    }
    assert!(first.total_bytes() <= room, "{} {version} grew from {} to {}", codec.name, bytes.len(), first.total_bytes());
    let mut again = reader.decoder(first.buffer());
    let mut second = Encoder::with_capacity(room);
    let decoded = (codec.recode)(&mut again, version, &mut second);
    assert_eq!(decoded, Ok(Ok(())), "{} {version}", codec.name);
    assert_eq!(again.remaining(), 0, "{} {version} leaves bytes", codec.name);
    assert_eq!(first.buffer(), second.buffer(), "{} {version} changes", codec.name);
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    let seed = |sample: codecs::Sample| {
        let info = APIS.iter().find(|info| sample.name.strip_suffix("Request") == Some(info.name))?;
        Some(frame(info.key, sample.version, sample.bytes))
    };
    codecs::samples().into_iter().filter_map(seed).collect()
}

/// A request in a frame without its size.
pub(super) fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let header = RequestHeader { request_api_key: key, request_api_version: version, correlation_id: 7, client_id: Some("fuzz") };
    let mut encoder = Encoder::new();
    header.encode(&mut encoder, request_header_version(key, version)).expect("a header");
    [encoder.buffer(), body].concat()
}

pub(super) fn response_seeds() -> Vec<Vec<u8>> {
    let seed = |sample: codecs::Sample| {
        let info = APIS.iter().find(|info| sample.name.strip_suffix("Response") == Some(info.name))?;
        let mut encoder = Encoder::new();
        encoder.i16(info.key);
        encoder.i16(sample.version);
        let header = ResponseHeader { correlation_id: 7 };
        header.encode(&mut encoder, response_header_version(info.key, sample.version)).expect("a header");
        Some([encoder.buffer(), sample.bytes].concat())
    };
    codecs::samples().into_iter().filter_map(seed).collect()
}

pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    let names: Vec<&str> = CODECS.iter().map(|codec| codec.name).filter(|name| is_record(name)).collect();
    let seed = |sample: codecs::Sample| {
        let number = names.iter().position(|name| *name == sample.name)? as u16;
        Some([&number.to_be_bytes()[..], &sample.version.to_be_bytes(), sample.bytes].concat())
    };
    codecs::samples().into_iter().filter_map(seed).collect()
}
