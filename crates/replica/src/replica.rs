//! What a node is to one partition, and how that changes with the metadata.

use crate::acks::{AckOutcome, Ticket};
use crate::fetch::{FetchGrant, FetchRefusal, FollowerFetch};
use crate::follower::Follower;
use crate::heal::Damage;
use crate::leader::Leader;
use crate::state::{EpochEnds, Incarnation, LogView, PartitionState};
use duolog_base::{LeaderEpoch, NodeId, Offset};

#[derive(Debug, Default)]
pub enum Role {
    /// Knows nobody to follow: no leader, or none known yet.
    #[default]
    Idle,
    Leader(Box<Leader>),
    Follower(Follower),
}

/// What a version of the metadata changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// The node leads from now on, in this epoch: the log is to refuse older ones and to begin it at its end.
    pub leads: Option<LeaderEpoch>,
    /// Producers to be answered, because it does not lead any more.
    pub resigned: Vec<(Ticket, AckOutcome)>,
}

#[derive(Debug)]
pub struct Replica {
    me: Incarnation,
    role: Role,
    /// The newest leader epoch obeyed.
    epoch: LeaderEpoch,
    unclean_epoch: Option<LeaderEpoch>,
    high_watermark: Offset,
    next_number: u64,
    damage: Option<Damage>,
}

impl Replica {
    /// A replica as found on disk. What is committed of it is not known until a leader says so, or the node leads.
    pub fn new(me: Incarnation, log: LogView) -> Replica {
        let epoch = LeaderEpoch::NONE;
        Replica { me, role: Role::Idle, epoch, unclean_epoch: None, high_watermark: log.start, next_number: 1, damage: None }
    }

    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The newest leader epoch obeyed; [`LeaderEpoch::NONE`] before the first.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    pub fn follower_mut(&mut self) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Follower(follower) => Some(follower),
            _ => None,
        }
    }

    /// Everything below is committed, as far as this node knows.
    pub fn high_watermark(&self) -> Offset {
        match &self.role {
            Role::Idle => self.high_watermark,
            Role::Leader(leader) => leader.high_watermark(),
            Role::Follower(follower) => follower.high_watermark(),
        }
    }

    /// Obeys a version of the metadata. Versions come in order.
    pub fn assume(&mut self, state: &PartitionState, log: LogView, now_ms: u64) -> Assumed {
        if let Some(damage) = &mut self.damage {
            damage.seen(state, self.me.node);
        }
        if state.leader_epoch < self.epoch || (state.leader_epoch == self.epoch && self.keeps_role(state)) {
            if let Role::Leader(leader) = &mut self.role
                && leader.epoch() == state.leader_epoch
            {
                leader.update(state, now_ms);
            }
            return Assumed::default();
        }
        self.epoch = state.leader_epoch;
        let mut assumed = Assumed { leads: None, resigned: self.leave_role() };
        if state.unclean_epoch > self.unclean_epoch {
            // What was committed before an unclean election is not owed any more.
            self.unclean_epoch = state.unclean_epoch;
            self.high_watermark = log.start;
        }
        if state.leader == self.me.node {
            self.role = Role::Leader(Box::new(Leader::new(self.me, state, log, self.high_watermark, now_ms)));
            assumed.leads = Some(state.leader_epoch);
        } else if state.leader != NodeId::NONE && state.replicas.contains(&self.me.node) {
            self.role = Role::Follower(Follower::new(self.me, state.leader, self.epoch, self.high_watermark, self.next_number));
        }
        assumed
    }

    /// The controller has accepted a proposal; this is the partition since. It may be ahead of the metadata known here, so it speaks to the
    /// leader only that has asked.
    pub fn accepted(&mut self, state: &PartitionState, now_ms: u64) {
        if let Role::Leader(leader) = &mut self.role
            && leader.epoch() == state.leader_epoch
            && state.leader == self.me.node
        {
            leader.update(state, now_ms);
        }
    }

    /// The log does not hold what it should. From now on nothing is asked for, until the log has begun anew.
    pub fn found_damaged(&mut self) {
        self.damage.get_or_insert(Damage::found_in(self.epoch));
    }

    /// What is to be done about the damage of the log, if there is any.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// The records were thrown away, as [`Damage::may_begin_anew`] allowed: what the node knew to be committed it holds no more.
    pub fn began_anew(&mut self, log: LogView) {
        assert!(self.damage.take().is_some_and(|damage| damage.may_begin_anew()), "nobody counts on what is thrown away");
        self.high_watermark = log.start;
        if let Role::Follower(follower) = &mut self.role {
            follower.began_anew(log);
        }
    }

    /// Within an epoch the leader stays; a node may become a replica, or cease to be one.
    fn keeps_role(&self, state: &PartitionState) -> bool {
        let holds = state.replicas.contains(&self.me.node);
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(_) => holds,
            Role::Idle => !holds || state.leader == NodeId::NONE,
        }
    }

    fn leave_role(&mut self) -> Vec<(Ticket, AckOutcome)> {
        self.high_watermark = self.high_watermark();
        match std::mem::take(&mut self.role) {
            Role::Leader(leader) => leader.resign(),
            Role::Follower(follower) => {
                self.next_number = follower.next_number();
                Vec::new()
            }
            Role::Idle => Vec::new(),
        }
    }

    /// A follower asks: answered by a leader only.
    pub fn fetch(
        &mut self,
        request: &FollowerFetch,
        log: LogView,
        epoch_ends: EpochEnds,
        now_ms: u64,
    ) -> Result<FetchGrant, FetchRefusal> {
        match &mut self.role {
            Role::Leader(leader) => leader.fetch(request, log, epoch_ends, now_ms),
            _ => Err(FetchRefusal::NotLeader),
        }
    }
}

#[cfg(test)]
mod tests;
