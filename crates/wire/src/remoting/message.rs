//! A RocketMQ message as it lies in a commit log and as answers to pulls, pops, queries and views carry it, one after the other.
//!
//! ```text
//! total size 4, magic 4, body checksum 4, queue id 4, flag 4, queue offset 8, commit log offset 8, sysFlag 4,
//! born timestamp 8, born host (4 or 16, port 4), store timestamp 8, store host (4 or 16, port 4), reconsume times 4,
//! prepared transaction offset 8, body length 4, body, topic length (1, or 2 in version 2), topic, properties length 2, properties
//! ```
//! Integers are big-endian. Version 1, which alone old clients know, is written wherever the topic fits into it. What is
//! decoded is bounded by the bytes it came in, borrows from them, and never panics.
//!
//! Called by the transcoder and by our own clients. See [`super::batch`] for what producers send.

use super::properties::{MAX_PROPERTIES_BYTES, Properties};
use bytes::{Buf, BufMut, BytesMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bits of the field `sysFlag`.
pub mod sys_flag {
    /// The body is compressed, as the bits of [`COMPRESSION_MASK`] say.
    pub const COMPRESSED: i32 = 1;
    pub const MULTI_TAGS: i32 = 1 << 1;
    pub const TRANSACTION_MASK: i32 = 3 << 2;
    pub const TRANSACTION_PREPARED: i32 = 1 << 2;
    pub const TRANSACTION_COMMIT: i32 = 2 << 2;
    pub const TRANSACTION_ROLLBACK: i32 = 3 << 2;
    pub const BORN_HOST_V6: i32 = 1 << 4;
    pub const STORE_HOST_V6: i32 = 1 << 5;
    pub const NEED_UNWRAP: i32 = 1 << 6;
    pub const INNER_BATCH: i32 = 1 << 7;
    pub const COMPRESSION_MASK: i32 = 7 << 8;
    /// Where the compression's number begins.
    pub const COMPRESSION_SHIFT: u32 = 8;
}

const MAGIC_V1: u32 = 0xdaa3_20a7;
const MAGIC_V2: u32 = 0xdaa3_20ab;
/// Longest topic whose length version 1 can say, in bytes.
const MAX_TOPIC_BYTES_V1: usize = i8::MAX as usize;
/// Longest topic at all, in bytes.
const MAX_TOPIC_BYTES: usize = i16::MAX as usize;
/// Bytes in front of the body at most: with two IPv6 addresses.
const MAX_HEAD_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 8 + 20 + 8 + 20 + 4 + 8 + 4;
/// Bytes of a message beside body, topic and properties at most.
pub const MAX_FRAMING_BYTES: usize = MAX_HEAD_BYTES + 2 + 2;
/// The part of the body's checksum that is stored: Java wants it to be positive.
const CHECKSUM_MASK: u32 = 0x7fff_ffff;

/// A message, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub commit_log_offset: i64,
    /// The bits that tell the length of addresses are set by the encoder.
    pub sys_flag: i32,
    pub born_timestamp: i64,
    pub born_host: SocketAddr,
    pub store_timestamp: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    /// As stored: compressed if `sys_flag` says so.
    pub body: &'a [u8],
    pub topic: &'a str,
    pub properties: Properties<'a>,
}

/// Why a message has no encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{bytes} bytes of topic, at most {MAX_TOPIC_BYTES} are possible")]
    Topic { bytes: usize },
    #[error("{bytes} bytes of properties, at most {MAX_PROPERTIES_BYTES} are possible")]
    Properties { bytes: usize },
    #[error("a body of {bytes} bytes")]
    Body { bytes: usize },
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredMessageError {
    #[error("the message is cut off, or a length in it is wrong")]
    Malformed,
    #[error("unknown magic {magic:#010x}")]
    Magic { magic: u32 },
    #[error("the body's checksum is {computed:#010x}, the message says {stored:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("topic or properties are not UTF-8")]
    Utf8,
}

