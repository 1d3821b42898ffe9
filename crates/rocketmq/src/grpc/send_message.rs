//! SendMessage: messages of one topic, checked all before the first is stored.
//!
//! *Behaviour*: the queue is the one that the client chose, so that what it sends in order (a message group) stays in order. The
//! answer has an entry for each message, in the order in which they came. Messages with a delivery
//! timestamp ahead are kept until then. The queue of a message with a priority is that of the priority. A transactional message is sent alone; its entry has the id by which the transaction is ended.

use super::call::Call;
use super::convert::{BORN_HOST, is_system_property, milliseconds, upper_hex};
use super::limits::{MESSAGE_GROUP_BYTES, SENT_MESSAGES, USER_PROPERTIES, USER_PROPERTIES_BYTES};
use super::query_route::accepted;
use super::status::{Refused, of_all, ok};
use super::telemetry::produces;
use crate::append::{Gathering, Place, Target};
use crate::cluster::Place as CurrentPlace;
use crate::delay::Later;
use crate::message::{MessageLimits, Outgoing};
use crate::priority::queue_of;
use crate::transactions::{CHECK_IMMUNITY, HalfId};
use bytes::{Bytes, BytesMut};
use duolog_base::{Offset, PartitionIndex, TimestampMs};
use duolog_core::broker::Acks;
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::{
    Code, DigestType, Encoding, Message, MessageType, SendMessageRequest, SendMessageResponse, SendResultEntry, SystemProperties,
};
use duolog_wire::remoting::properties::{Properties, name, put_property};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use md5::Md5;
use sha1::{Digest, Sha1};
use std::io::Read;
use std::sync::Arc;

/// How gzip begins; clients also send zlib's format under that name.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

pub(super) async fn handle(call: Call, request: SendMessageRequest) -> Result<SendMessageResponse, Refused> {
    let messages = &request.messages;
    if messages.is_empty() || messages.len() > SENT_MESSAGES {
        let problem = format!("{} messages, 1 to {SENT_MESSAGES} are possible", messages.len());
        return Err(Refused::new(Code::BadRequest, problem));
    }
    let name = |message: &Message| message.topic.as_ref().map(|topic| topic.name.clone());
    if messages.iter().any(|message| name(message) != name(&messages[0])) {
        return Err(Refused::new(Code::BadRequest, "the messages of one send have one topic"));
    }
    let topic = call.topic(messages[0].topic.as_ref())?;
    if !topic.config.perm.may_write() {
        return Err(Refused::new(Code::Forbidden, format!("topic {} cannot be written", topic.name)));
    }
    let is_half = |message: &Message| system(message).is_some_and(|system| system.message_type() == MessageType::Transaction);
    if messages.len() > 1 && messages.iter().any(is_half) {
        return Err(Refused::new(Code::BadRequest, "a transactional message is sent alone"));
    }
    let limits = MessageLimits { max_body_bytes: call.node().broker.config().rocketmq_max_message_bytes };
    let checked = messages.iter().map(|message| check(message, &topic, limits));
    let checked = checked.collect::<Result<Vec<Checked<'_>>, Refused>>()?;
    let stored = store(&call, &topic, &checked, limits).await?;
    let entries: Vec<SendResultEntry> = checked.iter().zip(stored).map(|(message, stored)| entry(message, stored)).collect();
    Ok(SendMessageResponse { status: Some(of_all(entries.iter().filter_map(|entry| entry.status.as_ref()))), entries })
}

fn system(message: &Message) -> Option<&SystemProperties> {
    message.system_properties.as_ref()
}

/// When a message is seen.
enum Seen {
    AtOnce,
    Later(Later),
    /// When its producer says so.
    OnceCommitted,
}

