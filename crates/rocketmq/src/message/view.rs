//! A record as the message that RocketMQ's clients see. The rules stand in [`super`].
//!
//! Borrows from the record; a look at a property is a walk over the record's headers. Allocates only for what has to be
//! escaped, and if there are more properties than a message has room for.

use super::{BASE64_PREFIX, EMPTY_BODY, EmptyBody, NULL_VALUE, OMITTED, PLACEHOLDER, UNKNOWN_HOST};
use crate::compact::{COMPACT_HEADER, CompactHeader};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use duolog_base::{Offset, TimestampMs};
use duolog_core::filter;
use duolog_wire::record::Record;
use duolog_wire::remoting::properties::{
    LEAST_PROPERTY_BYTES, MAX_PROPERTIES_BYTES, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, name, put_property,
};
use hashbrown::HashMap;
use std::borrow::Cow;
use std::net::SocketAddr;

/// Kept free for the property that says how many were left out: its name, separators, and a number.
const OMITTED_BYTES: usize = OMITTED.len() + 2 + 20;
/// More properties than these have no room in a message, however small they are.
const MAX_PROPERTIES: usize = MAX_PROPERTIES_BYTES / LEAST_PROPERTY_BYTES;

/// A record as a message.
#[derive(Clone, Debug)]
pub struct MessageView<'a> {
    record: Record<'a>,
    /// `None` if a Kafka client made the record.
    compact: Option<CompactHeader>,
    tag: Option<&'a [u8]>,
    empty_body: EmptyBody,
}

impl<'a> MessageView<'a> {
    pub fn new(record: Record<'a>) -> MessageView<'a> {
        let (mut compact, mut tag) = (None, None);
        for header in record.headers.clone() {
            if header.key == COMPACT_HEADER.as_bytes() {
                compact = header.value;
            } else if header.key == name::TAGS.as_bytes() && header.value.is_some_and(|value| !value.is_empty()) {
                tag = header.value;
            }
        }
        MessageView { compact: compact.and_then(CompactHeader::decode), tag, record, empty_body: EmptyBody::AsItIs }
    }

    /// The message as it is shown to a client that may not bear an empty body.
    pub fn with_empty_body(self, empty_body: EmptyBody) -> MessageView<'a> {
        MessageView { empty_body, ..self }
    }

