//! How far each partition has been cleaned, as bytes.
//!
//! Derived state: without it (or when it is damaged) cleaning begins at the log start again, which costs time and loses
//! nothing. Two forms: ours, by partition number, for a whole data directory; and Kafka's text file
//! `cleaner-offset-checkpoint`, by topic and partition, for directories in Kafka's format.
//!
//! ```text
//!  at  bytes  field
//!   0    8    magic "DUOLOGcc"
//!   8    4    format version
//!  12    4    number of entries
//!  16   16n   entries in ascending order: partition number (4), zero (4), first dirty offset (8)
//!  end   4    CRC32C of everything before
//! ```
//! Little-endian. Called by the keepers of both layouts, which write it to a new file and rename that.

use crate::format::{FORMAT_VERSION, checksum};
use duolog_base::{Offset, PartitionIndex, PartitionNumber};
use std::collections::BTreeMap;
use std::fmt::Write;

const MAGIC: [u8; 8] = *b"DUOLOGcc";
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// Version of Kafka's text file.
const TEXT_VERSION: &str = "0";

/// Why bytes are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("cleaner checkpoint is damaged")]
    Damaged,
    #[error("cleaner checkpoint has format {found}, this binary reads up to {supported}")]
    NewerFormat { found: u32, supported: u32 },
    #[error("line {line} of the cleaner checkpoint is malformed")]
    Line { line: usize },
}

/// First dirty offset of each partition of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanerCheckpoint {
    pub first_dirty: BTreeMap<PartitionNumber, Offset>,
}

impl CleanerCheckpoint {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.first_dirty.len() * ENTRY_BYTES + CHECKSUM_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.first_dirty.len() as u32).to_le_bytes());
        for (partition, offset) in &self.first_dirty {
            bytes.extend_from_slice(&partition.0.to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&offset.0.to_le_bytes());
        }
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<CleanerCheckpoint, CheckpointError> {
        let (body, stored) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CheckpointError::Damaged)?;
        if checksum(body) != u32::from_le_bytes(*stored) {
            return Err(CheckpointError::Damaged);
        }
        let (header, entries) = body.split_first_chunk::<HEADER_BYTES>().ok_or(CheckpointError::Damaged)?;
        let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, n0, n1, n2, n3] = *header;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
            return Err(CheckpointError::Damaged);
        }
        match u32::from_le_bytes([v0, v1, v2, v3]) {
            FORMAT_VERSION => {}
            found => return Err(CheckpointError::NewerFormat { found, supported: FORMAT_VERSION }),
        }
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        if !rest.is_empty() || entries.len() as u64 != u64::from(u32::from_le_bytes([n0, n1, n2, n3])) {
            return Err(CheckpointError::Damaged);
        }
        Ok(CleanerCheckpoint { first_dirty: entries.iter().map(decode_entry).collect() })
    }
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> (PartitionNumber, Offset) {
    let [p0, p1, p2, p3, _, _, _, _, offset @ ..] = *entry;
    (PartitionNumber(u32::from_le_bytes([p0, p1, p2, p3])), Offset(i64::from_le_bytes(offset)))
}

/// A line of Kafka's offset checkpoint files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitionOffset {
    pub topic: String,
    pub partition: PartitionIndex,
    pub offset: Offset,
}

/// Kafka's text file: the version, the number of entries, then a line each with topic, partition and offset.
pub fn encode_offset_checkpoint(entries: &[TopicPartitionOffset]) -> String {
    let mut text = format!("{TEXT_VERSION}\n{}\n", entries.len());
    for TopicPartitionOffset { topic, partition, offset } in entries {
        writeln!(text, "{topic} {partition} {offset}").expect("writing to a string does not fail");
    }
    text
}

