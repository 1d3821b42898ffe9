//! One member of a group.

use super::GroupError;
use super::request::{JoinAnswer, Protocol, SyncAnswer};
use super::timers::Deadline;
use crate::coordinator::Ticket;
use bytes::Bytes;
use std::sync::Arc;

/// The answer to a sync.
pub(super) type SyncTicket = Ticket<Result<SyncAnswer, GroupError>>;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: Arc<str>,
    /// Set for static members.
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    /// Favourites first.
    pub(super) protocols: Vec<Protocol>,
    /// Its share in the present generation.
    pub(super) assignment: Bytes,
    /// Set while it waits for the join phase to end. Change it through [`super::state::Group`], which counts them.
    pub(super) joining: Option<Ticket<JoinAnswer>>,
    /// Set while it waits for the leader's assignment.
    pub(super) syncing: Option<SyncTicket>,
    /// It joined this generation and has not come for its share.
    pub(super) sync_expected: bool,
    /// It has not completed a rebalance yet: its session then runs out even while it waits for one.
    pub(super) is_new: bool,
    pub(super) session: Deadline,
}

impl Member {
    pub(super) fn is_joining(&self) -> bool {
        self.joining.is_some()
    }

    /// What it has to say for a protocol; empty if it does not know it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let known = self.protocols.iter().find(|known| Some(known.name.as_str()) == protocol);
        known.map(|known| known.metadata.clone()).unwrap_or_default()
    }

    /// Its favourite among the candidates.
    pub(super) fn vote(&self, is_candidate: impl Fn(&str) -> bool) -> Option<&str> {
        self.protocols.iter().map(|protocol| protocol.name.as_str()).find(|name| is_candidate(name))
    }

    /// It waits for an answer, so silence does not mean that it is dead.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub(super) fn session_ms(&self) -> u64 {
        u64::try_from(self.session_timeout_ms).unwrap_or(0)
    }
}
