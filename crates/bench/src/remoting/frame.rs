//! Remoting frames as bytes: requests with a JSON header, made once and sent many times, and what answers say. Written by hand,
//! so that the load generator shares no code with either broker.

use std::io::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) const SEND_MESSAGE_V2: i32 = 310;
pub(super) const SEND_BATCH_MESSAGE: i32 = 320;
pub(super) const PULL_MESSAGE: i32 = 11;
pub(super) const CREATE_TOPIC: i32 = 17;
pub(super) const END_TRANSACTION: i32 = 37;
pub(super) const POP_MESSAGE: i32 = 200_050;
pub(super) const ACK_MESSAGE: i32 = 200_051;
pub(super) const SUCCESS: i32 = 0;
pub(super) const PULL_NOT_FOUND: i32 = 19;
pub(super) const PULL_RETRY_IMMEDIATELY: i32 = 20;
pub(super) const POLLING_FULL: i32 = 209;
pub(super) const POLLING_TIMEOUT: i32 = 210;

/// A release of the Java client (5.3.3), as its ordinal.
const CLIENT_VERSION: i32 = 479;
/// Largest answer that is read: a pull of 32 messages of 4 MiB would be 128 MiB, the loads' are small.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Digits that stand in a template for the request's number.
const OPAQUE_DIGITS: usize = 10;
/// JSON allows blanks in front of a number, so a number of any size fits into a template.
const OPAQUE_KEY: &str = "\"opaque\":";

/// A request whose number is filled in before each sending.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    opaque_at: usize,
}

impl Template {
    pub(super) fn new(code: i32, fields: &[(&str, String)], body: &[u8]) -> Template {
        let fields: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        let fields = serde_json::Value::Object(fields);
        let number = " ".repeat(OPAQUE_DIGITS);
        let header = format!(
            r#"{{"code":{code},"extFields":{fields},"flag":0,"language":"JAVA","serializeTypeCurrentRPC":"JSON","version":{CLIENT_VERSION},{OPAQUE_KEY}{number}}}"#
        );
        let total = 4 + header.len() + body.len();
        let mut bytes = Vec::with_capacity(4 + total);
        bytes.extend_from_slice(&(total as u32).to_be_bytes());
        // The form, 0 for JSON, and 24 bits of length.
        bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(header.as_bytes());
        let opaque_at = bytes.len() - 1 - OPAQUE_DIGITS;
        bytes.extend_from_slice(body);
        Template { bytes, opaque_at }
    }

    /// The request with this number.
    pub(super) fn numbered(&mut self, opaque: u32) -> &[u8] {
        let digits = format!("{opaque:>OPAQUE_DIGITS$}");
        self.bytes[self.opaque_at..self.opaque_at + OPAQUE_DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// One answer; the body stays in the buffer it was read into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) code: i32,
    pub(super) opaque: u32,
    header: &'a [u8],
    pub(super) body: &'a [u8],
}

impl Answer<'_> {
    /// A number among the answer's fields.
    pub(super) fn field(&self, name: &str) -> Option<i64> {
        number(self.header, &format!("\"{name}\":"))
    }

    /// A text without escapes among the answer's fields.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let key = format!("\"{name}\":\"");
        let at = self.header.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
        let text = self.header[at..].split(|byte| *byte == b'"').next()?;
        std::str::from_utf8(text).ok()
    }
}

/// Reads one answer.
pub(super) async fn read_answer<'a>(stream: &mut (impl AsyncRead + Unpin), buffer: &'a mut Vec<u8>) -> Result<Answer<'a>> {
    let announced = stream.read_u32().await? as usize;
    if !(4..=MAX_ANSWER_BYTES).contains(&announced) {
        return Err(Error::other(format!("an answer of {announced} bytes")));
    }
    buffer.resize(announced, 0);
    stream.read_exact(buffer).await?;
    answer(buffer).ok_or_else(|| Error::other("an answer that makes no sense"))
}

