//! The idempotent producers of a partition as of an offset (`.snapshot`): the last batch of each, in Kafka's schema.
//!
//! ```text
//!  at  bytes  field
//!   0    2    version (1)
//!   2    4    CRC32C of all that follows
//!   6    4    producers, then for each:
//!        8      producer id
//!        2      producer epoch
//!        4      sequence of the last record, -1 for none
//!        8      offset of the last record, -1 for none
//!        4      last offset delta of the last batch
//!        8      time of the last append
//!        4      epoch of the coordinator that ended the last transaction, -1 for none
//!        8      first offset of the open transaction, -1 for none
//! ```

use super::{checksum, field};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const CRC_AT: usize = 2;
const CRC_FROM: usize = 6;
const ENTRY_BYTES: usize = 46;

/// A producer as a snapshot has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    pub transaction_start: i64,
}

pub fn encode(entries: &[ProducerEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for entry in entries {
        out.extend_from_slice(&entry.id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&entry.last_sequence.to_be_bytes());
        out.extend_from_slice(&entry.last_offset.to_be_bytes());
        out.extend_from_slice(&entry.offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&entry.transaction_start.to_be_bytes());
    }
    let crc = checksum(&out[CRC_FROM..]);
    out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

/// `None` for anything but a whole snapshot of a version that is known.
pub fn decode(bytes: &[u8]) -> Option<Vec<ProducerEntry>> {
    let version = i16::from_be_bytes(field(bytes, 0)?);
    let crc = u32::from_be_bytes(field(bytes, CRC_AT)?);
    let count = usize::try_from(i32::from_be_bytes(field(bytes, CRC_FROM)?)).ok()?;
    let entries = bytes.get(HEADER_BYTES..)?;
    if version != VERSION || entries.len() != count.checked_mul(ENTRY_BYTES)? || crc != checksum(&bytes[CRC_FROM..]) {
        return None;
    }
    entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect()
}

fn decode_entry(bytes: &[u8]) -> Option<ProducerEntry> {
    Some(ProducerEntry {
        id: i64::from_be_bytes(field(bytes, 0)?),
        epoch: i16::from_be_bytes(field(bytes, 8)?),
        last_sequence: i32::from_be_bytes(field(bytes, 10)?),
        last_offset: i64::from_be_bytes(field(bytes, 14)?),
        offset_delta: i32::from_be_bytes(field(bytes, 22)?),
        timestamp: i64::from_be_bytes(field(bytes, 26)?),
        coordinator_epoch: i32::from_be_bytes(field(bytes, 34)?),
        transaction_start: i64::from_be_bytes(field(bytes, 38)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: ProducerEntry = ProducerEntry {
        id: 0x0102_0304_0506_0708,
        epoch: 3,
        last_sequence: 41,
        last_offset: 100,
        offset_delta: 6,
        timestamp: 1_700_000_000_000,
        coordinator_epoch: -1,
        transaction_start: -1,
    };

    #[test]
    fn the_bytes_are_kafkas_and_read_back() {
        let bytes = encode(&[ENTRY]);
        assert_eq!(bytes.len(), 56);
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(bytes[6..20], [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3]);
        assert_eq!(bytes[44..], [255; 12]);
        assert_eq!(bytes[2..6], checksum(&bytes[6..]).to_be_bytes());
        assert_eq!(decode(&bytes), Some(vec![ENTRY]));
        assert_eq!(decode(&encode(&[])), Some(vec![]));
    }

    #[test]
    fn any_flipped_bit_and_any_lost_end_is_noticed() {
        let bytes = encode(&[ENTRY, ProducerEntry { id: 9, ..ENTRY }]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        assert!((0..bytes.len()).all(|length| decode(&bytes[..length]).is_none()));
    }
}
