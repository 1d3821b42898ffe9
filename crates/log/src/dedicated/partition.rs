//! What the log knows of one dedicated partition: its offsets, epochs and producers, and its segments from oldest to newest.
//!
//! Plain state without locks or I/O. Offsets, epochs, producers and the entries of recent batches are kept by the same
//! [`Partition`] as in the shared layout. An entry goes when its batch is durable and not in the tail cache any more: what is
//! older is found by the sparse indexes.

use super::format::manifest::{Manifest, SegmentRecord};
use super::format::snapshot::{self, ProducerEntry};
use super::growing::Growing;
use super::names::PartitionName;
use super::transactions::Transactions;
use super::{PartitionHome, SegmentPolicy};
use crate::AppendError;
use crate::format::checksum;
use crate::partition::{EpochStart, Partition};
use crate::producer::{ProducerState, Producers, SequencedBatch};
use duolog_base::{DiskFile, LeaderEpoch, Offset, PartitionNumber, ProducerEpoch, ProducerId, TimestampMs, TopicId};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Sequences are 31 bits wide.
const SEQUENCE_MASK: i32 = i32::MAX;

pub struct Dedicated {
    pub name: Arc<PartitionName>,
    pub topic_id: TopicId,
    pub policy: SegmentPolicy,
    pub log: Partition,
    pub transactions: Transactions,
    pub sealed: Vec<SegmentRecord>,
    /// Next offset after the sealed segments, also when they are gone.
    pub sealed_end: i64,
    /// Full segments that are not sealed yet.
    pub rolled: VecDeque<Rolled>,
    pub active: Option<Active>,
    /// Why it is not served.
    pub quarantine: Option<String>,
    /// The log start as far as it is on disk for good: segments below it may be removed.
    pub durable_start: i64,
    /// Its directory is there, or will be made by what is queued.
    pub has_directory: bool,
    /// The manifest on disk does not tell all that one written at an orderly stop would.
    pub touched: bool,
    /// The manifest says that batches of unsealed segments may begin behind gaps.
    pub gaps: bool,
    /// Offset and checksum of the newest producer snapshot on disk.
    pub snapshot: Option<(i64, u32)>,
}

/// The segment that is written to.
pub struct Active {
    pub growing: Arc<Growing>,
    /// Bytes of it that were handed to the operating system.
    pub written: u64,
    /// Open once it was written to since the start.
    pub file: Option<Arc<dyn DiskFile>>,
}

/// A segment that is full.
pub struct Rolled {
    pub segment: Active,
    /// It is durable when the log is, up to here.
    pub end_position: u64,
    /// The producers as of its end.
    pub snapshot: Arc<Vec<u8>>,
}

impl Dedicated {
    pub fn new(home: PartitionHome) -> Dedicated {
        Dedicated {
            name: Arc::new(home.name),
            topic_id: home.topic_id,
            policy: home.policy,
            log: Partition::default(),
            transactions: Transactions::default(),
            sealed: Vec::new(),
            sealed_end: 0,
            rolled: VecDeque::new(),
            active: None,
            quarantine: None,
            durable_start: 0,
            has_directory: false,
            touched: true,
            gaps: false,
            snapshot: None,
        }
    }

    /// Refuses what a quarantined partition or an older leader may not do.
    pub fn check_append(&self, leader_epoch: LeaderEpoch) -> Result<(), AppendError> {
        if let Some(reason) = &self.quarantine {
            return Err(AppendError::Quarantined(reason.clone()));
        }
        self.log.check_leader(leader_epoch)
    }

    /// The segments in memory, oldest first.
    pub fn unsealed(&self) -> impl DoubleEndedIterator<Item = &Active> {
        self.rolled.iter().map(|rolled| &rolled.segment).chain(&self.active)
    }

    /// The unsealed segment with this base offset.
    pub fn unsealed_mut(&mut self, base: i64) -> Option<&mut Active> {
        let all = self.rolled.iter_mut().map(|rolled| &mut rolled.segment).chain(&mut self.active);
        all.into_iter().find(|segment| segment.growing.base == base)
    }

    /// Where the next segment begins, once the active one is ended.
    pub fn segments_end(&self) -> i64 {
        match self.rolled.back() {
            Some(last) => last.segment.growing.end,
            None if self.has_directory => self.sealed_end,
            None => self.log.next_offset(),
        }
    }

