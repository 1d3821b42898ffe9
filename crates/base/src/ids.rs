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

impl TopicId {
    /// The all-zero id, which Kafka's protocol uses for "none".
    pub const NONE: TopicId = TopicId(0);
}

impl fmt::Display for TopicId {
    /// Writes the URL-safe base64 form without padding, as Kafka's tools print topic ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits are 22 digits of six bits; the last digit holds two bits and four zeros.
        for digit in 0..22 {
            let shift = 122 - digit * 6;
            let bits = if shift >= 0 { self.0 >> shift } else { self.0 << -shift };
            write!(f, "{}", ALPHABET[(bits & 0x3f) as usize] as char)?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::TopicId;

    #[test]
    fn topic_ids_print_as_kafka_prints_them() {
        // Kafka's Uuid.METADATA_TOPIC_ID is (0, 1) and prints so.
        assert_eq!(TopicId(1).to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(TopicId(u128::MAX).to_string(), "_____________________w");
    }
}
