//! Writing whole batches: what the RocketMQ front end, the coordinators, recompression and the CLI produce.
//!
//! Records are gathered uncompressed, in offset order; [`BatchBuilder::build`] compresses them and puts the header in front.
//! The result is what [`super::BatchHeader::parse`] and [`super::verify_crc`] accept, always.

use super::batch::{self, Attributes, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_SEQUENCE, TimestampType};
use super::compression::{Compression, CompressionError, compress};
use super::decode::Header;
use super::varint;
use bytes::{BufMut, BytesMut};
use duolog_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

/// Most bytes of records in a batch, before and after compression: the batch length is 32 bits and counts the header, too.
const MAX_PAYLOAD_BYTES: usize = i32::MAX as usize - HEADER_BYTES;
/// Attributes of a record: none is defined.
const RECORD_ATTRIBUTES: u8 = 0;
/// Length that stands for null.
const NULL_LENGTH: i32 = -1;

/// Why a batch could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error("{bytes} bytes of records do not fit into one batch")]
    TooLarge { bytes: usize },
    #[error("offset delta {got} does not follow {last}")]
    OffsetDelta { last: i32, got: i32 },
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    pub timestamp: TimestampMs,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header<'a>],
}

/// Gathers the records of one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    level: Option<i32>,
    payload: BytesMut,
    /// Of the newest record; -1 before the first.
    last_offset_delta: i32,
}

impl BatchBuilder {
    /// A batch at offset 0 and no leader epoch, without producer, with the producer's timestamps.
    pub fn new(compression: Compression) -> BatchBuilder {
        let header = BatchHeader {
            base_offset: Offset(0),
            batch_length: 0,
            leader_epoch: LeaderEpoch::NONE,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes(compression as i16),
            last_offset_delta: 0,
            base_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: NO_SEQUENCE,
            record_count: 0,
        };
        BatchBuilder { header, compression, level: None, payload: BytesMut::new(), last_offset_delta: -1 }
    }

    /// A batch that takes the place of `original` once records are gone from it: same place, producer, codec and attributes. It has
    /// no delete horizon unless it is given one; the caller adds the records that stay at their offsets and the old end.
    pub fn in_place_of(original: &BatchHeader) -> BatchBuilder {
        let codec = original.compression();
        let attributes = Attributes(original.attributes.0 & !Attributes::DELETE_HORIZON);
        let header = BatchHeader {
            attributes,
            base_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            record_count: 0,
            ..*original
        };
        BatchBuilder { header, ..BatchBuilder::new(codec) }
    }

    /// The codec's own compression level instead of its default.
    pub fn level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    pub fn base_offset(mut self, base_offset: Offset) -> Self {
        self.header.base_offset = base_offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// Makes the batch idempotent. `base_sequence` is [`NO_SEQUENCE`] for transaction markers.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> Self {
        self.header.attributes.0 |= Attributes::TRANSACTIONAL;
        self
    }

    pub fn control(mut self) -> Self {
        self.header.attributes.0 |= Attributes::CONTROL;
        self
    }

