//! The header of a record batch: reading, checking, patching.
//!
//! ```text
//!  at  bytes  field                      covered by the CRC
//!   0    8    base offset                no: the log assigns it
//!   8    4    batch length               no: bytes after this field
//!  12    4    partition leader epoch     no: the log assigns it
//!  16    1    magic (2)                  no
//!  17    4    CRC32C of byte 21 to the end
//!  21    2    attributes                 yes, and all that follows
//!  23    4    last offset delta
//!  27    8    base timestamp
//!  35    8    max timestamp
//!  43    8    producer id
//!  51    2    producer epoch
//!  53    4    base sequence
//!  57    4    record count
//!  61         records, compressed as one block if the attributes say so
//! ```
//! Integers are big-endian. [`BatchHeader::parse`] accepts whatever may legally be stored (compacted batches have gaps, or no
//! records at all); [`BatchHeader::validate_from_producer`] adds what a client's batch must obey. Neither looks at the records.
//! Formats 0 and 1 keep their magic at the same place, which is how they are told apart.

use super::compression::Compression;
use duolog_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use std::ops::Range;

pub const BASE_OFFSET_AT: usize = 0;
pub const BATCH_LENGTH_AT: usize = 8;
pub const LEADER_EPOCH_AT: usize = 12;
pub const MAGIC_AT: usize = 16;
pub const CRC_AT: usize = 17;
pub const ATTRIBUTES_AT: usize = 21;
pub const LAST_OFFSET_DELTA_AT: usize = 23;
pub const BASE_TIMESTAMP_AT: usize = 27;
pub const MAX_TIMESTAMP_AT: usize = 35;
pub const PRODUCER_ID_AT: usize = 43;
pub const PRODUCER_EPOCH_AT: usize = 51;
pub const BASE_SEQUENCE_AT: usize = 53;
pub const RECORD_COUNT_AT: usize = 57;
/// Bytes of the header; the records begin here.
pub const HEADER_BYTES: usize = 61;
/// Bytes in front of what the batch length counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The only format that is stored.
pub const MAGIC: i8 = 2;
/// Base sequence of a batch whose producer is not idempotent, and of control batches.
pub const NO_SEQUENCE: i32 = -1;

/// Bytes needed to tell the format of a batch.
const MAGIC_KNOWN_BYTES: usize = MAGIC_AT + 1;
/// Smallest batch length: a header without records.
const MIN_BATCH_LENGTH: i32 = (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;

/// Whose clock a batch's timestamps come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's; each record has its own.
    #[default]
    CreateTime,
    /// The broker's; all records share the batch's max timestamp.
    LogAppendTime,
}

/// The attribute bits of a batch. Bits that have no meaning yet are kept as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(super) const CODEC_MASK: i16 = 0x07;
    pub(super) const LOG_APPEND_TIME: i16 = 0x08;
    pub(super) const TRANSACTIONAL: i16 = 0x10;
    pub(super) const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;

    /// The codec, or `None` for a number Kafka has not assigned. A parsed header always has one.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_id((self.0 & Self::CODEC_MASK) as u8)
    }

    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & Self::LOG_APPEND_TIME {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Control batches hold transaction markers and the like, and are never shown to applications.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Compaction has put the time at which tombstones may go into the base timestamp (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// Why bytes are not a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside the batch. Normal at the end of fetched data, an error in a produce request.
    #[error("batch is cut off: {have} bytes of at least {need}")]
    Partial { have: usize, need: usize },
    /// A message set of format 0 or 1: UNSUPPORTED_FOR_MESSAGE_FORMAT on the wire.
    #[error("message format {magic} is no longer supported")]
    OldFormat { magic: i8 },
    #[error("unknown message format {magic}")]
    UnknownMagic { magic: i8 },
    #[error("impossible batch length {length}")]
    Length { length: i32 },
    #[error("base offset {base_offset} with last offset delta {last_offset_delta} is out of range")]
    Offsets { base_offset: i64, last_offset_delta: i32 },
    #[error("impossible record count {record_count} for last offset delta {last_offset_delta}")]
    RecordCount { record_count: i32, last_offset_delta: i32 },
    #[error("unknown compression codec {codec}")]
    UnknownCodec { codec: u8 },
    #[error("checksum is {computed:#010x}, the header says {stored:#010x}")]
    Crc { stored: u32, computed: u32 },
}

/// Why a structurally sound batch may not come from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerBatchError {
    #[error("base offset is {base_offset}, a producer sends 0")]
    BaseOffset { base_offset: Offset },
    #[error("{record_count} records for last offset delta {last_offset_delta}")]
    RecordCount { record_count: i32, last_offset_delta: i32 },
    #[error("control batches are the broker's to write")]
    Control,
    /// INVALID_TIMESTAMP on the wire.
    #[error("the timestamp type LogAppendTime is the broker's to set")]
    LogAppendTime,
    #[error("transactional batch without a producer id")]
    TransactionalWithoutProducer,
    #[error("sequence {base_sequence} and epoch {producer_epoch} do not go with producer id {producer_id}")]
    Sequence { producer_id: ProducerId, producer_epoch: ProducerEpoch, base_sequence: i32 },
}

