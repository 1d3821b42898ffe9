//! Integers that must not be confused with each other, each a type of its own.
//!
//! All are plain values without behaviour beyond what every caller needs; the inner field is public because
//! the wire formats read and write it.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Number of a record within its partition, counted from 0. Never reused within a partition.
    Offset(i64)
);
id!(
    /// Counts the leaders a partition has had. Every batch on disk carries the epoch of the leader that took it.
    LeaderEpoch(i32)
);
id!(
    /// Index of a partition within its topic, counted from 0. RocketMQ calls it queue id.
    PartitionIndex(i32)
);
id!(
    /// Cluster-wide number the controller gives to a (topic id, partition index). Never reused.
    /// Frames, indexes and locators carry it in place of names.
    PartitionNumber(u32)
);
id!(
    /// A node of the cluster. Kafka calls it broker id.
    NodeId(i32)
);
id!(
    /// Counts the changes of a partition's replicas, in-sync set and leader. A change is asked for against the version that was seen. (KIP-497)
    PartitionEpoch(i32)
);
id!(
    /// Incarnation of a node: given at each registration, higher than any before it. Kafka calls it broker epoch. (KIP-903)
    BrokerEpoch(u64)
);
id!(
    /// Id the broker hands to a producer so that repeated batches can be recognised; -1 is "none".
    ProducerId(i64)
);
id!(
    /// Generation of a producer id. A lower one than the newest seen is fenced.
    ProducerEpoch(i16)
);
id!(
    /// Byte position in a commit log, counted from the beginning of its first file ever written.
    Position(u64)
);
id!(
    /// Milliseconds since the Unix epoch; -1 is "none".
    TimestampMs(i64)
);

impl Offset {
    /// The offset `count` records later.
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl NodeId {
    /// The value that stands for no node: a partition without a leader.
    pub const NONE: NodeId = NodeId(-1);
}

impl ProducerId {
    /// The value a batch carries when its producer is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

impl LeaderEpoch {
    /// The value clients send when they know no epoch.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl TimestampMs {
    /// The value a batch carries when it has no timestamp.
    pub const NONE: TimestampMs = TimestampMs(-1);
}

/// Id of a topic: a random UUID, so that a topic deleted and created again is another topic.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u128);

/// Id of a data directory: a random UUID, written into the directory when it is first used. (KIP-858)
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectoryId(pub u128);

/// Length of the text form of a UUID, in characters.
const TEXT_LENGTH: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// The all-zero id, which Kafka's protocol uses for "none".
    pub const NONE: TopicId = TopicId(0);

    /// Reads the text form; `None` if it is not one.
    pub fn parse(text: &str) -> Option<TopicId> {
        parse_uuid(text).map(TopicId)
    }
}

impl DirectoryId {
    /// The all-zero id: not assigned to a directory.
    pub const NONE: DirectoryId = DirectoryId(0);

    /// Reads the text form; `None` if it is not one.
    pub fn parse(text: &str) -> Option<DirectoryId> {
        parse_uuid(text).map(DirectoryId)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(self.0, f)
    }
}

/// Writes the URL-safe base64 form without padding, as Kafka's tools print such ids.
fn write_uuid(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // 128 bits are 22 digits of six bits; the last digit holds two bits and four zeros.
    for digit in 0..TEXT_LENGTH as i32 {
        let shift = 122 - digit * 6;
        let six = if shift >= 0 { bits >> shift } else { bits << -shift };
        write!(f, "{}", ALPHABET[(six & 0x3f) as usize] as char)?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<u128> {
    let (last, rest) = text.as_bytes().split_last().filter(|_| text.len() == TEXT_LENGTH)?;
    let digit = |byte: &u8| ALPHABET.iter().position(|known| known == byte).map(|value| value as u128);
    let bits = rest.iter().try_fold(0u128, |bits, byte| Some((bits << 6) | digit(byte)?))?;
    let last = digit(last)?;
    (last & 0xf == 0).then_some((bits << 2) | (last >> 4))
}

#[cfg(test)]
mod tests {
    use super::{DirectoryId, TopicId};

    #[test]
    fn topic_ids_print_as_kafka_prints_them() {
        // Kafka's Uuid.METADATA_TOPIC_ID is (0, 1) and prints so.
        assert_eq!(TopicId(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId(u128::MAX).to_string(), "_____________________w");
    }

    #[test]
    fn the_text_form_reads_back() {
        for bits in [1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            assert_eq!(TopicId::parse(&TopicId(bits).to_string()), Some(TopicId(bits)));
            assert_eq!(DirectoryId::parse(&DirectoryId(bits).to_string()), Some(DirectoryId(bits)));
        }
        for wrong in ["", "AAAAAAAAAAAAAAAAAAAAAR", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAA=A"] {
            assert_eq!(TopicId::parse(wrong), None, "{wrong}");
        }
    }
}
