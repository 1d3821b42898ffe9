//! What is done by the clock: the leader fences who is silent and makes observers voters, every node keeps its address book.

use super::Cluster;
use crate::metadata::error::{ChangeVotersError, Unavailable};
use crate::metadata::raft::{Leadership, Members};
use crate::metadata::record::Change;
use crate::metadata::sessions::Sessions;
use crate::metadata::{
    Balance, BalanceLimits, Election, FreeSpace, Storage, StorageReport, decide_balance, decide_elections, decide_fencing,
    decide_reassignments,
};
use duolog_base::NodeId;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const STEP: Duration = Duration::from_millis(100);
/// An observer that lacks no more entries than this may become a voter: it has them before the change is committed.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// Changes of one step of balancing that move no data.
const BALANCE_CHANGES: usize = 1_000;
/// Partitions whose replicas the balancer moves at a time.
const BALANCE_MOVING: usize = 20;
/// Nodes whose bytes differ by no more parts of a hundred of what a node holds on average are even.
const TOLERATED_PERCENT: u64 = 10;

/// A member whose process has ended is fenced after this part of a session.
const QUICK_SHARE: u64 = 4;

/// The leader's memory of its members.
#[derive(Default)]
pub(super) struct Controller {
    term: u64,
    sessions: Sessions,
    /// What the members have reported in this term.
    storage: Storage,
    looked_ms: u64,
    balanced_ms: u64,
}

impl Controller {
    /// The sessions of this term: a new leader has heard of nobody.
    pub(super) fn sessions(&mut self, term: u64) -> &mut Sessions {
        if self.term != term {
            (self.term, self.sessions, self.storage) = (term, Sessions::default(), Storage::default());
        }
        &mut self.sessions
    }

    /// A member says what it holds; `false` if it says more than it may.
    pub(super) fn note_storage(&mut self, term: u64, report: StorageReport) -> bool {
        self.sessions(term);
        self.storage.note(report)
    }

    /// Who has been silent while this leader was there to hear: after a pause of its own it has heard of nobody.
    fn looked_away(&mut self, session_ms: u64, now_ms: u64) {
        if now_ms.saturating_sub(self.looked_ms) > session_ms / 2 {
            self.sessions = Sessions::default();
        }
        self.looked_ms = now_ms;
    }

    /// Whether it is time to look whether the nodes carry as much as each other.
    fn may_balance(&mut self, interval_ms: u64, now_ms: u64) -> bool {
        let due = now_ms.saturating_sub(self.balanced_ms) >= interval_ms;
        if due {
            self.balanced_ms = now_ms;
        }
        due
    }
}

/// Looks after a cluster until it is gone.
pub(super) async fn run(cluster: Weak<Cluster>) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        steps.tick().await;
        let Some(cluster) = cluster.upgrade() else { return };
        cluster.step().await;
    }
}

impl Cluster {
    async fn step(&self) {
        let members = self.log.members();
        self.log.keep_time(members.addresses.len() > 1);
        self.note_addresses(&members);
        self.log.snapshot_if_due().await;
        let done = match self.leadership() {
            Leadership::Here { term } => self.lead(term, &members).await,
            Leadership::At(leader) => match members.addresses.get(&self.node) {
                Some(known) if *known != self.address => self.announce(leader).await.map_err(ChangeVotersError::from),
                _ => Ok(()),
            },
            Leadership::Nowhere => Ok(()),
        };
        if let Err(error) = done {
            tracing::info!(%error, "will be tried again");
        }
    }

    fn note_addresses(&self, members: &Members) {
        for (node, address) in &members.addresses {
            if *node != self.node && !address.is_empty() {
                self.road.peers.set_address(*node, address);
            }
        }
        let identity = self.road.peers.identity();
        let image = self.published.image();
        if !image.cluster_id.is_empty() && identity.cluster() != image.cluster_id {
            identity.set_cluster(&image.cluster_id);
        }
    }

    async fn lead(&self, term: u64, members: &Members) -> Result<(), ChangeVotersError> {
        self.fence(term).await?;
        if let Some(voters) = &members.changing_to {
            return self.log.finish_change(voters).await;
        }
        if members.addresses.get(&self.node).is_some_and(|known| *known != self.address) {
            return self.log.move_member(self.node, &self.address).await;
        }
        let promoted = self.promotable(members);
        match promoted.is_empty() {
            true => Ok(self.balance().await?),
            false => {
                tracing::info!(?promoted, "observers become voters");
                self.log.add_voters(&promoted).await
            }
        }
    }

