//! What stands around a message on a connection: the size, the request's or response's header.
//!
//! A frame is four bytes of size, a header and a body. A header's version follows from the body's key and version.

use super::api::api;
use super::messages::request_header::RequestHeader;
use super::messages::response_header::ResponseHeader;
use super::{DecodeError, Decoder, EncodeError, Encoder};

/// ApiVersions must be understood by clients that do not know the server's versions yet.
const API_VERSIONS: i16 = 18;
/// A request that Kafka 4 removed; its version 0 had a header without a client id.
const CONTROLLED_SHUTDOWN: i16 = 7;
/// Bytes of the size that precedes a frame.
pub const SIZE_BYTES: usize = 4;

/// The version of the header that a request has. A key without a table entry gets the plain header.
pub fn request_header_version(api_key: i16, version: i16) -> i16 {
    match api(api_key) {
        Some(info) if info.is_flexible(version) => 2,
        None if api_key == CONTROLLED_SHUTDOWN && version == 0 => 0,
        _ => 1,
    }
}

/// The version of the header that a response has.
pub fn response_header_version(api_key: i16, version: i16) -> i16 {
    match api(api_key) {
        Some(info) if api_key != API_VERSIONS && info.is_flexible(version) => 1,
        _ => 0,
    }
}

/// Reads a request's header from a frame without its size; the decoder stands at the body afterwards. The body's
/// version need not be known here, since an unknown version of ApiVersions must be answered.
pub fn decode_request_header(frame: &[u8]) -> Result<(RequestHeader<'_>, Decoder<'_>), DecodeError> {
    let mut ahead = Decoder::new(frame);
    let (key, version) = (ahead.i16()?, ahead.i16()?);
    if api(key).is_none() {
        return Err(DecodeError::UnknownApi { key });
    }
    let mut decoder = Decoder::new(frame);
    let header = RequestHeader::decode(&mut decoder, request_header_version(key, version))?;
    Ok((header, decoder))
}

/// Writes a response's header.
pub fn encode_response_header(e: &mut Encoder, api_key: i16, version: i16, correlation_id: i32) -> Result<(), EncodeError> {
    ResponseHeader { correlation_id }.encode(e, response_header_version(api_key, version))
}

/// Leaves room for the size at the beginning of an empty encoder.
pub fn begin_frame(e: &mut Encoder) {
    assert_eq!(e.total_bytes(), 0, "a frame begins with its size");
    e.i32(0);
}

/// Fills in the size of a frame begun with [`begin_frame`], external bytes included.
pub fn finish_frame(e: &mut Encoder) -> Result<(), EncodeError> {
    let length = e.total_bytes() - SIZE_BYTES;
    let size = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
    e.patch_i32(0, size);
    Ok(())
}
