//! The record header that keeps what a RocketMQ message has and a Kafka record has no place for.
//!
//! ```text
//!  at  bytes  field
//!   0    1    version: 1
//!   1    1    which of the optional fields follow, and bit 4: the born host is an IPv6 address
//!   2    8    store timestamp, in milliseconds
//!  10   4/16  born host: address
//!        2    born host: port
//!        4    bit 0: flag
//!        4    bit 1: sysFlag, without the bits about compression and lengths of addresses
//!        4    bit 2: reconsume times
//!        8    bit 3: prepared transaction offset
//!        8    bit 5: born timestamp, in milliseconds, where it is not that of the record
//! ```
//! Integers are little-endian; a field that is not there is zero. docs/storage-format.md has the same map. Kafka clients may write
//! such headers, too: whatever is not exactly one is `None`.

use bytes::{Buf, BufMut};
use duolog_base::TimestampMs;
use duolog_wire::remoting::message::sys_flag;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Name of the header.
pub const COMPACT_HEADER: &str = "duolog.rmq";
const VERSION: u8 = 1;
const HAS_FLAG: u8 = 1;
const HAS_SYS_FLAG: u8 = 1 << 1;
const HAS_RECONSUME_TIMES: u8 = 1 << 2;
const HAS_PREPARED_OFFSET: u8 = 1 << 3;
const BORN_HOST_V6: u8 = 1 << 4;
const HAS_BORN_TIMESTAMP: u8 = 1 << 5;
const KNOWN_BITS: u8 = HAS_FLAG | HAS_SYS_FLAG | HAS_RECONSUME_TIMES | HAS_PREPARED_OFFSET | BORN_HOST_V6 | HAS_BORN_TIMESTAMP;
/// Bytes of the header at most.
const MAX_BYTES: usize = 1 + 1 + 8 + 16 + 2 + 4 + 4 + 4 + 8 + 8;
/// What `sysFlag` says about the bytes of one encoding, not about the message.
const SYS_FLAG_OF_ENCODING: i32 = sys_flag::COMPRESSED
    | sys_flag::COMPRESSION_MASK
    | sys_flag::BORN_HOST_V6
    | sys_flag::STORE_HOST_V6
    | sys_flag::NEED_UNWRAP
    | sys_flag::INNER_BATCH;

/// What the header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactHeader {
    pub store_timestamp: TimestampMs,
    pub born_host: SocketAddr,
    pub flag: i32,
    pub sys_flag: i32,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    /// `None` if it is the record's timestamp.
    pub born_timestamp: Option<TimestampMs>,
}