    async fn fence(&self, term: u64) -> Result<(), Unavailable> {
        let (now_ms, session_ms) = (self.road.clock.monotonic_ms(), self.session.as_millis() as u64);
        let overdue = {
            let mut controller = self.controller.lock();
            controller.looked_away(session_ms, now_ms);
            let sessions = controller.sessions(term);
            let image = self.published.image();
            let mut overdue = sessions.overdue(&image, session_ms, now_ms);
            // Who has been silent for a while, and where nobody listens any more, will not be heard of in time.
            let ended = sessions.overdue(&image, session_ms / QUICK_SHARE, now_ms);
            overdue.extend(ended.into_iter().filter(|(node, _)| *node != self.node && self.road.contacts.of(*node).refused));
            overdue
        };
        for (node, epoch) in overdue {
            let _turn = self.turn().await?;
            let image = self.published.image();
            let records = decide_fencing(&image, node, epoch);
            if !records.is_empty() {
                tracing::warn!(%node, %epoch, "a node has been silent for too long and is fenced");
                self.log.propose(Change::new(records).decided_on(image.applied)).await?;
            }
        }
        Ok(())
    }

    /// One step towards nodes that carry as much as each other.
    async fn balance(&self) -> Result<(), Unavailable> {
        let config = self.published.image().config.clone();
        if !self.controller.lock().may_balance(config.balance_interval_ms, self.road.clock.monotonic_ms()) {
            return Ok(());
        }
        let _turn = self.turn().await?;
        let image = self.published.image();
        let Balance { elections, reassignments, settings } = {
            let storage = &self.controller.lock().storage;
            let limits = BalanceLimits {
                changes: BALANCE_CHANGES,
                moving: BALANCE_MOVING,
                least_bytes: config.balance_tolerance_bytes,
                tolerated_percent: TOLERATED_PERCENT,
            };
            decide_balance(&image, config.balance_leaders, config.balance_replicas, storage, limits)
        };
        let mut records = settings;
        records.extend(decide_elections(&image, &elections, Election::Preferred).records);
        records.extend(decide_reassignments(&image, &reassignments, &FreeSpace::new()).records);
        if !records.is_empty() {
            tracing::info!(
                elections = elections.len(),
                reassignments = reassignments.len(),
                "nodes are made to carry as much as each other"
            );
            self.log.propose(Change::new(records).decided_on(image.applied)).await?;
        }
        Ok(())
    }

    /// Observers that become voters now. An even number of voters bears no more losses than one less, so they come in pairs.
    fn promotable(&self, members: &Members) -> BTreeSet<NodeId> {
        let log_end = self.log.quorum(self.applied()).log_end;
        let caught_up = |node: &&NodeId| self.road.contacts.of(**node).end + CAUGHT_UP_ENTRIES >= log_end;
        let observers = members.addresses.keys().filter(|node| !members.voters.contains(node));
        let ready: Vec<NodeId> = observers.filter(caught_up).copied().collect();
        let missing = missing_voters(members.voters.len(), ready.len(), self.wanted_voters);
        ready.into_iter().take(missing).collect()
    }
}

/// How many more voters there should be: the most that make an odd number, and not more than wanted.
fn missing_voters(voters: usize, ready: usize, wanted: usize) -> usize {
    let most = (voters + ready).min(wanted);
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    odd.saturating_sub(voters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MetadataImage;
    use crate::metadata::image::{Membership, NodeImage};
    use duolog_base::BrokerEpoch;

    #[test]
    fn voters_come_in_pairs_up_to_the_wanted_number() {
        assert_eq!(
            [missing_voters(1, 0, 3), missing_voters(1, 1, 3), missing_voters(1, 2, 3), missing_voters(1, 9, 3)],
            [0, 0, 2, 2]
        );
        assert_eq!(
            [missing_voters(2, 1, 3), missing_voters(3, 4, 3), missing_voters(3, 4, 5), missing_voters(3, 1, 5)],
            [1, 0, 2, 0]
        );
        assert_eq!([missing_voters(1, 3, 1), missing_voters(1, 3, 4), missing_voters(1, 3, 0)], [0, 2, 0]);
    }

    #[test]
    fn who_leads_anew_or_has_not_looked_for_long_gives_everybody_time() {
        let membership = Membership { epoch: BrokerEpoch(7), incarnation: String::new(), fenced: false, stopping: false };
        let node =
            NodeImage { id: NodeId(1), rack: None, directories: Vec::new(), endpoints: Vec::new(), membership: Some(membership) };
        let mut image = MetadataImage::default();
        image.nodes.insert(node.id, node);
        let mut controller = Controller::default();
        let mut overdue = |term, now_ms| {
            controller.looked_away(100, now_ms);
            controller.sessions(term).overdue(&image, 100, now_ms).len()
        };
        assert_eq!([overdue(1, 1000), overdue(1, 1040), overdue(1, 1080), overdue(1, 1120)], [0, 0, 0, 1]);
        assert_eq!([overdue(2, 1130), overdue(2, 1170), overdue(2, 1210), overdue(2, 1240)], [0, 0, 0, 1], "another term");
        assert_eq!([overdue(2, 1300), overdue(2, 1340)], [0, 0], "it was not there for longer than half a session");
    }
}
