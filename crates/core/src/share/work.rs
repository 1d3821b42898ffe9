//! A share-partition in the hands of its leader: what is decided is counted, and handed out to be stored one write at a time.
//!
//! A decision is stored once the write that holds it is, or at once if it changes nothing that is to be stored. Decides only: who carries the
//! writes to the share coordinator, and who waits for them, is in [`super::leader`].

use super::partition::{Allowed, Burial, Partition};
use super::state::Write;
use duolog_replica::{Mutant, planted};

#[derive(Clone, Debug)]
pub struct Work {
    pub(super) partition: Partition,
    /// Counts the decisions.
    changes: u64,
    /// How many of them are stored when the write that is on its way is.
    writing: Option<u64>,
    stored: u64,
    /// What has changed cannot be written for now: nothing more is given out.
    pub is_stuck: bool,
    is_burying: bool,
}

/// A decision that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// How many decisions have to be stored for this one to be.
    pub number: u64,
    /// There is something to be acquired now that was not before.
    pub is_news: bool,
}

impl Work {
    pub fn new(partition: Partition) -> Work {
        Work { partition, changes: 0, writing: None, stored: 0, is_stuck: false, is_burying: false }
    }

    pub fn change<T>(&mut self, allowed: Allowed, decide: impl FnOnce(&mut Partition) -> T) -> (T, Change) {
        let before = self.partition.next(allowed);
        let outcome = decide(&mut self.partition);
        let after = self.partition.next(allowed);
        self.changes += 1;
        let is_news = self.partition.take_news() || (after.is_some() && after != before);
        (outcome, Change { number: self.changes, is_news })
    }

    /// What is to be written now. `None` while a write is on its way, and if there is nothing.
    pub fn begin_write(&mut self) -> Option<Write> {
        if self.writing.is_some() {
            return None;
        }
        let write = self.partition.take_write();
        match write {
            Some(_) => self.writing = Some(self.changes),
            None => self.stored = self.changes,
        }
        write
    }

    /// The write that was on its way is stored.
    pub fn written(&mut self) {
        self.stored = self.writing.take().unwrap_or(self.stored);
    }

    /// Whether somebody has to bury what is given up; answers once until [`Work::next_burials`] has none.
    pub fn begin_burials(&mut self) -> bool {
        let begins = !self.is_burying && self.partition.has_archiving();
        self.is_burying |= begins;
        begins
    }

    /// What is given up and to be buried once so many decisions are stored. Nothing ends the burials.
    pub fn next_burials(&mut self, most: usize) -> (Vec<Burial>, u64) {
        let burials = self.partition.burials(most);
        self.is_burying = !burials.is_empty();
        (burials, self.changes)
    }

    /// How many decisions are stored.
    pub fn stored(&self) -> u64 {
        if planted(Mutant::AcknowledgedUnstored) { self.changes } else { self.stored }
    }
}
