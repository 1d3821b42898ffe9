//! What the leader of a partition of timers decides in one leadership: when what is due is begun, what becomes of what was delivered, what
//! recalls and owners of halves may still do. Pure: the caller reads, writes, delivers and waits ([`super::coordinator`]).
//!
//! Everything that is decided is written, and takes effect once it is read back committed ([`Leadership::replay`]). Only what is known to be
//! held back for now is remembered besides.

use super::ownership::{Ended, Ending};
use super::pending::Timer;
use super::records::{self, Fate, Half, Name, Stored, Target, TimerId, Writing};
use super::state::{Due, Sequences, Timers};
use crate::coordinator::ReplayError;
use duolog_base::{Offset, PartitionNumber, ProducerId, TimestampMs};
use duolog_replica::{Mutant, planted};
use duolog_wire::record::{BuildError, DecompressLimits, Record, batches, decode_batch};
use std::collections::BTreeSet;

/// Most bytes a batch of the partition may unpack to.
const MAX_BATCH_BYTES: usize = 64 << 20;

/// A timer that is not to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recall {
    pub timer: Timer,
    pub id: TimerId,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its target has them, or will never take them.
    Over(Vec<(Name, Timer)>),
    /// It was not delivered and never will be: its timers are to be delivered under another one.
    Void,
}

#[derive(Debug)]
pub struct Leadership {
    timers: Timers,
    next: Offset,
    sequences: Sequences,
}

impl Leadership {
    /// Knows nothing yet of a partition that begins at `start`. The producer id must never have been used.
    pub fn new(start: Offset, producer: ProducerId) -> Leadership {
        Leadership { timers: Timers::default(), next: start, sequences: Sequences::new(producer) }
    }

    /// The offset to read next.
    pub fn next(&self) -> Offset {
        self.next
    }

    pub fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Folds batches of the partition, which are committed, and behind which `next` is to be read.
    pub fn replay(&mut self, bytes: &[u8], next: Offset) -> Result<(), ReplayError> {
        let (timers, from) = (&mut self.timers, self.next);
        each_record(bytes, |record| if record.offset >= from { timers.replay(record) } else { Ok(()) })?;
        self.next = next;
        Ok(())
    }

    /// The record of a timer is not there any more.
    pub fn forget(&mut self, timer: Timer) {
        self.timers.forget(timer);
    }

    /// Begins to deliver what is due and was read back, as far as `room` allows ([`Timers::plan`]); answers whose targets are gone.
    pub fn begin(
        &mut self,
        due: &[Due],
        room: impl Fn(&Target) -> Option<usize>,
        writing: &mut Writing,
    ) -> Result<Vec<Timer>, BuildError> {
        let plan = self.timers.plan(due, &mut self.sequences, room);
        plan.orphans.iter().try_for_each(|(name, timer)| writing.gone(*name, *timer))?;
        plan.intents.iter().try_for_each(|(number, intent)| writing.intent(*number, intent))?;
        Ok(plan.orphans.into_iter().map(|(_, timer)| timer).collect())
    }

    /// Notes what became of the intent for a target.
    pub fn finish(number: PartitionNumber, outcome: &Outcome, writing: &mut Writing) -> Result<(), BuildError> {
        if let Outcome::Over(timers) = outcome {
            timers.iter().try_for_each(|(name, timer)| writing.gone(*name, *timer))?;
        }
        writing.done(number)
    }

    /// Numbers what is begun from now on under another producer id, since a target did not take what came under the one before.
    pub fn renumber(&mut self, producer: ProducerId) {
        self.sequences = Sequences::new(producer);
    }

    /// Takes back a timer, if it is pending and the one that was `found` in its place. Notes in `seen` what is recalled.
    pub fn recall(
        &self,
        Recall { timer, id }: Recall,
        found: Option<&Due>,
        seen: &mut BTreeSet<Offset>,
        writing: &mut Writing,
    ) -> Result<bool, BuildError> {
        let Some(found) = found.filter(|found| found.name.id == id && self.timers.is_pending(timer)) else { return Ok(false) };
        if !seen.insert(timer.offset) {
            return Ok(false);
        }
        if !planted(Mutant::RecallNotWritten) {
            writing.gone(found.name, timer)?;
        }
        Ok(true)
    }

    /// Notes that the owners of halves are asked, and that they are asked again at `next`; answers each half and how often that was done before.
    pub fn ask(&self, found: Vec<Due>, next: TimestampMs, writing: &mut Writing) -> Result<Vec<(Offset, u32, Half)>, BuildError> {
        let mut questions = Vec::with_capacity(found.len());
        for Due { timer, name, delayed, owner } in found {
            let (Some(waiting), Some(owner)) = (self.timers.waiting(timer.offset), owner) else { continue };
            let asked = waiting.questions;
            let questions_now = if planted(Mutant::QuestionNotCounted) { asked } else { asked.saturating_add(1) };
            writing.fate(name.id, timer.offset, Fate::Asked { next, questions: questions_now })?;
            questions.push((timer.offset, asked, Half { delayed, owner }));
        }
        Ok(questions)
    }

    /// Does what an owner says of what was `found`. Notes in `seen` what is ended. Diverted, it goes on under another name.
    pub fn end(
        &self,
        ending: &Ending,
        found: Option<&Due>,
        diverted: TimerId,
        seen: &mut BTreeSet<Offset>,
        writing: &mut Writing,
    ) -> Result<Ended, BuildError> {
        let ended = ending.judge(found, &self.timers, seen);
        if let (Ended::Done, Some(found)) = (ended, found) {
            ending.note(found, diverted, writing)?;
        }
        Ok(ended)
    }
}

/// The timer or half that a record of the partition holds, if it holds one.
pub fn stored(record: &Record<'_>, timer: Timer) -> Result<Option<Due>, ReplayError> {
    match (record.key, record.value) {
        (Some(key), Some(value)) if records::is_stored(key) => {
            let Stored { name, delayed, owner } = records::decode_stored(key, value)?;
            Ok(Some(Due { timer, name, delayed, owner }))
        }
        _ => Ok(None),
    }
}

/// Takes every record of whole batches.
pub fn each_record(bytes: &[u8], mut take: impl FnMut(&Record<'_>) -> Result<(), ReplayError>) -> Result<(), ReplayError> {
    let limits = DecompressLimits { max_bytes: MAX_BATCH_BYTES, ..DecompressLimits::default() };
    for batch in batches(bytes) {
        let (_, range) = batch?;
        let decoded = decode_batch(&bytes[range], limits)?;
        if !decoded.header.attributes.is_control() {
            decoded.records().try_for_each(|record| take(&record?))?;
        }
    }
    Ok(())
}
