//! JoinGroup: a member wants to be in the next generation.

use super::GroupError;
use super::member::Member;
use super::rebalance::Context;
use super::request::{JoinAnswer, JoinRequest, Protocol};
use super::shard::GroupShard;
use super::state::{Group, State};
use super::timers::Deadline;
use crate::coordinator::{Now, Output, Ticket};
use bytes::Bytes;
use std::sync::Arc;

type JoinTicket = Ticket<JoinAnswer>;

/// Longest client id and instance id, in bytes: member ids are made of them and must fit into Kafka's strings.
const MAX_NAME_BYTES: usize = 32_000;

impl GroupShard {
    /// Answers when the member's place in a generation is known. `fresh_id` makes a new member's id unique.
    pub fn join(&mut self, mut request: JoinRequest, fresh_id: u128, ticket: Ticket<JoinAnswer>, now: Now, out: &mut Output) {
        if let Err(error) = self.check_join(&request) {
            return out.answer(ticket, refused(&request.member_id, error));
        }
        if self.share.contains_key(request.group_id.as_str()) {
            return out.answer(ticket, refused(&request.member_id, GroupError::InconsistentProtocol));
        }
        distinct(&mut request.protocols);
        if !self.groups.contains_key(request.group_id.as_str()) {
            if !request.member_id.is_empty() {
                return out.answer(ticket, refused(&request.member_id, GroupError::UnknownMember));
            }
            if request.protocol_type.is_empty() || request.protocols.is_empty() {
                return out.answer(ticket, refused("", GroupError::InconsistentProtocol));
            }
        }
        let (group, mut context) = self.enter_or_create(&request.group_id, now, out);
        if !group.has_room_for(&request.member_id, context.settings.max_size) {
            group.dismiss(&request.member_id, &mut context);
            group.pending.remove(request.member_id.as_str());
            let error = GroupError::GroupFull { max: context.settings.max_size };
            return context.out.answer(ticket, refused("", error));
        }
        if request.member_id.is_empty() {
            group.join_new(request, fresh_id, ticket, &mut context);
        } else {
            group.join_known(request, ticket, &mut context);
        }
    }

    fn check_join(&self, request: &JoinRequest) -> Result<(), GroupError> {
        if request.group_id.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        let (min_ms, max_ms) = (self.settings.min_session_timeout_ms, self.settings.max_session_timeout_ms);
        let session_timeout_ms = request.session_timeout_ms;
        if !(min_ms..=max_ms).contains(&session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout { session_timeout_ms, min_ms, max_ms });
        }
        let too_long = |name: &str| name.len() > MAX_NAME_BYTES;
        if too_long(&request.client_id) || request.instance_id.as_deref().is_some_and(too_long) {
            return Err(GroupError::InvalidRequest { problem: "client id or instance id is too long" });
        }
        Ok(())
    }
}

