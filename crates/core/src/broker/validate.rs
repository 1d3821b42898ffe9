//! What a batch must be before it is stored; and the rewriting that a topic's configuration asks for.
//!
//! Looks at the header and the checksum only. Records are decoded where the topic demands it: to store them in another
//! codec, or to see that each has a key in a compacted topic.

use super::append::{Origin, ProduceError};
use crate::config::{CompressionType, TimestampType, TopicConfig};
use crate::metadata::TopicImage;
use bytes::BytesMut;
use duolog_base::TimestampMs;
use duolog_wire::record::{
    BatchBuilder, BatchError, BatchHeader, Compression, DecodedBatch, DecompressLimits, NewRecord, ProducerBatchError,
    decode_batch, set_log_append_time,
};
use std::ops::Range;

/// Largest batch of a coordinator, in bytes. A coordinator makes its own records, and a refused one would cost it all its state;
/// replay reads batches of twice this size.
const COORDINATOR_BATCH_BYTES: usize = 32 << 20;

/// A batch that may be stored.
pub(super) struct Checked {
    /// Where it lies now: rewritten batches are put at the end of the buffer.
    pub(super) range: Range<usize>,
    pub(super) records: i32,
    pub(super) log_append_time: Option<TimestampMs>,
}

/// Checks the one batch in `range` and rewrites it if the topic's configuration says so.
pub(super) fn check(
    buffer: &mut BytesMut,
    range: Range<usize>,
    topic: &TopicImage,
    origin: Origin,
    now: TimestampMs,
) -> Result<Checked, ProduceError> {
    let config = &*topic.config;
    let bytes = buffer.get(range.clone()).ok_or(ProduceError::Corrupt { problem: "outside the request" })?;
    let header = whole_batch(bytes)?;
    let limit = match origin {
        Origin::Client | Origin::Remainder => config.max_message_bytes,
        Origin::Coordinator => COORDINATOR_BATCH_BYTES,
    };
    if bytes.len() > limit {
        return Err(ProduceError::TooLarge { bytes: bytes.len(), limit });
    }
    header.verify_crc(bytes).map_err(batch_error)?;
    if origin == Origin::Client {
        header.validate_from_producer().map_err(producer_error)?;
    }
    if header.attributes.is_transactional() {
        return Err(ProduceError::Transactional);
    }
    let range = rewrite(buffer, range, &header, topic, origin)?;
    let log_append_time = match config.timestamp_type {
        TimestampType::CreateTime => {
            check_timestamps(&header, config, now)?;
            None
        }
        TimestampType::LogAppendTime => {
            set_log_append_time(&mut buffer[range.clone()], now);
            Some(now)
        }
    };
    Ok(Checked { range, records: header.record_count, log_append_time })
}

/// Exactly one batch fills the range: Kafka's clients send no more than that since produce version 3 (KIP-98).
fn whole_batch(bytes: &[u8]) -> Result<BatchHeader, ProduceError> {
    if bytes.is_empty() {
        return Err(ProduceError::Empty);
    }
    let header = BatchHeader::parse(bytes).map_err(batch_error)?;
    match header.total_bytes() == bytes.len() {
        true => Ok(header),
        false => Err(ProduceError::Invalid { problem: "more than one record batch for a partition" }),
    }
}

/// The header tells the first record's timestamp and the largest one; records between are not looked at.
fn check_timestamps(header: &BatchHeader, config: &TopicConfig, now: TimestampMs) -> Result<(), ProduceError> {
    let earliest = now.0.saturating_sub(config.timestamp_before_max_ms);
    let latest = now.0.saturating_add(config.timestamp_after_max_ms);
    for timestamp in [header.base_timestamp, header.max_timestamp] {
        if timestamp != TimestampMs::NONE && !(earliest..=latest).contains(&timestamp.0) {
            return Err(ProduceError::Timestamp { timestamp, earliest, latest });
        }
    }
    Ok(())
}

