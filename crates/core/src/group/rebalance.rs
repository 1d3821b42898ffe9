//! From one generation to the next: gathering the members, making the generation, and what ends the waiting.

use super::member::Member;
use super::metrics::GroupMetrics;
use super::request::{JoinAnswer, SyncAnswer};
use super::settings::GroupSettings;
use super::state::{Group, InitialRebalance, State};
use super::timers::{Timer, Timers};
use super::{GroupError, records};
use crate::coordinator::{Now, Output};
use bytes::Bytes;
use std::sync::Arc;

/// What a group needs besides itself while it acts.
pub(super) struct Context<'a> {
    pub(super) settings: &'a GroupSettings,
    pub(super) metrics: &'a GroupMetrics,
    pub(super) timers: &'a mut Timers,
    pub(super) now: Now,
    pub(super) out: &'a mut Output,
}

impl Context<'_> {
    fn after(&self, ms: u64) -> u64 {
        self.now.monotonic_ms.saturating_add(ms)
    }
}

impl Group {
    /// Gives a member so long to be heard of again.
    pub(super) fn extend_session(&mut self, member_id: &str, session_ms: u64, context: &mut Context<'_>) {
        let due = context.after(session_ms);
        let Some(member) = self.members.get_mut(member_id) else { return };
        let timer = || Timer::Session { group: self.id.clone(), member: member.id.clone() };
        context.timers.set(&mut member.session, due, timer);
    }

    /// A sign of life of a member.
    pub(super) fn heard_of(&mut self, member_id: &str, context: &mut Context<'_>) {
        if let Some(session_ms) = self.members.get(member_id).map(Member::session_ms) {
            self.extend_session(member_id, session_ms, context);
        }
    }

    /// Keeps an id that was given out until its owner joins with it.
    pub(super) fn expect(&mut self, member_id: Arc<str>, within_ms: u64, context: &mut Context<'_>) {
        let due = context.after(within_ms);
        let timer = || Timer::Session { group: self.id.clone(), member: member_id.clone() };
        context.timers.set(self.pending.entry(member_id.clone()).or_default(), due, timer);
    }

    /// The members have changed: starts a rebalance, or sees whether the running one has them all.
    pub(super) fn rebalance_or_complete(&mut self, context: &mut Context<'_>) {
        match self.state {
            State::PreparingRebalance => self.maybe_complete_join(context),
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(context),
        }
    }

    pub(super) fn prepare_rebalance(&mut self, context: &mut Context<'_>) {
        if self.state == State::CompletingRebalance {
            self.withdraw_assignments(context);
        }
        self.end_sync_phase();
        let is_initial = self.state == State::Empty;
        self.enter(State::PreparingRebalance, context.now.wall);
        if is_initial {
            let delay_ms = context.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial = Some(InitialRebalance { delay_ms, remaining_ms, joined_since: false });
            self.end_join_after(delay_ms, context);
        } else if self.all_joined() {
            self.complete_join(context);
        } else {
            self.end_join_after(self.rebalance_timeout_ms(), context);
        }
    }

    /// Ends the join phase if everybody is there. The first rebalance of a group waits its time in any case.
    pub(super) fn maybe_complete_join(&mut self, context: &mut Context<'_>) {
        if self.state == State::PreparingRebalance && self.initial.is_none() && self.all_joined() {
            self.complete_join(context);
        }
    }

    /// The join phase has lasted as long as it may.
    pub(super) fn join_phase_over(&mut self, context: &mut Context<'_>) {
        if self.state != State::PreparingRebalance {
            return;
        }
        match self.initial {
            Some(initial) if initial.joined_since && initial.remaining_ms > 0 => {
                let delay_ms = context.settings.initial_rebalance_delay_ms.min(initial.remaining_ms);
                let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
                self.initial = Some(InitialRebalance { delay_ms, remaining_ms, joined_since: false });
                self.end_join_after(delay_ms, context);
            }
            _ => self.complete_join(context),
        }
    }

    fn end_join_after(&mut self, ms: u64, context: &mut Context<'_>) {
        let due = context.after(ms);
        context.timers.set(&mut self.join_end, due, || Timer::Join { group: self.id.clone() });
    }

