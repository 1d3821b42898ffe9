//! The id of a message that names where it lies: address of its store host, port, commit log offset, in hexadecimal.
//!
//! Servers make it, clients show it and send it back. It has 32 digits with an IPv4 address and 56 with an IPv6 one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Digits behind the address: port (32 bits) and offset (64 bits).
const PORT_DIGITS: usize = 8;
const OFFSET_DIGITS: usize = 16;
const V4_DIGITS: usize = 8 + PORT_DIGITS + OFFSET_DIGITS;
const V6_DIGITS: usize = 32 + PORT_DIGITS + OFFSET_DIGITS;

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetMessageId {
    pub store_host: SocketAddr,
    pub commit_log_offset: i64,
}

impl OffsetMessageId {
    /// Reads the text; `None` if it is something else, such as an id that the client made.
    pub fn parse(text: &str) -> Option<OffsetMessageId> {
        if !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let (ip, rest) = match text.len() {
            V4_DIGITS => (IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(&text[..8], 16).ok()?)), &text[8..]),
            V6_DIGITS => (IpAddr::V6(Ipv6Addr::from(u128::from_str_radix(&text[..32], 16).ok()?)), &text[32..]),
            _ => return None,
        };
        let port = u32::from_str_radix(&rest[..PORT_DIGITS], 16).ok()?;
        let offset = u64::from_str_radix(&rest[PORT_DIGITS..], 16).ok()?;
        let store_host = SocketAddr::new(ip, u16::try_from(port).ok()?);
        Some(OffsetMessageId { store_host, commit_log_offset: offset as i64 })
    }
}

impl fmt::Display for OffsetMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store_host.ip() {
            IpAddr::V4(ip) => write!(f, "{:08X}", ip.to_bits())?,
            IpAddr::V6(ip) => write!(f, "{:032X}", ip.to_bits())?,
        }
        write!(f, "{:08X}{:016X}", self.store_host.port(), self.commit_log_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_rocketmq_prints_them() {
        let id = |host: &str| OffsetMessageId { store_host: host.parse().unwrap(), commit_log_offset: 0x1_0000_0abc };
        assert_eq!(id("192.168.0.7:10911").to_string(), "C0A8000700002A9F0000000100000ABC");
        assert_eq!(id("[fe80::1]:10911").to_string(), "FE80000000000000000000000000000100002A9F0000000100000ABC");
        for host in ["192.168.0.7:10911", "[fe80::1]:10911"] {
            assert_eq!(OffsetMessageId::parse(&id(host).to_string()), Some(id(host)));
            assert_eq!(OffsetMessageId::parse(&id(host).to_string().to_lowercase()), Some(id(host)));
        }
    }

    #[test]
    fn other_texts_are_not_ids() {
        let far_port = "C0A80007000100000000000100000ABC";
        let sign = "+0A8000700002A9F0000000100000ABC";
        for text in ["", "C0A8", far_port, sign, "ключключключключ", "C0A8000700002A9F0000000100000ABCD"] {
            assert_eq!(OffsetMessageId::parse(text), None, "{text}");
        }
    }
}
