//! LeaveGroup, and members that leave without a word.

use super::GroupError;
use super::rebalance::Context;
use super::request::{Departed, Departure, LeaveRequest};
use super::shard::GroupShard;
use super::state::{Group, State};
use crate::coordinator::{Now, Output, Ticket};

type LeaveTicket = Ticket<Result<Vec<Departed>, GroupError>>;

impl GroupShard {
    /// Takes members out of the group; one outcome for each.
    pub fn leave(&mut self, request: LeaveRequest, ticket: LeaveTicket, now: Now, out: &mut Output) {
        if request.group_id.is_empty() {
            return out.answer(ticket, Err(GroupError::InvalidGroupId));
        }
        let Some((group, mut context)) = self.enter(&request.group_id, now, out) else {
            let departed = request.members.into_iter().map(|member| departed(member, Err(GroupError::UnknownMember))).collect();
            return out.answer(ticket, Ok(departed));
        };
        let before = group.members.len();
        let mut outcomes = Vec::with_capacity(request.members.len());
        for member in request.members {
            let outcome = group.depart(&member, &mut context);
            outcomes.push(departed(member, outcome));
        }
        if group.members.len() < before {
            group.after_departure(&mut context);
        } else {
            // An id that was given out and will not come back may have been the last to wait for.
            group.maybe_complete_join(&mut context);
        }
        out.answer(ticket, Ok(outcomes));
        self.forget_if_trivial(&request.group_id);
    }
}

fn departed(member: Departure, outcome: Result<(), GroupError>) -> Departed {
    Departed { member_id: member.member_id, instance_id: member.instance_id, outcome }
}

impl Group {
    fn depart(&mut self, member: &Departure, context: &mut Context<'_>) -> Result<(), GroupError> {
        if self.pending.remove(member.member_id.as_str()).is_some() {
            return Ok(());
        }
        let member_id = if member.member_id.is_empty() {
            let owner = member.instance_id.as_deref().and_then(|instance| self.static_member(instance));
            owner.cloned().ok_or(GroupError::UnknownMember)?
        } else {
            self.check_member(&member.member_id, member.instance_id.as_deref())?;
            member.member_id.as_str().into()
        };
        tracing::info!(group = %self.id, member = %member_id, reason = member.reason, "member leaves");
        self.dismiss(&member_id, context);
        Ok(())
    }

    /// Goes on without those who left.
    pub(super) fn after_departure(&mut self, context: &mut Context<'_>) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(context),
            State::PreparingRebalance => self.maybe_complete_join(context),
            State::Empty => {}
        }
    }

    /// A session, or the time to come back with a given id, has run out.
    pub(super) fn session_over(&mut self, member_id: &str, context: &mut Context<'_>) {
        if self.pending.remove(member_id).is_some() {
            return self.maybe_complete_join(context);
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.is_excused() {
            // Its session starts anew when it is answered.
            return;
        }
        tracing::info!(group = %self.id, member = member_id, "member's session has run out");
        context.metrics.expired_sessions.add(1);
        self.dismiss(member_id, context);
        self.after_departure(context);
    }
}
