//! A follower of a partition: what it asks its leader for, and what it does with the answer.
//!
//! One request is under way at a time. Only the answer to that very request is acted upon; one that comes late, twice, or from before
//! the epoch changed describes a log that may have been cut since.

use crate::fetch::{FetchGrant, FetchRefusal, FollowerFetch};
use crate::state::{EpochEnds, Incarnation, LogView};
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{LeaderEpoch, NodeId, Offset};
use duolog_log::EpochEnd;

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerStep {
    /// It answers nothing that is being asked: nothing.
    Ignore,
    /// Append what came with it, then ask on.
    Append,
    /// Cut the log to this end, then ask again.
    Cut { to: Offset },
    /// Give up the whole log and go on at this offset: the leader has nothing older.
    Restart { at: Offset },
    /// Ask again later: the two do not know the same metadata.
    WaitForMetadata,
    /// Stop: the leader's log lacks what is committed. Nothing may be cut; the partition needs an operator.
    Quarantine { committed: Offset, cut: Offset },
}

#[derive(Debug)]
pub struct Follower {
    me: Incarnation,
    leader: NodeId,
    epoch: LeaderEpoch,
    high_watermark: Offset,
    /// The number of the request under way.
    outstanding: Option<u64>,
    next_number: u64,
}

impl Follower {
    /// Numbers of requests go on from `next_number`, so that no two requests of a node's life have the same.
    pub(crate) fn new(me: Incarnation, leader: NodeId, epoch: LeaderEpoch, high_watermark: Offset, next_number: u64) -> Follower {
        Follower { me, leader, epoch, high_watermark, outstanding: None, next_number }
    }

    pub fn leader(&self) -> NodeId {
        self.leader
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Everything below is committed and in this node's log.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The log is empty now. What is under way was asked for one that is gone.
    pub(crate) fn began_anew(&mut self, log: LogView) {
        (self.high_watermark, self.outstanding) = (log.start, None);
    }

    /// What to ask the leader for now; `None` while an answer is awaited.
    pub fn next_fetch(&mut self, log: LogView) -> Option<FollowerFetch> {
        if self.outstanding.is_some() {
            return None;
        }
        let broker_epoch = self.me.epoch?;
        let number = self.next_number;
        self.next_number += 1;
        self.outstanding = Some(number);
        let blind = planted(Mutant::TruncateToHighWatermark);
        Some(FollowerFetch {
            node: self.me.node,
            broker_epoch,
            leader_epoch: self.epoch,
            offset: log.end,
            durable: if planted(Mutant::FollowerReportsUnsynced) { log.end } else { log.durable },
            last_epoch: if blind { LeaderEpoch::NONE } else { log.last_epoch },
            number,
        })
    }

    /// The answer to that request will not come.
    pub fn give_up(&mut self, number: u64) {
        if self.outstanding == Some(number) {
            self.outstanding = None;
        }
    }

    /// Takes an answer to `request`, with the log as it is now.
    pub fn answered(
        &mut self,
        request: &FollowerFetch,
        answer: Result<FetchGrant, FetchRefusal>,
        log: LogView,
        epoch_ends: EpochEnds,
    ) -> FollowerStep {
        let of_this_life = Some(request.broker_epoch) == self.me.epoch && request.leader_epoch == self.epoch;
        let awaited = of_this_life && self.outstanding == Some(request.number);
        if !awaited && !planted(Mutant::StaleAnswersApplied) {
            return FollowerStep::Ignore;
        }
        self.outstanding = None;
        match answer {
            Ok(_) => FollowerStep::Append,
            Err(FetchRefusal::Diverging(known)) => self.cut(known, log, epoch_ends),
            Err(FetchRefusal::OutOfRange { start, .. }) if start > log.end => FollowerStep::Restart { at: start },
            Err(FetchRefusal::OutOfRange { end, .. }) if planted(Mutant::TruncateToHighWatermark) => {
                FollowerStep::Cut { to: end }
            }
            Err(_) => FollowerStep::WaitForMetadata,
        }
    }

    /// Takes over the leader's high watermark, once what came with it is in the log.
    pub fn appended(&mut self, grant: FetchGrant, log: LogView) {
        self.high_watermark = self.high_watermark.max(grant.high_watermark.min(log.end));
    }

    /// The logs are the same at most to where `known` ends in both of them.
    fn cut(&self, known: EpochEnd, log: LogView, epoch_ends: EpochEnds) -> FollowerStep {
        let own = epoch_ends(known.epoch).map_or(log.start, |own| own.end);
        let to = known.end.min(own).min(log.end);
        match to < self.high_watermark {
            true => FollowerStep::Quarantine { committed: self.high_watermark, cut: to },
            false => FollowerStep::Cut { to },
        }
    }
}

#[cfg(test)]
mod tests;
