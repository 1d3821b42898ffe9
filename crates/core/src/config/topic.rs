//! A topic's configuration with every key resolved: its own override, else the broker's default.

/// When an append counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// `acks=all` waits for the disk, and nobody reads what is not durable.
    Sync,
    /// `acks=all` waits for the page cache only.
    Async,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// `compression.type`: what batches are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Resolved configuration of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    pub flush: FlushMode,
    pub compression_type: CompressionType,
    pub timestamp_type: TimestampType,
    /// How far before the broker's clock a CreateTime may lie, in milliseconds; `i64::MAX` for any.
    pub timestamp_before_max_ms: i64,
    /// How far after the broker's clock a CreateTime may lie, in milliseconds; `i64::MAX` for any.
    pub timestamp_after_max_ms: i64,
    /// Largest batch, in bytes as stored.
    pub max_message_bytes: usize,
    /// `retention.ms`; -1 keeps for ever.
    pub retention_ms: i64,
    /// `retention.bytes` a partition; -1 for no limit.
    pub retention_bytes: i64,
    /// `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub compact: bool,
    pub min_insync_replicas: i32,
}