/// Largest body that leaves room for the rest: the total size has 32 bits and a sign.
pub const MAX_BODY_BYTES: usize = i32::MAX as usize - MAX_FRAMING_BYTES - MAX_TOPIC_BYTES - MAX_PROPERTIES_BYTES;

/// The checksum of a body: CRC32 (zlib's polynomial) without its highest bit.
pub fn body_checksum(body: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body) as u32 & CHECKSUM_MASK
}

/// A message whose properties are still being appended.
#[derive(Debug)]
#[must_use = "the lengths are not written yet"]
pub struct OpenMessage {
    start: usize,
    properties_at: usize,
}

impl<'a> StoredMessage<'a> {
    /// Appends the message.
    pub fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let properties = self.properties.text().as_bytes();
        if properties.len() > MAX_PROPERTIES_BYTES {
            return Err(EncodeError::Properties { bytes: properties.len() });
        }
        let open = self.begin(out)?;
        out.put_slice(properties);
        open.finish(out);
        Ok(())
    }

    /// Appends all but the properties, for callers that have them in another form than text: they append the text themselves,
    /// at most [`MAX_PROPERTIES_BYTES`], then call [`OpenMessage::finish`]. On an error nothing is appended.
    pub fn begin(&self, out: &mut BytesMut) -> Result<OpenMessage, EncodeError> {
        if self.topic.len() > MAX_TOPIC_BYTES {
            return Err(EncodeError::Topic { bytes: self.topic.len() });
        }
        if self.body.len() > MAX_BODY_BYTES {
            return Err(EncodeError::Body { bytes: self.body.len() });
        }
        let start = out.len();
        self.put_head(out);
        out.put_slice(self.body);
        match self.topic.len() <= MAX_TOPIC_BYTES_V1 {
            true => out.put_u8(self.topic.len() as u8),
            false => out.put_u16(self.topic.len() as u16),
        }
        out.put_slice(self.topic.as_bytes());
        out.put_u16(0);
        Ok(OpenMessage { start, properties_at: out.len() })
    }

    /// All up to the body's length, put together on the stack: it is copied once instead of field by field.
    fn put_head(&self, out: &mut BytesMut) {
        let mut head = [0; MAX_HEAD_BYTES];
        let mut rest = &mut head[..];
        let magic = if self.topic.len() <= MAX_TOPIC_BYTES_V1 { MAGIC_V1 } else { MAGIC_V2 };
        // The total size is known when the properties are.
        rest.put_u32(0);
        rest.put_u32(magic);
        rest.put_u32(body_checksum(self.body));
        rest.put_i32(self.queue_id);
        rest.put_i32(self.flag);
        rest.put_i64(self.queue_offset);
        rest.put_i64(self.commit_log_offset);
        rest.put_i32(with_address_bits(self.sys_flag, self.born_host, self.store_host));
        rest.put_i64(self.born_timestamp);
        put_host(&mut rest, self.born_host);
        rest.put_i64(self.store_timestamp);
        put_host(&mut rest, self.store_host);
        rest.put_i32(self.reconsume_times);
        rest.put_i64(self.prepared_transaction_offset);
        rest.put_u32(self.body.len() as u32);
        let unused = rest.len();
        out.put_slice(&head[..MAX_HEAD_BYTES - unused]);
    }

    /// Takes the message off the front of `rest` and checks its body. After an error `rest` is where it was.
    pub fn take(rest: &mut &'a [u8]) -> Result<StoredMessage<'a>, StoredMessageError> {
        const MALFORMED: StoredMessageError = StoredMessageError::Malformed;
        let bytes = *rest;
        let total = peek_total(bytes).ok_or(MALFORMED)?;
        let (message, behind) = bytes.split_at_checked(total).ok_or(MALFORMED)?;
        let magic = message[4..].first_chunk().map(|magic| u32::from_be_bytes(*magic)).ok_or(MALFORMED)?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(StoredMessageError::Magic { magic });
        }
        let raw = take_raw(&message[8..], magic).ok_or(MALFORMED)?;
        let computed = body_checksum(raw.message.body);
        if computed != raw.checksum & CHECKSUM_MASK {
            return Err(StoredMessageError::Checksum { stored: raw.checksum, computed });
        }
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| StoredMessageError::Utf8);
        *rest = behind;
        Ok(StoredMessage { topic: text(raw.topic)?, properties: Properties::new(text(raw.properties)?), ..raw.message })
    }
}

