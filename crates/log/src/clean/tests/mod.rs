//! A partition in memory that is cleaned as the keepers do it, and what the tests read from it.

mod model;
mod scenarios;
mod transactional;

use super::*;
use bytes::BytesMut;
use duolog_base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::{
    BatchBuilder, BatchHeader, Compression, Header, NewRecord, TimestampType, TransactionOutcome, encode_end_transaction,
    patch_base_offset, patch_leader_epoch,
};

/// `delete.retention.ms` of the tests.
const RETENTION_MS: i64 = 1_000;
/// Room for every key of a test.
const LARGE_MAP_BYTES: usize = 1 << 20;
/// Time of a record's creation: this plus its offset.
const CREATED: i64 = 1_700_000_000_000;

/// A record with all it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    offset: i64,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Stored {
    fn text(&self) -> String {
        let word = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or("-".into(), |b| String::from_utf8_lossy(b).into_owned());
        format!("{}:{}={}", self.offset, word(&self.key), word(&self.value))
    }
}

/// Batches of a partition in offset order, and how far it has been cleaned.
#[derive(Clone)]
struct Partition {
    batches: Vec<Vec<u8>>,
    first_dirty: Offset,
    next: Offset,
    producers: ProducerEnds,
    aborted: Vec<AbortedTransaction>,
}

/// One pass, except for what most tests leave alone.
#[derive(Clone, Copy)]
struct Pass {
    now: i64,
    map_bytes: usize,
    bound: Option<Offset>,
}

impl Pass {
    fn at(now: i64) -> Pass {
        Pass { now, map_bytes: LARGE_MAP_BYTES, bound: None }
    }
}

/// What a pass answered.
#[derive(Debug, Default)]
struct Outcome {
    errors: Vec<CleanError>,
    kept: usize,
    dropped: usize,
    replaced: usize,
    retained_aborts: Vec<AbortedTransaction>,
    statistics: CleaningStatistics,
}

impl Partition {
    fn new() -> Partition {
        Partition {
            batches: Vec::new(),
            first_dirty: Offset(0),
            next: Offset(0),
            producers: ProducerEnds::new(),
            aborted: Vec::new(),
        }
    }

    /// Appends a batch of `key=value` words; `key=-` is a tombstone and `-=value` has no key.
    fn append(&mut self, words: &str) -> Offset {
        self.append_as(BatchBuilder::new(Compression::None), words)
    }

    fn append_as(&mut self, mut builder: BatchBuilder, words: &str) -> Offset {
        for word in words.split(' ') {
            let (key, value) = word.split_once('=').expect("a record is key=value");
            let bytes = |text: &'static str| move |word: &str| (word != text).then(|| word.as_bytes().to_vec());
            let (key, value) = (bytes("-")(key), bytes("-")(value));
            let timestamp = TimestampMs(CREATED + self.next.0 + i64::from(builder.record_count()));
            let record = NewRecord { timestamp, key: key.as_deref(), value: value.as_deref(), headers: &[] };
            builder.push(record).expect("a small record fits");
        }
        self.append_batch(builder)
    }

    fn append_batch(&mut self, builder: BatchBuilder) -> Offset {
        let mut bytes = BytesMut::new();
        builder.build(&mut bytes).expect("a small batch is built");
        self.place(&mut bytes)
    }

    fn place(&mut self, bytes: &mut BytesMut) -> Offset {
        let base = self.next;
        patch_base_offset(bytes, base);
        patch_leader_epoch(bytes, LeaderEpoch(3));
        self.next = BatchHeader::parse(bytes).expect("a whole batch").next_offset();
        self.batches.push(bytes.to_vec());
        base
    }

    fn end_transaction(&mut self, producer: i64, outcome: TransactionOutcome) -> Offset {
        let mut bytes = BytesMut::new();
        let producer = (ProducerId(producer), ProducerEpoch(0));
        encode_end_transaction(producer, outcome, 0, TimestampMs(CREATED), &mut bytes).expect("a mark is small");
        self.place(&mut bytes)
    }

