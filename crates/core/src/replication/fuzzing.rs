//! What followers and leaders say to each other as the fuzz targets reach it. Not part of the interface.

use super::messages::{decode_fetch, decode_nudge, decode_reply, encode_call, encode_reply};
use bytes::Bytes;

/// The bytes as each call between replicas, and as the answer to one, that they are; written again.
pub fn recode_calls(bytes: &[u8]) -> Vec<Bytes> {
    let fetch = decode_fetch(bytes).ok().map(|call| encode_call(&call));
    let nudge = decode_nudge(bytes).ok().map(|session| encode_call(&session));
    let answer = Bytes::copy_from_slice(bytes);
    let reply = decode_reply(&answer).map(|(reply, places)| {
        let batches = places.into_iter().map(|place| answer.slice(place));
        [encode_reply(&reply)].into_iter().chain(batches).collect::<Vec<_>>().concat().into()
    });
    [fetch, nudge, reply].into_iter().flatten().collect()
}