impl OpenMessage {
    /// Writes the lengths, after the properties.
    pub fn finish(self, out: &mut BytesMut) {
        let properties = out.len() - self.properties_at;
        assert!(properties <= MAX_PROPERTIES_BYTES, "the length of properties has 16 bits");
        let total = out.len() - self.start;
        out[self.properties_at - 2..self.properties_at].copy_from_slice(&(properties as u16).to_be_bytes());
        out[self.start..self.start + 4].copy_from_slice(&(total as u32).to_be_bytes());
    }
}

fn with_address_bits(sys_flag: i32, born_host: SocketAddr, store_host: SocketAddr) -> i32 {
    let bit = |host: SocketAddr, bit: i32| if host.is_ipv6() { bit } else { 0 };
    sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6)
        | bit(born_host, sys_flag::BORN_HOST_V6)
        | bit(store_host, sys_flag::STORE_HOST_V6)
}

fn put_host(out: &mut impl BufMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_u32(host.port().into());
}

/// Bytes of the message that begins here, if it can be one.
fn peek_total(mut bytes: &[u8]) -> Option<usize> {
    let total = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    (total >= 8).then_some(total)
}

struct RawMessage<'a> {
    checksum: u32,
    /// Without topic and properties.
    message: StoredMessage<'a>,
    topic: &'a [u8],
    properties: &'a [u8],
}