/// The bytes of a header, on the stack.
pub struct CompactBytes {
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl CompactBytes {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl CompactHeader {
    pub fn encode(&self) -> CompactBytes {
        let sys_flag = self.sys_flag & !SYS_FLAG_OF_ENCODING;
        // An IPv4 address in IPv6 clothes is what a socket for both reports.
        let ip = self.born_host.ip().to_canonical();
        let bit = |there: bool, bit: u8| if there { bit } else { 0 };
        let bits = bit(self.flag != 0, HAS_FLAG)
            | bit(sys_flag != 0, HAS_SYS_FLAG)
            | bit(self.reconsume_times != 0, HAS_RECONSUME_TIMES)
            | bit(self.prepared_transaction_offset != 0, HAS_PREPARED_OFFSET)
            | bit(ip.is_ipv6(), BORN_HOST_V6)
            | bit(self.born_timestamp.is_some(), HAS_BORN_TIMESTAMP);
        let mut bytes = [0; MAX_BYTES];
        let mut rest = &mut bytes[..];
        rest.put_u8(VERSION);
        rest.put_u8(bits);
        rest.put_i64_le(self.store_timestamp.0);
        match ip {
            IpAddr::V4(ip) => rest.put_slice(&ip.octets()),
            IpAddr::V6(ip) => rest.put_slice(&ip.octets()),
        }
        rest.put_u16_le(self.born_host.port());
        for (bit, value) in [(HAS_FLAG, self.flag), (HAS_SYS_FLAG, sys_flag), (HAS_RECONSUME_TIMES, self.reconsume_times)] {
            if bits & bit != 0 {
                rest.put_i32_le(value);
            }
        }
        if bits & HAS_PREPARED_OFFSET != 0 {
            rest.put_i64_le(self.prepared_transaction_offset);
        }
        if let Some(born) = self.born_timestamp {
            rest.put_i64_le(born.0);
        }
        let length = MAX_BYTES - rest.len();
        CompactBytes { bytes, length }
    }

    pub fn decode(mut bytes: &[u8]) -> Option<CompactHeader> {
        let rest = &mut bytes;
        let version = rest.try_get_u8().ok()?;
        let bits = rest.try_get_u8().ok()?;
        if version != VERSION || bits & !KNOWN_BITS != 0 {
            return None;
        }
        let store_timestamp = TimestampMs(rest.try_get_i64_le().ok()?);
        let ip = match bits & BORN_HOST_V6 {
            0 => IpAddr::V4(Ipv4Addr::from(rest.try_get_u32().ok()?)),
            _ => IpAddr::V6(Ipv6Addr::from(rest.try_get_u128().ok()?)),
        };
        let born_host = SocketAddr::new(ip, rest.try_get_u16_le().ok()?);
        let mut number = |bit| if bits & bit == 0 { Some(0) } else { rest.try_get_i32_le().ok() };
        let flag = number(HAS_FLAG)?;
        let sys_flag = number(HAS_SYS_FLAG)? & !SYS_FLAG_OF_ENCODING;
        let reconsume_times = number(HAS_RECONSUME_TIMES)?;
        let prepared_transaction_offset = if bits & HAS_PREPARED_OFFSET == 0 { 0 } else { rest.try_get_i64_le().ok()? };
        let born_timestamp = match bits & HAS_BORN_TIMESTAMP {
            0 => None,
            _ => Some(TimestampMs(rest.try_get_i64_le().ok()?)),
        };
        let header = CompactHeader {
            store_timestamp,
            born_host,
            flag,
            sys_flag,
            reconsume_times,
            prepared_transaction_offset,
            born_timestamp,
        };
        rest.is_empty().then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(born_host: &str) -> CompactHeader {
        CompactHeader {
            store_timestamp: TimestampMs(0x0102_0304_0506),
            born_host: born_host.parse().unwrap(),
            flag: 0,
            sys_flag: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            born_timestamp: None,
        }
    }

    #[test]
    fn an_ordinary_message_needs_sixteen_bytes() {
        let bytes = header("10.0.0.1:258").encode();
        assert_eq!(bytes.as_slice(), [1, 0, 6, 5, 4, 3, 2, 1, 0, 0, 10, 0, 0, 1, 2, 1]);
    }

    #[test]
    fn every_field_reads_back() {
        let full = CompactHeader {
            flag: -1,
            sys_flag: sys_flag::TRANSACTION_PREPARED,
            reconsume_times: 3,
            prepared_transaction_offset: 1 << 50,
            born_timestamp: Some(TimestampMs(-7)),
            ..header("[fe80::7]:9")
        };
        let bytes = full.encode();
        let start = [1, 0x3f, 6, 5, 4, 3, 2, 1, 0, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 9, 0];
        let fields = [0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        let born = (-7i64).to_le_bytes();
        assert_eq!(bytes.as_slice(), [&start[..], &fields, &born].concat());
        assert_eq!(bytes.as_slice().len(), MAX_BYTES);
        assert_eq!(CompactHeader::decode(bytes.as_slice()), Some(full));
        for changed in [CompactHeader { flag: 0, ..full }, CompactHeader { sys_flag: 0, ..full }, header("1.2.3.4:5")] {
            assert_eq!(CompactHeader::decode(changed.encode().as_slice()), Some(changed));
        }
    }

    #[test]
    fn what_belongs_to_an_encoding_is_not_kept() {
        let compressed = sys_flag::COMPRESSED | 3 << 8 | sys_flag::BORN_HOST_V6 | sys_flag::INNER_BATCH;
        let kept = CompactHeader { sys_flag: compressed | sys_flag::MULTI_TAGS, ..header("1.2.3.4:5") }.encode();
        assert_eq!(CompactHeader::decode(kept.as_slice()).unwrap().sys_flag, sys_flag::MULTI_TAGS);
        let mapped = header("[::ffff:1.2.3.4]:5").encode();
        assert_eq!(CompactHeader::decode(mapped.as_slice()), Some(header("1.2.3.4:5")));
    }

    #[test]
    fn anything_else_is_none() {
        let sound = header("10.0.0.1:258").encode();
        let sound = sound.as_slice();
        for end in 0..sound.len() {
            assert_eq!(CompactHeader::decode(&sound[..end]), None, "{end}");
        }
        assert_eq!(CompactHeader::decode(&[sound, &[0]].concat()), None);
        assert_eq!(CompactHeader::decode(&[&[2], &sound[1..]].concat()), None);
        assert_eq!(CompactHeader::decode(&[&[1, 0x40], &sound[2..]].concat()), None);
    }
}