    pub fn timestamp_type(mut self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => self.header.attributes.0 &= !Attributes::LOG_APPEND_TIME,
            TimestampType::LogAppendTime => self.header.attributes.0 |= Attributes::LOG_APPEND_TIME,
        }
        self
    }

    /// Notes when compaction may remove the batch's tombstones or marks (KIP-534). It takes the place of the base timestamp, so
    /// that it must come before the records.
    pub fn delete_horizon(mut self, horizon: TimestampMs) -> Self {
        assert!(self.is_empty(), "records count their timestamps from the base timestamp");
        self.header.attributes.0 |= Attributes::DELETE_HORIZON;
        self.header.base_timestamp = horizon;
        self
    }

    /// Adds a record at the offset after the last one.
    pub fn push(&mut self, record: NewRecord<'_>) -> Result<(), BuildError> {
        let next = self.last_offset_delta.checked_add(1);
        self.push_at(next.ok_or(BuildError::OffsetDelta { last: self.last_offset_delta, got: i32::MIN })?, record)
    }

    /// Adds a record at an offset of its own, counted from the base offset; deltas must rise. An error changes nothing.
    pub fn push_at(&mut self, offset_delta: i32, record: NewRecord<'_>) -> Result<(), BuildError> {
        if offset_delta <= self.last_offset_delta {
            return Err(BuildError::OffsetDelta { last: self.last_offset_delta, got: offset_delta });
        }
        let first = self.header.record_count == 0;
        let base_is_open = first && !self.header.attributes.has_delete_horizon();
        let base_timestamp = if base_is_open { record.timestamp } else { self.header.base_timestamp };
        let timestamp_delta = record.timestamp.0.wrapping_sub(base_timestamp.0);
        let bytes = record_bytes(timestamp_delta, offset_delta, &record);
        let total = self.payload.len().saturating_add(bytes);
        if total.saturating_add(varint::bytes_of_i32(i32::MAX)) > MAX_PAYLOAD_BYTES {
            return Err(BuildError::TooLarge { bytes: total });
        }
        self.payload.reserve(bytes + varint::bytes_of_i32(bytes as i32));
        put_record(&mut self.payload, bytes, timestamp_delta, offset_delta, &record);
        self.header.base_timestamp = base_timestamp;
        self.header.max_timestamp = self.header.max_timestamp.max(record.timestamp);
        self.header.record_count += 1;
        self.last_offset_delta = offset_delta;
        Ok(())
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// Bytes of the batch if its records do not compress at all.
    pub fn uncompressed_bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// Lets the batch reach beyond its last record, as compaction does when it removes that record.
    pub fn end_at(&mut self, last_offset_delta: i32) -> Result<(), BuildError> {
        if last_offset_delta < self.last_offset_delta.max(0) {
            return Err(BuildError::OffsetDelta { last: self.last_offset_delta, got: last_offset_delta });
        }
        self.last_offset_delta = last_offset_delta;
        Ok(())
    }

    /// Appends the batch to `out` and returns its header. `out` is unchanged if that fails.
    pub fn build(mut self, out: &mut BytesMut) -> Result<BatchHeader, BuildError> {
        let mut packed = Vec::new();
        let payload: &[u8] = match self.compression {
            Compression::None => &self.payload,
            codec => {
                compress(codec, self.level, &self.payload, &mut packed)?;
                &packed
            }
        };
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(BuildError::TooLarge { bytes: payload.len() });
        }
        self.header.batch_length = (HEADER_BYTES - LENGTH_PREFIX_BYTES + payload.len()) as i32;
        self.header.last_offset_delta = self.last_offset_delta.max(0);
        Ok(put_batch(&self.header, payload, out))
    }
}

