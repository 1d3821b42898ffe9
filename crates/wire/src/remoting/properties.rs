//! The properties of a RocketMQ message as text: name, byte 1, value, byte 2, and so on; the last byte 2 may be missing.
//!
//! A property has a name and a value of at least one byte; what has not is passed over, as RocketMQ's own clients do. Of
//! properties with the same name the last one counts. Nothing is allocated, and reading is as lenient as the clients are.
//!
//! Called by the message codecs and the mapping to records.

use bytes::{BufMut, BytesMut};

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// Behind each value.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Most bytes of properties in a message: their length has 16 bits and a sign.
pub const MAX_PROPERTIES_BYTES: usize = i16::MAX as usize;
/// Least bytes a property takes: two separators, and a byte each for name and value.
pub const LEAST_PROPERTY_BYTES: usize = 4;

/// Names that clients and servers agree on.
pub mod name {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    pub const WAIT: &str = "WAIT";
    pub const DELAY: &str = "DELAY";
    pub const UNIQUE_KEY: &str = "UNIQ_KEY";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
    pub const MIN_OFFSET: &str = "MIN_OFFSET";
    pub const MAX_OFFSET: &str = "MAX_OFFSET";
    pub const MESSAGE_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    pub const CLUSTER: &str = "CLUSTER";
    pub const MESSAGE_TYPE: &str = "MSG_TYPE";
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    pub const PRODUCER_GROUP: &str = "PGROUP";
    pub const TRANSACTION_ID: &str = "__transactionId__";
    pub const TIMER_DELAY_SECONDS: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    pub const TIME_TO_LIVE_MS: &str = "TTL";
    pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    pub const POP_CHECKPOINT: &str = "POP_CK";
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
}

/// A view of properties text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    text: &'a str,
}

impl<'a> Properties<'a> {
    pub fn new(text: &'a str) -> Properties<'a> {
        Properties { text }
    }

    pub fn text(self) -> &'a str {
        self.text
    }

    /// Value of the last property of that name.
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// Names and values in the order of the text, repeated names as often as they are there.
    pub fn iter(self) -> PropertyPairs<'a> {
        PropertyPairs { rest: self.text }
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = PropertyPairs<'a>;

    fn into_iter(self) -> PropertyPairs<'a> {
        self.iter()
    }
}

/// Iterator made by [`Properties::iter`].
#[derive(Clone, Debug)]
pub struct PropertyPairs<'a> {
    rest: &'a str,
}

impl<'a> Iterator for PropertyPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once(PROPERTY_SEPARATOR as char).unwrap_or((self.rest, ""));
            self.rest = rest;
            match pair.split_once(NAME_VALUE_SEPARATOR as char) {
                Some((name, value)) if !name.is_empty() && !value.is_empty() => return Some((name, value)),
                _ => {}
            }
        }
        None
    }
}

/// Appends a property. The caller sees to it that neither has a separator in it.
pub fn put_property(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_u8(NAME_VALUE_SEPARATOR);
    out.put_slice(value);
    out.put_u8(PROPERTY_SEPARATOR);
}

/// Bytes that [`put_property`] writes.
pub fn property_bytes(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(&str, &str)> {
        Properties::new(text).iter().collect()
    }

    #[test]
    fn the_last_separator_may_be_missing() {
        assert_eq!(pairs("a\u{1}1\u{2}b\u{1}2\u{2}"), [("a", "1"), ("b", "2")]);
        assert_eq!(pairs("a\u{1}1\u{2}b\u{1}2"), [("a", "1"), ("b", "2")]);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn what_has_no_name_or_no_value_is_passed_over() {
        assert_eq!(pairs("a\u{1}\u{2}\u{1}b\u{2}c\u{2}\u{2}\u{1}\u{2}d\u{1}4\u{2}"), [("d", "4")]);
    }

    #[test]
    fn a_value_may_have_the_separator_of_names_in_it() {
        assert_eq!(pairs("a\u{1}1\u{1}2\u{2}"), [("a", "1\u{1}2")]);
    }

    #[test]
    fn the_last_of_a_repeated_name_counts() {
        let properties = Properties::new("a\u{1}1\u{2}TAGS\u{1}x\u{2}a\u{1}3\u{2}");
        assert_eq!((properties.get("a"), properties.get(name::TAGS), properties.get("b")), (Some("3"), Some("x"), None));
    }

    #[test]
    fn what_was_put_reads_back() {
        let mut out = BytesMut::new();
        put_property(&mut out, "ключ".as_bytes(), b"v w");
        put_property(&mut out, b"b", b"2");
        assert_eq!(out.len(), property_bytes("ключ".as_bytes(), b"v w") + LEAST_PROPERTY_BYTES);
        assert_eq!(pairs(std::str::from_utf8(&out).unwrap()), [("ключ", "v w"), ("b", "2")]);
    }
}