/// What follows the magic.
fn take_raw(mut bytes: &[u8], magic: u32) -> Option<RawMessage<'_>> {
    let rest = &mut bytes;
    let checksum = rest.try_get_u32().ok()?;
    let queue_id = rest.try_get_i32().ok()?;
    let flag = rest.try_get_i32().ok()?;
    let queue_offset = rest.try_get_i64().ok()?;
    let commit_log_offset = rest.try_get_i64().ok()?;
    let sys_flag = rest.try_get_i32().ok()?;
    let born_timestamp = rest.try_get_i64().ok()?;
    let born_host = take_host(rest, sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
    let store_timestamp = rest.try_get_i64().ok()?;
    let store_host = take_host(rest, sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
    let reconsume_times = rest.try_get_i32().ok()?;
    let prepared_transaction_offset = rest.try_get_i64().ok()?;
    let length = rest.try_get_i32().ok()?;
    let body = take_bytes(rest, length.into())?;
    let length = if magic == MAGIC_V1 { rest.try_get_i8().ok()?.into() } else { rest.try_get_i16().ok()? };
    let topic = take_bytes(rest, length.into())?;
    let length = rest.try_get_i16().ok()?;
    let properties = take_bytes(rest, length.into())?;
    let message = StoredMessage {
        queue_id,
        flag,
        queue_offset,
        commit_log_offset,
        sys_flag,
        born_timestamp,
        born_host,
        store_timestamp,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body,
        topic: "",
        properties: Properties::default(),
    };
    rest.is_empty().then_some(RawMessage { checksum, message, topic, properties })
}

fn take_host(rest: &mut &[u8], v6: bool) -> Option<SocketAddr> {
    let ip = match v6 {
        false => IpAddr::V4(Ipv4Addr::from(rest.try_get_u32().ok()?)),
        true => IpAddr::V6(Ipv6Addr::from(rest.try_get_u128().ok()?)),
    };
    Some(SocketAddr::new(ip, u16::try_from(rest.try_get_u32().ok()?).ok()?))
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: i64) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(topic: &'a str, body: &'a [u8]) -> StoredMessage<'a> {
        StoredMessage {
            queue_id: 3,
            flag: 7,
            queue_offset: 41,
            commit_log_offset: 1 << 40,
            sys_flag: sys_flag::MULTI_TAGS,
            born_timestamp: 1_700_000_000_000,
            born_host: "10.0.0.1:5000".parse().unwrap(),
            store_timestamp: 1_700_000_000_001,
            store_host: "10.0.0.2:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: -1,
            body,
            topic,
            properties: Properties::new("TAGS\u{1}x\u{2}"),
        }
    }

    fn encoded(message: &StoredMessage<'_>) -> BytesMut {
        let mut out = BytesMut::from(&b"before"[..]);
        message.put(&mut out).unwrap();
        out.split_off(6)
    }

    #[test]
    fn the_fields_lie_where_java_reads_them() {
        let bytes = encoded(&message("t", b"body"));
        assert_eq!(bytes.len(), 91 + 4 + 1 + 7);
        assert_eq!(bytes[..8], [0, 0, 0, 103, 0xda, 0xa3, 0x20, 0xa7]);
        assert_eq!(bytes[8..12], 0x5ba80bb2_u32.to_be_bytes());
        assert_eq!(bytes[48..56], [10, 0, 0, 1, 0, 0, 0x13, 0x88]);
        assert_eq!(bytes[64..72], [10, 0, 0, 2, 0, 0, 0x2a, 0x9f]);
        assert_eq!(bytes[84..95], [0, 0, 0, 4, b'b', b'o', b'd', b'y', 1, b't', 0]);
    }

    #[test]
    fn the_checksum_is_zlibs_without_its_sign() {
        assert_eq!(body_checksum(b"123456789"), 0xcbf4_3926 & 0x7fff_ffff);
    }

    #[test]
    fn messages_read_back_one_after_the_other() {
        let v6 = StoredMessage { born_host: "[::1]:80".parse().unwrap(), ..message("other", b"") };
        let mut out = encoded(&message("t", b"body"));
        out.extend_from_slice(&encoded(&v6));
        let mut rest = &out[..];
        assert_eq!(StoredMessage::take(&mut rest), Ok(message("t", b"body")));
        let second = StoredMessage::take(&mut rest).unwrap();
        assert_eq!(second, StoredMessage { sys_flag: sys_flag::MULTI_TAGS | sys_flag::BORN_HOST_V6, ..v6 });
        assert!(rest.is_empty());
    }

    #[test]
    fn only_a_topic_that_does_not_fit_needs_the_second_version() {
        for (length, magic) in [(127, 0xa7), (128, 0xab), (255, 0xab), (32_767, 0xab)] {
            let topic = "t".repeat(length);
            let bytes = encoded(&message(&topic, b"x"));
            assert_eq!(bytes[7], magic, "{length}");
            assert_eq!(StoredMessage::take(&mut &bytes[..]).unwrap().topic, topic);
        }
        let topic = "t".repeat(32_768);
        assert_eq!(message(&topic, b"").put(&mut BytesMut::new()), Err(EncodeError::Topic { bytes: 32_768 }));
    }

    #[test]
    fn properties_end_where_their_length_ends() {
        let text = "n".repeat(MAX_PROPERTIES_BYTES + 1);
        let with = |text| StoredMessage { properties: Properties::new(text), ..message("t", b"") };
        assert!(with(&text[1..]).put(&mut BytesMut::new()).is_ok());
        assert_eq!(with(&text).put(&mut BytesMut::new()), Err(EncodeError::Properties { bytes: MAX_PROPERTIES_BYTES + 1 }));
    }

    #[test]
    fn cut_off_and_changed_messages_are_refused() {
        let bytes = encoded(&message("t", b"body"));
        for end in 0..bytes.len() {
            assert_eq!(StoredMessage::take(&mut &bytes[..end]), Err(StoredMessageError::Malformed), "{end}");
        }
        let changed = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x80;
            StoredMessage::take(&mut &bytes[..]).unwrap_err()
        };
        assert!(matches!(changed(5), StoredMessageError::Magic { .. }));
        assert!(matches!(changed(89), StoredMessageError::Checksum { .. }));
        assert_eq!(changed(93), StoredMessageError::Utf8);
        for length in [0, 52, 84, 92, 94] {
            assert_eq!(changed(length), StoredMessageError::Malformed, "{length}");
        }
    }
}