/// Changes the codec if the topic wants another one than the producer chose. Returns where the batch lies then.
fn rewrite(
    buffer: &mut BytesMut,
    range: Range<usize>,
    header: &BatchHeader,
    topic: &TopicImage,
    origin: Origin,
) -> Result<Range<usize>, ProduceError> {
    let config = &*topic.config;
    let codec = stored_codec(config.compression_type).filter(|codec| *codec != header.compression());
    let needs_keys = config.compact && origin != Origin::Coordinator;
    if (codec.is_none() && !needs_keys) || header.record_count == 0 {
        return Ok(range);
    }
    let batch = decode_batch(&buffer[range.clone()], DecompressLimits::default())
        .map_err(|_| ProduceError::Corrupt { problem: "records cannot be decompressed" })?;
    let keyless = records(&batch)?.iter().any(|record| record.key.is_none());
    if needs_keys && keyless {
        return Err(ProduceError::KeyMissing { topic: topic.name.clone() });
    }
    let Some(codec) = codec else { return Ok(range) };
    let rewritten = recompress(&batch, codec)?;
    if rewritten.len() > config.max_message_bytes {
        return Err(ProduceError::TooLarge { bytes: rewritten.len(), limit: config.max_message_bytes });
    }
    let start = buffer.len();
    buffer.extend_from_slice(&rewritten);
    Ok(start..buffer.len())
}

fn records<'a>(batch: &'a DecodedBatch<'_>) -> Result<Vec<duolog_wire::record::Record<'a>>, ProduceError> {
    batch.records().collect::<Result<_, _>>().map_err(|_| ProduceError::Corrupt { problem: "records cannot be decoded" })
}

fn recompress(batch: &DecodedBatch<'_>, codec: Compression) -> Result<BytesMut, ProduceError> {
    let header = &batch.header;
    let mut builder = BatchBuilder::new(codec).producer(header.producer_id, header.producer_epoch, header.base_sequence);
    let has_gaps = header.last_offset_delta != header.record_count - 1;
    for record in records(batch)? {
        let headers: Vec<_> = record.headers.clone().collect();
        let delta = record.offset.0 - header.base_offset.0;
        let record = NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers: &headers };
        let pushed = if has_gaps { builder.push_at(delta as i32, record) } else { builder.push(record) };
        pushed.map_err(|_| ProduceError::Compression)?;
    }
    builder.end_at(header.last_offset_delta).map_err(|_| ProduceError::Compression)?;
    let mut out = BytesMut::new();
    builder.build(&mut out).map_err(|_| ProduceError::Compression)?;
    Ok(out)
}

fn stored_codec(kind: CompressionType) -> Option<Compression> {
    match kind {
        CompressionType::Producer => None,
        CompressionType::Uncompressed => Some(Compression::None),
        CompressionType::Gzip => Some(Compression::Gzip),
        CompressionType::Snappy => Some(Compression::Snappy),
        CompressionType::Lz4 => Some(Compression::Lz4),
        CompressionType::Zstd => Some(Compression::Zstd),
    }
}

fn batch_error(error: BatchError) -> ProduceError {
    match error {
        BatchError::OldFormat { magic } => ProduceError::OldFormat { magic },
        BatchError::Partial { .. } => ProduceError::Corrupt { problem: "cut off" },
        BatchError::UnknownMagic { .. } => ProduceError::Invalid { problem: "unknown format" },
        BatchError::Length { .. } => ProduceError::Corrupt { problem: "impossible length" },
        BatchError::Offsets { .. } => ProduceError::Invalid { problem: "offsets out of range" },
        BatchError::RecordCount { .. } => ProduceError::Invalid { problem: "record count does not fit the offsets" },
        BatchError::UnknownCodec { .. } => ProduceError::Corrupt { problem: "unknown compression codec" },
        BatchError::Crc { .. } => ProduceError::Corrupt { problem: "checksum does not match" },
    }
}

