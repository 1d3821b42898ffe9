//! The body of BATCH_ACK_MESSAGE.

use serde::{Deserialize, Serialize};

/// BATCH_ACK_MESSAGE (200151).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckRequest {
    pub acks: Vec<BatchAck>,
    pub broker_name: String,
}

/// Messages of one queue that one answer brought. Java writes the short names and reads both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Which messages: the bytes of a `java.util.BitSet` in base 64; bit n is the offset `start_offset` + n.
    #[serde(rename = "b", alias = "bitSet")]
    pub bits: String,
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: String,
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// The mark of a checkpoint.
    #[serde(rename = "r", alias = "retry")]
    pub mark: String,
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue: i32,
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    #[serde(rename = "t", alias = "topic")]
    pub topic: String,
}
