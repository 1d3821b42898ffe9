//! The aborted transactions whose end lies in a segment (`.txnindex`), in order of their ends.
//!
//! ```text
//!  at  bytes  field
//!   0    2    version (0)
//!   2    8    producer id
//!  10    8    first offset of the transaction in this partition
//!  18    8    offset of its abort mark
//!  26    8    last stable offset when it was aborted
//! ```
//! The file exists only if there is an entry.

use super::field;

const VERSION: i16 = 0;
pub const ABORTED_ENTRY_BYTES: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

pub fn push_aborted(aborted: AbortedTransaction, out: &mut Vec<u8>) {
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&aborted.producer_id.to_be_bytes());
    out.extend_from_slice(&aborted.first_offset.to_be_bytes());
    out.extend_from_slice(&aborted.last_offset.to_be_bytes());
    out.extend_from_slice(&aborted.last_stable_offset.to_be_bytes());
}

/// All entries; `None` if there are bytes that are none.
pub fn decode_aborted(bytes: &[u8]) -> Option<Vec<AbortedTransaction>> {
    if !bytes.len().is_multiple_of(ABORTED_ENTRY_BYTES) {
        return None;
    }
    bytes.chunks_exact(ABORTED_ENTRY_BYTES).map(decode_entry).collect()
}

fn decode_entry(bytes: &[u8]) -> Option<AbortedTransaction> {
    let aborted = AbortedTransaction {
        producer_id: i64::from_be_bytes(field(bytes, 2)?),
        first_offset: i64::from_be_bytes(field(bytes, 10)?),
        last_offset: i64::from_be_bytes(field(bytes, 18)?),
        last_stable_offset: i64::from_be_bytes(field(bytes, 26)?),
    };
    let sound = i16::from_be_bytes(field(bytes, 0)?) == VERSION && aborted.first_offset <= aborted.last_offset;
    sound.then_some(aborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_kafkas_and_read_back() {
        let aborted = AbortedTransaction { producer_id: 7, first_offset: 10, last_offset: 20, last_stable_offset: 21 };
        let mut bytes = Vec::new();
        push_aborted(aborted, &mut bytes);
        push_aborted(AbortedTransaction { last_offset: 30, ..aborted }, &mut bytes);
        assert_eq!(bytes.len(), 68);
        assert_eq!(bytes[..10], [0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(bytes[26..34], [0, 0, 0, 0, 0, 0, 0, 21]);
        let all = decode_aborted(&bytes).unwrap();
        assert_eq!((all.len(), all[0], all[1].last_offset), (2, aborted, 30));
        assert_eq!(decode_aborted(&bytes[..40]), None);
        assert_eq!(decode_aborted(&[]), Some(vec![]));
    }
}
