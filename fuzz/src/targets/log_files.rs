//! The structures of the commit log's files: file and frame headers, indexes, state sections.
//!
//! Each is tried as it comes and with its checksums put right, for damage that a checksum would catch must not hide the rest.

use crate::memory::{allowed, within};
use duolog_log::fuzzing::{
    FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader, IndexBuilder, IndexHeader, IndexKind, IndexView,
    TIDIED_END_BYTES, TidiedEnd, checksum, keys, state,
};

/// Where a header of 64 bytes has its checksum, and what it is of.
const HEADER_CRC_AT: usize = 60;
const TIDIED_CRC_AT: usize = TIDIED_END_BYTES - 4;
/// Not every key of a part is looked for: that would be quadratic.
const KEYS_ASKED_FOR_EVERY: usize = 16;

pub(super) fn frame(input: &[u8]) {
    let Some(bytes) = input.first_chunk::<FRAME_HEADER_BYTES>() else { return };
    for bytes in [*bytes, sealed_header(*bytes)] {
        if let Ok(header) = FrameHeader::decode(&bytes) {
            assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
        }
        const { assert!(FILE_HEADER_BYTES == FRAME_HEADER_BYTES) };
        if let Some(header) = FileHeader::decode(&bytes) {
            assert_eq!(FileHeader::decode(&header.encode()), Some(header));
        }
    }
}

fn sealed_header(mut bytes: [u8; 64]) -> [u8; 64] {
    let crc = checksum(&bytes[..HEADER_CRC_AT]);
    bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let golden: [&[u8]; 2] = [
        include_bytes!("../../../crates/log/tests/golden/frame_header.bin"),
        include_bytes!("../../../crates/log/tests/golden/file_header.bin"),
    ];
    golden.map(<[u8]>::to_vec).to_vec()
}

