//! A stored message as gRPC clients see it, and the names that a message of theirs cannot give to properties of its own.

use super::query_route::resource;
use crate::priority::priority;
use crate::transactions::is_half;
use bytes::Bytes;
use duolog_rocketmq_proto::{DeadLetterQueue, Digest, DigestType, Encoding, Message, MessageType, SystemProperties};
use duolog_wire::remoting::message::StoredMessage;
use duolog_wire::remoting::message_id::OffsetMessageId;
use duolog_wire::remoting::properties::name;
use md5::Md5;
use prost_types::Timestamp;
use sha1::Digest as _;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;

/// The producer's host as it calls itself.
pub(super) const BORN_HOST: &str = "__BORNHOST";
const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";

/// Properties that the protocol itself uses, sorted; users can neither set nor see them.
const SYSTEM_PROPERTIES: &[&str] = &[
    "1ST_POP_TIME",
    "ARRIVE_TIME",
    BORN_TIMESTAMP,
    "BUYER_ID",
    "CHECK_IMMUNITY_TIME_IN_SECONDS",
    "CLUSTER",
    "CONSUME_START_TIME",
    "CORRECTION_FLAG",
    "CORRELATION_ID",
    "DELAY",
    "DLQ_ORIGIN_MESSAGE_ID",
    "DLQ_ORIGIN_TOPIC",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "INNER_BASE",
    "INNER_MULTI_DISPATCH",
    "INNER_MULTI_QUEUE_OFFSET",
    "INNER_NUM",
    "INSTANCE_ID",
    "KEYS",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MQ2_FLAG",
    "MSG_REGION",
    "MSG_TYPE",
    "ORIGIN_GROUP",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "POP_CK_OFFSET",
    "PROPERTY_FORWARD_QUEUE_ID",
    "PUSH_REPLY_TIME",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "REDIRECT",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "TAGS",
    "TIMER_DELAY_LEVEL",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TIMER_DEL_UNIQKEY",
    "TIMER_DEQUEUE_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_OUT_MS",
    "TIMER_ROLL_LABEL",
    "TIMER_ROLL_TIMES",
    "TRACE_CONTEXT",
    "TRACE_ON",
    "TRANSACTION_CHECK_TIMES",
    "TRANSFER_FLAG",
    "TRANS_OFFSET",
    "TRAN_MSG",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TTL",
    "UNIQ_KEY",
    "WAIT",
    name::PRIORITY,
    BORN_HOST,
    "__CRC32#",
    "__LITE_TOPIC",
    "__SHARDINGKEY",
    "__transactionId__",
    "duolog.rmq",
];

pub(super) fn is_system_property(name: &str) -> bool {
    SYSTEM_PROPERTIES.binary_search(&name).is_ok()
}

/// The message as it is pulled; `encoded` is what `stored` was read from.
pub(super) fn message(encoded: &Bytes, stored: &StoredMessage<'_>) -> Message {
    let properties = stored.properties;
    let text = |name: &str| properties.get(name).map(str::to_owned);
    let user = properties.iter().filter(|(name, _)| !is_system_property(name));
    let user: HashMap<String, String> = user.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let group = text(name::SHARDING_KEY);
    let delivered_at = properties.get(name::TIMER_DELIVER_MS).and_then(|at| at.parse().ok()).map(timestamp);
    let priority = priority(properties);
    let message_type = match (&group, &delivered_at) {
        _ if is_half(properties) => MessageType::Transaction,
        (Some(_), _) => MessageType::Fifo,
        (None, Some(_)) => MessageType::Delay,
        (None, None) if priority.is_some() => MessageType::Priority,
        (None, None) => MessageType::Normal,
    };
    let system = SystemProperties {
        tag: text(name::TAGS),
        keys: properties.get(name::KEYS).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect(),
        message_id: message_id(stored),
        body_digest: Some(Digest { r#type: DigestType::Md5.into(), checksum: upper_hex(&Md5::digest(stored.body)) }),
        body_encoding: Encoding::Identity.into(),
        message_type: message_type.into(),
        delivery_timestamp: delivered_at,
        born_timestamp: Some(timestamp(stored.born_timestamp)),
        born_host: text(BORN_HOST).unwrap_or_else(|| host(stored.born_host)),
        store_timestamp: Some(timestamp(stored.store_timestamp)),
        store_host: host(stored.store_host),
        queue_id: stored.queue_id,
        queue_offset: Some(stored.queue_offset),
        delivery_attempt: Some(stored.reconsume_times.saturating_add(1)),
        message_group: group,
        priority,
        trace_context: text(name::TRACE_CONTEXT),
        dead_letter_queue: text(name::DLQ_ORIGIN_TOPIC)
            .map(|topic| DeadLetterQueue { topic, message_id: text(name::DLQ_ORIGIN_MESSAGE_ID).unwrap_or_default() }),
        ..SystemProperties::default()
    };
    Message {
        topic: Some(resource(stored.topic)),
        user_properties: user,
        system_properties: Some(system),
        body: encoded.slice_ref(stored.body),
    }
}

/// The id that the producer gave the message, or the first one that the server did.
fn message_id(stored: &StoredMessage<'_>) -> String {
    let given = stored.properties.get(name::UNIQUE_KEY).or_else(|| stored.properties.get(name::ORIGIN_MESSAGE_ID));
    let id = || OffsetMessageId { store_host: stored.store_host, commit_log_offset: stored.commit_log_offset }.to_string();
    given.map_or_else(id, str::to_owned)
}

fn host(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp { seconds: milliseconds.div_euclid(1000), nanos: (milliseconds.rem_euclid(1000) * 1_000_000) as i32 }
}

/// Milliseconds of a time that a client gave.
pub(super) fn milliseconds(given: &Timestamp) -> i64 {
    given.seconds.saturating_mul(1000).saturating_add(i64::from(given.nanos) / 1_000_000)
}

pub(super) fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_properties_of_the_protocol_are_all_found() {
        assert!(SYSTEM_PROPERTIES.is_sorted());
        assert!(SYSTEM_PROPERTIES.iter().all(|name| is_system_property(name)));
        assert!(!is_system_property("color"));
    }

    #[test]
    fn times_before_the_epoch_are_times_too() {
        let before = timestamp(-1);
        assert_eq!((before.seconds, before.nanos), (-1, 999_000_000));
        assert_eq!(milliseconds(&before), -1);
        assert_eq!(milliseconds(&timestamp(1_700_000_000_123)), 1_700_000_000_123);
    }
}
