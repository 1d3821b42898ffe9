//! Produce requests as bytes, made once and sent many times, and what their answers say. Written by hand, so that the load
//! generator shares no code with either broker: Produce version 3, the oldest one that record batches of today go with.

use std::io::{Error, Result};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncReadExt};

/// API key 0 at version 3.
const PRODUCE: [u8; 4] = [0, 0, 0, 3];
const CLIENT_ID: &[u8] = b"duolog-bench";
const TIMEOUT_MS: i32 = 30_000;
/// Largest answer that is read: more than 100,000 partitions need.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// The fields of a batch that its CRC covers begin here.
const CRC_FROM: usize = 21;
const MAGIC: u8 = 2;

/// A request with a batch of one message for each of these partitions.
pub(crate) fn produce_request(topic: &str, messages: &[(i32, &[u8])], acks: i16) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    // The size, filled in at the end; correlation id 0.
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&PRODUCE);
    frame.extend_from_slice(&0i32.to_be_bytes());
    put_string(&mut frame, CLIENT_ID);
    // No transactional id.
    frame.extend_from_slice(&(-1i16).to_be_bytes());
    frame.extend_from_slice(&acks.to_be_bytes());
    frame.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
    frame.extend_from_slice(&1u32.to_be_bytes());
    put_string(&mut frame, topic.as_bytes());
    frame.extend_from_slice(&(messages.len() as u32).to_be_bytes());
    for (partition, value) in messages {
        let batch = batch(value, now);
        frame.extend_from_slice(&partition.to_be_bytes());
        frame.extend_from_slice(&(batch.len() as u32).to_be_bytes());
        frame.extend_from_slice(&batch);
    }
    let size = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

fn put_string(frame: &mut Vec<u8>, text: &[u8]) {
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(text);
}

/// A record batch with one record without key and headers.
fn batch(value: &[u8], timestamp_ms: i64) -> Vec<u8> {
    let record = record(value);
    let mut batch = Vec::with_capacity(61 + record.len());
    // Base offset; length, filled in below; leader epoch; magic; CRC, filled in below.
    batch.extend_from_slice(&0i64.to_be_bytes());
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(&(-1i32).to_be_bytes());
    batch.push(MAGIC);
    batch.extend_from_slice(&[0; 4]);
    // Attributes, last offset delta, first and largest timestamp.
    batch.extend_from_slice(&[0; 6]);
    batch.extend_from_slice(&timestamp_ms.to_be_bytes());
    batch.extend_from_slice(&timestamp_ms.to_be_bytes());
    // No producer id, epoch and sequence; one record.
    batch.extend_from_slice(&[0xff; 14]);
    batch.extend_from_slice(&1u32.to_be_bytes());
    batch.extend_from_slice(&record);
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn record(value: &[u8]) -> Vec<u8> {
    // Attributes, timestamp delta, offset delta, no key.
    let mut body = vec![0, 0, 0, 1];
    put_varint(&mut body, value.len());
    body.extend_from_slice(value);
    // No headers.
    body.push(0);
    let mut record = Vec::with_capacity(body.len() + 5);
    put_varint(&mut record, body.len());
    record.extend_from_slice(&body);
    record
}

/// A length, zigzag-encoded as signed numbers are.
fn put_varint(bytes: &mut Vec<u8>, length: usize) {
    let mut rest = length << 1;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// Reads one answer into `buffer`; gives how many of its batches were refused.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<u64> {
    let announced = stream.read_i32().await?;
    let bytes = usize::try_from(announced).ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES);
    buffer.resize(bytes.ok_or_else(|| Error::other(format!("an answer of {announced} bytes")))?, 0);
    stream.read_exact(buffer).await?;
    refused(buffer).ok_or_else(|| Error::other("an answer that makes no sense"))
}

/// How many partitions of an answer have an error.
fn refused(answer: &[u8]) -> Option<u64> {
    let mut rest = answer;
    let mut refused = 0;
    take::<4>(&mut rest)?;
    for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
        let name = u16::from_be_bytes(take(&mut rest)?);
        rest = rest.get(usize::from(name)..)?;
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            // The partition, its error, offset and time.
            let partition: [u8; 22] = take(&mut rest)?;
            refused += u64::from(partition[4..6] != [0, 0]);
        }
    }
    Some(refused)
}

fn take<const COUNT: usize>(bytes: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_zigzag_varints() {
        let encoded = |length| {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, length);
            bytes
        };
        assert_eq!((encoded(0), encoded(63), encoded(64), encoded(1024)), (vec![0], vec![126], vec![0x80, 1], vec![0x80, 16]));
    }

    #[test]
    fn a_request_and_a_batch_say_how_long_they_are() {
        let request = produce_request("t", &[(0, b"one"), (1, b"two")], -1);
        assert_eq!(u32::from_be_bytes(*request.first_chunk().unwrap()) as usize, request.len() - 4);
        let batch = batch(b"one", 7);
        assert_eq!(u32::from_be_bytes(batch[8..12].try_into().unwrap()) as usize, batch.len() - 12);
        // 61 bytes of header, one of length, four of fields, one of length, the value, one of headers.
        assert_eq!(batch.len(), 61 + 1 + 4 + 1 + 3 + 1);
    }

    #[test]
    fn partitions_with_an_error_are_counted() {
        let mut answer = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        answer.extend_from_slice(&[0; 22]);
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 3]);
        answer.extend_from_slice(&[0; 16]);
        assert_eq!(refused(&answer), Some(1));
        answer.pop();
        assert_eq!(refused(&answer), None);
    }
}
