//! Kafka's record batch, version 2 (KIP-98): the only stored form of messages.
//!
//! Bytes in, bytes out: no I/O, no state, no topics. Layered so that the produce and fetch paths stop at the first layer:
//! [`BatchHeader`] reads and checks the 61 bytes in front of the records and patches them in place; [`decode_batch`] unpacks the
//! records behind them; [`BatchBuilder`] writes whole batches; [`decompress`] and [`compress`] know the codecs.
//! Nothing here panics on, or allocates more than the stated limits for, bytes that came from a socket or a disk.
//!
//! Called by the log (headers, patches, recovery), by the broker (validation, recompression, coordinators' records), by both
//! protocol front ends and by the CLI.

mod batch;
mod builder;
mod compression;
mod control;
mod decode;
mod varint;

pub use batch::{
    ATTRIBUTES_AT, Attributes, BASE_OFFSET_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, BATCH_LENGTH_AT, BatchError, BatchHeader,
    Batches, CRC_AT, HEADER_BYTES, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LENGTH_PREFIX_BYTES, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT,
    NO_SEQUENCE, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, ProducerBatchError, RECORD_COUNT_AT, TimestampType, advance_sequence,
    batches, patch_base_offset, patch_leader_epoch, set_log_append_time, verify_crc,
};
pub use builder::{BatchBuilder, BuildError, NewRecord, put_emptied_batch};
pub use compression::{Compression, CompressionError, DecompressLimits, compress, decompress};
pub use control::{ControlRecord, ControlRecordError, TransactionOutcome, encode_end_transaction};
pub use decode::{
    DecodeError, DecodedBatch, Header, Headers, KeptHeaders, Record, RecordError, Records, decode_batch, decode_batch_into,
};
