//! Dead letters: what a message that its group gave up says of where it comes from, and what it is when it goes back there.
//!
//! They lie in `%DLQ%GROUP`. [`crate::send_back`] writes them, for both of RocketMQ's protocols; `duolog dlq` reads them as the records they are.
//!
//! | property and header | |
//! |---|---|
//! | `DLQ_ORIGIN_TOPIC`, `DLQ_ORIGIN_MESSAGE_ID` | as in the original: where it was first, and its first id |
//! | `duolog.origin.partition`, `duolog.origin.offset` | its place there; kept from the first retry on |
//! | `duolog.dlq.group` | who gave it up |
//! | `duolog.dlq.attempts` | how often it was delivered |
//! | `duolog.dlq.reason` | `attempts`: too often; `consumer`: a consumer said so |
//!
//! Kafka's share groups say the same with headers of Kafka's, in topics of their own choice: [`duolog_core::share::dead_letters`].

use crate::compact::{COMPACT_HEADER, CompactHeader};
use duolog_base::TimestampMs;
use duolog_core::share::{Reason as ShareReason, dead_letters as shared};
use duolog_wire::record::Record;
use duolog_wire::remoting::properties::name;

pub const ORIGIN_PARTITION: &str = "duolog.origin.partition";
pub const ORIGIN_OFFSET: &str = "duolog.origin.offset";
pub const GROUP: &str = "duolog.dlq.group";
pub const ATTEMPTS: &str = "duolog.dlq.attempts";
pub const REASON: &str = "duolog.dlq.reason";

/// What the message got on its way to the dead letters, and does not take back.
const LEFT_BEHIND: &[&str] = &[
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    GROUP,
    ATTEMPTS,
    REASON,
    name::RETRY_TOPIC,
    name::ORIGIN_MESSAGE_ID,
    name::DLQ_ORIGIN_TOPIC,
    name::DLQ_ORIGIN_MESSAGE_ID,
    name::REAL_TOPIC,
    name::REAL_QUEUE_ID,
    name::RECONSUME_TIME,
    name::CONSUME_START_TIME,
    name::TIMER_OUT_MS,
];

/// Why a message is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TooManyAttempts,
    Consumer,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::TooManyAttempts => "attempts",
            Reason::Consumer => "consumer",
        }
    }
}

/// What a dead letter says of itself; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// Who gave it up.
    pub group: Option<String>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    pub attempts: Option<i32>,
    pub reason: Option<String>,
}

impl DeadLetter {
    pub fn of(record: &Record<'_>) -> DeadLetter {
        let text = |name: &str| {
            let value = record.headers.last_value(name.as_bytes()).flatten()?;
            str::from_utf8(value).ok().map(str::to_owned)
        };
        // A share group's come last, whatever the record had.
        let either = |shared: &str, own: &str| text(shared).or_else(|| text(own));
        DeadLetter {
            group: either(shared::GROUP, GROUP),
            topic: either(shared::TOPIC, name::DLQ_ORIGIN_TOPIC).filter(|topic| !topic.is_empty()),
            partition: either(shared::PARTITION, ORIGIN_PARTITION).and_then(|number| number.parse().ok()),
            offset: either(shared::OFFSET, ORIGIN_OFFSET).and_then(|number| number.parse().ok()),
            attempts: either(shared::DELIVERIES, ATTEMPTS).and_then(|number| number.parse().ok()),
            reason: text(shared::MESSAGE).map(reason_of).or_else(|| text(REASON)),
        }
    }
}

/// A share group's reason by the name it has here.
fn reason_of(message: String) -> String {
    match message {
        message if message == ShareReason::Attempts.message() => Reason::TooManyAttempts.name().to_owned(),
        message if message == ShareReason::Rejected.message() => Reason::Consumer.name().to_owned(),
        message => message,
    }
}

/// The headers of a dead letter that goes back where it came from: as when it was sent first, and as if it had never been delivered.
pub fn headers_again(record: &Record<'_>, now: TimestampMs) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let stays = |key: &[u8]| !LEFT_BEHIND.iter().chain(&shared::HEADERS).any(|name| name.as_bytes() == key);
    let again = |(key, value): (&[u8], Option<&[u8]>)| match value.filter(|_| key == COMPACT_HEADER.as_bytes()) {
        Some(compact) => compact_again(compact, record.timestamp, now),
        None => value.map(<[u8]>::to_vec),
    };
    let headers = record.headers.clone().filter(|header| stays(header.key));
    headers.map(|header| (header.key.to_vec(), again((header.key, header.value)))).collect()
}

fn compact_again(bytes: &[u8], timestamp: TimestampMs, now: TimestampMs) -> Option<Vec<u8>> {
    let Some(header) = CompactHeader::decode(bytes) else { return Some(bytes.to_vec()) };
    let born_timestamp = Some(header.born_timestamp.unwrap_or(timestamp));
    let again = CompactHeader { reconsume_times: 0, store_timestamp: now, born_timestamp, ..header };
    Some(again.encode().as_slice().to_vec())
}
