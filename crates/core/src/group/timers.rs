//! Deadlines of a shard, cheap to move: a heartbeat changes a number, not a queue.
//!
//! A [`Deadline`] says when something is due and when the queue will look at it next. Moving it later leaves the queue
//! alone; when the queue comes to it too early, it is put back. Queue entries that nobody refers to are passed over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member's session, or a pending member's time to join with its new id.
    Session { group: Arc<str>, member: Arc<str> },
    /// The session of a member of a share group.
    ShareSession { group: Arc<str>, member: Arc<str> },
    /// The end of the join phase.
    Join { group: Arc<str> },
    /// The end of the sync phase.
    Sync { group: Arc<str> },
    /// Looking for expired offsets.
    Expiry,
    /// Looking for locks that have died.
    Locks,
}

/// A moment on the monotonic clock that may move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline {
    due: Option<u64>,
    /// The queue's earliest entry for this deadline.
    queued: Option<u64>,
}

/// What the queue finds when it comes to a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Due,
    NotDue,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timers {
    /// Moves a deadline.
    pub(super) fn set(&mut self, deadline: &mut Deadline, due: u64, timer: impl FnOnce() -> Timer) {
        deadline.due = Some(due);
        if deadline.queued.is_none_or(|queued| queued > due) {
            deadline.queued = Some(due);
            self.queue.push(Reverse((due, timer())));
        }
    }

    /// The next entry that is due at `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<(u64, Timer)> {
        self.next().filter(|at| *at <= now)?;
        self.queue.pop().map(|Reverse(entry)| entry)
    }

    /// Looks at the deadline that an entry popped at `at` belongs to, and puts it back if it has moved.
    pub(super) fn check(&mut self, deadline: &mut Deadline, at: u64, now: u64, timer: Timer) -> Check {
        if deadline.queued != Some(at) {
            return Check::NotDue;
        }
        deadline.queued = None;
        match deadline.due {
            Some(due) if due <= now => {
                deadline.due = None;
                Check::Due
            }
            Some(due) => {
                self.set(deadline, due, || timer);
                Check::NotDue
            }
            None => Check::NotDue,
        }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }
}

impl Deadline {
    pub(super) fn is_set(&self) -> bool {
        self.due.is_some()
    }

    pub(super) fn cancel(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Deadline, Timer, Timers};

    #[test]
    fn a_deadline_that_moves_later_fires_once_and_at_the_new_time() {
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        timers.set(&mut deadline, 10, || Timer::Expiry);
        timers.set(&mut deadline, 30, || Timer::Expiry);
        let (at, timer) = timers.pop(10).expect("the early entry");
        assert_eq!(timers.check(&mut deadline, at, 10, timer), Check::NotDue);
        assert_eq!(timers.pop(29), None);
        let (at, timer) = timers.pop(30).expect("the moved entry");
        assert_eq!(timers.check(&mut deadline, at, 30, timer), Check::Due);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_that_moves_earlier_does_not_fire_again_at_the_old_time() {
        let mut timers = Timers::default();
        let mut deadline = Deadline::default();
        timers.set(&mut deadline, 30, || Timer::Expiry);
        timers.set(&mut deadline, 10, || Timer::Expiry);
        let (at, timer) = timers.pop(10).expect("the new entry");
        assert_eq!(timers.check(&mut deadline, at, 10, timer), Check::Due);
        let (at, timer) = timers.pop(30).expect("the old entry");
        assert_eq!(timers.check(&mut deadline, at, 30, timer), Check::NotDue);
    }
}
