//! The dedicated layout: each partition has a directory of its own, in Apache Kafka's on-disk format.
//!
//! [`DedicatedLog`] holds all dedicated partitions of one data directory and has the shape of the shared [`crate::Log`]: one lock for
//! what changes, one queue, one writer and one syncer for all of them. So a request over hundreds of partitions is one
//! group commit: one write for each segment touched, then all of them synced together.
//!
//! Kafka's tools read what is written here, and what Kafka wrote can be taken over ([`import`]); [`inspect`] looks into a
//! directory offline. The only file that is not Kafka's is the manifest of a partition (`format::manifest`), which says how long and how
//! intact the others ought to be, and by which recovery tells a torn tail from damage.
//!
//! Inside, as in the shared layout: `append` decides and queues, `writer` and `sync` move the queue to the disk, `read` and `queries`
//! find batches by the sparse indexes (`growing` while they grow, `segments` when they are sealed), `house` seals, removes and
//! writes checkpoints, `cleaning` compacts by key, `recover` rebuilds everything at start; `format` and `names` know Kafka's bytes
//! and names.
//!
//! Called by the store. Byte maps: `docs/storage-format.md`.

mod append;
mod cleaning;
mod cursor;
mod files;
pub(crate) mod format;
mod growing;
mod house;
pub mod import;
pub mod inspect;
mod log;
mod names;
mod partition;
mod queries;
mod read;
mod recover;
mod replica;
mod retention;
mod run;
mod seal;
mod segments;
mod statistics;
mod sync;
mod threads;
mod transactions;
mod truncate;
mod writer;

pub use format::snapshot::ProducerEntry;
pub use format::transactions::AbortedTransaction;
pub use log::DedicatedLog;
pub use names::PartitionName;
pub use run::{RunCheck, StoredRun};

use duolog_base::TopicId;

/// When a segment is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPolicy {
    /// Bytes of a segment; a batch never spans segments. (`segment.bytes`)
    pub segment_bytes: u64,
    /// How long after the first batch of a segment one may still be added, by the batches' timestamps. (`segment.ms`)
    pub segment_ms: i64,
    /// By how much at most a segment is begun earlier, so that not all are begun at once. (`segment.jitter.ms`)
    pub segment_jitter_ms: i64,
    /// Bytes between two entries of the indexes, at least. (`index.interval.bytes`)
    pub index_interval_bytes: u32,
    /// Bytes of an index at which the segment is full. (`segment.index.bytes`)
    pub index_bytes: u32,
}

impl Default for SegmentPolicy {
    fn default() -> Self {
        SegmentPolicy {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            index_bytes: 10 << 20,
        }
    }
}

/// What a partition is called on disk, and how it is cut into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionHome {
    pub name: PartitionName,
    pub topic_id: TopicId,
    pub policy: SegmentPolicy,
}
