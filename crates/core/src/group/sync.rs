//! SyncGroup and Heartbeat: the leader shares out the partitions, members come for their share and stay in touch.

use super::GroupError;
use super::member::Member;
use super::rebalance::Context;
use super::request::{HeartbeatRequest, SyncAnswer, SyncRequest};
use super::shard::GroupShard;
use super::state::{Group, State};
use crate::coordinator::{Now, Output, Ticket};
use bytes::Bytes;
use duolog_replica::{Mutant, planted};
use std::collections::BTreeMap;

type SyncTicket = Ticket<Result<SyncAnswer, GroupError>>;

impl GroupShard {
    /// Answers when the leader has brought the assignment.
    pub fn sync(&mut self, request: SyncRequest, ticket: SyncTicket, now: Now, out: &mut Output) {
        if request.group_id.is_empty() {
            return out.answer(ticket, Err(GroupError::InvalidGroupId));
        }
        let Some((group, mut context)) = self.enter(&request.group_id, now, out) else {
            return out.answer(ticket, Err(GroupError::UnknownMember));
        };
        match group.check_sync(&request) {
            Ok(()) => group.sync(request, ticket, &mut context),
            Err(error) => context.out.answer(ticket, Err(error)),
        }
    }

    pub fn heartbeat(&mut self, request: HeartbeatRequest, ticket: Ticket<Result<(), GroupError>>, now: Now, out: &mut Output) {
        let answer = if request.group_id.is_empty() {
            Err(GroupError::InvalidGroupId)
        } else {
            match self.enter(&request.group_id, now, out) {
                Some((group, mut context)) => group.heartbeat(&request, &mut context),
                None => Err(GroupError::UnknownMember),
            }
        };
        out.answer(ticket, answer);
    }
}

impl Group {
    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        let differs = |asked: &Option<String>, ours: &Option<String>| asked.is_some() && asked != ours;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name) {
            return Err(GroupError::InconsistentProtocol);
        }
        Ok(())
    }

    fn sync(&mut self, request: SyncRequest, ticket: SyncTicket, context: &mut Context<'_>) {
        match self.state {
            State::Empty => context.out.answer(ticket, Err(GroupError::UnknownMember)),
            State::PreparingRebalance => context.out.answer(ticket, Err(GroupError::RebalanceInProgress)),
            State::CompletingRebalance => {
                self.synced(&request.member_id);
                let earlier = self.members.get_mut(request.member_id.as_str()).and_then(|member| member.syncing.replace(ticket));
                if let Some(earlier) = earlier {
                    context.out.answer(earlier, Err(GroupError::RebalanceInProgress));
                }
                if self.is_leader(&request.member_id) {
                    self.assign(request.assignments, context);
                }
            }
            State::Stable => {
                self.synced(&request.member_id);
                let answer = self.members.get(request.member_id.as_str()).map(|member| self.share_of(member));
                context.out.answer(ticket, answer.ok_or(GroupError::UnknownMember));
            }
        }
    }

    /// The leader has shared out the partitions; members it forgot get nothing. Shares that are too large to be written
    /// down are an error to those who wait for them, and the members come together again.
    fn assign(&mut self, assignments: Vec<(String, Bytes)>, context: &mut Context<'_>) {
        let mut assignments: BTreeMap<String, Bytes> = assignments.into_iter().collect();
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(member.id.as_ref()).unwrap_or_default();
        }
        if let Err(error) = self.check_record(context) {
            tracing::warn!(group = %self.id, %error, "the assignment cannot be kept");
            self.answer_syncs(|_| Err(error.clone()), context);
            return self.prepare_rebalance(context);
        }
        self.enter(State::Stable, context.now.wall);
        tracing::info!(group = %self.id, generation = self.generation, "group is stable");
        if !planted(Mutant::AssignmentNotRecorded) {
            self.record(context);
        }
        let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol_name.clone());
        let share = |member: &Member| {
            let (protocol_type, protocol_name) = (protocol_type.clone(), protocol_name.clone());
            Ok(SyncAnswer { protocol_type, protocol_name, assignment: member.assignment.clone() })
        };
        self.answer_syncs(share, context);
    }

    fn share_of(&self, member: &Member) -> SyncAnswer {
        SyncAnswer {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: member.assignment.clone(),
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, context: &mut Context<'_>) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        self.check_generation(request.generation)?;
        self.heard_of(&request.member_id, context);
        match self.state {
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
