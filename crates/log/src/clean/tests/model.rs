//! Random partitions against the simplest model there is: a map from key to its newest record.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One record before it has an offset.
#[derive(Clone, Debug)]
struct Draft {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp: i64,
    /// Offsets left out before it, as an earlier compaction would.
    gap: i32,
}

#[derive(Clone, Debug)]
struct DraftBatch {
    codec: Compression,
    append_time: bool,
    producer: Option<i64>,
    records: Vec<Draft>,
    /// Offsets left out after the last record.
    tail: i32,
}

fn drafts() -> impl Strategy<Value = Vec<DraftBatch>> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let key = prop_oneof![9 => (0..12u8).prop_map(|key| Some(vec![key; usize::from(key % 4)])), 1 => Just(None)];
    let value = prop_oneof![3 => bytes(40).prop_map(Some), 1 => Just(None)];
    let headers = prop::collection::vec((bytes(5), prop::option::of(bytes(9))), 0..3);
    let record = (key, value, headers, 0..2_000i64, 0..2i32).prop_map(|(key, value, headers, timestamp, gap)| Draft {
        key,
        value,
        headers,
        timestamp,
        gap,
    });
    let records = prop::collection::vec(record, 1..9);
    let batch = (prop::sample::select(&Compression::ALL[..]), any::<bool>(), prop::option::of(0..3i64), records, 0..3i32)
        .prop_map(|(codec, append_time, producer, records, tail)| DraftBatch { codec, append_time, producer, records, tail });
    prop::collection::vec(batch, 1..14)
}

fn partition_of(drafts: &[DraftBatch]) -> Partition {
    let mut partition = Partition::new();
    for (number, draft) in drafts.iter().enumerate() {
        let kind = if draft.append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let mut builder = BatchBuilder::new(draft.codec).timestamp_type(kind);
        if let Some(producer) = draft.producer {
            builder = builder.producer(ProducerId(producer), ProducerEpoch(1), number as i32 * 10);
        }
        let mut delta = -1;
        for record in &draft.records {
            delta += 1 + record.gap;
            let headers: Vec<_> = record.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
            let timestamp = TimestampMs(if draft.append_time { CREATED } else { CREATED + record.timestamp });
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            builder.push_at(delta, NewRecord { timestamp, key, value, headers: &headers }).expect("deltas rise");
        }
        builder.end_at(delta + draft.tail).expect("not before the last record");
        partition.append_batch(builder);
        if let Some(producer) = draft.producer {
            let end = ProducerEnd { last_data_offset: Some(Offset(partition.next.0 - 1)), epoch: ProducerEpoch(1) };
            partition.producers.insert(ProducerId(producer), end);
        }
    }
    partition
}

/// What the newest record of each key is.
fn newest(records: &[Stored]) -> BTreeMap<Vec<u8>, Stored> {
    let keyed = records.iter().filter_map(|record| Some((record.key.clone()?, record.clone())));
    keyed.collect()
}

/// The model's answer: newest records below the bound in offset order, and everything from there on.
fn expected(records: &[Stored], bound: Offset, tombstones: bool) -> Vec<Stored> {
    let (below, beyond) = records.split_at(records.partition_point(|record| record.offset < bound.0));
    let mut left: Vec<_> = newest(below).into_values().filter(|r| tombstones || r.value.is_some()).collect();
    left.sort_by_key(|record| record.offset);
    left.extend_from_slice(beyond);
    left
}

