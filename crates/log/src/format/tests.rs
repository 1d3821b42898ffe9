//! The format is held fixed by golden files, and every structure survives a round trip; damaged ones are told, never believed.
//!
//! A golden file changes only together with the format version. `DUOLOG_WRITE_GOLDEN=1` writes the files that are missing.

use super::file_header::FileHeader;
use super::frame::{FrameHeader, FrameHeaderError, FrameKind};
use super::index::{DirectoryRecord, IndexBuilder, IndexKind, IndexView, QueueEntry};
use super::keys::KeyEntry;
use super::state;
use super::tidied::TidiedEnd;
use crate::partition::Partition;
use crate::producer::{ProducerState, SequencedBatch};
use duolog_base::{ProducerEpoch, ProducerId, TimestampMs};
use proptest::prelude::*;
use std::path::PathBuf;

fn golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("DUOLOG_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let fixed = std::fs::read(&path).unwrap();
    assert!(fixed == bytes, "the bytes of {name} have changed");
}

fn a_frame() -> FrameHeader {
    FrameHeader {
        kind: FrameKind::Batch,
        encoding: 0,
        position: 0x0102_0304_0506_0708,
        tag_filter: 0x1122_3344_5566_7788,
        offset: 0x0a0b_0c0d_0e0f_1011,
        generation: 7,
        partition: 42,
        payload_bytes: 1000,
        leader_epoch: 5,
        last_offset_delta: 99,
        durable: 0x0102_0304_0506_0000,
        body_crc: 0xdead_beef,
    }
}

fn an_entry(offset: i64) -> QueueEntry {
    let position = 64 + offset as u64 * 128;
    QueueEntry {
        base_offset: offset,
        position,
        max_timestamp: 1000 + offset,
        tag_filter: 3,
        batch_bytes: 61,
        last_offset_delta: 1,
    }
}

fn a_partition() -> Partition {
    let mut partition = Partition::restored(4, 1, 3);
    partition.restore_epoch(state_epoch(0, 0));
    partition.restore_epoch(state_epoch(3, 2));
    let mut producer = ProducerState::new(ProducerEpoch(2), TimestampMs(1_700_000_000_000));
    producer.push(SequencedBatch { base_offset: 2, first_sequence: 8, last_offset_delta: 1 });
    partition.producers_mut().insert(ProducerId(9), producer);
    partition
}

fn state_epoch(epoch: i32, start: i64) -> crate::partition::EpochStart {
    crate::partition::EpochStart { epoch, start }
}

fn an_index() -> Vec<u8> {
    let mut section = Vec::new();
    state::encode_partition(&mut section, 5, &a_partition());
    state::encode_partition(&mut section, 8, &Partition::default());
    let mut builder = IndexBuilder::default();
    builder.begin(5, 4);
    builder.push(&an_entry(0));
    builder.push(&an_entry(2));
    builder.begin(8, 0);
    builder.finish(IndexKind::Sealed, 2, 0, 4096, &section).concat()
}

fn a_part() -> Vec<u8> {
    let entry =
        |number: u64| KeyEntry { hash: number << 56 | 0x1122_3344, partition: 5, offset: 0x0a0b_0c0d_0e00 + number as i64 };
    super::keys::encode(1 << 30, 3 << 30, &[entry(1), entry(2)])
}

#[test]
fn golden_bytes_are_unchanged() {
    golden("frame_header.bin", &a_frame().encode());
    golden("file_header.bin", &FileHeader::new(3, 1 << 30).encode());
    golden("index.queues", &an_index());
    golden("part.keys", &a_part());
    golden("tidied_end.bin", &TidiedEnd::new(0x0102_0304_0506_0708).encode());
}

#[test]
fn truncations_are_part_of_the_state() {
    let mut partition = a_partition();
    partition.cut(500, partition.after_cut(3, partition.producers().clone()));
    partition.cut(900, partition.after_cut(2, partition.producers().clone()));
    let mut section = Vec::new();
    state::encode_partition(&mut section, 5, &partition);
    state::encode_partition(&mut section, 8, &Partition::default());
    let states = state::decode(&section).unwrap();
    assert_eq!(states[0].1.cuts(), partition.cuts());
    assert_eq!(states[0].1.cuts().as_slice().len(), 1, "the second one says all that the first one says");
    assert_eq!(state::ends(&section), Some(vec![(5, 2), (8, 0)]));
    assert!((1..section.len()).all(|length| state::decode(&section[..length]).is_none_or(|states| states.len() == 1)));
}

