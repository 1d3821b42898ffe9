//! A body that is a head in JSON, and bytes behind it as they are.
//!
//! ```text
//! body = length of the head u32 | head | bytes        big-endian
//! ```
//! The services that speak so choose what the head is.

use crate::service::CallRefusal;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest head, in bytes.
pub const MAX_HEAD_BYTES: usize = 8 << 20;

/// A head with `rest` behind it.
pub fn pack<T: Serialize>(head: &T, rest: &[u8]) -> Bytes {
    let head = serde_json::to_vec(head).expect("plain values with strings as keys");
    let mut bytes = BytesMut::with_capacity(size_of::<u32>() + head.len() + rest.len());
    bytes.put_u32(head.len() as u32);
    bytes.put_slice(&head);
    bytes.put_slice(rest);
    bytes.freeze()
}

/// A head with nothing behind it.
pub fn pack_alone<T: Serialize>(head: &T) -> Bytes {
    pack(head, &[])
}

/// The head, and what is behind it.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CallRefusal> {
    unpack_within(bytes, MAX_HEAD_BYTES)
}

/// The same, for heads that are no longer than `limit` bytes.
pub fn unpack_within<T: DeserializeOwned>(mut bytes: &[u8], limit: usize) -> Result<(T, &[u8]), CallRefusal> {
    let length = bytes.try_get_u32().map_err(|_| CallRefusal::Malformed)? as usize;
    if length > limit {
        return Err(CallRefusal::Malformed);
    }
    let (head, rest) = bytes.split_at_checked(length).ok_or(CallRefusal::Malformed)?;
    Ok((serde_json::from_slice(head).map_err(|_| CallRefusal::Malformed)?, rest))
}

/// The head of bytes with nothing behind it.
pub fn unpack_alone<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CallRefusal> {
    let (head, rest) = unpack(bytes)?;
    if rest.is_empty() { Ok(head) } else { Err(CallRefusal::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_and_what_is_behind_them_come_back() {
        let packed = pack(&(7u64, "a"), b"rest");
        assert_eq!(unpack::<(u64, String)>(&packed), Ok(((7, "a".to_owned()), &b"rest"[..])));
        assert_eq!(unpack_alone::<(u64, String)>(&packed), Err(CallRefusal::Malformed));
        assert_eq!(unpack_alone::<u64>(&pack_alone(&7u64)), Ok(7));
        assert_eq!(unpack_alone::<u64>(&pack_alone(&7u64)[..4]), Err(CallRefusal::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack::<u64>(&bytes);
        }
    }
}