/// Appends all messages at once and waits until they are stored.
async fn store(
    call: &Call,
    topic: &Arc<TopicImage>,
    messages: &[Checked<'_>],
    limits: MessageLimits,
) -> Result<Vec<Result<StoredAt, Refused>>, Refused> {
    let mut gathering = Gathering::default();
    let store_timestamp = call.node().broker.clock().now();
    let mut places: Vec<Place> = Vec::with_capacity(messages.len());
    let mut outgoings = Vec::with_capacity(messages.len());
    for message in messages {
        let target = Target { topic: topic.clone(), queue: message.queue, acks: Acks::All };
        let outgoing = Outgoing {
            body: &message.body,
            properties: Properties::new(&message.properties),
            changes: &[],
            flag: 0,
            sys_flag: 0,
            born_timestamp: message
                .system
                .born_timestamp
                .as_ref()
                .map_or(store_timestamp, |time| TimestampMs(milliseconds(time))),
            born_host: call.peer.remote,
            store_timestamp,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            delivered_at: None,
        };
        let seen = match call.node().delivery_of(outgoing.properties)? {
            _ if message.system.message_type() == MessageType::Transaction => Seen::OnceCommitted,
            Some(later) => Seen::Later(later),
            None => Seen::AtOnce,
        };
        if matches!(seen, Seen::AtOnce) {
            places.push(gathering.push(&target, &outgoing, limits)?.0);
        }
        outgoings.push((target, outgoing, seen));
    }
    let at = |offset| StoredAt { offset, recall_handle: String::new(), transaction_id: String::new() };
    let image = call.image();
    let place = |target: &Target| topic.partition(target.queue).map(|partition| call.node().place_of(&image, partition));
    let is_here = |(target, _, seen): &(Target, Outgoing<'_>, Seen)| {
        matches!(seen, Seen::AtOnce) && place(target) == Some(CurrentPlace::Here)
    };
    if outgoings.iter().all(is_here) {
        let mut appending = gathering.append(&call.node().broker);
        std::future::poll_fn(|context| appending.poll_done(context)).await;
        return Ok(places.into_iter().map(|place| appending.offset(place).map(at).map_err(Refused::from)).collect());
    }
    // Some are for later, or half messages, or the client's route is an old one.
    let mut stored = Vec::with_capacity(outgoings.len());
    for (target, outgoing, seen) in &outgoings {
        stored.push(match seen {
            Seen::Later(later) => store_later(call, target, outgoing, *later, limits).await,
            Seen::OnceCommitted => store_half(call, target, outgoing, limits).await,
            Seen::AtOnce => call.node().store(target, outgoing, limits).await.map(at).map_err(Refused::from),
        });
    }
    Ok(stored)
}

/// Where a message was stored; by what it can be recalled if it is for later, and by what it is ended if it is a half one.
struct StoredAt {
    offset: Offset,
    recall_handle: String,
    transaction_id: String,
}

/// Stores a half message. From now on its sender may be asked about the topic's transactions.
async fn store_half(call: &Call, target: &Target, outgoing: &Outgoing<'_>, limits: MessageLimits) -> Result<StoredAt, Refused> {
    let topic = &target.topic;
    if let Some((settings, Some(channel))) = call.front.clients.seen(&call.client_id, call.now_ms()) {
        produces(call, &settings, &topic.name, &channel);
    }
    let prepared = call.node().store_half(topic, target.queue, &topic.name, outgoing, limits).await?;
    let transaction_id = HalfId::of(&prepared).text();
    Ok(StoredAt { offset: prepared.offset, recall_handle: String::new(), transaction_id })
}

async fn store_later(
    call: &Call,
    target: &Target,
    outgoing: &Outgoing<'_>,
    later: Later,
    limits: MessageLimits,
) -> Result<StoredAt, Refused> {
    let scheduled = call.node().store_later(&target.topic, target.queue, later, outgoing, limits).await?;
    let unique_key = outgoing.properties.get(name::UNIQUE_KEY).unwrap_or_default();
    let recall_handle = call.node().recall_handle(&target.topic.name, unique_key, &scheduled);
    Ok(StoredAt { offset: scheduled.timer.offset, recall_handle, transaction_id: String::new() })
}

fn entry(message: &Checked<'_>, stored: Result<StoredAt, Refused>) -> SendResultEntry {
    let (status, stored) = match stored {
        Ok(stored) => (ok(), stored),
        Err(refused) => {
            let nowhere = StoredAt { offset: Offset(-1), recall_handle: String::new(), transaction_id: String::new() };
            (refused.status(), nowhere)
        }
    };
    SendResultEntry {
        status: Some(status),
        message_id: message.system.message_id.clone(),
        transaction_id: stored.transaction_id,
        offset: stored.offset.0,
        recall_handle: stored.recall_handle,
    }
}

/// A message that can be stored.
struct Checked<'a> {
    system: &'a SystemProperties,
    queue: PartitionIndex,
    /// Unpacked.
    body: Bytes,
    /// As remoting clients write them.
    properties: String,
}