    /// The record itself.
    pub fn record(&self) -> &Record<'a> {
        &self.record
    }

    pub fn is_from_kafka(&self) -> bool {
        self.compact.is_none()
    }

    pub fn offset(&self) -> Offset {
        self.record.offset
    }

    /// The body, never compressed; empty for a null value, unless the client cannot bear that.
    pub fn body(&self) -> &'a [u8] {
        if self.has_placeholder() { PLACEHOLDER } else { self.record.value.unwrap_or_default() }
    }

    /// Whether the body stands for an empty one.
    fn has_placeholder(&self) -> bool {
        self.empty_body == EmptyBody::Placeholder && self.record.value.is_none_or(<[u8]>::is_empty)
    }

    /// Whether the record has no value.
    pub fn is_null_value(&self) -> bool {
        self.record.value.is_none()
    }

    pub fn born_timestamp(&self) -> TimestampMs {
        let kept = self.compact.and_then(|compact| compact.born_timestamp);
        kept.unwrap_or(self.record.timestamp).max(TimestampMs(0))
    }

    pub fn store_timestamp(&self) -> TimestampMs {
        self.compact.map_or(self.born_timestamp(), |compact| compact.store_timestamp)
    }

    pub fn born_host(&self) -> SocketAddr {
        self.compact.map_or(UNKNOWN_HOST, |compact| compact.born_host)
    }

    pub fn flag(&self) -> i32 {
        self.compact.map_or(0, |compact| compact.flag)
    }

    /// Without the bits about compression and addresses: the body is plain.
    pub fn sys_flag(&self) -> i32 {
        self.compact.map_or(0, |compact| compact.sys_flag)
    }

    pub fn reconsume_times(&self) -> i32 {
        self.compact.map_or(0, |compact| compact.reconsume_times)
    }

    pub fn prepared_transaction_offset(&self) -> i64 {
        self.compact.map_or(0, |compact| compact.prepared_transaction_offset)
    }

    pub fn tag(&self) -> Option<&'a str> {
        self.plain(self.tag?)
    }

    /// The id that the producing client gave the message.
    pub fn unique_key(&self) -> Option<&'a str> {
        self.property(name::UNIQUE_KEY)
    }

    /// The keys as one text, with blanks between them.
    pub fn keys(&self) -> Option<Cow<'a, str>> {
        let key = self.key().or_else(|| self.last_value(name::KEYS))?;
        Some(self.shown(key))
    }

    /// Value of a property; `None` also for one that has to be escaped.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        self.plain_name(name.as_bytes())?;
        match name {
            NULL_VALUE if self.is_null_value() => Some("true"),
            EMPTY_BODY if self.has_placeholder() => Some("true"),
            COMPACT_HEADER => None,
            name::TAGS => self.tag(),
            name::KEYS => self.plain(self.key().or_else(|| self.last_value(name::KEYS))?),
            _ => self.plain(self.last_value(name)?),
        }
    }

    /// Names and values as clients see them, in the order in which they lie in the record; of a repeated name the last counts.
    pub fn properties(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.pairs().map(|(name, value)| (self.shown_name(name), self.shown(value)))
    }

    /// Appends the properties as text, no more than a message has room for.
    pub fn put_properties(&self, out: &mut BytesMut) {
        let start = out.len();
        for (name, value) in self.pairs() {
            let (name, value) = (self.plain_name(name).ok_or(name), self.plain(value).ok_or(value));
            if out.len() - start + shown_bytes(name) + shown_bytes(value) + 2 > MAX_PROPERTIES_BYTES {
                out.truncate(start);
                return self.put_smallest_properties(out);
            }
            put_shown(out, name);
            out.put_u8(NAME_VALUE_SEPARATOR);
            put_shown(out, value);
            out.put_u8(PROPERTY_SEPARATOR);
        }
    }

    /// When not all have room: the small ones first.
    fn put_smallest_properties(&self, out: &mut BytesMut) {
        let mut last = HashMap::new();
        let mut omitted = 0u64;
        for (name, value) in self.pairs() {
            if last.len() < MAX_PROPERTIES || last.contains_key(name) {
                last.insert(name, value);
            } else {
                omitted += 1;
            }
        }
        let bytes = |(name, value): (&[u8], &[u8])| {
            shown_bytes(self.plain_name(name).ok_or(name)) + shown_bytes(self.plain(value).ok_or(value)) + 2
        };
        let mut sorted: Vec<_> = last.into_iter().map(|pair| (bytes(pair), pair)).collect();
        sorted.sort_unstable();
        let mut room = MAX_PROPERTIES_BYTES - OMITTED_BYTES;
        for (bytes, (name, value)) in sorted {
            if bytes > room {
                omitted += 1;
                continue;
            }
            room -= bytes;
            put_property(out, self.shown_name(name).as_bytes(), self.shown(value).as_bytes());
        }
        put_property(out, OMITTED.as_bytes(), omitted.to_string().as_bytes());
    }

    /// What is shown as a property, unescaped.
    fn pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let key = self.key();
        let null = self.is_null_value().then_some((NULL_VALUE.as_bytes(), &b"true"[..]));
        let placeholder = self.has_placeholder().then_some((EMPTY_BODY.as_bytes(), &b"true"[..]));
        let keys = key.map(|key| (name::KEYS.as_bytes(), key));
        let has_key = key.is_some();
        let headers = self.record.headers.clone().filter_map(move |header| {
            let value = header.value.filter(|value| !value.is_empty())?;
            let hidden = header.key.is_empty()
                || header.key == COMPACT_HEADER.as_bytes()
                || has_key && header.key == name::KEYS.as_bytes();
            (!hidden).then_some((header.key, value))
        });
        null.into_iter().chain(placeholder).chain(keys).chain(headers)
    }

    /// The record's key, if it can be shown.
    fn key(&self) -> Option<&'a [u8]> {
        self.record.key.filter(|key| !key.is_empty())
    }

    fn last_value(&self, name: &str) -> Option<&'a [u8]> {
        let of_name = |header: duolog_wire::record::Header<'a>| header.value.filter(|_| header.key == name.as_bytes());
        self.record.headers.clone().filter_map(of_name).filter(|value| !value.is_empty()).last()
    }

    fn shown(&self, value: &'a [u8]) -> Cow<'a, str> {
        self.plain(value).map_or_else(|| Cow::Owned(escaped(value)), Cow::Borrowed)
    }

    fn shown_name(&self, name: &'a [u8]) -> Cow<'a, str> {
        self.plain_name(name).map_or_else(|| Cow::Owned(escaped(name)), Cow::Borrowed)
    }

    /// The text, if it can be shown as it is. What RocketMQ's clients sent always can.
    fn plain<'b>(&self, value: &'b [u8]) -> Option<&'b str> {
        let text = std::str::from_utf8(value).ok()?;
        let misleading = value.contains(&PROPERTY_SEPARATOR)
            || self.is_from_kafka() && (value.contains(&NAME_VALUE_SEPARATOR) || text.starts_with(BASE64_PREFIX));
        (!misleading).then_some(text)
    }

    /// The same of a name, in which neither separator may be.
    fn plain_name<'b>(&self, name: &'b [u8]) -> Option<&'b str> {
        self.plain(name).filter(|_| !name.contains(&NAME_VALUE_SEPARATOR))
    }
}

impl filter::Properties for MessageView<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        MessageView::property(self, name)
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = BASE64_PREFIX.to_owned();
    STANDARD.encode_string(bytes, &mut text);
    text
}

/// Bytes of text as it is, or of what has to be escaped.
fn shown_bytes(text: Result<&str, &[u8]>) -> usize {
    match text {
        Ok(text) => text.len(),
        Err(bytes) => BASE64_PREFIX.len() + bytes.len().div_ceil(3) * 4,
    }
}

fn put_shown(out: &mut BytesMut, text: Result<&str, &[u8]>) {
    match text {
        Ok(text) => out.put_slice(text.as_bytes()),
        Err(bytes) => out.put_slice(escaped(bytes).as_bytes()),
    }
}