    /// Ends the active segment, if there is one: what is behind it in the log goes to the next.
    pub fn roll(&mut self, end_position: u64) {
        let Some(mut segment) = self.active.take() else { return };
        Arc::make_mut(&mut segment.growing).finish();
        let snapshot = Arc::new(self.encode_producers());
        self.rolled.push_back(Rolled { segment, end_position, snapshot });
    }

    pub fn total_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.bytes).sum();
        sealed + self.unsealed().map(|segment| segment.growing.bytes).sum::<u64>()
    }

    /// The manifest for what is sealed now; with the active segment only at an orderly stop.
    pub fn manifest(&self, number: PartitionNumber, with_active: bool) -> Manifest {
        Manifest {
            number,
            topic_id: self.topic_id,
            quarantined: self.quarantine.clone(),
            sealed_end: self.sealed_end,
            leader_epoch: self.log.leader_epoch(),
            epochs: self.log.epochs().to_vec(),
            segments: self.sealed.clone(),
            active: self.active.as_ref().filter(|_| with_active).map(|active| active.growing.record()),
            snapshot: self.snapshot,
            gaps: self.gaps,
            swapped: None,
        }
    }

    pub fn encode_producers(&self) -> Vec<u8> {
        encode_producers(self.log.producers(), &self.transactions)
    }
}

/// A snapshot of the producers, and of those that are known by their transactions only.
pub fn encode_producers(producers: &Producers, transactions: &Transactions) -> Vec<u8> {
    let sorted = producers.sorted();
    let mut entries: Vec<ProducerEntry> = sorted.iter().map(|(id, state)| entry(*id, Some(state), transactions)).collect();
    let others: BTreeSet<ProducerId> = transactions.producers().collect();
    let others = others.into_iter().filter(|id| sorted.binary_search_by_key(id, |(known, _)| *known).is_err());
    entries.extend(others.map(|id| entry(id, None, transactions)));
    snapshot::encode(&entries)
}

fn entry(id: ProducerId, state: Option<&ProducerState>, transactions: &Transactions) -> ProducerEntry {
    let (coordinator_epoch, transaction_start) = transactions.of(id);
    let last = state.and_then(|state| state.batches().last());
    ProducerEntry {
        id: id.0,
        epoch: state.map_or(-1, |state| state.epoch.0),
        last_sequence: state.map_or(-1, ProducerState::last_sequence),
        last_offset: last.map_or(-1, |last| last.base_offset + i64::from(last.last_offset_delta)),
        offset_delta: last.map_or(0, |last| last.last_offset_delta),
        timestamp: state.map_or(-1, |state| state.last_append.0),
        coordinator_epoch,
        transaction_start,
    }
}

/// Takes over what a snapshot says: of each producer the last batch.
pub fn restore_producers(entries: &[ProducerEntry], producers: &mut Producers, transactions: &mut Transactions) {
    for entry in entries {
        transactions.restore(entry.id, entry.coordinator_epoch, entry.transaction_start);
        if entry.last_offset < 0 || entry.last_sequence < 0 || entry.offset_delta < 0 {
            continue;
        }
        let mut state = ProducerState::new(ProducerEpoch(entry.epoch), TimestampMs(entry.timestamp));
        state.push(SequencedBatch {
            base_offset: entry.last_offset - i64::from(entry.offset_delta),
            first_sequence: entry.last_sequence.wrapping_sub(entry.offset_delta) & SEQUENCE_MASK,
            last_offset_delta: entry.offset_delta,
        });
        producers.insert(ProducerId(entry.id), state);
    }
}

/// The state of offsets that recovery has found.
pub fn restored_log(end: i64, start: i64, leader_epoch: i32, epochs: &[EpochStart], producers: Producers) -> Partition {
    let newest = epochs.last().map_or(0, |last| last.epoch);
    let mut log = Partition::restored(end, start.min(end), leader_epoch.max(newest));
    epochs.iter().for_each(|epoch| log.restore_epoch(*epoch));
    *log.producers_mut() = producers;
    log
}

/// What identifies a snapshot in the manifest.
pub fn snapshot_mark(offset: Offset, bytes: &[u8]) -> (i64, u32) {
    (offset.0, checksum(bytes))
}