fn check<'a>(message: &'a Message, topic: &TopicImage, limits: MessageLimits) -> Result<Checked<'a>, Refused> {
    let bad = |code, problem: &str| Err(Refused::new(code, problem));
    let Some(system) = &message.system_properties else { return bad(Code::BadRequest, "a message without system properties") };
    if is_blank_or_control(&system.message_id) {
        return bad(Code::IllegalMessageId, "the message id is empty or has control characters");
    }
    let kind = check_kind(system, topic)?;
    check_names(system)?;
    let count = topic.partitions.len() as i32;
    if !(0..count).contains(&system.queue_id) {
        return Err(Refused::new(Code::BadRequest, format!("queue {}, topic {} has {count}", system.queue_id, topic.name)));
    }
    let body = body(message, system, limits)?;
    let properties = properties(message, system)?;
    let queue = match system.priority.filter(|_| kind == MessageType::Priority) {
        Some(priority) => queue_of(priority, count),
        None => PartitionIndex(system.queue_id),
    };
    Ok(Checked { system, queue, body, properties })
}

/// The kind of a message, which is held to those that its topic takes.
fn check_kind(system: &SystemProperties, topic: &TopicImage) -> Result<MessageType, Refused> {
    let is_more = system.delivery_timestamp.is_some() || system.message_group.is_some() || system.lite_topic.is_some();
    let kind = match system.message_type() {
        MessageType::Transaction if !is_more => MessageType::Transaction,
        _ if system.delivery_timestamp.is_some() => MessageType::Delay,
        _ if system.lite_topic.is_some() => MessageType::Lite,
        _ if system.message_group.is_some() => MessageType::Fifo,
        _ if system.priority.is_some() => MessageType::Priority,
        _ => MessageType::Normal,
    };
    let says_other = system.message_type() != MessageType::Unspecified && system.message_type() != kind;
    if says_other || !(kind == MessageType::Lite || accepted(&topic.config.message_type).contains(&kind)) {
        let said = system.message_type().as_str_name();
        let problem = format!("a message of type {said} that is {} does not go to topic {}", kind.as_str_name(), topic.name);
        return Err(Refused::new(Code::MessagePropertyConflictWithType, problem));
    }
    match kind {
        MessageType::Priority if system.priority < Some(0) => Err(Refused::new(Code::BadRequest, "a priority is not negative")),
        kind if kind != MessageType::Lite => Ok(kind),
        _ => Err(Refused::new(Code::Unsupported, format!("{} messages are not served", kind.as_str_name()))),
    }
}

/// Tag, keys and message group.
fn check_names(system: &SystemProperties) -> Result<(), Refused> {
    let bad = |code, problem: &str| Err(Refused::new(code, problem));
    if let Some(tag) = system.tag.as_deref().filter(|tag| !tag.is_empty())
        && (is_blank_or_control(tag) || tag.contains('|'))
    {
        return bad(Code::IllegalMessageTag, "a tag is not blank and has neither '|' nor control characters");
    }
    if system.keys.iter().any(|key| is_blank_or_control(key)) {
        return bad(Code::IllegalMessageKey, "a key is not blank and has no control characters");
    }
    match &system.message_group {
        Some(group) if is_blank_or_control(group) || group.len() > MESSAGE_GROUP_BYTES => {
            bad(Code::IllegalMessageGroup, "a message group is not blank, has no control characters and at most 64 bytes")
        }
        _ => Ok(()),
    }
}

fn is_blank_or_control(text: &str) -> bool {
    text.trim().is_empty() || text.chars().any(char::is_control)
}

/// The body, unpacked and held to its digest.
fn body(message: &Message, system: &SystemProperties, limits: MessageLimits) -> Result<Bytes, Refused> {
    let most = limits.max_body_bytes;
    let too_large = || Refused::new(Code::MessageBodyTooLarge, format!("the body is larger than {most} bytes"));
    let corrupted = |what: &str| Refused::new(Code::MessageCorrupted, what);
    if message.body.len() > most {
        return Err(too_large());
    }
    let body = match system.body_encoding() {
        Encoding::Gzip => {
            let unpacked = unpack(&message.body, most).map_err(|_| corrupted("the body is not compressed as it says"))?;
            unpacked.ok_or_else(too_large)?
        }
        Encoding::Identity | Encoding::Unspecified => message.body.clone(),
    };
    match &system.body_digest {
        Some(digest) if !fits(digest, &message.body) && !fits(digest, &body) => {
            Err(corrupted("the body does not have the digest that came with it"))
        }
        _ => Ok(body),
    }
}

/// `None` if there is more than the limit.
fn unpack(body: &[u8], most: usize) -> std::io::Result<Option<Bytes>> {
    let mut unpacked = Vec::new();
    let limit = most as u64 + 1;
    match body.starts_with(&GZIP_MAGIC) {
        true => GzDecoder::new(body).take(limit).read_to_end(&mut unpacked)?,
        false => ZlibDecoder::new(body).take(limit).read_to_end(&mut unpacked)?,
    };
    Ok((unpacked.len() <= most).then(|| unpacked.into()))
}

