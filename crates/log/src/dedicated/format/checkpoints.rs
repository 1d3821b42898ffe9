//! Kafka's text files: checkpoints of offsets and of leader epochs, and the metadata of a partition.
//!
//! ```text
//! log-start-offset-checkpoint,        leader-epoch-checkpoint     partition.metadata
//! recovery-point-offset-checkpoint
//! 0                                   0                           version: 0
//! 2                                   2                           topic_id: bSR1w0SmRLWZx2dJ7f9wQw
//! orders 0 1000                       0 0
//! orders 1 57                         3 1200
//! ```
//! The first line of a checkpoint is its version, the second counts the lines that follow.

use crate::dedicated::names::PartitionName;
use crate::partition::EpochStart;
use duolog_base::{PartitionIndex, TopicId};
use std::collections::BTreeMap;
use std::fmt::Write;

const VERSION: &str = "0";
/// What Kafka writes at an orderly stop; -1: no epoch of a broker.
pub const CLEAN_MARK: &str = "{\"version\":0,\"brokerEpoch\":-1}";

/// An offset for each partition.
pub type Offsets = BTreeMap<PartitionName, i64>;

pub fn encode_offsets(offsets: &Offsets) -> Vec<u8> {
    let mut out = format!("{VERSION}\n{}\n", offsets.len());
    for (name, offset) in offsets {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} {} {offset}", name.topic, name.index);
    }
    out.into_bytes()
}

pub fn decode_offsets(bytes: &[u8]) -> Option<Offsets> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = PartitionName { topic: words.next()?.to_owned(), index: PartitionIndex(words.next()?.parse().ok()?) };
        let offset = words.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        words.next().is_none().then_some((name, offset))
    };
    entries(bytes)?.into_iter().map(line).collect()
}

pub fn encode_epochs(epochs: &[EpochStart]) -> Vec<u8> {
    let mut out = format!("{VERSION}\n{}\n", epochs.len());
    for EpochStart { epoch, start } in epochs {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{epoch} {start}");
    }
    out.into_bytes()
}

/// `None` unless epochs and starts ascend.
pub fn decode_epochs(bytes: &[u8]) -> Option<Vec<EpochStart>> {
    let line = |line: &str| {
        let (epoch, start) = line.split_once(' ')?;
        Some(EpochStart { epoch: epoch.parse().ok()?, start: start.parse().ok()? })
    };
    let epochs: Vec<EpochStart> = entries(bytes)?.into_iter().map(line).collect::<Option<_>>()?;
    let ascend = epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start);
    let sound = epochs.first().is_none_or(|first| first.epoch >= 0 && first.start >= 0);
    (ascend && sound).then_some(epochs)
}

/// The lines behind the count, if they are as many.
fn entries(bytes: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let lines: Vec<&str> = lines.collect();
    (lines.len() == count).then_some(lines)
}

pub fn encode_partition_metadata(topic_id: TopicId) -> Vec<u8> {
    format!("version: {VERSION}\ntopic_id: {topic_id}").into_bytes()
}

pub fn decode_partition_metadata(bytes: &[u8]) -> Option<TopicId> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()?.strip_prefix("version:")?.trim() != VERSION {
        return None;
    }
    TopicId::parse(lines.next()?.strip_prefix("topic_id:")?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(topic: &str, index: i32) -> PartitionName {
        PartitionName { topic: topic.into(), index: PartitionIndex(index) }
    }

    #[test]
    fn the_text_is_kafkas_and_reads_back() {
        let offsets: Offsets = [(name("orders", 1), 57), (name("a-b", 0), 1000)].into();
        let text = encode_offsets(&offsets);
        assert_eq!(text, b"0\n2\na-b 0 1000\norders 1 57\n");
        assert_eq!(decode_offsets(&text), Some(offsets));
        let epochs = vec![EpochStart { epoch: 0, start: 0 }, EpochStart { epoch: 3, start: 1200 }];
        assert_eq!(encode_epochs(&epochs), b"0\n2\n0 0\n3 1200\n");
        assert_eq!(decode_epochs(b"0\n2\n0 0\n3 1200\n"), Some(epochs));
        let text = encode_partition_metadata(TopicId(1));
        assert_eq!(text, b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(decode_partition_metadata(&text), Some(TopicId(1)));
    }

    #[test]
    fn what_is_not_whole_or_not_sound_is_refused() {
        for text in ["", "0", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 -1\n", "0\n1\na 0 1 2\n", "0\n\u{0}\n"] {
            assert_eq!(decode_offsets(text.as_bytes()), None, "{text:?}");
        }
        for text in ["0\n2\n0 0\n0 5\n", "0\n2\n1 5\n2 5\n", "0\n1\n-1 0\n", "0\n1\n0  0\n"] {
            assert_eq!(decode_epochs(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode_partition_metadata(b"version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"), None);
        assert_eq!(decode_partition_metadata(b"version: 0\ntopic_id: AAAA"), None);
    }
}
