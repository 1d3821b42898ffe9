//! What a RocketMQ message is as a record, and a record as a message: all the rules, in both directions.
//!
//! | RocketMQ message | record |
//! |---|---|
//! | body | value, never compressed by itself |
//! | property KEYS | key |
//! | any other property | header of the same name |
//! | born timestamp | timestamp; of a message that was delayed in the compact header, and the timestamp is the time of its delivery |
//! | queue id, queue offset | partition, offset |
//! | flag, sysFlag, born host, store timestamp, reconsume times, prepared transaction offset | last header `duolog.rmq` ([`compact`]) |
//! | empty body with the property `duolog.null.value` | null value (a tombstone in compacted topics) |
//! | body of one blank with the property `duolog.empty.body` | the same as an empty body ([`EmptyBody`]) |
//!
//! A record without that header was made by a Kafka client. Its born host is unknown, its store timestamp is its timestamp, and it has
//! no unique key, so that clients show the id that the broker gave it. Its headers become properties:
//! * A property has a name and a value. A header whose name or value is empty or null is not shown.
//! * A name or value that is not UTF-8, or that has byte 1 or 2 in it, is shown as `base64:` and its bytes in base64; so is
//!   text that begins with `base64:`, which makes the form unmistakable. Filters do not see such properties.
//! * If a name is repeated, the last value counts, as for Kafka's clients.
//! * A key is shown as KEYS, in place of a header of that name.
//! * Properties have room for 32,767 bytes. If there are more, the largest are left out, and `duolog.omitted` says how many.
//!
//! The names `duolog.rmq`, `duolog.null.value` and `duolog.empty.body` cannot be used for other purposes: such properties are not kept.
//!
//! Called by whatever takes messages from clients (sends, transactions, retries) and, as [`MessageView`], by filters, queries
//! and the transcoder.
//!
//! [`compact`]: crate::compact

mod view;

pub use view::MessageView;

use crate::compact::{COMPACT_HEADER, CompactHeader};
use duolog_base::TimestampMs;
use duolog_wire::record::{BatchBuilder, BuildError, Header, NewRecord};
use duolog_wire::remoting::body_compression::{BodyError, plain_body};
use duolog_wire::remoting::language;
use duolog_wire::remoting::properties::{MAX_PROPERTIES_BYTES, Properties, name, property_bytes};
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Marks a message that stands for a record with a null value. Its value is `true`.
pub const NULL_VALUE: &str = "duolog.null.value";
/// Marks a message whose body is [`PLACEHOLDER`] and stands for an empty one. Its value is `true`.
pub const EMPTY_BODY: &str = "duolog.empty.body";
/// What a client is given that cannot bear an empty body.
pub const PLACEHOLDER: &[u8] = b" ";
/// How many properties were left out for want of room.
pub const OMITTED: &str = "duolog.omitted";
/// In front of what is not text.
pub const BASE64_PREFIX: &str = "base64:";
/// Born host of a message of which nobody knows where it came from.
pub const UNKNOWN_HOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The number by which clients tell their release.
const RELEASE_5_3_2: i32 = 477;
/// Headers of a record that need no allocation.
const ORDINARY_HEADERS: usize = 24;

/// What a client is given in place of an empty body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmptyBody {
    #[default]
    AsItIs,
    /// [`PLACEHOLDER`], and the property that says so.
    Placeholder,
}

impl EmptyBody {
    /// Java clients before 5.3.2 fail on a message without a body and never go on behind it.
    pub fn for_client(language: u8, version: i32) -> EmptyBody {
        match language == language::JAVA && version < RELEASE_5_3_2 {
            true => EmptyBody::Placeholder,
            false => EmptyBody::AsItIs,
        }
    }
}

