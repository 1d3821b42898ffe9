//! What other nodes ask of this one.

use super::messages::{
    CHANGE_VOTERS, ChangeVoters, ChangeVotersAnswer, Failure, HEARTBEAT, HeartbeatCall, HeartbeatReply, JOIN, Join, JoinAnswer,
    LAST_RAFT_KIND, PROPOSE, Propose, ProposeAnswer, QUORUM, Quorum, STORAGE,
};
use super::{Cluster, whole};
use crate::metadata::error::{ChangeVotersError, MembershipError, Unavailable};
use crate::metadata::raft::{Leadership, decode};
use crate::metadata::record::Change;
use crate::metadata::{FreeSpace, Heartbeat, HeartbeatAnswer, StorageReport, decide_heartbeat, successor};
use bytes::Bytes;
use duolog_base::NodeId;
use duolog_peer::{Answer, CallKind, CallRefusal, PeerService};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// How long a request of another node waits for those before it.
const TURN_LIMIT: Duration = Duration::from_secs(2);
/// A member that has answered within this time, in milliseconds, has not lost its disk: who says so is another one with the same id.
const ALIVE_MS: i64 = 2_000;

/// The service on the switchboard.
pub(super) struct Door(pub(super) Arc<Cluster>);

impl PeerService for Door {
    fn call(&self, from: NodeId, kind: CallKind, body: Bytes) -> Answer {
        let cluster = self.0.clone();
        Box::pin(async move { cluster.serve(from, kind, body).await })
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, CallRefusal> {
    decode(body).ok_or(CallRefusal::Malformed)
}

impl Cluster {
    async fn serve(&self, from: NodeId, kind: CallKind, body: Bytes) -> Result<Vec<Bytes>, CallRefusal> {
        if kind.0 <= LAST_RAFT_KIND {
            return match self.admitted.load(Ordering::Acquire) {
                true => Ok(vec![self.log.serve(from, kind, body).await?]),
                false => Err(CallRefusal::NotServed),
            };
        }
        match kind {
            PROPOSE => Ok(whole(&self.take_proposal(read(&body)?).await)),
            HEARTBEAT => Ok(whole(&self.hear(from, read(&body)?).await?)),
            JOIN => Ok(whole(&self.take_in(from, read(&body)?).await?)),
            CHANGE_VOTERS => Ok(whole(&self.answer_voters(read(&body)?).await)),
            QUORUM => Ok(whole(&self.answer_quorum())),
            STORAGE => self.hear_report(from, read(&body)?),
            _ => Err(CallRefusal::NotServed),
        }
    }

    /// The right to decide, if this node leads when it is had.
    pub(super) async fn turn(&self) -> Result<OwnedMutexGuard<()>, Unavailable> {
        self.check_leads()?;
        let turn = tokio::time::timeout(TURN_LIMIT, self.deciding.clone().lock_owned()).await;
        let turn = turn.map_err(|_| Unavailable::NotController)?;
        self.check_leads()?;
        Ok(turn)
    }

    fn check_leads(&self) -> Result<(), Unavailable> {
        match self.leadership() {
            Leadership::Here { .. } => Ok(()),
            _ => Err(Unavailable::NotController),
        }
    }

    async fn take_proposal(&self, change: Propose) -> ProposeAnswer {
        self.commit(change).await.unwrap_or_else(|error| ProposeAnswer::Failed(error.into()))
    }

    async fn commit(&self, change: Change) -> Result<ProposeAnswer, Unavailable> {
        let _turn = self.turn().await?;
        let applied = self.applied();
        if change.base != Some(applied) {
            return Ok(ProposeAnswer::Stale { applied });
        }
        if change.records.is_empty() {
            return Ok(ProposeAnswer::Committed { index: applied });
        }
        let proposed = self.log.propose(change).await?;
        match proposed.taken {
            true => Ok(ProposeAnswer::Committed { index: proposed.index }),
            false => Ok(ProposeAnswer::Stale { applied: self.applied() }),
        }
    }

    async fn hear(&self, from: NodeId, call: HeartbeatCall) -> Result<HeartbeatReply, CallRefusal> {
        let heartbeat = Heartbeat::from(call);
        if heartbeat.node != from {
            return Err(CallRefusal::Malformed);
        }
        match self.leadership() {
            Leadership::Here { term } => Ok(self.take_heartbeat(term, heartbeat).await.into()),
            _ => Ok(match successor(&self.published.image(), &heartbeat) {
                Some(current) => HeartbeatReply::StaleEpoch { current: current.0 },
                None => HeartbeatReply::Failed(Failure::NotLeader),
            }),
        }
    }

    /// At the leader; to others it means nothing. `false` if it says more than it may.
    pub(super) fn note_storage(&self, report: StorageReport) -> bool {
        match self.leadership() {
            Leadership::Here { term } => self.controller.lock().note_storage(term, report),
            _ => true,
        }
    }

    fn hear_report(&self, from: NodeId, report: StorageReport) -> Result<Vec<Bytes>, CallRefusal> {
        if NodeId(report.node) != from || !self.note_storage(report) {
            return Err(CallRefusal::Malformed);
        }
        Ok(whole(&()))
    }

    /// Decides a heartbeat at the leader of `term`.
    pub(super) async fn take_heartbeat(&self, term: u64, heartbeat: Heartbeat) -> Result<HeartbeatAnswer, MembershipError> {
        let decided = decide_heartbeat(&self.published.image(), &heartbeat, &FreeSpace::new())?;
        let now_ms = self.road.clock.monotonic_ms();
        self.controller.lock().sessions(term).heard(heartbeat.node, heartbeat.epoch, now_ms);
        // Most change nothing, and need not wait for those that do.
        if decided.records.is_empty() {
            return Ok(decided.answer);
        }
        let _turn = self.turn().await?;
        let image = self.published.image();
        let decided = decide_heartbeat(&image, &heartbeat, &FreeSpace::new())?;
        if !decided.records.is_empty() {
            let proposed = self.log.propose(Change::new(decided.records).decided_on(image.applied)).await?;
            if !proposed.taken {
                return Err(Unavailable::NotController.into());
            }
        }
        Ok(decided.answer)
    }

    async fn take_in(&self, from: NodeId, join: Join) -> Result<JoinAnswer, CallRefusal> {
        if NodeId(join.node) != from {
            return Err(CallRefusal::Malformed);
        }
        match self.leadership() {
            Leadership::Nowhere => Ok(JoinAnswer::NotNow),
            Leadership::At(leader) => {
                let address = self.log.members().addresses.get(&leader).cloned();
                Ok(address.map_or(JoinAnswer::NotNow, |address| JoinAnswer::AskAt { node: leader.0, address }))
            }
            Leadership::Here { .. } => match self.add_member(from, &join).await {
                Ok(true) => Ok(JoinAnswer::Joined { cluster: self.published.image().cluster_id.clone() }),
                Ok(false) => Ok(JoinAnswer::Taken),
                Err(error) => {
                    tracing::info!(%from, %error, "a node was not taken in");
                    Ok(JoinAnswer::NotNow)
                }
            },
        }
    }

    /// `false` if another node that is alive has the id.
    async fn add_member(&self, node: NodeId, join: &Join) -> Result<bool, ChangeVotersError> {
        let members = self.log.members();
        let known = members.addresses.get(&node);
        if known.is_some() && join.is_new {
            let silent_since = self.road.contacts.of(node).answered.map_or(0, |time| time.0);
            if self.road.clock.now().0 - silent_since < ALIVE_MS {
                tracing::warn!(%node, address = join.address, "a node wants to join with the id of one that is here");
                return Ok(false);
            }
            // What it has promised as a voter is lost with its disk: it begins anew.
            self.log.remove_member(node).await?;
            self.road.contacts.forget(node);
        }
        match known.filter(|_| !join.is_new) {
            Some(address) if *address == join.address => {}
            Some(_) => self.log.move_member(node, &join.address).await?,
            None => self.log.add_observer(node, &join.address).await?,
        }
        self.road.peers.set_address(node, &join.address);
        tracing::info!(%node, address = join.address, "a node follows the metadata");
        Ok(true)
    }

    async fn answer_voters(&self, change: ChangeVoters) -> ChangeVotersAnswer {
        match self.leadership() {
            Leadership::Here { .. } => self.do_change_voters(change).await.into(),
            _ => ChangeVotersAnswer::Failed(Failure::NotLeader),
        }
    }

    /// At the leader.
    pub(super) async fn do_change_voters(&self, change: ChangeVoters) -> Result<(), ChangeVotersError> {
        let members = self.log.members();
        match change {
            ChangeVoters::Add(node) | ChangeVoters::Remove(node) if !members.addresses.contains_key(&NodeId(node)) => {
                Err(ChangeVotersError::UnknownNode { node: NodeId(node) })
            }
            ChangeVoters::Add(node) => self.log.add_voters(&BTreeSet::from([NodeId(node)])).await,
            ChangeVoters::Remove(node) => self.log.remove_member(NodeId(node)).await,
        }
    }

    fn answer_quorum(&self) -> Option<Quorum> {
        matches!(self.leadership(), Leadership::Here { .. }).then(|| self.log.quorum(self.applied()).into())
    }
}
