//! What a leader knows of one follower.

use crate::fetch::FetchRefusal;
use duolog_base::mutant::{Mutant, planted};
use duolog_base::{BrokerEpoch, NodeId, Offset};

#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    broker_epoch: Option<BrokerEpoch>,
    /// `None` until it has fetched in this epoch with a log that fits.
    durable: Option<Offset>,
    /// When it last held all that the leader had.
    caught_up_ms: u64,
    /// When it last fetched, and the leader's end then.
    last_fetch: Option<(u64, Offset)>,
}

impl Progress {
    pub(super) fn new(now_ms: u64) -> Progress {
        Progress { broker_epoch: None, durable: None, caught_up_ms: now_ms, last_fetch: None }
    }

    pub(super) fn durable(&self) -> Option<Offset> {
        self.durable
    }

    pub(super) fn broker_epoch(&self) -> Option<BrokerEpoch> {
        self.broker_epoch
    }

    /// It speaks as this incarnation. An earlier one is refused; with a later one everything known of it is void: its disk may be empty.
    pub(super) fn meet(&mut self, node: NodeId, got: BrokerEpoch) -> Result<(), FetchRefusal> {
        if planted(Mutant::NoBrokerEpochInFetch) {
            self.broker_epoch = self.broker_epoch.max(Some(got));
            return Ok(());
        }
        match self.broker_epoch {
            Some(current) if got < current => Err(FetchRefusal::StaleBrokerEpoch { node, current, got }),
            Some(current) if got == current => Ok(()),
            known => {
                self.broker_epoch = Some(got);
                if known.is_some() {
                    (self.durable, self.last_fetch) = (None, None);
                }
                Ok(())
            }
        }
    }

    /// It holds everything below `durable` of a log that fits. Requests may overtake each other; within an epoch the end only grows.
    pub(super) fn reached(&mut self, durable: Offset, leader_end: Offset, now_ms: u64) {
        let durable = self.durable.map_or(durable, |known| known.max(durable));
        self.durable = Some(durable);
        match self.last_fetch {
            _ if durable >= leader_end => self.caught_up_ms = now_ms,
            Some((fetched_ms, end_then)) if durable >= end_then => self.caught_up_ms = self.caught_up_ms.max(fetched_ms),
            _ => {}
        }
        self.last_fetch = Some((now_ms, leader_end));
    }

    pub(super) fn is_behind(&self, lag_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.caught_up_ms) > lag_ms
    }
}
