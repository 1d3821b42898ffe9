//! Byte form of journal and snapshot files.
//!
//! ```text
//! file   = header frame*
//! header = "DUOMETA\0"  version u32  crc32c(magic, version) u32          16 bytes
//! frame  = length u32   crc32c(length, payload) u32   payload            payload: one JSON value
//! ```
//! Numbers are little-endian. A frame is written with one call and synced before the next one is begun; so a bad frame
//! with a good one behind it is damage, and a bad frame at the very end is a write that was never acknowledged.

use crate::metadata::record::Change;
use crc_fast::{CrcAlgorithm, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the byte form; a higher one is not read.
pub(in crate::metadata) const FORMAT_VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 8] = b"DUOMETA\0";
const FRAME_HEADER_BYTES: usize = 8;

/// Identity of an entry: where it stands in the log, and which leadership wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) struct EntryId {
    pub term: u64,
    pub node: u64,
    pub index: u64,
}

/// For whom this node voted last, and whether that one won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) struct Vote {
    pub term: u64,
    pub node: u64,
    pub won: bool,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) struct Entry {
    pub id: EntryId,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) enum Body {
    /// A new leader's first entry.
    Blank,
    Change(Change),
    Members(Members),
}

/// Voters (two sets while they change) and the address of every member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::metadata) struct Members {
    pub voters: Vec<BTreeSet<u64>>,
    pub addresses: BTreeMap<u64, String>,
}

/// What a journal's frame says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// First frame of each segment: what earlier segments said, as far as it still holds.
    Start {
        vote: Option<Vote>,
        purged: Option<EntryId>,
    },
    Entries(Vec<Entry>),
    Vote(Vote),
    /// Entries from this index on are void; `kept` is the one before it, if it is not purged.
    Truncate {
        from: u64,
        kept: Option<EntryId>,
    },
    /// Entries up to this one are in a snapshot and no longer needed.
    Purge(EntryId),
    /// A snapshot that another node sent, up to this entry, is about to take the place of the entries.
    Installing(EntryId),
}

/// What is wrong with bytes that should be a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderProblem {
    NotOurs,
    Newer(u32),
}

pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let crc = checksum(&[&bytes[..12]]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn check_header(bytes: &[u8]) -> Result<(), HeaderProblem> {
    let Some(bytes) = bytes.get(..HEADER_BYTES) else { return Err(HeaderProblem::NotOurs) };
    if &bytes[..8] != MAGIC || read_u32(bytes, 12) != Some(checksum(&[&bytes[..12]])) {
        return Err(HeaderProblem::NotOurs);
    }
    match read_u32(bytes, 8) {
        Some(version) if version <= FORMAT_VERSION => Ok(()),
        version => Err(HeaderProblem::Newer(version.unwrap_or(u32::MAX))),
    }
}

/// Appends one frame to `out`.
pub(super) fn encode_frame<T: Serialize>(out: &mut Vec<u8>, value: &T) -> std::io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    serde_json::to_writer(&mut *out, value)?;
    let length = u32::try_from(out.len() - start - FRAME_HEADER_BYTES).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    let length = length.to_le_bytes();
    let crc = checksum(&[&length, &out[start + FRAME_HEADER_BYTES..]]);
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// The payload of the frame at `position` and where the next one begins; `None` if there is no good frame.
pub(super) fn frame_at(bytes: &[u8], position: usize) -> Option<(&[u8], usize)> {
    let length = read_u32(bytes, position)?;
    let crc = read_u32(bytes, position + 4)?;
    let payload = bytes.get(position + FRAME_HEADER_BYTES..)?.get(..usize::try_from(length).ok()?)?;
    // A payload is never empty; a run of zeros must not count as a frame.
    let good = length > 0 && checksum(&[&length.to_le_bytes(), payload]) == crc;
    good.then_some((payload, position + FRAME_HEADER_BYTES + payload.len()))
}

/// Whether a good frame begins anywhere from `position` on.
pub(super) fn any_frame_from(bytes: &[u8], position: usize) -> bool {
    (position..bytes.len()).any(|at| frame_at(bytes, at).is_some())
}

pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    serde_json::from_slice(payload).ok()
}

fn read_u32(bytes: &[u8], position: usize) -> Option<u32> {
    let field = bytes.get(position..position.checked_add(4)?)?;
    Some(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_and_a_flipped_bit_does_not() {
        let mut bytes = header().to_vec();
        assert_eq!(check_header(&bytes), Ok(()));
        let frame = Frame::Vote(Vote { term: 3, node: 1, won: true });
        encode_frame(&mut bytes, &frame).unwrap();
        let (payload, next) = frame_at(&bytes, HEADER_BYTES).unwrap();
        assert_eq!(decode::<Frame>(payload), Some(frame));
        assert_eq!(next, bytes.len());
        for bit in HEADER_BYTES * 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(frame_at(&damaged, HEADER_BYTES).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_header_is_told_from_a_foreign_one() {
        let mut bytes = header();
        bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
        assert_eq!(check_header(&bytes), Err(HeaderProblem::NotOurs), "its checksum does not fit");
        let crc = checksum(&[&bytes[..12]]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(check_header(&bytes), Err(HeaderProblem::Newer(9)));
        assert_eq!(check_header(b"short"), Err(HeaderProblem::NotOurs));
    }

    #[test]
    fn the_stored_form_of_an_entry_stays_as_it_is() {
        let records = vec![crate::metadata::MetadataRecord::ProducerIds { next: 1000 }];
        let change = Change { level: 1, records, base: None };
        let entry = Entry { id: EntryId { term: 1, node: 2, index: 3 }, body: Body::Change(change) };
        let text = r#"{"Entries":[{"id":{"term":1,"node":2,"index":3},"body":{"Change":{"level":1,"records":[{"ProducerIds":{"next":1000}}]}}}]}"#;
        assert_eq!(serde_json::to_string(&Frame::Entries(vec![entry])).unwrap(), text);
    }
}
