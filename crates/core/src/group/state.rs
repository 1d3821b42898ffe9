//! One group: its members and the rules that hold between them.
//!
//! Invariants: a protocol type is set while there are members; the leader, if any, is a member (of a group that was
//! replayed: it was one); `joining` and `protocol_counts` agree with the members; an instance id belongs to one member.

use super::GroupError;
use super::member::Member;
use super::offsets::Offsets;
use super::request::{JoinAnswer, JoinMember, JoinedGeneration, Protocol};
use super::subscription::{self, CONSUMER_PROTOCOL_TYPE};
use super::timers::Deadline;
use crate::coordinator::Ticket;
use duolog_base::TimestampMs;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a rebalance waits for its members at the least, whatever they ask for.
const LEAST_REBALANCE_TIMEOUT_MS: u64 = 1_000;

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; there may be offsets.
    Empty,
    /// Waiting for the members to join the next generation.
    PreparingRebalance,
    /// The generation is made; waiting for the leader to share out the partitions.
    CompletingRebalance,
    Stable,
}

impl State {
    /// Kafka's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Arc<str>,
    pub(super) state: State,
    /// When `state` was entered; unknown for records that do not say.
    pub(super) since: Option<TimestampMs>,
    pub(super) generation: i32,
    /// `None` for groups that only store offsets.
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) leader: Option<Arc<str>>,
    pub(super) members: BTreeMap<Arc<str>, Member>,
    /// Member ids given out by KIP-394 that have not come back yet.
    pub(super) pending: BTreeMap<Arc<str>, Deadline>,
    static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members know each protocol.
    protocol_counts: BTreeMap<String, usize>,
    /// How many members wait for the join phase to end.
    joining: usize,
    /// The running rebalance is the first of an empty group: it waits a while for more members.
    pub(super) initial: Option<InitialRebalance>,
    pub(super) join_end: Deadline,
    pub(super) sync_end: Deadline,
    /// What consumers subscribe to, where that is known.
    pub(super) subscribed: Option<BTreeSet<String>>,
    pub(super) offsets: Offsets,
    /// A record of the group itself is in the log.
    pub(super) recorded: bool,
}

/// The first rebalance of an empty group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialRebalance {
    pub(super) delay_ms: u64,
    pub(super) remaining_ms: u64,
    /// Somebody came since the delay was set.
    pub(super) joined_since: bool,
}

impl Group {
    pub(super) fn new(id: Arc<str>, now: Option<TimestampMs>) -> Group {
        Group {
            id,
            state: State::Empty,
            since: now,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            static_members: BTreeMap::new(),
            protocol_counts: BTreeMap::new(),
            joining: 0,
            initial: None,
            join_end: Deadline::default(),
            sync_end: Deadline::default(),
            subscribed: None,
            offsets: Offsets::default(),
            recorded: false,
        }
    }

    pub(super) fn with_offsets(id: Arc<str>, since: Option<TimestampMs>, offsets: Offsets) -> Group {
        let mut group = Group::new(id, since);
        group.offsets = offsets;
        group
    }

    pub(super) fn enter(&mut self, state: State, now: TimestampMs) {
        let allowed = match state {
            State::Empty => self.state == State::PreparingRebalance,
            State::PreparingRebalance => self.state != State::PreparingRebalance,
            State::CompletingRebalance => self.state == State::PreparingRebalance,
            State::Stable => self.state == State::CompletingRebalance,
        };
        assert!(allowed, "group {} cannot go from {:?} to {state:?}", self.id, self.state);
        self.state = state;
        self.since = Some(now);
    }

    /// Nothing would be lost if the group were forgotten.
    pub(super) fn is_trivial(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.offsets.is_empty() && !self.recorded
    }

    pub(super) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub(super) fn joining(&self) -> usize {
        self.joining
    }