/// Whether a digest is that of the body. Clients write the same number with and without zeros in front.
fn fits(digest: &duolog_rocketmq_proto::Digest, body: &[u8]) -> bool {
    let said = digest.checksum.as_str();
    match digest.r#type() {
        DigestType::Crc32 => u32::from_str_radix(said, 16).is_ok_and(|said| said == crc32(body)),
        DigestType::Md5 => said.eq_ignore_ascii_case(&upper_hex(&Md5::digest(body))),
        DigestType::Sha1 => said.eq_ignore_ascii_case(&upper_hex(&Sha1::digest(body))),
        DigestType::Unspecified => true,
    }
}

fn crc32(body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    crc.sum()
}

fn properties(message: &Message, system: &SystemProperties) -> Result<String, Refused> {
    let users = &message.user_properties;
    let bytes: usize = users.iter().map(|(name, value)| name.len() + value.len()).sum();
    if users.len() > USER_PROPERTIES || bytes > USER_PROPERTIES_BYTES {
        let problem =
            format!("{} properties of {bytes} bytes, {USER_PROPERTIES} of {USER_PROPERTIES_BYTES} are possible", users.len());
        return Err(Refused::new(Code::MessagePropertiesTooLarge, problem));
    }
    let mut out = BytesMut::new();
    let mut sorted: Vec<(&String, &String)> = users.iter().collect();
    sorted.sort_unstable();
    for (name, value) in sorted {
        if is_system_property(name) || is_blank_or_control(name) || value.chars().any(char::is_control) {
            let problem = format!("property {name:?} is the protocol's own, blank, or has control characters");
            return Err(Refused::new(Code::IllegalMessagePropertyKey, problem));
        }
        put_property(&mut out, name.as_bytes(), value.as_bytes());
    }
    let keys = system.keys.join(" ");
    let delivered_at = system.delivery_timestamp.as_ref().map(|time| milliseconds(time).to_string());
    let is_half = system.message_type() == MessageType::Transaction;
    let priority = system.priority.map(|priority| priority.to_string());
    let immunity = system.orphaned_transaction_recovery_duration.as_ref().map(|time| time.seconds.to_string());
    let own = [
        (name::TRANSACTION_PREPARED, is_half.then_some("true")),
        (CHECK_IMMUNITY, immunity.as_deref().filter(|_| is_half)),
        (name::UNIQUE_KEY, Some(system.message_id.as_str())),
        (name::TAGS, system.tag.as_deref()),
        (name::KEYS, Some(keys.as_str())),
        (name::SHARDING_KEY, system.message_group.as_deref()),
        (name::PRIORITY, priority.as_deref()),
        (name::TIMER_DELIVER_MS, delivered_at.as_deref()),
        (name::TRACE_CONTEXT, system.trace_context.as_deref()),
        (BORN_HOST, Some(system.born_host.as_str())),
    ];
    for (name, value) in own {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if value.chars().any(char::is_control) {
            return Err(Refused::new(Code::BadRequest, format!("{name} has control characters")));
        }
        put_property(&mut out, name.as_bytes(), value.as_bytes());
    }
    Ok(String::from_utf8(out.into()).expect("texts joined by ASCII are text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_rocketmq_proto::Digest as Said;
    use std::io::Write;

    fn said(kind: DigestType, checksum: &str) -> Said {
        Said { r#type: kind.into(), checksum: checksum.to_owned() }
    }

    #[test]
    fn digests_are_compared_as_numbers() {
        // Check values of the CRC catalogue and of RFC 1321 and 3174.
        assert!(fits(&said(DigestType::Crc32, "CBF43926"), b"123456789"));
        assert!(fits(&said(DigestType::Crc32, "00000000"), b"") && fits(&said(DigestType::Crc32, "0"), b""));
        assert!(!fits(&said(DigestType::Crc32, "cbf43927"), b"123456789"));
        assert!(!fits(&said(DigestType::Crc32, "what"), b""));
        assert!(fits(&said(DigestType::Md5, "900150983CD24FB0D6963F7D28E17F72"), b"abc"));
        assert!(fits(&said(DigestType::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"), b"abc"));
    }

    #[test]
    fn gzip_may_be_zlib_and_neither_unpacks_beyond_the_limit() {
        let text = vec![b'x'; 1000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        for packed in [gzip.finish().unwrap(), zlib.finish().unwrap()] {
            assert_eq!(unpack(&packed, 1000).unwrap().unwrap(), text);
            assert_eq!(unpack(&packed, 999).unwrap(), None);
        }
        assert!(unpack(b"neither", 1000).is_err());
    }
}