fn answer(frame: &[u8]) -> Option<Answer<'_>> {
    let (word, rest) = frame.split_first_chunk::<4>()?;
    let header_bytes = (u32::from_be_bytes(*word) & 0x00ff_ffff) as usize;
    let (header, body) = rest.split_at_checked(header_bytes)?;
    let code = number(header, "\"code\":")? as i32;
    let opaque = u32::try_from(number(header, OPAQUE_KEY)?).ok()?;
    Some(Answer { code, opaque, header, body })
}

/// The number behind a key, quoted or not.
fn number(header: &[u8], key: &str) -> Option<i64> {
    let at = header.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let text = header[at..].iter().copied().skip_while(|byte| matches!(byte, b' ' | b'"'));
    let digits: Vec<u8> = text.take_while(|byte| byte.is_ascii_digit() || *byte == b'-').collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Messages in the body of a pull's answer: each begins with its length.
pub(super) fn messages(mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let length = u32::from_be_bytes(*body.first_chunk()?) as usize;
        body = body.get(length.max(4)..)?;
        count += 1;
    }
    Some(count)
}

/// The bodies of the messages in such a body. Hosts have 4 bytes.
pub(super) fn bodies(mut messages: &[u8]) -> Option<Vec<&[u8]>> {
    const BODY_LENGTH_AT: usize = 84;
    let mut bodies = Vec::new();
    while !messages.is_empty() {
        let length = u32::from_be_bytes(*messages.first_chunk()?) as usize;
        let (message, rest) = messages.split_at_checked(length.max(4))?;
        let (length, body) = message.get(BODY_LENGTH_AT..)?.split_first_chunk::<4>()?;
        bodies.push(body.get(..u32::from_be_bytes(*length) as usize)?);
        messages = rest;
    }
    Some(bodies)
}

/// The body of a batch: messages with these properties.
pub(super) fn batch(messages: &[(&[u8], &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (value, properties) in messages {
        let total = 4 + 4 + 4 + 4 + 4 + value.len() + 2 + properties.len();
        body.extend_from_slice(&(total as u32).to_be_bytes());
        // Magic, checksum and flag: all left to the broker.
        body.extend_from_slice(&[0; 12]);
        body.extend_from_slice(&(value.len() as u32).to_be_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(&(properties.len() as u16).to_be_bytes());
        body.extend_from_slice(properties.as_bytes());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_takes_numbers_of_any_size() {
        let mut template = Template::new(SEND_MESSAGE_V2, &[("b", "topic".to_owned())], b"body");
        for opaque in [0, 7, u32::MAX] {
            let bytes = template.numbered(opaque).to_vec();
            let length = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
            assert_eq!(length, bytes.len() - 4);
            let read = answer(&bytes[4..]).unwrap();
            assert_eq!((read.code, read.opaque, read.body), (SEND_MESSAGE_V2, opaque, &b"body"[..]));
        }
    }

    #[test]
    fn quoted_fields_are_numbers_too() {
        let header = br#"{"code":0,"opaque":3,"extFields":{"nextBeginOffset":"32"}}"#;
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(header);
        assert_eq!(answer(&frame).unwrap().field("nextBeginOffset"), Some(32));
    }

    #[test]
    fn texts_are_read_as_they_stand() {
        let header = br#"{"code":0,"opaque":3,"extFields":{"msgId":"7F01","startOffsetInfo":"0 1 2;0 2 5"}}"#;
        let mut frame = (header.len() as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(header);
        let read = answer(&frame).unwrap();
        assert_eq!((read.text("msgId"), read.text("startOffsetInfo")), (Some("7F01"), Some("0 1 2;0 2 5")));
    }

    #[test]
    fn messages_are_counted_by_their_lengths() {
        let body = batch(&[(b"one", "a"), (b"two", "")]);
        assert_eq!((messages(&body), messages(&[])), (Some(2), Some(0)));
        assert_eq!(messages(&body[..body.len() - 1]), None);
    }
}
