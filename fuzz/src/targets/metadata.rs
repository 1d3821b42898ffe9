//! The files of the metadata log: snapshots and journals, as they come and with the checksums of their frames put right.

use crate::memory::{FREE_BYTES, within};
use duolog_base::Disk;
use duolog_core::metadata::fuzzing::{fold_snapshot, read_journal, recode_snapshot};
use duolog_log::fuzzing::checksum;
use duolog_sim::SimDisk;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/meta";
const SEGMENT_BYTES: u64 = 1 << 20;
/// What a value may take for each byte of its JSON.
const JSON_RATIO: usize = 64;

fn most_held(input: &[u8]) -> usize {
    JSON_RATIO * input.len() + FREE_BYTES
}

pub(super) fn snapshot(input: &[u8]) {
    for bytes in [input.to_vec(), mended(input.to_vec())] {
        let Some(recoded) = within(most_held(&bytes), || recode_snapshot(&bytes)) else { continue };
        let recoded = recoded.expect("what was read can be written");
        let again = recode_snapshot(&recoded).expect("what was written can be read").expect("and written");
        assert!(again == recoded, "a snapshot changes");
        if let Some(Ok([again, image])) = fold_snapshot(&bytes) {
            assert_eq!(again, image);
        }
    }
}

/// Length of the first segment, then two segments.
pub(super) fn journal(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return };
    let (first, second) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    for mend in [false, true] {
        let disk = SimDisk::new(1);
        disk.create_dir_all(Path::new(DIR)).expect("an empty disk");
        for (number, segment) in [first, second].into_iter().enumerate().filter(|(_, segment)| !segment.is_empty()) {
            let segment = if mend { mended(segment.to_vec()) } else { segment.to_vec() };
            disk.write_file(&Path::new(DIR).join(format!("journal-{number:020}")), &segment);
        }
        let shared: Arc<dyn Disk> = Arc::new(disk);
        let read = || read_journal(shared.clone(), DIR.into(), SEGMENT_BYTES);
        if let Ok(entries) = within(most_held(input), read) {
            assert_eq!(read().expect("what was opened opens again"), entries);
        }
    }
}

/// Puts the checksums of header and frames right, as far as the lengths lead from one to the next.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    const HEADER_BYTES: usize = 16;
    const FRAME_HEADER_BYTES: usize = 8;
    if bytes.len() < HEADER_BYTES {
        return bytes;
    }
    let crc = checksum(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    let mut at = HEADER_BYTES;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied() {
        let left = bytes.len() - at - length.len();
        // The last frame takes what is left, so that cutting and growing do not only make torn ends.
        let payload = (u32::from_le_bytes(length) as usize).min(left.saturating_sub(4));
        let length = (payload as u32).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&length);
        let end = at + FRAME_HEADER_BYTES + payload;
        let Some(body) = bytes.get(at + FRAME_HEADER_BYTES..end) else { break };
        let crc = checksum(&[&length[..], body].concat());
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
    bytes
}

fn framed(payloads: &[&str]) -> Vec<u8> {
    let mut bytes = b"DUOMETA\0\x01\0\0\0....".to_vec();
    for payload in payloads {
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload.as_bytes());
    }
    mended(bytes)
}

const META: &str = r#"{"last":{"term":1,"node":1,"index":9},"members":{"voters":[[1]],"addresses":{"1":"a:1"}},"members_from":null,"applied":9,"level":1}"#;
const RECORDS: &str = r#"[{"Cluster":{"id":"BAQEBAQEREREhISEhISEhA"}},{"Node":{"id":1,"rack":"r"}},{"Topic":{"id":"AAAAAAAAAAAAAAAAAAAAAg","name":"t","internal":false,"overrides":{"retention.ms":"5"}}},{"Partitions":{"topic":"AAAAAAAAAAAAAAAAAAAAAg","first":0,"partitions":[{"number":3,"leader":1,"leader_epoch":2,"replicas":[1],"in_sync":[1]}]}},{"Config":{"resource":"Cluster","changes":{"log.retention.ms":"7"}}},{"Config":{"resource":{"Topic":"AAAAAAAAAAAAAAAAAAAAAg"},"changes":{"retention.ms":null}}},{"NodeStarted":{"id":1}},{"ProducerIds":{"next":1000}},{"PartitionNumbers":{"next":4}}]"#;
const START: &str = r#"{"Start":{"vote":{"term":1,"node":1,"won":true},"purged":null}}"#;
const ENTRIES: &str = r#"{"Entries":[{"id":{"term":1,"node":1,"index":0},"body":"Blank"},{"id":{"term":1,"node":1,"index":1},"body":{"Change":{"level":1,"records":[{"ProducerIds":{"next":1000}}]}}},{"id":{"term":1,"node":1,"index":2},"body":{"Members":{"voters":[[1]],"addresses":{"1":"a:1"}}}}]}"#;
const VOTE: &str = r#"{"Vote":{"term":2,"node":1,"won":false}}"#;
const TRUNCATE: &str = r#"{"Truncate":{"from":2,"kept":{"term":1,"node":1,"index":1}}}"#;
const PURGE: &str = r#"{"Purge":{"term":1,"node":1,"index":1}}"#;
const LATER: &str = r#"{"Entries":[{"id":{"term":1,"node":1,"index":2},"body":"Blank"}]}"#;

pub(super) fn snapshot_seeds() -> Vec<Vec<u8>> {
    vec![framed(&[META, "\"end\""]), framed(&[META, RECORDS, "\"end\""]), framed(&[META, RECORDS])]
}

pub(super) fn journal_seeds() -> Vec<Vec<u8>> {
    let segments: [(&[&str], &[&str]); 4] = [
        (&[START], &[]),
        (&[START, VOTE, ENTRIES], &[START, PURGE]),
        (&[START, ENTRIES, TRUNCATE, LATER], &[START, PURGE]),
        (&[START, ENTRIES, PURGE], &[START, TRUNCATE, LATER]),
    ];
    let seed = |(first, second): (&[&str], &[&str])| {
        let first = framed(first);
        let second = if second.is_empty() { Vec::new() } else { framed(second) };
        [&(first.len() as u16).to_le_bytes()[..], &first, &second].concat()
    };
    segments.into_iter().map(seed).collect()
}
