//! The body of a batch of messages that a producer sends (SEND_BATCH_MESSAGE, or SEND_MESSAGE_V2 that says so).
//!
//! ```text
//! repeated: total size 4, magic 4, body checksum 4 (clients leave both zero), flag 4,
//!           body length 4, body, properties length 2, properties
//! ```
//! Integers are big-endian. The number of messages is bounded by the caller, their bytes by the frame they came in.

use super::properties::{MAX_PROPERTIES_BYTES, Properties};
use bytes::{Buf, BufMut, BytesMut};

/// Bytes of a message without body and properties.
const FIXED_BYTES: usize = 4 + 4 + 4 + 4 + 4 + 2;
/// Between the total size and the flag: magic and checksum, which nobody looks at.
const IGNORED_BYTES: usize = 8;

/// Why a body is not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchBodyError {
    #[error("message {index} of the batch is malformed")]
    Malformed { index: usize },
    #[error("the properties of message {index} of the batch are not UTF-8")]
    Utf8 { index: usize },
    #[error("more than {limit} messages in a batch")]
    TooMany { limit: usize },
}

/// One message of a batch. Everything else it has is said once, by the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: Properties<'a>,
}

impl BatchMessage<'_> {
    /// Appends the message to a batch, as clients do. Properties longer than the format allows are an error of the caller.
    pub fn put(&self, out: &mut BytesMut) {
        let properties = self.properties.text().as_bytes();
        assert!(properties.len() <= MAX_PROPERTIES_BYTES, "the length of properties has 16 bits");
        out.put_u32((FIXED_BYTES + self.body.len() + properties.len()) as u32);
        out.put_bytes(0, IGNORED_BYTES);
        out.put_i32(self.flag);
        out.put_u32(self.body.len() as u32);
        out.put_slice(self.body);
        out.put_u16(properties.len() as u16);
        out.put_slice(properties);
    }
}

/// Walks over the messages of a batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchBody<'a> {
    rest: &'a [u8],
    index: usize,
    max_messages: usize,
}

impl<'a> BatchBody<'a> {
    pub fn new(body: &'a [u8], max_messages: usize) -> BatchBody<'a> {
        BatchBody { rest: body, index: 0, max_messages }
    }
}

impl<'a> Iterator for BatchBody<'a> {
    type Item = Result<BatchMessage<'a>, BatchBodyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = match self.index {
            index if index == self.max_messages => Err(BatchBodyError::TooMany { limit: self.max_messages }),
            index => take_message(&mut self.rest, index),
        };
        self.index += 1;
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

fn take_message<'a>(rest: &mut &'a [u8], index: usize) -> Result<BatchMessage<'a>, BatchBodyError> {
    let raw = take_raw(rest).ok_or(BatchBodyError::Malformed { index })?;
    let properties = std::str::from_utf8(raw.properties).map_err(|_| BatchBodyError::Utf8 { index })?;
    Ok(BatchMessage { flag: raw.flag, body: raw.body, properties: Properties::new(properties) })
}

struct RawMessage<'a> {
    flag: i32,
    body: &'a [u8],
    properties: &'a [u8],
}

/// Takes the message that the total size in front of `rest` delimits.
fn take_raw<'a>(rest: &mut &'a [u8]) -> Option<RawMessage<'a>> {
    let total = usize::try_from(rest.try_get_i32().ok()?).ok()?;
    let mut bytes = take_bytes(rest, total.checked_sub(size_of::<i32>())?)?;
    take_bytes(&mut bytes, IGNORED_BYTES)?;
    let flag = bytes.try_get_i32().ok()?;
    let length = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    let body = take_bytes(&mut bytes, length)?;
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    let properties = take_bytes(&mut bytes, length)?;
    bytes.is_empty().then_some(RawMessage { flag, body, properties })
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(count: usize) -> BytesMut {
        let mut out = BytesMut::new();
        for number in 0..count {
            let properties = format!("n\u{1}{number}\u{2}");
            BatchMessage { flag: number as i32, body: &vec![b'x'; number], properties: Properties::new(&properties) }
                .put(&mut out);
        }
        out
    }

    #[test]
    fn a_batch_reads_back() {
        let bytes = batch(3);
        let messages: Vec<_> = BatchBody::new(&bytes, 3).map(Result::unwrap).collect();
        let seen: Vec<_> = messages.iter().map(|m| (m.flag, m.body.len(), m.properties.get("n"))).collect();
        assert_eq!(seen, [(0, 0, Some("0")), (1, 1, Some("1")), (2, 2, Some("2"))]);
    }

    #[test]
    fn the_bytes_are_those_of_javas_encoder() {
        let mut out = BytesMut::new();
        BatchMessage { flag: 7, body: b"hi", properties: Properties::new("a\u{1}b\u{2}") }.put(&mut out);
        let expected = [0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, b'h', b'i', 0, 4, b'a', 1, b'b', 2];
        assert_eq!(&out[..], expected);
    }

    #[test]
    fn a_limit_of_messages_holds() {
        let bytes = batch(4);
        let last = BatchBody::new(&bytes, 3).last();
        assert_eq!(last, Some(Err(BatchBodyError::TooMany { limit: 3 })));
        assert_eq!(BatchBody::new(&bytes, 3).count(), 4);
    }

    #[test]
    fn cut_off_and_lying_lengths_are_refused_at_every_place() {
        let bytes = batch(2);
        let first = BatchBody::new(&bytes, 9).map_while(Result::ok).next().unwrap();
        let boundary = FIXED_BYTES + first.body.len() + first.properties.text().len();
        for end in 1..bytes.len() {
            let last = BatchBody::new(&bytes[..end], 9).last();
            match end {
                end if end == boundary => assert!(last.unwrap().is_ok()),
                _ => assert!(matches!(last, Some(Err(BatchBodyError::Malformed { .. }))), "{end}"),
            }
        }
        for at in [0, 16, 20] {
            let mut wrong = batch(1);
            wrong[at] |= 0x80;
            assert_eq!(BatchBody::new(&wrong, 9).next(), Some(Err(BatchBodyError::Malformed { index: 0 })), "{at}");
        }
    }

    #[test]
    fn properties_that_are_not_text_are_refused() {
        let mut bytes = batch(1);
        let last = bytes.len() - 2;
        bytes[last] = 0xff;
        assert_eq!(BatchBody::new(&bytes, 9).next(), Some(Err(BatchBodyError::Utf8 { index: 0 })));
    }
}