pub(super) fn tidied_end(input: &[u8]) {
    let Some(bytes) = input.first_chunk::<TIDIED_END_BYTES>() else { return };
    let mut mended = *bytes;
    let crc = checksum(&mended[..TIDIED_CRC_AT]);
    mended[TIDIED_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    for bytes in [*bytes, mended] {
        if let Some(end) = TidiedEnd::decode(&bytes) {
            assert_eq!(TidiedEnd::decode(&end.encode()), Some(end));
        }
    }
}

pub(super) fn tidied_end_seeds() -> Vec<Vec<u8>> {
    [0, 4096, u64::MAX].map(|index_at| TidiedEnd::new(index_at).encode().to_vec()).to_vec()
}

/// A part of the key index, as it comes and with the checksum of every block put right.
pub(super) fn key_index(input: &[u8]) {
    let mut mended = input.to_vec();
    for block in mended.chunks_exact_mut(keys::BLOCK_BYTES) {
        let (content, crc) = block.split_at_mut(keys::BLOCK_BYTES - 4);
        crc.copy_from_slice(&checksum(content).to_le_bytes());
    }
    for bytes in [input, &mended] {
        let Ok(view) = keys::KeysView::check(bytes) else { continue };
        let all = within(allowed(bytes), || view.all());
        let asked = all.iter().flatten().map(|entry| entry.hash).chain([0, u64::MAX]);
        for hash in asked.step_by(KEYS_ASKED_FOR_EVERY) {
            let mut found = Vec::new();
            let searched = view.find(hash, &mut |entry| found.push(entry));
            if let Ok(all) = &all {
                let there: Vec<_> = all.iter().copied().filter(|entry| entry.hash == hash).collect();
                assert_eq!((searched, found), (Ok(()), there), "what is found is what is there");
            }
        }
        if let Ok(all) = all {
            let again = keys::encode(view.header.from, view.header.to, &all);
            let again = keys::KeysView::check(&again).expect("what was written is a part");
            assert_eq!((again.header, again.all()), (view.header, Ok(all)));
        }
    }
}

pub(super) fn key_index_seeds() -> Vec<Vec<u8>> {
    let entry = |hash, partition, offset| keys::KeyEntry { hash, partition, offset };
    let few = [entry(1, 1, 5), entry(1, 1, 6), entry(1, 2, 0), entry(u64::MAX, 1, i64::MAX)];
    let many: Vec<_> = (0..500).map(|number| entry(number << 54, 3, number as i64)).collect();
    vec![keys::encode(0, 9, &[]), keys::encode(64, 4096, &few), keys::encode(7, u64::MAX, &many)]
}

pub(super) fn index(input: &[u8]) {
    for bytes in [input.to_vec(), sealed_index(input.to_vec())] {
        for kind in [IndexKind::Sealed, IndexKind::Checkpoint] {
            if let Ok(view) = within(allowed(&bytes), || IndexView::check(&bytes, kind)) {
                walk(&bytes, kind, &view);
            }
        }
    }
}

fn walk(bytes: &[u8], kind: IndexKind, view: &IndexView<'_>) {
    let _ = view.entries_are_intact();
    let header: IndexHeader = view.header;
    let encoded = IndexHeader::decode(&header.encode(kind), kind);
    assert_eq!(encoded, Some(header));
    let mut builder = IndexBuilder::default();
    for record in view.records() {
        assert_eq!(view.find(record.partition), Some(record));
        builder.begin(record.partition, record.end_offset);
        let run = view.run(&record);
        let _ = run.starting_at(0).next();
        for entry in run.starting_at(i64::MIN) {
            let _ = entry.last_offset();
            builder.push(&entry);
        }
    }
    state(view.state());
    let again = builder.finish(kind, header.generation, header.base, header.end, view.state()).concat();
    let again = IndexView::check(&again, kind).expect("what was written is an index");
    assert_eq!((again.header.partitions, again.header.state_bytes), (header.partitions, header.state_bytes));
    assert!(again.header.entries <= header.entries, "{} bytes", bytes.len());
}

/// Puts the checksums right, and the length of the state if nothing else is wrong with the lengths.
pub(super) fn sealed_index(mut bytes: Vec<u8>) -> Vec<u8> {
    const DIRECTORY_RECORD_BYTES: usize = 48;
    const ENTRY_BYTES: usize = 40;
    let field = |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    if bytes.len() < FILE_HEADER_BYTES {
        return bytes;
    }
    let directory_end = FILE_HEADER_BYTES + field(&bytes, 32) * DIRECTORY_RECORD_BYTES;
    let entries_end = directory_end + field(&bytes, 40) * ENTRY_BYTES;
    if entries_end > bytes.len() {
        return bytes;
    }
    let crcs = [
        ((bytes.len() - entries_end) as u32, 36),
        (checksum(&bytes[FILE_HEADER_BYTES..directory_end]), 48),
        (checksum(&bytes[directory_end..entries_end]), 52),
        (checksum(&bytes[entries_end..]), 56),
    ];
    for (value, at) in crcs {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let crc = checksum(&bytes[..HEADER_CRC_AT]);
    bytes[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn index_seeds() -> Vec<Vec<u8>> {
    let files = super::log_directory::files();
    let mut seeds: Vec<Vec<u8>> = files.into_iter().filter(|file| !file.name.ends_with(".log")).map(|file| file.bytes).collect();
    seeds.push(include_bytes!("../../../crates/log/tests/golden/index.queues").to_vec());
    seeds
}

/// What a partition takes in memory beyond its bytes on disk: the structure itself and its tables.
const STATE_RATIO: usize = 16;

pub(super) fn state(bytes: &[u8]) {
    let Some(partitions) = within(STATE_RATIO * bytes.len() + allowed(bytes), || state::decode(bytes)) else { return };
    let encode = |partitions: &[(u32, _)]| {
        let mut out = Vec::new();
        partitions.iter().for_each(|(number, partition)| state::encode_partition(&mut out, *number, partition));
        out
    };
    let first = encode(&partitions);
    let again = state::decode(&first).expect("what was written can be read");
    assert!(encode(&again) == first, "a state section changes");
}

pub(super) fn state_seeds() -> Vec<Vec<u8>> {
    let sections = index_seeds().into_iter().filter_map(|bytes| {
        let kinds = [IndexKind::Sealed, IndexKind::Checkpoint];
        kinds.into_iter().find_map(|kind| Some(IndexView::check(&bytes, kind).ok()?.state().to_vec()))
    });
    sections.collect()
}