/// Reads what [`encode_offset_checkpoint`] or Kafka wrote. An empty file has no entries, as for Kafka.
pub fn decode_offset_checkpoint(bytes: &[u8]) -> Result<Vec<TopicPartitionOffset>, CheckpointError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CheckpointError::Damaged)?;
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Vec::new()),
        Some(TEXT_VERSION) => {}
        Some(_) => return Err(CheckpointError::Line { line: 1 }),
    }
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let count: usize = count.parse().map_err(|_| CheckpointError::Line { line: 2 })?;
    let mut entries = Vec::new();
    for (index, line) in lines.enumerate() {
        entries.push(decode_line(line).ok_or(CheckpointError::Line { line: index + 3 })?);
    }
    if entries.len() == count { Ok(entries) } else { Err(CheckpointError::Damaged) }
}

fn decode_line(line: &str) -> Option<TopicPartitionOffset> {
    let mut words = line.split_ascii_whitespace();
    let entry = TopicPartitionOffset {
        topic: words.next()?.to_owned(),
        partition: PartitionIndex(words.next()?.parse().ok()?),
        offset: Offset(words.next()?.parse().ok()?),
    };
    words.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> CleanerCheckpoint {
        let first_dirty = [(7, 0), (1, 42), (u32::MAX, i64::MAX)];
        CleanerCheckpoint { first_dirty: first_dirty.map(|(number, offset)| (PartitionNumber(number), Offset(offset))).into() }
    }

    #[test]
    fn the_bytes_are_fixed() {
        let one = CleanerCheckpoint { first_dirty: [(PartitionNumber(7), Offset(42))].into() };
        let body = b"DUOLOGcc\x01\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0";
        let bytes = one.encode();
        assert_eq!(&bytes[..32], body);
        assert_eq!(bytes[32..], checksum(body).to_le_bytes());
    }

    #[test]
    fn checkpoints_round_trip_and_damage_is_found() {
        for checkpoint in [CleanerCheckpoint::default(), some()] {
            let bytes = checkpoint.encode();
            assert_eq!(CleanerCheckpoint::decode(&bytes), Ok(checkpoint));
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                assert_eq!(CleanerCheckpoint::decode(&flipped), Err(CheckpointError::Damaged), "byte {at}");
                assert_eq!(CleanerCheckpoint::decode(&bytes[..at]), Err(CheckpointError::Damaged), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut bytes = some().encode();
        bytes[8] = 9;
        let body = bytes.len() - CHECKSUM_BYTES;
        let crc = checksum(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
        let newer = CheckpointError::NewerFormat { found: 9, supported: FORMAT_VERSION };
        assert_eq!(CleanerCheckpoint::decode(&bytes), Err(newer));
    }

    #[test]
    fn kafkas_text_file_round_trips() {
        let line = |topic: &str, partition, offset| TopicPartitionOffset {
            topic: topic.into(),
            partition: PartitionIndex(partition),
            offset: Offset(offset),
        };
        let entries = vec![line("__consumer_offsets", 49, 1_234), line("a.b-c", 0, 0)];
        let text = encode_offset_checkpoint(&entries);
        assert_eq!(text, "0\n2\n__consumer_offsets 49 1234\na.b-c 0 0\n");
        assert_eq!(decode_offset_checkpoint(text.as_bytes()), Ok(entries));
        assert_eq!(decode_offset_checkpoint(b""), Ok(Vec::new()));
    }

    #[test]
    fn malformed_text_names_the_line() {
        for (text, expected) in [
            ("1\n0\n", CheckpointError::Line { line: 1 }),
            ("0\nx\n", CheckpointError::Line { line: 2 }),
            ("0\n1\na 0\n", CheckpointError::Line { line: 3 }),
            ("0\n2\na 0 1\nb 0 1 2\n", CheckpointError::Line { line: 4 }),
            ("0\n2\na 0 1\n", CheckpointError::Damaged),
        ] {
            assert_eq!(decode_offset_checkpoint(text.as_bytes()), Err(expected), "{text:?}");
        }
        assert_eq!(decode_offset_checkpoint(b"0\n1\n\xff 0 1\n"), Err(CheckpointError::Damaged));
    }
}
