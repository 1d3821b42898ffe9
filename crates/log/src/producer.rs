//! Idempotent producers of one partition: the last five batches of each, by which a repeated batch is recognised (KIP-98).
//!
//! Decides only; the caller appends. The rules are Kafka's: a batch whose sequence range equals a remembered one is a duplicate and
//! gets the original offset; otherwise it must follow the newest one, or begin at 0 under a new epoch; a producer of
//! which nothing is known may begin anywhere (KIP-360), since its state may have expired.

use crate::AppendError;
use duolog_base::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use duolog_wire::record::{BatchHeader, NO_SEQUENCE, advance_sequence};
use hashbrown::HashMap;

/// Batches remembered for each producer: what a client may have in flight at once.
pub const WINDOW_BATCHES: usize = 5;

/// A batch as the window remembers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequencedBatch {
    pub base_offset: i64,
    pub first_sequence: i32,
    pub last_offset_delta: i32,
}

impl SequencedBatch {
    fn last_sequence(&self) -> i32 {
        advance_sequence(self.first_sequence, self.last_offset_delta)
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub epoch: ProducerEpoch,
    /// When the producer last appended, by the clock passed to the append (after a crash: to the opening).
    pub last_append: TimestampMs,
    window: [SequencedBatch; WINDOW_BATCHES],
    remembered: u8,
}

impl ProducerState {
    pub fn new(epoch: ProducerEpoch, last_append: TimestampMs) -> ProducerState {
        ProducerState { epoch, last_append, window: Default::default(), remembered: 0 }
    }

    /// The remembered batches, oldest first.
    pub fn batches(&self) -> &[SequencedBatch] {
        &self.window[..usize::from(self.remembered)]
    }

    /// Remembers a batch, forgetting the oldest if the window is full.
    pub fn push(&mut self, batch: SequencedBatch) {
        let count = usize::from(self.remembered);
        if count == WINDOW_BATCHES {
            self.window.rotate_left(1);
            self.window[WINDOW_BATCHES - 1] = batch;
            return;
        }
        self.window[count] = batch;
        self.remembered += 1;
    }

    /// The state without batches that reach to `end`; `None` if it remembers no other.
    fn cut(&self, end: i64) -> Option<ProducerState> {
        let kept = self.batches().partition_point(|batch| batch.base_offset.saturating_add(batch.last_offset_delta.into()) < end);
        (kept > 0).then(|| ProducerState { remembered: kept as u8, ..self.clone() })
    }

    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, SequencedBatch::last_sequence)
    }

    fn check(&self, header: &BatchHeader) -> Result<Admission, AppendError> {
        if header.producer_epoch < self.epoch {
            return Err(AppendError::FencedProducer { current: self.epoch, got: header.producer_epoch });
        }
        let got = header.base_sequence;
        if header.producer_epoch > self.epoch {
            return if got == 0 { Ok(Admission::New) } else { Err(AppendError::OutOfOrderSequence { expected: 0, got }) };
        }
        let same = |batch: &&SequencedBatch| batch.first_sequence == got && batch.last_offset_delta == header.last_offset_delta;
        if let Some(original) = self.batches().iter().find(same) {
            return Ok(Admission::Duplicate { base_offset: Offset(original.base_offset) });
        }
        let Some(newest) = self.batches().last() else { return Ok(Admission::New) };
        let expected = advance_sequence(newest.last_sequence(), 1);
        if got == expected { Ok(Admission::New) } else { Err(AppendError::OutOfOrderSequence { expected, got }) }
    }
}

/// What becomes of a batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    New,
    Duplicate { base_offset: Offset },
}

impl Admission {
    /// Where the batch lies already.
    pub fn repeated(self) -> Option<Offset> {
        match self {
            Admission::New => None,
            Admission::Duplicate { base_offset } => Some(base_offset),
        }
    }
}

/// All producers of one partition. Empty (and without an allocation) for partitions nobody writes to idempotently.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    states: HashMap<ProducerId, ProducerState>,
}

impl Producers {
    /// Decides about a batch without remembering it.
    pub fn check(&self, header: &BatchHeader) -> Result<Admission, AppendError> {
        if !takes_part(header) {
            return Ok(Admission::New);
        }
        self.states.get(&header.producer_id).map_or(Ok(Admission::New), |state| state.check(header))
    }

    /// Remembers a batch that was appended, whatever the window says: it is in the log.
    pub fn appended(&mut self, header: &BatchHeader, base_offset: Offset, now: TimestampMs) {
        if !takes_part(header) {
            return;
        }
        let fresh = || ProducerState::new(header.producer_epoch, now);
        let state = self.states.entry(header.producer_id).or_insert_with(fresh);
        if state.epoch != header.producer_epoch {
            *state = fresh();
        }
        state.last_append = now;
        state.push(SequencedBatch {
            base_offset: base_offset.0,
            first_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
        });
    }

    /// The producers once everything at `end` and behind it is gone, as far as what is remembered tells; and those of which nothing
    /// is left to be remembered.
    pub fn cut(&self, end: i64) -> (Producers, Vec<ProducerId>) {
        let (mut kept, mut lost) = (Producers::default(), Vec::new());
        for (id, state) in &self.states {
            match state.cut(end) {
                Some(state) => kept.insert(*id, state),
                None => lost.push(*id),
            }
        }
        (kept, lost)
    }

    /// Takes over what another one knows of some producers.
    pub fn take_from(&mut self, mut other: Producers, ids: &[ProducerId]) {
        let known = ids.iter().filter_map(|id| other.states.remove_entry(id));
        self.states.extend(known);
    }

    /// When a producer appended last.
    pub fn last_append(&self, id: ProducerId) -> Option<TimestampMs> {
        self.states.get(&id).map(|state| state.last_append)
    }

    pub fn insert(&mut self, id: ProducerId, state: ProducerState) {
        self.states.insert(id, state);
    }

    /// Forgets producers that have not appended since `before`.
    pub fn expire(&mut self, before: TimestampMs) {
        self.states.retain(|_, state| state.last_append >= before);
        if self.states.is_empty() {
            self.states = HashMap::new();
        }
    }

    /// In ascending order of the id, so that equal states have equal bytes.
    pub fn sorted(&self) -> Vec<(ProducerId, &ProducerState)> {
        let mut all: Vec<_> = self.states.iter().map(|(id, state)| (*id, state)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

fn takes_part(header: &BatchHeader) -> bool {
    header.is_idempotent() && header.base_sequence != NO_SEQUENCE
}
