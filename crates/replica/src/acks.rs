//! Producers that wait until what they sent is committed (`acks=all`), in the order of their offsets.

use duolog_base::Offset;
use std::collections::VecDeque;

/// Producers that may wait on one partition. More are told to try again.
pub const MAX_WAITING_ACKS: usize = 1 << 20;

/// A producer's request, as the caller numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// It is durable on the whole in-sync set.
    Committed,
    /// It is in the log, but too few replicas are in sync to commit it now. (Kafka's NOT_ENOUGH_REPLICAS_AFTER_APPEND)
    TooFewInSync,
    /// It is in the log of a node that does not lead any more; nobody knows what will become of it.
    NotLeader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING_ACKS} producers wait already")]
pub struct AckQueueFull;

#[derive(Debug, Default)]
pub(crate) struct AckQueue {
    waiting: VecDeque<(Offset, Ticket)>,
    answered: Vec<(Ticket, AckOutcome)>,
}

impl AckQueue {
    pub(crate) fn wait(&mut self, end: Offset, ticket: Ticket) -> Result<(), AckQueueFull> {
        if self.waiting.len() >= MAX_WAITING_ACKS {
            return Err(AckQueueFull);
        }
        // A repeated batch of an idempotent producer waits for the end of the log, so ends do not go down.
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last <= end), "producers wait in the order of the log");
        self.waiting.push_back((end, ticket));
        Ok(())
    }

    pub(crate) fn committed(&mut self, high_watermark: Offset) {
        while let Some((_, ticket)) = self.waiting.pop_front_if(|(end, _)| *end <= high_watermark) {
            self.answered.push((ticket, AckOutcome::Committed));
        }
    }

    pub(crate) fn fail_all(&mut self, outcome: AckOutcome) {
        self.answered.extend(self.waiting.drain(..).map(|(_, ticket)| (ticket, outcome)));
    }

    pub(crate) fn take_answered(&mut self) -> Vec<(Ticket, AckOutcome)> {
        std::mem::take(&mut self.answered)
    }
}
