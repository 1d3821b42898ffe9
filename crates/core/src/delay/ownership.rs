//! Half records and their owners: who is asked what is to become of them, and what they say.
//!
//! The leader of a partition writes down that an owner is asked before it has him asked, so that the number of questions grows by one a
//! round whoever leads. What an owner says is safe when he is answered. Whoever says it again, or too late, is told so and changes nothing.

use super::Shared;
use super::coordinator::{Coordinator, Failure, ROUND_BYTES, Serving};
use super::pending::Timer;
use super::records::{Fate, Half, Owner, Target, TimerId, Writing};
use super::state::{Due, Timers};
use crate::coordinator::ReplayError;
use crate::metadata::{IdSource, RandomIds};
use duolog_base::{Offset, PartitionIndex, PartitionNumber, TimestampMs};
use duolog_replica::{Mutant, planted};
use duolog_wire::record::BuildError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions of this node that wait to be asked; what has no place is asked later.
pub(super) const QUESTIONS: usize = 64;
/// Halves that are in memory at a time while their ends are noted.
const HALVES_AT_ONCE: usize = 16;
/// When it is tried again if there is no place for more.
const CROWDED_PAUSE: Duration = Duration::from_millis(100);

/// A half whose owner is to be asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Of `__delayed_messages`.
    pub partition: PartitionIndex,
    pub number: PartitionNumber,
    pub offset: Offset,
    /// How often that was done before.
    pub asked: u32,
    pub half: Half,
}

/// What is to become of a half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    Commit,
    Rollback,
    /// It is delivered to another place than was meant.
    Divert(Target),
}

/// What an owner says of a half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub offset: Offset,
    pub group: String,
    /// What the group calls the transaction, if it says so.
    pub transaction: Option<String>,
    pub resolution: Resolution,
}

/// What came of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ended {
    Done,
    /// Somebody said so before, or something else.
    Over,
    /// There is no half at the offset, or it is over for long.
    Unknown,
    /// It is another group's, or the transaction is another one.
    NotTheOwner,
}

/// What an owner says, and where its answer goes.
pub(super) type AskedEnding = (Ending, oneshot::Sender<Ended>);

impl Ending {
    fn is_by(&self, owner: &Owner) -> bool {
        let names_it = |name: &String| owner.transaction.is_empty() || *name == owner.transaction;
        self.group == owner.group && self.transaction.as_ref().is_none_or(names_it)
    }

    /// What this means for what lies at the offset. Notes in `seen` what is ended.
    pub(super) fn judge(&self, found: Option<&Due>, timers: &Timers, seen: &mut BTreeSet<Offset>) -> Ended {
        match found.and_then(|found| found.owner.as_ref()) {
            None => Ended::Unknown,
            Some(owner) if !self.is_by(owner) => Ended::NotTheOwner,
            Some(_) if !self.may_end(timers) || !seen.insert(self.offset) => Ended::Over,
            Some(_) => Ended::Done,
        }
    }

    /// Nobody has said before what becomes of the half.
    fn may_end(&self, timers: &Timers) -> bool {
        timers.waiting(self.offset).is_some() || planted(Mutant::HalfCommittedTwice)
    }

    /// Writes down what becomes of the half, all of it in one batch.
    pub(super) fn note(&self, found: &Due, diverted: TimerId, writing: &mut Writing) -> Result<(), BuildError> {
        match &self.resolution {
            Resolution::Commit => writing.fate(found.name.id, self.offset, Fate::Committed),
            Resolution::Rollback if planted(Mutant::RollbackForgotten) => Ok(()),
            Resolution::Rollback => writing.gone(found.name, found.timer),
            Resolution::Divert(target) => {
                let mut delayed = found.delayed.clone();
                (delayed.at, delayed.target) = (TimestampMs(0), target.clone());
                writing.timer(diverted, &delayed)?;
                writing.gone(found.name, found.timer)
            }
        }
    }
}

impl Coordinator {
    /// Has the owners asked whose time it is; whether there may be more.
    pub(super) async fn ask_owners(&self, serving: &mut Serving) -> Result<bool, Failure> {
        let Some(asker) = self.shared.asker() else { return Ok(false) };
        let now = self.shared.now();
        let due = serving.leadership.timers().halves().to_ask(now, asker.capacity());
        if due.is_empty() {
            return Ok(false);
        }
        let (found, missing) = self.shared.read_back(self.partition, &due, ROUND_BYTES).await?;
        for timer in missing {
            tracing::error!(partition = %self.partition, offset = timer.offset.0, "a half record is not there any more");
            serving.leadership.forget(timer);
        }
        let next = TimestampMs(now.0.saturating_add(self.shared.broker.config().transaction_check_interval_ms));
        let mut writing = Writing::new(now);
        let questions = serving.leadership.ask(found, next, &mut writing)?;
        self.write(writing).await?;
        self.catch_up(serving).await?;
        let image = self.shared.broker.image();
        let topic = image.topic(self.shared.log.topic().name());
        let Some(number) = topic.and_then(|topic| Some(topic.partition(self.partition)?.number)) else { return Ok(false) };
        for (offset, asked, half) in questions {
            // Another partition may have taken the place; then it is asked the next time.
            let _ = asker.try_send(Question { partition: self.partition, number, offset, asked, half });
        }
        Ok(true)
    }

    /// How long the next question has to wait at least: while there is no room for it.
    pub(super) fn crowded(&self) -> Duration {
        let has_room = self.shared.asker().is_some_and(|asker| asker.capacity() > 0);
        if has_room { Duration::ZERO } else { CROWDED_PAUSE }
    }

    /// Notes what owners say.
    pub(super) async fn end(&self, serving: &mut Serving, asked: Vec<AskedEnding>) -> Result<(), Failure> {
        // Whoever ends a transaction has been told that it has begun.
        self.catch_up(serving).await?;
        let (mut writing, mut ended, mut seen) = (Writing::new(self.shared.now()), Vec::new(), BTreeSet::new());
        let mut asked = asked.into_iter().peekable();
        while asked.peek().is_some() {
            let some: Vec<AskedEnding> = asked.by_ref().take(HALVES_AT_ONCE).collect();
            let found = self.read_halves(serving, some.iter().map(|(ending, _)| ending.offset)).await?;
            for (ending, answer) in some {
                let diverted = TimerId(RandomIds.next_id().0);
                let outcome = serving.leadership.end(&ending, found.get(&ending.offset), diverted, &mut seen, &mut writing)?;
                ended.push((answer, outcome));
            }
        }
        self.write(writing).await?;
        self.catch_up(serving).await?;
        for (answer, outcome) in ended {
            // Nobody may wait any more.
            let _ = answer.send(outcome);
        }
        Ok(())
    }
}

impl Coordinator {
    /// The halves at these offsets that are there, or were not long ago.
    async fn read_halves(
        &self,
        serving: &Serving,
        at: impl Iterator<Item = Offset>,
    ) -> Result<BTreeMap<Offset, Due>, ReplayError> {
        let offsets: BTreeSet<Offset> = at.filter(|offset| *offset >= Offset(0) && *offset < serving.leadership.next()).collect();
        let timers: Vec<Timer> = offsets.into_iter().map(|offset| Timer { at: TimestampMs(0), offset }).collect();
        let (found, _) = self.shared.read_back(self.partition, &timers, usize::MAX).await?;
        Ok(found.into_iter().map(|found| (found.timer.offset, found)).collect())
    }
}

impl Shared {
    /// Where questions go, if somebody asks them.
    fn asker(&self) -> Option<mpsc::Sender<Question>> {
        self.asker.lock().clone().filter(|asker| !asker.is_closed())
    }
}
