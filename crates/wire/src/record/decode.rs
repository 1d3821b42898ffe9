//! From a batch to its records.
//!
//! ```text
//! record: length, attributes (1 byte, unused), timestamp delta, offset delta,
//!         key length (-1 for null), key, value length (-1 for null), value,
//!         header count, then for each: key length, key, value length (-1 for null), value
//! ```
//! Lengths, counts and deltas are zigzag varints. Records borrow from the batch, or from the buffer it was decompressed into;
//! nothing is allocated a record. Not on the produce and fetch paths of compressed data, which pass through untouched.

use super::batch::{BatchError, BatchHeader, HEADER_BYTES, TimestampType};
use super::compression::{Compression, CompressionError, DecompressLimits, decompress};
use super::varint;
use duolog_base::{Offset, TimestampMs};
use std::borrow::Cow;

/// Why the bytes of a record are not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A number is cut off, or a length points past the end.
    #[error("record {index} is malformed")]
    Malformed { index: i32 },
    #[error("record {index} has offset delta {offset_delta}, the batch ends at {last_offset_delta}")]
    OffsetDelta { index: i32, offset_delta: i32, last_offset_delta: i32 },
    #[error("{bytes} bytes follow the last record")]
    TrailingBytes { bytes: usize },
}

/// Why a batch could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// A batch whose records can be read.
#[derive(Clone, Debug)]
pub struct DecodedBatch<'a> {
    pub header: BatchHeader,
    payload: Cow<'a, [u8]>,
}

/// Unpacks the batch at the beginning of `batch`. The CRC is not looked at: see [`super::verify_crc`].
pub fn decode_batch(batch: &[u8], limits: DecompressLimits) -> Result<DecodedBatch<'_>, DecodeError> {
    let header = BatchHeader::parse(batch)?;
    let mut buffer = Vec::new();
    let payload = match unpack(&header, batch, limits, &mut buffer)? {
        Some(plain) => Cow::Borrowed(plain),
        None => Cow::Owned(buffer),
    };
    Ok(DecodedBatch { header, payload })
}

/// Like [`decode_batch`], with a buffer that serves one batch after the other. What was in it is gone.
pub fn decode_batch_into<'a>(
    batch: &'a [u8],
    limits: DecompressLimits,
    buffer: &'a mut Vec<u8>,
) -> Result<DecodedBatch<'a>, DecodeError> {
    let header = BatchHeader::parse(batch)?;
    buffer.clear();
    let plain = unpack(&header, batch, limits, buffer)?;
    Ok(DecodedBatch { header, payload: Cow::Borrowed(plain.unwrap_or(buffer)) })
}

/// The records, if they are not compressed; otherwise they are unpacked into `buffer`, which is empty.
fn unpack<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    limits: DecompressLimits,
    buffer: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, CompressionError> {
    let packed = &batch[HEADER_BYTES..header.total_bytes()];
    match header.compression() {
        // Already in memory: no limit is exceeded by looking at it.
        Compression::None => Ok(Some(packed)),
        // Compaction leaves batches without records, and then without a compressed block.
        _ if header.record_count == 0 && packed.is_empty() => Ok(Some(packed)),
        codec => decompress(codec, packed, limits, buffer).map(|()| None),
    }
}

impl DecodedBatch<'_> {
    /// The records in order. Ends after the first error.
    pub fn records(&self) -> Records<'_> {
        Records { header: self.header, rest: &self.payload, index: 0, done: false }
    }

    /// Bytes of the records, uncompressed.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// The records as they lie in the batch, uncompressed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// One record, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    pub timestamp: TimestampMs,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// One header of a record. Kafka calls the key a string; clients send any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, checked as a whole when the record was read. Iterate over a clone to keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A copy that outlives the record.
    pub fn kept(&self) -> KeptHeaders {
        KeptHeaders { bytes: self.bytes.to_vec(), count: self.count }
    }

    /// Value of the last header of that key, which is the one that counts for Kafka's clients. `Some(None)` is a null value.
    pub fn last_value(&self, key: &[u8]) -> Option<Option<&'a [u8]>> {
        self.clone().filter(|header| header.key == key).last().map(|header| header.value)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.count == 0 {
            return None;
        }
        self.count -= 1;
        take_header(&mut self.bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Headers that outlive their record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptHeaders {
    bytes: Vec<u8>,
    count: usize,
}

impl KeptHeaders {
    pub fn iter(&self) -> Headers<'_> {
        Headers { bytes: &self.bytes, count: self.count }
    }
}

/// Iterator made by [`DecodedBatch::records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    index: i32,
    done: bool,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.index == self.header.record_count {
            self.done = true;
            let trailing = RecordError::TrailingBytes { bytes: self.rest.len() };
            return (!self.rest.is_empty()).then_some(Err(trailing));
        }
        let record = self.take_record();
        self.done = record.is_err();
        self.index += 1;
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn take_record(&mut self) -> Result<Record<'a>, RecordError> {
        let index = self.index;
        let raw = take_raw_record(&mut self.rest).ok_or(RecordError::Malformed { index })?;
        let last_offset_delta = self.header.last_offset_delta;
        if !(0..=last_offset_delta).contains(&raw.offset_delta) {
            return Err(RecordError::OffsetDelta { index, offset_delta: raw.offset_delta, last_offset_delta });
        }
        let timestamp = match self.header.attributes.timestamp_type() {
            // Wraps as Java does: a strange timestamp is the producer's business.
            TimestampType::CreateTime => TimestampMs(self.header.base_timestamp.0.wrapping_add(raw.timestamp_delta)),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        Ok(Record {
            offset: self.header.base_offset.plus(raw.offset_delta.into()),
            timestamp,
            key: raw.key,
            value: raw.value,
            headers: raw.headers,
        })
    }
}

struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

/// Takes a record off the front of `rest`; `None` if it is malformed.
fn take_raw_record<'a>(rest: &mut &'a [u8]) -> Option<RawRecord<'a>> {
    let length = usize::try_from(varint::take_i32(rest)?).ok()?;
    let mut bytes = take_bytes(rest, length)?;
    take_bytes(&mut bytes, 1)?;
    let timestamp_delta = varint::take_i64(&mut bytes)?;
    let offset_delta = varint::take_i32(&mut bytes)?;
    let key = take_nullable(&mut bytes)?;
    let value = take_nullable(&mut bytes)?;
    let count = usize::try_from(varint::take_i32(&mut bytes)?).ok()?;
    let headers = Headers { bytes, count };
    // Each header takes at least two bytes, so that this ends with the bytes whatever the count says.
    for _ in 0..count {
        take_header(&mut bytes)?;
    }
    bytes.is_empty().then_some(RawRecord { timestamp_delta, offset_delta, key, value, headers })
}

fn take_header<'a>(rest: &mut &'a [u8]) -> Option<Header<'a>> {
    let key = take_nullable(rest)??;
    let value = take_nullable(rest)?;
    Some(Header { key, value })
}

/// Bytes with a length in front; any negative length is null, as for Kafka.
fn take_nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match usize::try_from(varint::take_i32(rest)?) {
        Ok(length) => take_bytes(rest, length).map(Some),
        Err(_) => Some(None),
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}
