//! What the keys of a message are, and the number by which the log's index knows one.
//!
//! Both are part of the storage format (`docs/storage-format.md`): what they answer for a batch must never change. Called by the
//! log, through [`duolog_log::KeyOptions`], and by look-ups.

use crc_fast::{CrcAlgorithm, checksum};
use duolog_wire::record::{DecompressLimits, Record, decode_batch};

/// The header with the id that a RocketMQ client gives each message it sends.
const UNIQUE_KEY: &[u8] = b"UNIQ_KEY";
/// Keys of one message that are indexed; those behind are not.
pub const MAX_KEYS_PER_MESSAGE: usize = 1024;

/// The number of a key.
pub fn key_hash(key: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, key)
}

/// The keys of a batch's messages; see [`duolog_log::KeyExtractor`].
pub fn extract_keys(batch: &[u8], found: &mut dyn FnMut(i32, u64)) {
    let Ok(batch) = decode_batch(batch, DecompressLimits::default()) else { return };
    if batch.header.attributes.is_control() {
        return;
    }
    for record in batch.records() {
        let Ok(record) = record else { return };
        let Ok(delta) = i32::try_from(record.offset.0 - batch.header.base_offset.0) else { return };
        keys_of(&record).take(MAX_KEYS_PER_MESSAGE).for_each(|key| found(delta, key_hash(key)));
    }
}

/// The unique key, then the words of the record's key: `KEYS` of a RocketMQ message.
fn keys_of<'a>(record: &Record<'a>) -> impl Iterator<Item = &'a [u8]> {
    let words = record.key.into_iter().flat_map(|key| key.split(|byte| *byte == b' '));
    let unique = record.headers.last_value(UNIQUE_KEY).flatten();
    unique.into_iter().chain(words).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use duolog_wire::record::{BatchBuilder, Compression, Header, NewRecord, patch_base_offset};

    fn keys(batch: &[u8]) -> Vec<(i32, u64)> {
        let mut keys = Vec::new();
        extract_keys(batch, &mut |delta, hash| keys.push((delta, hash)));
        keys
    }

    #[test]
    fn hashes_are_those_of_the_format() {
        // The check value of CRC-64/NVME.
        assert_eq!(key_hash(b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn keys_are_words_and_the_unique_key_whatever_the_codec_and_the_offset() {
        for codec in [Compression::None, Compression::Zstd] {
            let unique = [Header { key: UNIQUE_KEY, value: Some(b"id-1") }];
            let mut builder = BatchBuilder::new(codec);
            builder.push(NewRecord { key: Some(b"one  two "), headers: &unique, ..NewRecord::default() }).unwrap();
            builder.push(NewRecord { value: Some(b"neither"), ..NewRecord::default() }).unwrap();
            builder.push(NewRecord { key: Some(b"one"), ..NewRecord::default() }).unwrap();
            let mut batch = BytesMut::new();
            builder.build(&mut batch).unwrap();
            let expected: Vec<_> =
                [(0, &b"id-1"[..]), (0, b"one"), (0, b"two"), (2, b"one")].map(|(delta, key)| (delta, key_hash(key))).into();
            assert_eq!(keys(&batch), expected);
            patch_base_offset(&mut batch, duolog_base::Offset(77));
            assert_eq!(keys(&batch), expected, "an appended batch has the same keys");
            for length in 0..batch.len() {
                assert!(keys(&batch[..length]).is_empty());
            }
        }
    }

    #[test]
    fn a_message_of_nothing_but_keys_is_indexed_in_part() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(NewRecord { key: Some(&b"k ".repeat(5000)), ..NewRecord::default() }).unwrap();
        let mut batch = BytesMut::new();
        builder.build(&mut batch).unwrap();
        assert_eq!(keys(&batch).len(), MAX_KEYS_PER_MESSAGE);
    }
}