/// A message on its way into a record.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// As sent: compressed if `sys_flag` says so.
    pub body: &'a [u8],
    /// As sent.
    pub properties: Properties<'a>,
    /// Properties that the server sets, or with `None` takes away, whatever the sender says.
    pub changes: &'a [(&'a str, Option<&'a str>)],
    pub flag: i32,
    pub sys_flag: i32,
    pub born_timestamp: TimestampMs,
    pub born_host: SocketAddr,
    pub store_timestamp: TimestampMs,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    /// Of a message that is delivered later: when. The record has this time then.
    pub delivered_at: Option<TimestampMs>,
}

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Of the body, unpacked.
    pub max_body_bytes: usize,
}

/// Why a message cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("{bytes} bytes of properties, at most {MAX_PROPERTIES_BYTES} are possible")]
    Properties { bytes: usize },
    #[error(transparent)]
    Batch(#[from] BuildError),
}

/// What the caller needs to know of a message that has become a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored<'a> {
    pub tag: Option<&'a str>,
    pub unique_key: Option<&'a str>,
    /// The keys as one text, with blanks between them.
    pub keys: Option<&'a str>,
}

/// Adds the message to a batch as a record. An error leaves the batch as it was.
pub fn put_record<'a>(
    builder: &mut BatchBuilder,
    message: &Outgoing<'a>,
    limits: MessageLimits,
) -> Result<Stored<'a>, MessageError> {
    let mut inflated = Vec::new();
    let body = plain_body(message.sys_flag, message.body, limits.max_body_bytes, &mut inflated)?;
    let compact = compact_header(message).encode();
    let mut sorted = sort(message)?;
    let body = if sorted.empty_body && body == PLACEHOLDER { &[] } else { body };
    sorted.headers.push(header(COMPACT_HEADER, compact.as_slice()));
    let record = NewRecord {
        timestamp: message.delivered_at.unwrap_or(message.born_timestamp),
        key: sorted.stored.keys.map(str::as_bytes),
        value: (!sorted.null_value || !body.is_empty()).then_some(body),
        headers: &sorted.headers,
    };
    builder.push(record)?;
    Ok(sorted.stored)
}

fn compact_header(message: &Outgoing<'_>) -> CompactHeader {
    CompactHeader {
        store_timestamp: message.store_timestamp,
        born_host: message.born_host,
        flag: message.flag,
        sys_flag: message.sys_flag,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        born_timestamp: message.delivered_at.map(|_| message.born_timestamp),
    }
}

/// The properties of a message by where they go.
#[derive(Default)]
struct Sorted<'a, 'h> {
    stored: Stored<'a>,
    null_value: bool,
    /// The body only stands for an empty one.
    empty_body: bool,
    headers: SmallVec<[Header<'h>; ORDINARY_HEADERS]>,
}

fn sort<'a: 'h, 'h>(message: &Outgoing<'a>) -> Result<Sorted<'a, 'h>, MessageError> {
    let changes = message.changes;
    let sent = message.properties.iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let set = changes.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
    let mut sorted = Sorted::default();
    let mut bytes = 0;
    for (name, value) in sent.chain(set) {
        bytes += property_bytes(name.as_bytes(), value.as_bytes());
        match name {
            name::KEYS => sorted.stored.keys = Some(value),
            NULL_VALUE => sorted.null_value = true,
            EMPTY_BODY => sorted.empty_body = true,
            COMPACT_HEADER => {}
            _ => {
                match name {
                    name::TAGS => sorted.stored.tag = Some(value),
                    name::UNIQUE_KEY => sorted.stored.unique_key = Some(value),
                    _ => {}
                }
                sorted.headers.push(header(name, value.as_bytes()));
            }
        }
    }
    if bytes > MAX_PROPERTIES_BYTES { Err(MessageError::Properties { bytes }) } else { Ok(sorted) }
}

fn header<'a>(name: &'a str, value: &'a [u8]) -> Header<'a> {
    Header { key: name.as_bytes(), value: Some(value) }
}

#[cfg(test)]
mod tests;