/// The header of one batch, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field: the whole batch less [`LENGTH_PREFIX_BYTES`].
    pub batch_length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    /// Offset of the last record less the base offset. Compaction keeps it even when the last record goes.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, from which the others count.
    pub base_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads and checks the batch at the beginning of `bytes`, all of which must be there; more may follow.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let header = Self::parse_prefix(bytes)?;
        match header.total_bytes() {
            need if need > bytes.len() => Err(BatchError::Partial { have: bytes.len(), need }),
            _ => Ok(header),
        }
    }

    /// Like [`BatchHeader::parse`], for callers that have read only the first [`HEADER_BYTES`].
    pub fn parse_prefix(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let partial = |need| BatchError::Partial { have: bytes.len(), need };
        if bytes.len() < MAGIC_KNOWN_BYTES {
            return Err(partial(MAGIC_KNOWN_BYTES));
        }
        match bytes[MAGIC_AT] as i8 {
            MAGIC => {}
            magic @ (0 | 1) => return Err(BatchError::OldFormat { magic }),
            magic => return Err(BatchError::UnknownMagic { magic }),
        }
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(partial(HEADER_BYTES))?;
        let header = Self::read(header);
        header.check()?;
        Ok(header)
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(i64::from_be_bytes(field(bytes, BASE_OFFSET_AT))),
            batch_length: i32::from_be_bytes(field(bytes, BATCH_LENGTH_AT)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT))),
            magic: bytes[MAGIC_AT] as i8,
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA_AT)),
            base_timestamp: TimestampMs(i64::from_be_bytes(field(bytes, BASE_TIMESTAMP_AT))),
            max_timestamp: TimestampMs(i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, PRODUCER_ID_AT))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, PRODUCER_EPOCH_AT))),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT_AT)),
        }
    }

    /// Writes the header; the CRC field is written as it stands.
    pub(super) fn write(&self, bytes: &mut [u8; HEADER_BYTES]) {
        put(bytes, BASE_OFFSET_AT, &self.base_offset.0.to_be_bytes());
        put(bytes, BATCH_LENGTH_AT, &self.batch_length.to_be_bytes());
        put(bytes, LEADER_EPOCH_AT, &self.leader_epoch.0.to_be_bytes());
        put(bytes, MAGIC_AT, &self.magic.to_be_bytes());
        put(bytes, CRC_AT, &self.crc.to_be_bytes());
        put(bytes, ATTRIBUTES_AT, &self.attributes.0.to_be_bytes());
        put(bytes, LAST_OFFSET_DELTA_AT, &self.last_offset_delta.to_be_bytes());
        put(bytes, BASE_TIMESTAMP_AT, &self.base_timestamp.0.to_be_bytes());
        put(bytes, MAX_TIMESTAMP_AT, &self.max_timestamp.0.to_be_bytes());
        put(bytes, PRODUCER_ID_AT, &self.producer_id.0.to_be_bytes());
        put(bytes, PRODUCER_EPOCH_AT, &self.producer_epoch.0.to_be_bytes());
        put(bytes, BASE_SEQUENCE_AT, &self.base_sequence.to_be_bytes());
        put(bytes, RECORD_COUNT_AT, &self.record_count.to_be_bytes());
    }

    fn check(&self) -> Result<(), BatchError> {
        if self.batch_length < MIN_BATCH_LENGTH {
            return Err(BatchError::Length { length: self.batch_length });
        }
        let last_offset = self.base_offset.0.checked_add(self.last_offset_delta.into());
        // The offset after the last one must exist, too: it is the log's next.
        if self.base_offset.0 < 0 || self.last_offset_delta < 0 || last_offset.is_none_or(|last| last == i64::MAX) {
            return Err(BatchError::Offsets { base_offset: self.base_offset.0, last_offset_delta: self.last_offset_delta });
        }
        if self.record_count < 0 || i64::from(self.record_count) > i64::from(self.last_offset_delta) + 1 {
            return Err(BatchError::RecordCount { record_count: self.record_count, last_offset_delta: self.last_offset_delta });
        }
        if self.attributes.compression().is_none() {
            return Err(BatchError::UnknownCodec { codec: (self.attributes.0 & Attributes::CODEC_MASK) as u8 });
        }
        Ok(())
    }

    /// Compares the stored CRC with that of the bytes from which this header was parsed.
    pub fn verify_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        match checksum(&batch[..self.total_bytes()]) {
            computed if computed == self.crc => Ok(()),
            computed => Err(BatchError::Crc { stored: self.crc, computed }),
        }
    }

    /// The rules for a batch in a client's produce request, beyond its structure: offsets from 0 without gaps, at least one
    /// record, no control batch, producer id, epoch and sequence all there or none.
    pub fn validate_from_producer(&self) -> Result<(), ProducerBatchError> {
        if self.attributes.is_control() {
            return Err(ProducerBatchError::Control);
        }
        if self.base_offset != Offset(0) {
            return Err(ProducerBatchError::BaseOffset { base_offset: self.base_offset });
        }
        if self.record_count < 1 || self.last_offset_delta != self.record_count - 1 {
            return Err(ProducerBatchError::RecordCount {
                record_count: self.record_count,
                last_offset_delta: self.last_offset_delta,
            });
        }
        if self.attributes.timestamp_type() == TimestampType::LogAppendTime {
            return Err(ProducerBatchError::LogAppendTime);
        }
        self.validate_producer()
    }

    fn validate_producer(&self) -> Result<(), ProducerBatchError> {
        let consistent = match self.producer_id {
            // Kafka ignores epoch and sequence of a batch without producer id; so do we.
            ProducerId::NONE if self.attributes.is_transactional() => {
                return Err(ProducerBatchError::TransactionalWithoutProducer);
            }
            ProducerId::NONE => true,
            ProducerId(id) => id >= 0 && self.producer_epoch.0 >= 0 && self.base_sequence >= 0,
        };
        if consistent {
            return Ok(());
        }
        Err(ProducerBatchError::Sequence {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
        })
    }

    /// Bytes of the whole batch, header included.
    pub fn total_bytes(&self) -> usize {
        LENGTH_PREFIX_BYTES + self.batch_length as usize
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta.into())
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Whether the batch takes part in idempotence.
    pub fn is_idempotent(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    /// Sequence of the last record; [`NO_SEQUENCE`] if the batch has none.
    pub fn last_sequence(&self) -> i32 {
        match self.base_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            base => advance_sequence(base, self.last_offset_delta),
        }
    }

    /// The codec of the records.
    pub fn compression(&self) -> Compression {
        self.attributes.compression().expect("checked when the header was parsed or built")
    }
}