fn producer_error(error: ProducerBatchError) -> ProduceError {
    match error {
        ProducerBatchError::BaseOffset { .. } => ProduceError::Invalid { problem: "base offset is not 0" },
        ProducerBatchError::RecordCount { .. } => ProduceError::Invalid { problem: "record count does not fit the offsets" },
        ProducerBatchError::Control => ProduceError::Invalid { problem: "control batches are the broker's to write" },
        ProducerBatchError::LogAppendTime => ProduceError::Invalid { problem: "timestamp type is the broker's to set" },
        ProducerBatchError::TransactionalWithoutProducer => ProduceError::Transactional,
        ProducerBatchError::Sequence { .. } => {
            ProduceError::Invalid { problem: "producer id, epoch and sequence do not go together" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use duolog_base::{ProducerEpoch, ProducerId, TopicId};
    use duolog_wire::record::verify_crc;
    use std::sync::Arc;

    const NOW: TimestampMs = TimestampMs(1_000_000_000);

    fn topic(change: impl FnOnce(&mut TopicConfig)) -> TopicImage {
        let mut config = (*crate::config::BrokerConfig::default().topic).clone();
        change(&mut config);
        TopicImage {
            id: TopicId(1),
            name: "t".to_owned(),
            partitions: Vec::new(),
            overrides: Default::default(),
            config: Arc::new(config),
            internal: false,
        }
    }

    fn batch(key: Option<&[u8]>, timestamp: TimestampMs) -> BytesMut {
        let mut builder = BatchBuilder::new(Compression::None).producer(ProducerId(5), ProducerEpoch(1), 7);
        builder.push(NewRecord { timestamp, key, value: Some(&[b'v'; 200]), headers: &[] }).unwrap();
        let mut bytes = BytesMut::new();
        builder.build(&mut bytes).unwrap();
        bytes
    }

    fn checked(bytes: &mut BytesMut, topic: &TopicImage) -> Result<Checked, ProduceError> {
        let range = 0..bytes.len();
        check(bytes, range, topic, Origin::Client, NOW)
    }

    #[test]
    fn an_ordinary_batch_stays_where_it_is_untouched() {
        let before = batch(None, NOW);
        let mut after = before.clone();
        let checked = checked(&mut after, &topic(|_| ())).unwrap();
        assert_eq!((checked.range, checked.records, checked.log_append_time), (0..before.len(), 1, None));
        assert_eq!(before, after);
    }

    #[test]
    fn damaged_oversized_and_trailing_bytes_are_refused() {
        let mut damaged = batch(None, NOW);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(matches!(checked(&mut damaged, &topic(|_| ())), Err(ProduceError::Corrupt { .. })));
        let mut large = batch(None, NOW);
        assert!(matches!(
            checked(&mut large, &topic(|config| config.max_message_bytes = 200)),
            Err(ProduceError::TooLarge { limit: 200, .. })
        ));
        let mut two = batch(None, NOW);
        two.extend_from_slice(&batch(None, NOW));
        assert!(matches!(checked(&mut two, &topic(|_| ())), Err(ProduceError::Invalid { .. })));
        let mut cut = batch(None, NOW);
        cut.truncate(80);
        assert!(matches!(checked(&mut cut, &topic(|_| ())), Err(ProduceError::Corrupt { .. })));
        assert!(matches!(checked(&mut BytesMut::new(), &topic(|_| ())), Err(ProduceError::Empty)));
    }

    #[test]
    fn timestamps_are_held_to_the_topics_bounds() {
        let topic = topic(|config| {
            config.timestamp_before_max_ms = 1_000;
            config.timestamp_after_max_ms = 500;
        });
        for (timestamp, fits) in [(-1_001, false), (-1_000, true), (0, true), (500, true), (501, false)] {
            let result = checked(&mut batch(None, TimestampMs(NOW.0 + timestamp)), &topic);
            assert_eq!(result.is_ok(), fits, "{timestamp}");
        }
    }

    #[test]
    fn log_append_time_replaces_the_producers_and_keeps_the_checksum_right() {
        let mut bytes = batch(None, TimestampMs(5));
        let checked = checked(&mut bytes, &topic(|config| config.timestamp_type = TimestampType::LogAppendTime)).unwrap();
        assert_eq!(checked.log_append_time, Some(NOW));
        let batch = decode_batch(&bytes, DecompressLimits::default()).unwrap();
        verify_crc(&bytes).unwrap();
        assert_eq!(batch.records().next().unwrap().unwrap().timestamp, NOW);
    }

    #[test]
    fn another_codec_is_stored_with_the_same_records_and_producer() {
        let mut bytes = batch(Some(b"k"), NOW);
        let checked = checked(&mut bytes, &topic(|config| config.compression_type = CompressionType::Zstd)).unwrap();
        let stored = &bytes[checked.range];
        verify_crc(stored).unwrap();
        let batch = decode_batch(stored, DecompressLimits::default()).unwrap();
        assert_eq!(batch.header.compression(), Compression::Zstd);
        assert_eq!((batch.header.producer_id, batch.header.base_sequence), (ProducerId(5), 7));
        let record = batch.records().next().unwrap().unwrap();
        assert_eq!((record.key, record.timestamp), (Some(&b"k"[..]), NOW));
    }

    #[test]
    fn a_compacted_topic_wants_keys() {
        let topic = topic(|config| config.compact = true);
        assert!(matches!(checked(&mut batch(None, NOW), &topic), Err(ProduceError::KeyMissing { .. })));
        assert!(checked(&mut batch(Some(b"k"), NOW), &topic).is_ok());
    }
}
