//! The replies of one connection that are not sent yet, in the order of their requests.

use crate::api::ProduceReply;
use crate::call::{CallError, Handled, Reply, ReplyFuture};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

/// Replies in the order of their requests.
#[derive(Default)]
pub(crate) struct PendingReplies {
    entries: VecDeque<PendingReply>,
    /// The last entry must be done before the next request starts.
    in_order: bool,
    bytes: usize,
    allowance: usize,
    /// See [`PendingReplies::deadline`].
    deadline: Option<Instant>,
}

struct PendingReply {
    slot: Slot,
    bytes: usize,
    allowance: usize,
}

enum Slot {
    Waiting(ReplyFuture),
    Appended(ProduceReply),
    Ready(Result<Reply, CallError>),
}

impl PendingReply {
    /// Drives the handler; true once its reply is there.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let polled = match &mut self.slot {
            Slot::Waiting(reply) => reply.as_mut().poll(context),
            Slot::Appended(reply) => reply.poll(context),
            Slot::Ready(_) => return true,
        };
        let Poll::Ready(reply) = polled else { return false };
        self.slot = Slot::Ready(reply);
        true
    }
}

impl PendingReplies {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the next request must wait for the last one.
    pub(crate) fn in_order(&self) -> bool {
        self.in_order
    }

    /// Bytes of the requests.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the requests take of the connection's allowance, in bytes.
    pub(crate) fn allowance(&self) -> usize {
        self.allowance
    }

    /// When some append may have taken too long: not later than the first of them has.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Adds the reply to a request of so many bytes, of which `allowance` are charged to the connection.
    pub(crate) fn push(&mut self, handled: Handled, bytes: usize, allowance: usize) {
        assert!(!self.in_order, "nothing starts behind a request that must finish first");
        self.bytes += bytes;
        self.allowance += allowance;
        let slot = match handled {
            Handled::InOrder(reply) => {
                self.in_order = true;
                Slot::Waiting(reply)
            }
            Handled::Done(reply) => Slot::Ready(reply),
            Handled::Deferred(reply) => {
                self.deadline = earlier(self.deadline, reply.deadline());
                Slot::Appended(reply)
            }
        };
        self.entries.push_back(PendingReply { slot, bytes, allowance });
    }

    /// Answers the appends that have taken too long by now.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.deadline = None;
        for entry in &mut self.entries {
            let Slot::Appended(reply) = &mut entry.slot else { continue };
            match reply.deadline() {
                deadline if deadline <= now => entry.slot = Slot::Ready(reply.time_out()),
                deadline => self.deadline = earlier(self.deadline, deadline),
            }
        }
    }

    /// Resolves when the reply whose turn it is is ready, or when the next request may start.
    pub(crate) async fn progress(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut progressed = false;
        // All that are ready at the front, so that they are sent together.
        for entry in &mut self.entries {
            if !entry.poll(context) {
                break;
            }
            progressed = true;
        }
        // After the others, so that no reply becomes ready unseen between the two looks at it.
        if self.in_order
            && let Some(last) = self.entries.back_mut()
            && last.poll(context)
        {
            self.in_order = false;
            progressed = true;
        }
        if progressed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The first reply, if it is ready.
    pub(crate) fn pop_ready(&mut self) -> Option<Result<Reply, CallError>> {
        let entry = self.entries.pop_front()?;
        match entry.slot {
            Slot::Waiting(_) | Slot::Appended(_) => {
                self.entries.push_front(entry);
                None
            }
            Slot::Ready(reply) => {
                self.bytes -= entry.bytes;
                self.allowance -= entry.allowance;
                Some(reply)
            }
        }
    }
}

fn earlier(known: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(known.map_or(other, |known| known.min(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_reply_that_becomes_ready_between_two_looks_lets_the_next_request_start() {
        let mut looks = 0;
        let second_time = poll_fn(move |_| {
            looks += 1;
            if looks == 2 { Poll::Ready(Ok(Reply::Silence)) } else { Poll::Pending }
        });
        let mut pending = PendingReplies::default();
        pending.push(Handled::InOrder(Box::pin(second_time)), 10, 4);
        let mut context = Context::from_waker(Waker::noop());
        assert!(pending.pop_ready().is_none());
        let progressed = pending.poll(&mut context).is_ready() || pending.poll(&mut context).is_ready();
        assert!(progressed && pending.pop_ready().is_some());
        assert!(!pending.in_order(), "nothing is pending, so the next request may start");
        assert_eq!((pending.bytes(), pending.allowance()), (0, 0));
    }
}
