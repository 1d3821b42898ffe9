//! The replies of one connection that are not sent yet, in the order of their requests.

use crate::call::{CallError, Reply, ReplyFuture};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Replies in the order of their requests.
#[derive(Default)]
pub(crate) struct PendingReplies {
    entries: VecDeque<PendingReply>,
    /// The last entry must be done before the next request starts.
    in_order: bool,
    bytes: usize,
    allowance: usize,
}

struct PendingReply {
    slot: Slot,
    bytes: usize,
    allowance: usize,
}

enum Slot {
    Waiting(ReplyFuture),
    Ready(Result<Reply, CallError>),
}

impl PendingReply {
    /// Drives the handler; true once its reply is there.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if let Slot::Waiting(reply) = &mut self.slot {
            let Poll::Ready(reply) = reply.as_mut().poll(context) else { return false };
            self.slot = Slot::Ready(reply);
        }
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

    /// Adds the reply to a request of so many bytes, of which `allowance` are charged to the connection.
    pub(crate) fn push(&mut self, reply: ReplyFuture, in_order: bool, bytes: usize, allowance: usize) {
        assert!(!self.in_order, "nothing starts behind a request that must finish first");
        self.bytes += bytes;
        self.allowance += allowance;
        self.in_order = in_order;
        self.entries.push_back(PendingReply { slot: Slot::Waiting(reply), bytes, allowance });
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
            Slot::Waiting(_) => {
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
        pending.push(Box::pin(second_time), true, 10, 4);
        let mut context = Context::from_waker(Waker::noop());
        assert!(pending.pop_ready().is_none());
        let progressed = pending.poll(&mut context).is_ready() || pending.poll(&mut context).is_ready();
        assert!(progressed && pending.pop_ready().is_some());
        assert!(!pending.in_order(), "nothing is pending, so the next request may start");
        assert_eq!((pending.bytes(), pending.allowance()), (0, 0));
    }
}