    /// Makes the next generation of those who joined. Static members keep their place even if they have not.
    fn complete_join(&mut self, context: &mut Context<'_>) {
        self.join_end.cancel();
        self.initial = None;
        let silent: Vec<Arc<str>> = self
            .members
            .values()
            .filter(|member| !member.is_joining() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for member_id in silent {
            tracing::info!(group = %self.id, member = %member_id, "member left behind by the rebalance");
            self.remove(&member_id);
        }
        if self.members.is_empty() {
            return self.become_empty(context);
        }
        if !self.elect_joined_leader() {
            return self.end_join_after(self.rebalance_timeout_ms(), context);
        }
        self.next_generation(context);
    }

    fn become_empty(&mut self, context: &mut Context<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol_name = None;
        self.leader = None;
        self.subscribed = self.compute_subscribed();
        self.enter(State::Empty, context.now.wall);
        tracing::info!(group = %self.id, generation = self.generation, "group is empty");
        self.record(context);
    }

    fn next_generation(&mut self, context: &mut Context<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol_name = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        self.enter(State::CompletingRebalance, context.now.wall);
        context.metrics.rebalances.add(1);
        tracing::info!(group = %self.id, generation = self.generation, members = self.members.len(), "group made a generation");
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member_id in members {
            if let Some(ticket) = self.take_join(&member_id) {
                context.out.answer(ticket, self.joined(&member_id, false));
            }
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
                member.sync_expected = true;
            }
            self.heard_of(&member_id, context);
        }
        let due = context.after(self.rebalance_timeout_ms());
        context.timers.set(&mut self.sync_end, due, || Timer::Sync { group: self.id.clone() });
    }

    /// Members that joined this generation but did not come for their share are removed.
    pub(super) fn sync_phase_over(&mut self, context: &mut Context<'_>) {
        if !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        let missing: Vec<Arc<str>> =
            self.members.values().filter(|member| member.sync_expected).map(|member| member.id.clone()).collect();
        if missing.is_empty() {
            return;
        }
        for member_id in missing {
            tracing::info!(group = %self.id, member = %member_id, "member did not sync in time");
            self.dismiss(&member_id, context);
        }
        self.prepare_rebalance(context);
    }

    /// A member came for its share.
    pub(super) fn synced(&mut self, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.sync_expected = false;
        }
        if self.members.values().all(|member| !member.sync_expected) {
            self.sync_end.cancel();
        }
    }

    fn end_sync_phase(&mut self) {
        self.sync_end.cancel();
        self.members.values_mut().for_each(|member| member.sync_expected = false);
    }

    /// Tells those who wait for their share that there will be none in this generation.
    fn withdraw_assignments(&mut self, context: &mut Context<'_>) {
        self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
        self.answer_syncs(|_| Err(GroupError::RebalanceInProgress), context);
    }

    /// Answers all who wait for their share.
    pub(super) fn answer_syncs(&mut self, answer: impl Fn(&Member) -> Result<SyncAnswer, GroupError>, context: &mut Context<'_>) {
        let mut answered = Vec::new();
        for member in self.members.values_mut() {
            if let Some(ticket) = member.syncing.take() {
                context.out.answer(ticket, answer(member));
                answered.push(member.id.clone());
            }
        }
        for member_id in answered {
            self.heard_of(&member_id, context);
        }
    }

    /// Takes a member out and tells it so, if it waits.
    pub(super) fn dismiss(&mut self, member_id: &str, context: &mut Context<'_>) {
        self.answer_and_forget(member_id, GroupError::UnknownMember, context);
        self.remove(member_id);
    }

    /// Answers whatever a member waits for with an error.
    pub(super) fn answer_and_forget(&mut self, member_id: &str, error: GroupError, context: &mut Context<'_>) {
        if let Some(ticket) = self.take_join(member_id) {
            // Whoever was replaced learns it under its old id; whoever was removed has no id any more.
            let member_id = if error == GroupError::FencedInstance { member_id } else { "" };
            context.out.answer(ticket, JoinAnswer { member_id: member_id.to_owned(), outcome: Err(error.clone()) });
        }
        if let Some(ticket) = self.members.get_mut(member_id).and_then(|member| member.syncing.take()) {
            context.out.answer(ticket, Err(error));
        }
    }

    /// Could the group be written down as it stands?
    pub(super) fn check_record(&self, context: &Context<'_>) -> Result<(), GroupError> {
        let (bytes, max) = (records::group_bytes(self), context.settings.max_record_bytes);
        if bytes <= max { Ok(()) } else { Err(GroupError::RecordTooLarge { bytes, max }) }
    }

    /// Writes the group down as it stands.
    pub(super) fn record(&mut self, context: &mut Context<'_>) {
        self.recorded = true;
        context.out.append(records::group(self));
    }
}