#[test]
fn an_index_gives_back_what_was_put_in() {
    let bytes = an_index();
    let view = IndexView::check(&bytes, IndexKind::Sealed).unwrap();
    assert!(view.entries_are_intact());
    assert_eq!((view.header.generation, view.header.base, view.header.end), (2, 0, 4096));
    let five = DirectoryRecord {
        partition: 5,
        entries: 2,
        first_entry: 0,
        base_offset: 0,
        end_offset: 4,
        max_timestamp: 1002,
        bytes: 122,
    };
    assert_eq!(view.find(5), Some(five));
    assert_eq!(view.find(6), None);
    assert_eq!(view.find(8).map(|record| (record.entries, record.first_entry, record.base_offset)), Some((0, 2, 0)));
    assert_eq!(view.run(&five).starting_at(2).collect::<Vec<_>>(), [an_entry(2)]);
    assert_eq!(view.run(&five).starting_at(1).count(), 2, "the first entry holds offset 1, too");
    let states = state::decode(view.state()).unwrap();
    assert_eq!(states.len(), 2);
    assert_eq!(state::ends(view.state()), Some(states.iter().map(|(number, known)| (*number, known.next_offset())).collect()));
    assert_eq!(state::ends(&view.state()[..view.state().len() - 1]), None);
    let (number, partition) = &states[0];
    assert_eq!((*number, partition.next_offset(), partition.log_start(), partition.leader_epoch()), (5, 4, 1, 3));
    assert_eq!(partition.epochs(), a_partition().epochs());
    assert_eq!(partition.producers().sorted(), a_partition().producers().sorted());
    assert!(IndexView::check(&bytes, IndexKind::Checkpoint).is_err(), "one kind is not taken for the other");
}

#[test]
fn every_flipped_bit_of_an_index_is_noticed() {
    let sound = an_index();
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let believed = IndexView::check(&bytes, IndexKind::Sealed).is_ok_and(|view| view.entries_are_intact());
        assert!(!believed, "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_the_end_of_a_tidied_file_is_noticed() {
    let end = TidiedEnd::new(4096);
    assert_eq!(TidiedEnd::decode(&end.encode()), Some(end));
    for bit in 0..32 * 8 {
        let mut bytes = end.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(TidiedEnd::decode(&bytes), None, "bit {bit}");
    }
}

#[test]
fn an_unknown_kind_is_told_from_damage() {
    let mut bytes = a_frame().encode();
    bytes[4] = 6;
    assert_eq!(FrameHeader::decode(&bytes), Err(FrameHeaderError::NotAFrame));
    let crc = super::checksum(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(FrameHeader::decode(&bytes), Err(FrameHeaderError::Unknown { kind: 6, encoding: 0 }));
}

fn any_frame() -> impl Strategy<Value = FrameHeader> {
    let kinds = prop_oneof![
        Just(FrameKind::Batch),
        Just(FrameKind::Truncation),
        Just(FrameKind::LogStart),
        Just(FrameKind::Drop),
        Just(FrameKind::GenerationStart)
    ];
    let numbers = (0..u64::MAX / 16, 0..u32::MAX, any::<u64>(), any::<i64>(), any::<u32>(), any::<u32>());
    (kinds, numbers, any::<(u32, i32, i32, u32)>()).prop_map(
        |(kind, (at, lag, tag_filter, offset, generation, partition), rest)| {
            let position = at * 8;
            FrameHeader {
                kind,
                encoding: 0,
                position,
                tag_filter,
                offset,
                generation,
                partition,
                payload_bytes: rest.0,
                leader_epoch: rest.1,
                last_offset_delta: rest.2,
                durable: position.saturating_sub(u64::from(lag) * 8),
                body_crc: rest.3,
            }
        },
    )
}

proptest! {
    #[test]
    fn frame_headers_round_trip(frame in any_frame()) {
        prop_assert_eq!(FrameHeader::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn a_flipped_bit_of_a_frame_header_is_noticed(frame in any_frame(), bit in 0usize..512) {
        let mut bytes = frame.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(FrameHeader::decode(&bytes), Err(FrameHeaderError::NotAFrame));
    }

    #[test]
    fn file_headers_round_trip(generation: u32, base: u64) {
        let header = FileHeader::new(generation, base);
        prop_assert_eq!(FileHeader::decode(&header.encode()), Some(header));
    }

    #[test]
    fn queue_entries_round_trip(a: (i64, u64, i64, u64), b: (u32, u32)) {
        let entry = QueueEntry {
            base_offset: a.0, position: a.1, max_timestamp: a.2, tag_filter: a.3, batch_bytes: b.0, last_offset_delta: b.1,
        };
        prop_assert_eq!(QueueEntry::decode(&entry.encode()), entry);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = IndexView::check(&bytes, IndexKind::Sealed);
        let _ = state::decode(&bytes);
    }
}