impl Group {
    fn has_room_for(&self, member_id: &str, max: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => self.members.get(member_id).is_some_and(Member::is_joining) || self.joining() < max,
            State::CompletingRebalance | State::Stable => self.members.contains_key(member_id) || self.members.len() < max,
        }
    }

    fn join_new(&mut self, request: JoinRequest, fresh_id: u128, ticket: JoinTicket, context: &mut Context<'_>) {
        if !self.supports(&request.protocol_type, &request.protocols) {
            return context.out.answer(ticket, refused("", GroupError::InconsistentProtocol));
        }
        let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
        let member_id: Arc<str> = Arc::from(format!("{prefix}-{}", uuid_text(fresh_id)));
        let existing = request.instance_id.as_deref().and_then(|instance| self.static_member(instance)).cloned();
        match existing {
            Some(existing) => self.return_static(request, &existing, member_id, ticket, context),
            None if request.instance_id.is_none() && request.takes_member_id => {
                let within_ms = u64::try_from(request.session_timeout_ms).unwrap_or(0);
                context.out.answer(ticket, refused(&member_id, GroupError::MemberIdRequired));
                self.expect(member_id, within_ms, context);
            }
            None => self.add_joining(request, member_id, ticket, context),
        }
    }

    fn join_known(&mut self, request: JoinRequest, ticket: JoinTicket, context: &mut Context<'_>) {
        if !self.supports(&request.protocol_type, &request.protocols) {
            return context.out.answer(ticket, refused(&request.member_id, GroupError::InconsistentProtocol));
        }
        if self.pending.contains_key(request.member_id.as_str()) {
            if request.instance_id.is_some() {
                return context.out.answer(ticket, refused(&request.member_id, GroupError::UnknownMember));
            }
            let member_id = Arc::from(request.member_id.as_str());
            return self.add_joining(request, member_id, ticket, context);
        }
        if let Err(error) = self.check_member(&request.member_id, request.instance_id.as_deref()) {
            return context.out.answer(ticket, refused(&request.member_id, error));
        }
        let unchanged = self.members.get(request.member_id.as_str()).is_some_and(|member| member.protocols == request.protocols);
        let rebalances = match self.state {
            State::Empty => return context.out.answer(ticket, refused(&request.member_id, GroupError::UnknownMember)),
            State::PreparingRebalance => true,
            // It did not get the answer to its last join.
            State::CompletingRebalance => !unchanged,
            // The leader joins again when it sees that topics have changed.
            State::Stable => self.is_leader(&request.member_id) || !unchanged,
        };
        if rebalances {
            self.rejoin(request, ticket, context);
        } else {
            context.out.answer(ticket, self.joined(&request.member_id, false));
        }
    }

    fn rejoin(&mut self, request: JoinRequest, ticket: JoinTicket, context: &mut Context<'_>) {
        let member_id = request.member_id.as_str();
        tracing::debug!(group = %self.id, member = member_id, reason = request.reason, "member joins again");
        self.update(member_id, request.protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
        self.put_join(member_id, ticket, context);
        self.rebalance_or_complete(context);
    }

    fn put_join(&mut self, member_id: &str, ticket: JoinTicket, context: &mut Context<'_>) {
        if let Some(earlier) = self.await_join(member_id, ticket) {
            // The client has given that request up, or it would not have sent another.
            context.out.answer(earlier, refused(member_id, GroupError::RebalanceInProgress));
        }
    }

    fn add_joining(&mut self, request: JoinRequest, member_id: Arc<str>, ticket: JoinTicket, context: &mut Context<'_>) {
        tracing::info!(group = %self.id, member = %member_id, reason = request.reason, "member joins");
        if let Some(initial) = self.initial.as_mut() {
            initial.joined_since = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        self.add(Member {
            id: member_id.clone(),
            instance_id: request.instance_id.map(Arc::from),
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(ticket),
            syncing: None,
            sync_expected: false,
            is_new: true,
            session: Deadline::default(),
        });
        self.extend_session(&member_id, context.settings.new_member_join_timeout_ms, context);
        self.rebalance_or_complete(context);
    }

    /// A static member that restarted takes its old place. In a stable group nobody else notices, unless the
    /// protocol would change.
    fn return_static(
        &mut self,
        request: JoinRequest,
        old_id: &str,
        new_id: Arc<str>,
        ticket: JoinTicket,
        context: &mut Context<'_>,
    ) {
        tracing::info!(group = %self.id, old = old_id, new = %new_id, "static member is back");
        let old_leader = self.leader.as_deref().unwrap_or_default().to_owned();
        self.answer_and_forget(old_id, GroupError::FencedInstance, context);
        self.replace_static(old_id, new_id.clone());
        if let Some(member) = self.members.get_mut(&new_id) {
            member.client_id = request.client_id;
            member.client_host = request.client_host;
        }
        self.update(&new_id, request.protocols, request.rebalance_timeout_ms, request.session_timeout_ms);
        self.heard_of(&new_id, context);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol_name && self.check_record(context).is_ok() => {
                // The present generation's members, subscriptions and shares are written under the new id.
                self.subscribed = self.compute_subscribed();
                self.record(context);
                let mut answer = self.joined(&new_id, request.can_skip_assignment && self.is_leader(&new_id));
                if let (false, Ok(joined)) = (request.can_skip_assignment, answer.outcome.as_mut()) {
                    // A leader that cannot be told to skip the assignment is told that the old one still leads.
                    joined.leader = old_leader;
                    joined.members.clear();
                }
                context.out.answer(ticket, answer);
            }
            State::Stable | State::CompletingRebalance => {
                self.put_join(&new_id, ticket, context);
                self.prepare_rebalance(context);
            }
            State::PreparingRebalance => {
                self.put_join(&new_id, ticket, context);
                self.maybe_complete_join(context);
            }
            State::Empty => unreachable!("an empty group has no static member"),
        }
    }
}

pub(super) fn refused(member_id: &str, error: GroupError) -> JoinAnswer {
    JoinAnswer { member_id: member_id.to_owned(), outcome: Err(error) }
}

/// Of two protocols with one name the first counts.
fn distinct(protocols: &mut Vec<Protocol>) {
    let mut seen = std::collections::BTreeSet::new();
    protocols.retain(|protocol| seen.insert(protocol.name.clone()));
}

/// The usual form of a UUID.
fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
