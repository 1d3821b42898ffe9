//! The half records that wait for their owners, by when these are to be asked. Pure: times are parameters.

use super::pending::Timer;
use duolog_base::{Offset, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

/// A half that nothing has been said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// When its owner is asked next.
    pub next: TimestampMs,
    /// How often that was done.
    pub questions: u32,
}

#[derive(Debug, Default)]
pub struct Halves {
    waiting: BTreeMap<Offset, Waiting>,
    /// The same by time.
    order: BTreeSet<(TimestampMs, Offset)>,
}

impl Halves {
    /// The time of the timer is that of the first question.
    pub fn insert(&mut self, Timer { at, offset }: Timer) {
        self.put(offset, Waiting { next: at, questions: 0 });
    }

    fn put(&mut self, half: Offset, waiting: Waiting) {
        if let Some(before) = self.waiting.insert(half, waiting) {
            self.order.remove(&(before.next, half));
        }
        self.order.insert((waiting.next, half));
    }

    /// Its owner was asked. One that is not there any more is passed over.
    pub fn asked(&mut self, half: Offset, next: TimestampMs, questions: u32) {
        if self.waiting.contains_key(&half) {
            self.put(half, Waiting { next, questions });
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, half: Offset) -> bool {
        let before = self.waiting.remove(&half);
        before.is_some_and(|before| self.order.remove(&(before.next, half)))
    }

    pub fn get(&self, half: Offset) -> Option<Waiting> {
        self.waiting.get(&half).copied()
    }

    /// Those whose owners are to be asked by now, the longest overdue first.
    pub fn to_ask(&self, now: TimestampMs, most: usize) -> Vec<Timer> {
        let due = self.order.iter().take_while(|(next, _)| *next <= now);
        due.take(most).map(|(next, offset)| Timer { at: *next, offset: *offset }).collect()
    }

    /// When the next question is to be asked.
    pub fn next(&self) -> Option<TimestampMs> {
        self.order.first().map(|(next, _)| *next)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
