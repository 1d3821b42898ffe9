//! When a server that was just started first answers: a Metadata request that says that a broker is there and that the
//! partitions asked for have a leader, or any request of remoting. Asked over a plain socket, since a client library would add its own pauses.

use super::failure::Failure;
use super::options::Peer;
use crate::interop;
use crate::interop::process::Running;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Kafka recovers thousands of partitions for more than a minute.
const LIMIT: Duration = Duration::from_secs(600);
/// Between two attempts. A start of 100 ms is to be told from one of 105.
const POLL: Duration = Duration::from_millis(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Metadata version 1: the request's header and body are without length-prefix tricks of later versions.
const METADATA: [u8; 4] = [0, 3, 0, 1];

/// What a server is to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// At least so many nodes.
    pub(super) nodes: usize,
    /// Leaders of so many partitions of a topic.
    pub(super) leaders: Option<(&'a str, usize)>,
    /// The node that is not to be one of them.
    pub(super) not: Option<i32>,
}

/// What a server knows.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    nodes: usize,
    leaders: usize,
}

/// Waits until it is so.
pub(super) fn wait(asked_as: Peer, address: &str, wanted: Wanted, process: &mut Running) -> Result<(), Failure> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        let answered = match asked_as {
            Peer::Kafka => ask(address, wanted).is_some_and(|known| {
                known.nodes >= wanted.nodes.max(1) && wanted.leaders.is_none_or(|(_, partitions)| known.leaders == partitions)
            }),
            Peer::RocketMq => ask_remoting(address).is_some(),
        };
        if answered {
            return Ok(());
        }
        if let Some(status) = process.ended() {
            return Err(interop::Failure::Died { status: status.to_string(), log: process.output() }.into());
        }
        std::thread::sleep(POLL);
    }
    Err(interop::Failure::NotReady { seconds: LIMIT.as_secs(), log: process.output() }.into())
}

/// Nothing when there is no sensible answer yet.
fn ask(address: &str, wanted: Wanted) -> Option<Known> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.write_all(&request(wanted.leaders.map(|(topic, _)| topic))).ok()?;
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let bytes = usize::try_from(i32::from_be_bytes(size)).ok().filter(|bytes| *bytes <= MAX_ANSWER_BYTES)?;
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer).ok()?;
    known(&mut Reader(&answer), wanted.not)
}

/// Asks which topics a broker has for itself; any answer will do.
fn ask_remoting(address: &str) -> Option<()> {
    const HEADER: &[u8] = br#"{"code":305,"flag":0,"language":"JAVA","opaque":1,"version":479}"#;
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    let mut frame = (HEADER.len() as u32 + 4).to_be_bytes().to_vec();
    // The header's form, 0 for JSON, is the first byte of its length.
    frame.extend_from_slice(&(HEADER.len() as u32).to_be_bytes());
    frame.extend_from_slice(HEADER);
    stream.write_all(&frame).ok()?;
    stream.read_exact(&mut [0; 4]).ok()
}

/// Without a topic, an empty list: no topics.
fn request(topic: Option<&str>) -> Vec<u8> {
    let mut body = METADATA.to_vec();
    // Correlation id 0, no client id.
    body.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff]);
    body.extend_from_slice(&u32::from(topic.is_some()).to_be_bytes());
    if let Some(name) = topic {
        body.extend_from_slice(&(name.len() as u16).to_be_bytes());
        body.extend_from_slice(name.as_bytes());
    }
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

fn known(reader: &mut Reader<'_>, not: Option<i32>) -> Option<Known> {
    reader.i32()?;
    let brokers = reader.i32()?;
    for _ in 0..brokers {
        reader.i32()?;
        reader.string()?;
        reader.i32()?;
        reader.string()?;
    }
    reader.i32()?;
    let mut leaders = 0;
    for _ in 0..reader.i32()? {
        reader.bytes(2)?;
        reader.string()?;
        reader.bytes(1)?;
        for _ in 0..reader.i32()? {
            leaders += usize::from(partition_has_leader(reader, not)?);
        }
    }
    Some(Known { nodes: usize::try_from(brokers).ok().filter(|nodes| *nodes > 0)?, leaders })
}

fn partition_has_leader(reader: &mut Reader<'_>, not: Option<i32>) -> Option<bool> {
    let no_error = reader.bytes(2)? == [0, 0];
    reader.i32()?;
    let leader = reader.i32()?;
    for _ in 0..2 {
        let nodes = usize::try_from(reader.i32()?).ok()?;
        reader.bytes(nodes.checked_mul(4)?)?;
    }
    Some(no_error && leader >= 0 && Some(leader) != not)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn i32(&mut self) -> Option<i32> {
        self.bytes(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// A string that may be null.
    fn string(&mut self) -> Option<()> {
        let length = self.bytes(2)?.try_into().ok().map(i16::from_be_bytes)?;
        self.bytes(usize::try_from(length).unwrap_or(0)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_with_a_leader_are_counted() {
        let mut answer = vec![0, 0, 0, 0, 0, 0, 0, 1];
        // Node 1 at "h":9, no rack; controller 1; one topic without error, named "t", not internal.
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'h', 0, 0, 0, 9, 0xff, 0xff, 0, 0, 0, 1]);
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, b't', 0, 0, 0, 0, 2]);
        for leader in [[0, 0, 0, 1], [0xff; 4]] {
            answer.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
            answer.extend_from_slice(&leader);
            answer.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        }
        assert_eq!(known(&mut Reader(&answer), None), Some(Known { nodes: 1, leaders: 1 }));
        assert_eq!(known(&mut Reader(&answer), Some(1)), Some(Known { nodes: 1, leaders: 0 }));
        answer.pop();
        assert_eq!(known(&mut Reader(&answer), None), None);
    }

    #[test]
    fn without_a_broker_there_is_no_answer() {
        assert_eq!(known(&mut Reader(&[0; 16]), None), None);
    }
}
