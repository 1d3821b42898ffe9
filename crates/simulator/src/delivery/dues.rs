//! What the oracle knows of delayed and half records, each of which carries a value of its own.
//!
//! * A delayed record comes once, and no sooner than its time, whatever clocks show; one that was recalled never comes.
//! * A half comes only once its owner, or whoever gives it up, has said so, and never once it was rolled back; it is ended once.
//! * An owner is asked a limited number of times, and no question is asked twice.
//! * In the end everything that was stored has come or is over.

use crate::log::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// An invariant of delayed and half records that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueViolation {
    Unsent {
        value: u64,
    },
    Early {
        value: u64,
        at_ms: u64,
        now_ms: u64,
    },
    Twice {
        value: u64,
    },
    /// It was recalled or rolled back.
    CameAfterEnd {
        value: u64,
    },
    /// A half came of which nobody had said that it may.
    HalfShown {
        value: u64,
    },
    EndedTwice {
        value: u64,
    },
    AskedAgain {
        value: u64,
        asked: u32,
    },
    /// It was stored, and has neither come nor ended.
    Vanished {
        value: u64,
    },
}

#[derive(Debug)]
struct Known {
    at_ms: u64,
    is_half: bool,
    /// When its store was answered.
    stored_ms: Option<u64>,
    /// Somebody has said that the half is to come.
    may_come: bool,
    /// Its owner has said that it is not to come; he may never hear what became of that.
    may_stay: bool,
    /// It was answered that it will not come.
    is_withdrawn: bool,
    /// It was answered that its end is noted.
    is_ended: bool,
    came: Option<(Partition, usize)>,
    /// How often that was done before, as of each question.
    asked: BTreeSet<u32>,
}

#[derive(Debug, Default)]
pub struct Dues {
    known: BTreeMap<u64, Known>,
    came: u64,
    violation: Option<DueViolation>,
}

impl Dues {
    pub fn came(&self) -> u64 {
        self.came
    }

    pub fn take_violation(&mut self) -> Option<DueViolation> {
        self.violation.take()
    }

    fn fail(&mut self, violation: DueViolation) {
        self.violation.get_or_insert(violation);
    }

    /// An owner sends a record for later.
    pub fn sends(&mut self, value: u64, at_ms: u64, is_half: bool) {
        let known = Known {
            at_ms,
            is_half,
            stored_ms: None,
            may_come: false,
            may_stay: false,
            is_withdrawn: false,
            is_ended: false,
            came: None,
            asked: BTreeSet::new(),
        };
        self.known.insert(value, known);
    }

    pub fn stored(&mut self, value: u64, now_ms: u64) {
        if let Some(known) = self.known.get_mut(&value) {
            known.stored_ms.get_or_insert(now_ms);
        }
    }

    /// Somebody says that the half is to come.
    pub fn may_come(&mut self, value: u64) {
        if let Some(known) = self.known.get_mut(&value) {
            known.may_come = true;
        }
    }

    /// Its owner says that it is not to come.
    pub fn may_stay(&mut self, value: u64) {
        if let Some(known) = self.known.get_mut(&value) {
            known.may_stay = true;
        }
    }

    /// It is about to be answered that a recall, or the end of a half, is done.
    pub fn ended(&mut self, value: u64, is_withdrawn: bool) {
        let Some(known) = self.known.get_mut(&value) else { return };
        known.is_withdrawn |= is_withdrawn;
        if std::mem::replace(&mut known.is_ended, true) {
            self.fail(DueViolation::EndedTwice { value });
        } else if is_withdrawn && known.came.is_some() {
            self.fail(DueViolation::CameAfterEnd { value });
        }
    }

    /// The leader of a target appends it.
    pub fn appended(&mut self, value: u64, now_ms: u64) {
        let Some(known) = self.known.get(&value) else { return self.fail(DueViolation::Unsent { value }) };
        let at_ms = known.at_ms;
        if known.is_half && !known.may_come {
            self.fail(DueViolation::HalfShown { value });
        } else if !known.is_half && now_ms < at_ms {
            self.fail(DueViolation::Early { value, at_ms, now_ms });
        }
    }

    /// It is committed there.
    pub fn came_at(&mut self, value: u64, partition: Partition, offset: usize) {
        let Some(known) = self.known.get_mut(&value) else { return self.fail(DueViolation::Unsent { value }) };
        self.came += 1;
        let is_withdrawn = known.is_withdrawn;
        let twice = known.came.replace((partition, offset)).is_some();
        if twice {
            self.fail(DueViolation::Twice { value });
        } else if is_withdrawn {
            self.fail(DueViolation::CameAfterEnd { value });
        }
    }

    /// The owner of a half is asked, which was done so often before.
    pub fn asks(&mut self, value: u64, asked: u32) {
        let Some(known) = self.known.get_mut(&value) else { return self.fail(DueViolation::Unsent { value }) };
        if !known.asked.insert(asked) {
            self.fail(DueViolation::AskedAgain { value, asked });
        }
    }

    /// Whatever was stored and due by then has come or is over.
    pub fn check_come(&mut self, until_ms: u64) {
        let is_missing = |known: &Known| {
            let is_due = known.stored_ms.is_some_and(|stored_ms| stored_ms <= until_ms) && known.at_ms <= until_ms;
            is_due && known.came.is_none() && !known.may_stay
        };
        if let Some((value, _)) = self.known.iter().find(|(_, known)| is_missing(known)) {
            self.fail(DueViolation::Vanished { value: *value });
        }
    }
}