/// The sequence `count` records after `sequence`: after `i32::MAX` comes 0, as in Kafka.
pub fn advance_sequence(sequence: i32, count: i32) -> i32 {
    sequence.wrapping_add(count) & i32::MAX
}

/// Compares the stored CRC with that of the bytes, for the batch at the beginning of `batch`.
pub fn verify_crc(batch: &[u8]) -> Result<(), BatchError> {
    BatchHeader::parse(batch)?.verify_crc(batch)
}

/// Gives the batch at the beginning of `batch` its place in the partition. Not covered by the CRC.
///
/// Panics if there is no whole header: callers have parsed the batch.
pub fn patch_base_offset(batch: &mut [u8], base_offset: Offset) {
    assert!(batch.len() >= HEADER_BYTES, "patched batches have been parsed");
    put(batch, BASE_OFFSET_AT, &base_offset.0.to_be_bytes());
}

/// Notes the epoch of the leader that took the batch. Not covered by the CRC.
///
/// Panics if there is no whole header: callers have parsed the batch.
pub fn patch_leader_epoch(batch: &mut [u8], epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_BYTES, "patched batches have been parsed");
    put(batch, LEADER_EPOCH_AT, &epoch.0.to_be_bytes());
}

/// Puts the broker's time in place of the producer's: timestamp type, max timestamp, and therefore the CRC.
///
/// Panics if `batch` does not begin with a whole batch: callers have parsed it.
pub fn set_log_append_time(batch: &mut [u8], now: TimestampMs) {
    let header = BatchHeader::parse(batch).expect("patched batches have been parsed");
    let batch = &mut batch[..header.total_bytes()];
    put(batch, ATTRIBUTES_AT, &(header.attributes.0 | Attributes::LOG_APPEND_TIME).to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, &now.0.to_be_bytes());
    write_crc(batch);
}

/// Computes the CRC of exactly one batch and stores it.
pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = checksum(batch);
    put(batch, CRC_AT, &crc.to_be_bytes());
}

/// CRC32C (Castagnoli; catalogued as CRC-32/ISCSI) of the part of exactly one batch that has it.
fn checksum(batch: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[ATTRIBUTES_AT..]) as u32
}

/// Walks over batches that lie one after the other.
///
/// The walk ends after the first error, since what follows cannot be found then. [`BatchError::Partial`] says that the
/// bytes end inside a batch: readers of fetched data stop there and ask again from that batch.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, at: 0 }
}

/// Iterator made by [`batches`]: header and place of each batch.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Batches<'_> {
    type Item = Result<(BatchHeader, Range<usize>), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        match BatchHeader::parse(rest) {
            Ok(header) => {
                let start = self.at;
                self.at += header.total_bytes();
                Some(Ok((header, start..self.at)))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}

/// The fixed-size field at `at`; offsets and sizes are constants within the header.
fn field<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    // As an array of known size, so that it is a load and no call.
    *bytes[at..].first_chunk().expect("a field lies within the header")
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: &[u8; N]) {
    *bytes[at..].first_chunk_mut().expect("a field lies within the header") = *value;
}