/// A bound that lies on a batch, as every layout's do.
fn bound_of(partition: &Partition, part: usize) -> Offset {
    let headers = partition.headers();
    headers.get(part % (headers.len() + 1)).map_or(partition.next, |header| header.base_offset)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn one_pass_leaves_the_newest_record_of_each_key(drafts in drafts(), part in any::<usize>()) {
        let mut partition = partition_of(&drafts);
        let bound = bound_of(&partition, part);
        let before = partition.stored();
        let pass = Pass { bound: Some(bound), ..Pass::at(0) };
        let outcome = partition.clean(pass);
        prop_assert_eq!(outcome.errors, vec![]);
        prop_assert_eq!(partition.stored(), expected(&before, bound, true));
        prop_assert_eq!(partition.first_dirty, bound);

        let clean = partition.batches.clone();
        for first_dirty in [bound, Offset(0)] {
            partition.first_dirty = first_dirty;
            partition.clean(pass);
            prop_assert_eq!(&partition.batches, &clean, "another pass changes no byte");
        }
    }

    #[test]
    fn tombstones_are_gone_after_their_horizon(drafts in drafts(), part in any::<usize>(), passes in 1..4usize) {
        let mut partition = partition_of(&drafts);
        let bound = bound_of(&partition, part);
        let before = partition.stored();
        for pass in 0..passes {
            let now = RETENTION_MS / passes as i64 * pass as i64;
            partition.clean(Pass { bound: Some(bound), ..Pass::at(now) });
            prop_assert_eq!(partition.stored(), expected(&before, bound, true));
        }
        partition.clean(Pass { bound: Some(bound), ..Pass::at(RETENTION_MS) });
        prop_assert_eq!(partition.stored(), expected(&before, bound, false));
    }

    #[test]
    fn several_passes_with_a_small_map_equal_one(drafts in drafts(), part in any::<usize>(), entries in 0..12usize) {
        let mut at_once = partition_of(&drafts);
        let bound = bound_of(&at_once, part);
        let mut in_parts = at_once.clone();
        at_once.clean(Pass { bound: Some(bound), ..Pass::at(0) });
        let map_bytes = entries * OffsetMap::ENTRY_BYTES;
        in_parts.clean_in_passes(Pass { bound: Some(bound), map_bytes, ..Pass::at(0) });
        prop_assert_eq!(in_parts.stored(), at_once.stored());
        prop_assert_eq!(in_parts.first_dirty, at_once.first_dirty);
    }

    #[test]
    fn readers_see_the_last_value_however_passes_and_appends_alternate(
        rounds in prop::collection::vec((drafts(), 0..9usize, 0..RETENTION_MS), 1..5),
    ) {
        let mut partition = Partition::new();
        let mut written = Vec::new();
        let mut now = 0;
        // When a pass first covered a tombstone.
        let mut covered: BTreeMap<i64, i64> = BTreeMap::new();
        for (drafts, entries, later) in rounds {
            for mut batch in partition_of(&drafts).batches {
                partition.place(&mut BytesMut::from(&std::mem::take(&mut batch)[..]));
            }
            let known = written.last().map_or(-1, |record: &Stored| record.offset);
            written.extend(partition.stored().into_iter().filter(|record| record.offset > known));
            now += later;
            partition.clean(Pass { map_bytes: entries * OffsetMap::ENTRY_BYTES, ..Pass::at(now) });
            for record in written.iter().filter(|r| r.value.is_none() && r.offset < partition.first_dirty.0) {
                covered.entry(record.offset).or_insert(now);
            }
            let left = partition.stored();
            prop_assert!(left.is_sorted_by_key(|record| record.offset));
            prop_assert!(left.iter().all(|record| written.binary_search_by_key(&record.offset, |w| w.offset)
                .is_ok_and(|at| &written[at] == record)), "what stays is as it was written");
            let last = newest(&left);
            for (key, record) in newest(&written) {
                let expired = covered.get(&record.offset).is_some_and(|found| found + RETENTION_MS <= now);
                match last.get(&key) {
                    Some(found) => prop_assert_eq!(found, &record),
                    None => prop_assert!(record.value.is_none() && expired, "{:?} is lost", record.text()),
                }
            }
        }
    }

    #[test]
    fn header_facts_survive_and_known_producers_keep_their_end(drafts in drafts()) {
        let mut partition = partition_of(&drafts);
        let before: BTreeMap<_, _> = partition.headers().into_iter().map(|h| (h.base_offset, h)).collect();
        partition.clean(Pass::at(0));
        let after = partition.headers();
        for header in &after {
            let old = &before[&header.base_offset];
            prop_assert_eq!((header.last_offset(), header.base_sequence), (old.last_offset(), old.base_sequence));
            prop_assert!(header.record_count == 0 || header.compression() == old.compression());
        }
        for end in partition.producers.values() {
            prop_assert!(after.iter().any(|header| Some(header.last_offset()) == end.last_data_offset));
        }
        prop_assert_eq!(after.last().map(|header| header.next_offset()), Some(partition.next));
    }

    #[test]
    fn flipped_bytes_never_change_other_batches(drafts in drafts(), which in any::<usize>(), at in any::<usize>(), bit in 0..8u8) {
        let mut partition = partition_of(&drafts);
        let which = which % partition.batches.len();
        // The CRC covers the attributes and all that follows; in front of it are places, which the layouts protect.
        let covered = duolog_wire::record::ATTRIBUTES_AT..partition.batches[which].len();
        let at = covered.start + at % covered.len();
        partition.batches[which][at] ^= 1 << bit;
        let damaged = partition.batches[which].clone();
        let before = partition.batches.clone();
        partition.clean(Pass::at(0));
        prop_assert!(partition.batches.contains(&damaged));
        prop_assert!(partition.batches.ends_with(&before[which..]), "what lies behind is not covered by the pass");
    }
}
