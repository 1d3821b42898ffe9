//! Rebuilding a shard: every record of its partition, from the log start to the committed end.

use super::{InternalLog, InternalLogError, Shard};
use duolog_base::{Offset, PartitionIndex};
use duolog_replica::{Mutant, planted};
use duolog_wire::kafka;
use duolog_wire::record::{DecodeError, DecompressLimits, RecordError, batches, decode_batch};

/// Most bytes a compressed batch of an internal topic may unpack to.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// Why a partition does not yield its state.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] InternalLogError),
    #[error("batch cannot be unpacked: {0}")]
    Batch(#[from] DecodeError),
    #[error("batch header is damaged: {0}")]
    Header(#[from] duolog_wire::record::BatchError),
    #[error("record cannot be read: {0}")]
    Record(#[from] RecordError),
    #[error("record has no key")]
    NoKey,
    #[error("record is malformed: {0}")]
    Malformed(&'static str),
    #[error("record is not of its schema: {0}")]
    Schema(#[from] kafka::DecodeError),
}

/// What was replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) records: u64,
    pub(super) next: Offset,
}

/// Feeds the whole partition to `shard`.
pub(super) async fn replay<S: Shard>(
    log: &dyn InternalLog,
    partition: PartitionIndex,
    shard: &mut S,
) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed { records: 0, next: log.start(partition)? };
    loop {
        let chunk = log.read(partition, replayed.next).await?;
        if chunk.next <= replayed.next {
            return Ok(replayed);
        }
        replayed.records += replay_batches(&chunk.batches, replayed.next, shard)?;
        replayed.next = chunk.next;
    }
}

/// Feeds the records of whole batches to `shard`, those before `from` left out; answers how many there were.
pub fn replay_batches<S: Shard>(bytes: &[u8], from: Offset, shard: &mut S) -> Result<u64, ReplayError> {
    let mut count = 0;
    let limits = DecompressLimits { max_bytes: MAX_BATCH_BYTES, ..DecompressLimits::default() };
    for batch in batches(bytes) {
        let (_, range) = batch?;
        let decoded = decode_batch(&bytes[range], limits)?;
        if decoded.header.attributes.is_control() {
            continue;
        }
        for record in decoded.records() {
            let record = record?;
            if record.offset < from {
                continue;
            }
            shard.replay(record.key.ok_or(ReplayError::NoKey)?, record.value)?;
            count += 1;
            if planted(Mutant::ReplaySkipsRecords) {
                break;
            }
        }
    }
    Ok(count)
}