    pub(super) fn all_joined(&self) -> bool {
        self.joining == self.members.len() && self.pending.is_empty()
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    /// The longest that any member asks for. Never so short that a rebalance nobody joins is tried again at once.
    pub(super) fn rebalance_timeout_ms(&self) -> u64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0);
        u64::try_from(longest).unwrap_or(0).max(LEAST_REBALANCE_TIMEOUT_MS)
    }

    /// Who is it, and is it still the one?
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(owner) if owner.as_ref() != member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    pub(super) fn check_generation(&self, asked: i32) -> Result<(), GroupError> {
        match asked == self.generation {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration { asked, current: self.generation }),
        }
    }

    /// A member with these protocols could be in the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty || (self.members.is_empty() && self.state == State::PreparingRebalance) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let is_common = |protocol: &Protocol| self.is_common(&protocol.name);
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(is_common)
    }

    fn is_common(&self, protocol: &str) -> bool {
        self.protocol_counts.get(protocol) == Some(&self.members.len())
    }

    pub(super) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance_id {
            let earlier = self.static_members.insert(instance.clone(), member.id.clone());
            assert!(earlier.is_none(), "instance {instance} of group {} has a member already", self.id);
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending.remove(&member.id);
        self.joining += usize::from(member.is_joining());
        self.count_protocols(&member.protocols);
        let earlier = self.members.insert(member.id.clone(), member);
        assert!(earlier.is_none(), "a member is added once");
    }

    /// Takes a member out; the first of the others leads if it led.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.discount_protocols(&member.protocols);
        self.joining -= usize::from(member.is_joining());
        if let Some(instance) = &member.instance_id {
            self.static_members.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Replaces what a member says of itself.
    pub(super) fn update(&mut self, member_id: &str, protocols: Vec<Protocol>, rebalance_ms: i32, session_ms: i32) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let old = std::mem::replace(&mut member.protocols, protocols.clone());
        member.rebalance_timeout_ms = rebalance_ms;
        member.session_timeout_ms = session_ms;
        self.discount_protocols(&old);
        self.count_protocols(&protocols);
    }

    /// Gives the member a ticket to be answered when the join phase ends, and returns the one it had.
    pub(super) fn await_join(&mut self, member_id: &str, ticket: Ticket<JoinAnswer>) -> Option<Ticket<JoinAnswer>> {
        let member = self.members.get_mut(member_id)?;
        let earlier = member.joining.replace(ticket);
        self.joining += usize::from(earlier.is_none());
        earlier
    }

    pub(super) fn take_join(&mut self, member_id: &str) -> Option<Ticket<JoinAnswer>> {
        let ticket = self.members.get_mut(member_id)?.joining.take();
        self.joining -= usize::from(ticket.is_some());
        ticket
    }

    /// A static member came back under a new id: it takes the place of the old one, share and all. The old one's
    /// tickets must have been taken.
    pub(super) fn replace_static(&mut self, old_id: &str, new_id: Arc<str>) {
        let Some(mut member) = self.members.remove(old_id) else { return };
        assert!(member.joining.is_none() && member.syncing.is_none(), "the fenced member has been answered");
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        member.id = new_id.clone();
        member.session = Deadline::default();
        self.members.insert(new_id, member);
    }

    /// Makes sure that the leader is among those who joined; false if nobody has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &Arc<str>| self.members.get(id).is_some_and(Member::is_joining);
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        match self.members.values().find(|member| member.is_joining()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The protocol that all know and most prefer; of equals the first by name.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(name) = member.vote(|name| self.is_common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }

    /// What the consumers of the group subscribe to: `None` if that cannot be known.
    pub(super) fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer_group() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(self.protocol_name.as_deref()))?);
        }
        Some(topics)
    }

    /// Kafka's rule: of a consumer group whose subscriptions cannot be read, everything counts as subscribed.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_group() && !self.members.is_empty(),
        }
    }

    /// What a member of the present generation is told.
    pub(super) fn joined(&self, member_id: &str, skip_assignment: bool) -> JoinAnswer {
        let members = match self.is_leader(member_id) {
            true => self.members.values().map(|member| self.as_join_member(member)).collect(),
            false => Vec::new(),
        };
        JoinAnswer {
            member_id: member_id.to_owned(),
            outcome: Ok(JoinedGeneration {
                generation: self.generation,
                protocol_type: self.protocol_type.clone(),
                protocol_name: self.protocol_name.clone(),
                leader: self.leader.as_deref().unwrap_or_default().to_owned(),
                skip_assignment,
                members,
            }),
        }
    }

    fn as_join_member(&self, member: &Member) -> JoinMember {
        JoinMember {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_owned),
            metadata: member.metadata(self.protocol_name.as_deref()),
        }
    }

    fn count_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            *self.protocol_counts.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn discount_protocols(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            if let Some(count) = self.protocol_counts.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.protocol_counts.remove(&protocol.name);
                }
            }
        }
    }
}
