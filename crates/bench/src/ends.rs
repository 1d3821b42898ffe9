//! Asking a broker for the ends of all partitions of a topic over a plain socket: it can tell them only once it has made the
//! partitions. ListOffsets version 1. librdkafka's own question takes seconds of CPU for 10,000 partitions.
//!
//! A question names few partitions, and none twice that was answered: a broker that is busy making them is asked little.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// API key 2 at version 1.
const LIST_OFFSETS: [u8; 4] = [0, 2, 0, 1];
const CONSUMER: i32 = -1;
const LATEST: i64 = -1;
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Partitions in one question.
const ASKED_AT_ONCE: usize = 500;

/// The partitions whose end is not known yet.
pub(crate) struct Ends {
    stream: TcpStream,
    topic: String,
    missing: Vec<i32>,
}

impl Ends {
    pub(crate) fn new(address: &str, topic: &str, partitions: i32, limit: Duration) -> Result<Ends> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        Ok(Ends { stream, topic: topic.to_owned(), missing: (0..partitions).collect() })
    }

    pub(crate) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Asks about some of the missing; says whether all of these have an end now.
    pub(crate) fn ask(&mut self) -> Result<bool> {
        let asked = self.missing.split_off(self.missing.len().saturating_sub(ASKED_AT_ONCE));
        self.stream.write_all(&request(&self.topic, &asked))?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let announced = i32::from_be_bytes(size);
        let bytes = usize::try_from(announced).ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES);
        let mut answer = vec![0; bytes.ok_or_else(|| Error::other(format!("an answer of {announced} bytes")))?];
        self.stream.read_exact(&mut answer)?;
        let untold = untold(&answer).ok_or_else(|| Error::other("an answer that makes no sense"))?;
        self.missing.extend(&untold);
        Ok(untold.is_empty())
    }
}

fn request(topic: &str, partitions: &[i32]) -> Vec<u8> {
    let mut body = LIST_OFFSETS.to_vec();
    // Correlation id 0, no client id.
    body.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff]);
    body.extend_from_slice(&CONSUMER.to_be_bytes());
    body.extend_from_slice(&1u32.to_be_bytes());
    body.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&(partitions.len() as u32).to_be_bytes());
    for partition in partitions {
        body.extend_from_slice(&partition.to_be_bytes());
        body.extend_from_slice(&LATEST.to_be_bytes());
    }
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// The partitions with an error.
fn untold(answer: &[u8]) -> Option<Vec<i32>> {
    // The correlation id and the number of topics, which is one.
    let name: [u8; 2] = answer.get(8..10)?.try_into().ok()?;
    let rest = answer.get(10 + usize::from(u16::from_be_bytes(name))..)?;
    let (count, partitions) = rest.split_first_chunk()?;
    // The partition, its error, a time, the end.
    let (partitions, left) = partitions.as_chunks::<22>();
    let complete = left.is_empty() && partitions.len() == u32::from_be_bytes(*count) as usize;
    let failed = partitions.iter().filter(|partition| partition[4..6] != [0, 0]);
    complete.then(|| failed.map(|[a, b, c, d, ..]| i32::from_be_bytes([*a, *b, *c, *d])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_without_an_end_are_named() {
        let mut answer = vec![0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2];
        answer.extend_from_slice(&[0; 22]);
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 6]);
        answer.extend_from_slice(&[0; 16]);
        assert_eq!(untold(&answer), Some(vec![1]));
        answer.pop();
        assert_eq!(untold(&answer), None);
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let request = request("t", &[0, 1, 2]);
        assert_eq!(u32::from_be_bytes(*request.first_chunk().unwrap()) as usize, request.len() - 4);
        // Size, key and version, ids, replica, one name, three partitions.
        assert_eq!(request.len(), 4 + 4 + 6 + 4 + 4 + 3 + 4 + 3 * 12);
    }
}
