//! Compaction by key: of each key at least the newest record stays, at its offset.
//!
//! Pure functions over whole batches, for both storage layouts: no I/O, no clock, no threads. One pass over a partition is
//!
//! 1. [`first_dirty_offset`] and [`first_uncleanable_offset`] bound the dirty part; [`is_cleanable`] and [`filthiest`] say whether
//!    and which partition it is worth while;
//! 2. [`KeyScan`] reads the dirty part and notes the newest offset of each key in an [`OffsetMap`] of bounded memory. If that fills
//!    up, the pass covers a prefix only;
//! 3. [`Cleaner`] reads everything from the log start to [`OffsetMap::end`] and says of each batch whether it is kept, dropped or
//!    replaced. What is left must become durable in the order of offsets, since a tombstone that goes before the older records of its
//!    key would bring them back if the pass ends between the two;
//! 4. [`OffsetMap::end`] is the next first dirty offset, remembered in a [`CleanerCheckpoint`] once the outcome of 3 is durable.
//!
//! Guarantees, as Kafka's: offsets, timestamps, headers and order of what stays never change; who reads from the beginning to
//! the end sees the newest value of each key, or its tombstone if he gets there within `delete.retention.ms`; a record that was
//! not covered by a pass is not touched by it. Batches whose bytes are damaged are an error and are left as they are.
//!
//! Called by the keepers of both layouts.

mod checkpoint;
mod cleaner;
mod decide;
mod offset_map;
mod scan;
#[cfg(test)]
mod tests;
mod transactions;

pub use checkpoint::{
    CheckpointError, CleanerCheckpoint, TopicPartitionOffset, decode_offset_checkpoint, encode_offset_checkpoint,
};
pub use cleaner::{Cleaned, Cleaner, CleanerWalk, CleaningStatistics, PassBounds, ProducerEnd, ProducerEnds};
pub use decide::{Backlog, CleaningPolicy, DirtyPiece, filthiest, first_dirty_offset, first_uncleanable_offset, is_cleanable};
pub use offset_map::{HashKey, MapFull, OffsetMap};
pub use scan::{KeyScan, ScanState};
pub use transactions::AbortedTransaction;

use duolog_wire::record::{BatchError, BuildError, ControlRecordError, DecodeError, DecodedBatch, DecompressLimits, RecordError};
use duolog_wire::record::{decode_batch, verify_crc};

/// Why a batch cannot be cleaned. It stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Control(#[from] ControlRecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Unpacks a batch and reads every record of it once, so that whoever walks over them again meets no error halfway.
fn decode_checked(batch: &[u8], limits: DecompressLimits) -> Result<DecodedBatch<'_>, CleanError> {
    // A rewritten batch gets a new checksum: damage must not get one.
    verify_crc(batch)?;
    let decoded = decode_batch(batch, limits)?;
    for record in decoded.records() {
        record?;
    }
    Ok(decoded)
}