/// Appends the header alone of a batch all of whose records are gone. It still tells the producer's last sequence and where the
/// batch ends. As Kafka writes it: uncompressed, without base timestamp and delete horizon, the largest timestamp as it was.
pub fn put_emptied_batch(original: &BatchHeader, out: &mut BytesMut) -> BatchHeader {
    let header = BatchHeader {
        attributes: Attributes(original.attributes.0 & !(Attributes::CODEC_MASK | Attributes::DELETE_HORIZON)),
        batch_length: (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32,
        base_timestamp: TimestampMs::NONE,
        record_count: 0,
        ..*original
    };
    put_batch(&header, &[], out)
}

fn put_batch(header: &BatchHeader, payload: &[u8], out: &mut BytesMut) -> BatchHeader {
    let start = out.len();
    let mut header_bytes = [0; HEADER_BYTES];
    header.write(&mut header_bytes);
    out.reserve(HEADER_BYTES + payload.len());
    out.put_slice(&header_bytes);
    out.put_slice(payload);
    batch::write_crc(&mut out[start..]);
    BatchHeader::parse(&out[start..]).expect("a built batch is well-formed")
}

/// Bytes of a record behind its length.
fn record_bytes(timestamp_delta: i64, offset_delta: i32, record: &NewRecord<'_>) -> usize {
    let headers: usize = record.headers.iter().map(|h| nullable_bytes(Some(h.key)) + nullable_bytes(h.value)).sum();
    size_of_val(&RECORD_ATTRIBUTES)
        + varint::bytes_of_i64(timestamp_delta)
        + varint::bytes_of_i32(offset_delta)
        + nullable_bytes(record.key)
        + nullable_bytes(record.value)
        + varint::bytes_of_i32(record.headers.len() as i32)
        + headers
}

fn nullable_bytes(value: Option<&[u8]>) -> usize {
    match value {
        // A length beyond 32 bits makes the sum too large for a batch, whatever its prefix would be.
        Some(bytes) => varint::bytes_of_i32(bytes.len() as i32) + bytes.len(),
        None => varint::bytes_of_i32(NULL_LENGTH),
    }
}

fn put_record(out: &mut BytesMut, bytes: usize, timestamp_delta: i64, offset_delta: i32, record: &NewRecord<'_>) {
    varint::put_i32(out, bytes as i32);
    out.put_u8(RECORD_ATTRIBUTES);
    varint::put_i64(out, timestamp_delta);
    varint::put_i32(out, offset_delta);
    put_nullable(out, record.key);
    put_nullable(out, record.value);
    varint::put_i32(out, record.headers.len() as i32);
    for header in record.headers {
        put_nullable(out, Some(header.key));
        put_nullable(out, header.value);
    }
}

fn put_nullable(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            varint::put_i32(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
        None => varint::put_i32(out, NULL_LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DecompressLimits, decode_batch, verify_crc};

    const HORIZON: TimestampMs = TimestampMs(5);

    fn original(codec: Compression) -> BytesMut {
        let mut builder = BatchBuilder::new(codec)
            .base_offset(Offset(40))
            .leader_epoch(LeaderEpoch(2))
            .producer(ProducerId(7), ProducerEpoch(1), 11)
            .transactional();
        for time in [100, 300, 200] {
            builder.push(NewRecord { timestamp: TimestampMs(time), key: Some(b"k"), ..NewRecord::default() }).unwrap();
        }
        let mut out = BytesMut::new();
        builder.build(&mut out).unwrap();
        out
    }

    #[test]
    fn a_batch_in_place_of_another_keeps_its_place_and_the_times_of_its_records() {
        for codec in Compression::ALL {
            let old = BatchHeader::parse(&original(codec)).unwrap();
            let mut builder = BatchBuilder::in_place_of(&old).delete_horizon(HORIZON);
            builder.push_at(1, NewRecord { timestamp: TimestampMs(200), ..NewRecord::default() }).unwrap();
            builder.end_at(2).unwrap();
            let mut out = BytesMut::new();
            let new = builder.build(&mut out).unwrap();
            assert!(new.attributes.has_delete_horizon() && new.attributes.is_transactional());
            assert_eq!((new.base_timestamp, new.max_timestamp), (HORIZON, TimestampMs(200)));
            let place = |h: &BatchHeader| (h.base_offset, h.last_offset(), h.leader_epoch, h.base_sequence, h.compression());
            assert_eq!(place(&new), place(&old));
            let decoded = decode_batch(&out, DecompressLimits::default()).unwrap();
            let record = decoded.records().next().unwrap().unwrap();
            assert_eq!((record.offset, record.timestamp), (Offset(41), TimestampMs(200)));
        }
    }

    #[test]
    fn an_emptied_batch_is_a_header_without_codec_and_horizon() {
        let mut bytes = original(Compression::Zstd);
        let old = BatchHeader::parse(&bytes).unwrap();
        bytes.clear();
        let new = put_emptied_batch(&old, &mut bytes);
        assert_eq!((bytes.len(), new.record_count, new.compression()), (HEADER_BYTES, 0, Compression::None));
        assert_eq!((new.base_timestamp, new.max_timestamp), (TimestampMs::NONE, old.max_timestamp));
        assert_eq!((new.last_offset(), new.base_sequence), (old.last_offset(), old.base_sequence));
        verify_crc(&bytes).unwrap();
    }
}