    fn clean(&mut self, pass: Pass) -> Outcome {
        let bound = pass.bound.unwrap_or(self.next);
        let limits = DecompressLimits::default();
        let map = OffsetMap::new(pass.map_bytes, u64::MAX, HashKey([3, 4]));
        let mut scan = KeyScan::new(map, self.first_dirty, bound, self.aborted.clone(), limits);
        let mut outcome = Outcome::default();
        for batch in &self.batches {
            let clean = BatchHeader::parse(batch).is_ok_and(|header| header.next_offset() <= self.first_dirty);
            match (!clean).then(|| scan.feed(batch)) {
                Some(Ok(ScanState::Closed)) => break,
                Some(Err(error)) => outcome.errors.push(error),
                _ => {}
            }
        }
        let map = scan.finish();
        let bounds = PassBounds { first_dirty: self.first_dirty, first_uncleanable: bound, now: TimestampMs(pass.now) };
        let policy = CleaningPolicy { delete_retention_ms: RETENTION_MS, ..Default::default() };
        let mut cleaner = Cleaner::new(&map, bounds, &policy, &self.producers, self.aborted.clone(), limits);
        let mut left = Vec::new();
        for batch in self.batches.drain(..) {
            match cleaner.clean(&batch) {
                Ok(Cleaned::Drop) => outcome.dropped += 1,
                Ok(Cleaned::Replace(replacement)) => {
                    check_replacement(&batch, &replacement);
                    left.push(replacement.to_vec());
                    outcome.replaced += 1;
                }
                Ok(Cleaned::Keep) => {
                    left.push(batch);
                    outcome.kept += 1;
                }
                Err(error) => {
                    left.push(batch);
                    outcome.errors.push(error);
                }
            }
        }
        outcome.statistics = cleaner.statistics();
        outcome.retained_aborts = cleaner.into_retained_aborts();
        self.batches = left;
        self.first_dirty = map.end();
        outcome
    }

    /// Cleans with a small map until everything below the bound is covered; the number of passes.
    fn clean_in_passes(&mut self, pass: Pass) -> usize {
        let bound = pass.bound.unwrap_or(self.next);
        for passes in 1.. {
            let before = self.first_dirty;
            self.clean(pass);
            if self.first_dirty >= bound {
                return passes;
            }
            assert!(self.first_dirty > before, "each pass makes progress");
        }
        unreachable!("offsets end");
    }

    fn headers(&self) -> Vec<BatchHeader> {
        self.batches.iter().map(|batch| BatchHeader::parse(batch).expect("a whole batch")).collect()
    }

    /// The records of all batches, marks left out.
    fn stored(&self) -> Vec<Stored> {
        let mut all = Vec::new();
        for batch in &self.batches {
            let decoded = decode_checked(batch, DecompressLimits::default()).expect("a sound batch");
            if decoded.header.attributes.is_control() {
                continue;
            }
            all.extend(decoded.records().map(|record| {
                let record = record.expect("a sound record");
                Stored {
                    offset: record.offset.0,
                    timestamp: record.timestamp.0,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                    headers: record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
                }
            }));
        }
        all
    }

    fn texts(&self) -> Vec<String> {
        self.stored().iter().map(Stored::text).collect()
    }
}

/// What no pass may change of a batch.
fn check_replacement(original: &[u8], replacement: &[u8]) {
    let old = BatchHeader::parse(original).expect("a whole batch");
    let new = BatchHeader::parse(replacement).expect("a whole batch");
    assert_eq!(new.total_bytes(), replacement.len(), "one batch and nothing behind it");
    assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
    assert_eq!(new.leader_epoch, old.leader_epoch);
    let producer = |header: &BatchHeader| (header.producer_id, header.producer_epoch, header.base_sequence);
    assert_eq!(producer(&new), producer(&old));
    assert_eq!(new.attributes.timestamp_type(), old.attributes.timestamp_type());
    assert_eq!(new.attributes.is_transactional(), old.attributes.is_transactional());
    assert_eq!(new.attributes.is_control(), old.attributes.is_control());
    if new.record_count > 0 {
        assert_eq!(new.compression(), old.compression());
    }
}
