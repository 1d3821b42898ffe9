//! ShareGroupHeartbeat: members join, stay and leave, and are told their share.

use super::super::GroupError;
use super::super::rebalance::Context;
use super::super::shard::GroupShard;
use super::super::timers::Timer;
use super::request::{ShareAssignment, ShareHeartbeatAnswer, ShareHeartbeatRequest};
use super::state::{ShareGroup, difference, extend};
use super::{JOIN_EPOCH, LEAVE_EPOCH, MAX_MEMBERS, MAX_SUBSCRIBED_BYTES, MAX_SUBSCRIBED_TOPICS, records};
use crate::coordinator::{Now, Output, Ticket};
use crate::metadata::MetadataImage;
use std::collections::BTreeSet;
use std::sync::Arc;

type HeartbeatTicket = Ticket<Result<ShareHeartbeatAnswer, GroupError>>;

impl GroupShard {
    /// Takes in what the member says and answers with its share, as the topics of `image` have it. A member that is silent for
    /// `session_ms` from now on has left.
    pub fn share_heartbeat(
        &mut self,
        request: &ShareHeartbeatRequest,
        session_ms: u64,
        image: &MetadataImage,
        ticket: HeartbeatTicket,
        now: Now,
        out: &mut Output,
    ) {
        let answer = check(request).and_then(|()| match request.member_epoch {
            LEAVE_EPOCH => self.share_leave(request, now, out),
            _ => self.share_beat(request, session_ms, image, now, out),
        });
        out.answer(ticket, answer);
    }

    /// The state of these partitions has been initialized: they can be shared out.
    pub fn share_initialized(
        &mut self,
        group_id: &str,
        partitions: &ShareAssignment,
        ticket: Ticket<Result<(), GroupError>>,
        out: &mut Output,
    ) {
        let Some(group) = self.share.get_mut(group_id) else { return out.answer(ticket, Err(GroupError::GroupNotFound)) };
        // Topics that were deleted meanwhile have no name any more.
        let known: ShareAssignment = partitions.clone().into_iter().filter(|(id, _)| group.names.contains_key(id)).collect();
        if !difference(&known, &group.initialized).is_empty() {
            extend(&mut group.initialized, &known);
            group.initializing = difference(&group.initializing, &known);
            out.append(records::partitions(group));
        }
        out.answer(ticket, Ok(()));
    }

    /// A member's session has run out.
    pub(in super::super) fn share_session_over(&mut self, group_id: &str, member_id: &str, now: Now, out: &mut Output) {
        let Some((group, mut context)) = self.enter_share(group_id, now, out) else { return };
        tracing::info!(group = group_id, member = member_id, "share group member's session has run out");
        context.metrics.expired_sessions.add(1);
        group.dismiss(member_id, &mut context);
    }

    /// Sessions start anew after a replay.
    pub(in super::super) fn share_loaded(&mut self, now: Now, out: &mut Output) {
        let ids: Vec<Arc<str>> = self.share.keys().cloned().collect();
        for id in ids {
            let Some((group, mut context)) = self.enter_share(&id, now, out) else { continue };
            let members: Vec<Arc<str>> = group.members.keys().cloned().collect();
            members.iter().for_each(|member| group.heard_of(member, super::REPLAYED_SESSION_MS, &mut context));
        }
    }

    fn share_leave(
        &mut self,
        request: &ShareHeartbeatRequest,
        now: Now,
        out: &mut Output,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        let (group, mut context) = self.enter_share(&request.group_id, now, out).ok_or(GroupError::GroupNotFound)?;
        if !group.members.contains_key(request.member_id.as_str()) {
            return Err(GroupError::UnknownMember);
        }
        tracing::info!(group = request.group_id, member = request.member_id, "member leaves the share group");
        group.dismiss(&request.member_id, &mut context);
        Ok(ShareHeartbeatAnswer {
            member_epoch: LEAVE_EPOCH,
            assignment: None,
            group_epoch: group.epoch,
            uninitialized: ShareAssignment::new(),
        })
    }

    fn share_beat(
        &mut self,
        request: &ShareHeartbeatRequest,
        session_ms: u64,
        image: &MetadataImage,
        now: Now,
        out: &mut Output,
    ) -> Result<ShareHeartbeatAnswer, GroupError> {
        let joins = request.member_epoch == JOIN_EPOCH;
        let id: Arc<str> = Arc::from(request.group_id.as_str());
        // Of another kind, that is.
        if self.groups.contains_key(&id) || !(joins || self.share.contains_key(&id)) {
            return Err(GroupError::GroupNotFound);
        }
        if !self.share.contains_key(&id) {
            self.share.insert(id.clone(), ShareGroup::new(id.clone()));
        }
        let (group, mut context) = self.enter_share(&id, now, out).ok_or(GroupError::GroupNotFound)?;
        let is_new = !group.members.contains_key(request.member_id.as_str());
        match joins && is_new {
            true if group.members.len() >= MAX_MEMBERS => return Err(GroupError::GroupFull { max: MAX_MEMBERS }),
            true => tracing::info!(group = %id, member = request.member_id, "member joins the share group"),
            false => group.check_epoch(&request.member_id, request.member_epoch)?,
        }
        Ok(group.beat(request, session_ms, image, &mut context))
    }
}

fn check(request: &ShareHeartbeatRequest) -> Result<(), GroupError> {
    let invalid = |problem| Err(GroupError::InvalidRequest { problem });
    let names = request.topics.iter().flatten();
    let bytes: usize = names.clone().map(String::len).sum();
    if request.group_id.is_empty() {
        invalid("the group has no name")
    } else if request.member_id.is_empty() {
        invalid("the member has no id")
    } else if request.member_epoch < LEAVE_EPOCH {
        invalid("a member epoch is not negative")
    } else if request.rack.as_deref() == Some("") {
        invalid("a rack has a name")
    } else if request.member_epoch == JOIN_EPOCH && request.topics.as_ref().is_none_or(Vec::is_empty) {
        invalid("a member that joins names its topics")
    } else if names.count() > MAX_SUBSCRIBED_TOPICS || bytes > MAX_SUBSCRIBED_BYTES {
        invalid("too many topics")
    } else {
        Ok(())
    }
}

impl ShareGroup {
    fn beat(
        &mut self,
        request: &ShareHeartbeatRequest,
        session_ms: u64,
        image: &MetadataImage,
        context: &mut Context<'_>,
    ) -> ShareHeartbeatAnswer {
        let member_id: Arc<str> = Arc::from(request.member_id.as_str());
        let resubscribed = self.take_in(&member_id, request, context.out);
        let subscribed = self.subscribed(image);
        self.begin_initializing(&subscribed, image, context.out);
        let metadata_hash = hash(&subscribed, &self.initialized);
        if resubscribed || metadata_hash != self.metadata_hash {
            self.metadata_hash = metadata_hash;
            self.next_epoch(context.out);
        }
        if self.assignment_epoch < self.epoch {
            self.share_out(image, &subscribed, context);
        }
        let knows = self.settle(&member_id, request.member_epoch, context.out) && request.member_epoch != JOIN_EPOCH;
        self.heard_of(&member_id, session_ms, context);
        let member = self.members.get(&member_id).expect("it was just taken in");
        let knows = knows && request.member_epoch == member.epoch;
        ShareHeartbeatAnswer {
            member_epoch: member.epoch,
            assignment: (!knows).then(|| member.assigned.clone()),
            group_epoch: self.epoch,
            uninitialized: self.uninitialized(&subscribed),
        }
    }

    /// Writes down what the member says of itself; whether the members, or what they subscribe to, have changed.
    fn take_in(&mut self, member_id: &Arc<str>, request: &ShareHeartbeatRequest, out: &mut Output) -> bool {
        let is_new = !self.members.contains_key(member_id);
        let member = self.members.entry(member_id.clone()).or_default();
        let topics: BTreeSet<String> = match &request.topics {
            Some(topics) => topics.iter().cloned().collect(),
            None => member.topics.clone(),
        };
        let rack = request.rack.clone().or_else(|| member.rack.clone());
        let resubscribed = is_new || topics != member.topics;
        let same_place =
            rack == member.rack && request.client_id == member.client_id && request.client_host == member.client_host;
        if resubscribed || !same_place {
            (member.topics, member.rack) = (topics, rack);
            (member.client_id, member.client_host) = (request.client_id.clone(), request.client_host.clone());
            out.append(records::member(self, member_id, &self.members[member_id]));
        }
        resubscribed
    }

    /// Notes the partitions that will have a state soon, so that it can be deleted even if nobody says that it is there.
    fn begin_initializing(&mut self, subscribed: &ShareAssignment, image: &MetadataImage, out: &mut Output) {
        let missing = difference(&self.uninitialized(subscribed), &self.initializing);
        if missing.is_empty() {
            return;
        }
        extend(&mut self.initializing, &missing);
        for id in missing.keys() {
            if let Some(topic) = image.topic_by_id(*id) {
                self.names.insert(*id, topic.name.clone());
            }
        }
        out.append(records::partitions(self));
    }

    pub(super) fn next_epoch(&mut self, out: &mut Output) {
        self.epoch += 1;
        out.append(records::group(self));
    }

    fn share_out(&mut self, image: &MetadataImage, subscribed: &ShareAssignment, context: &mut Context<'_>) {
        let changed = self.retarget(image, subscribed);
        context.metrics.rebalances.add(1);
        tracing::debug!(group = %self.id, epoch = self.epoch, members = self.members.len(), "share group shared out its partitions");
        for member in &changed {
            context.out.append(records::target(self, member, &self.target[member]));
        }
        context.out.append(records::assignment_epoch(self, context.now.wall));
    }

    /// Brings a member that knows of `epoch` up to the group's present assignment; whether its share is what it was.
    fn settle(&mut self, member_id: &Arc<str>, epoch: i32, out: &mut Output) -> bool {
        let share = self.target.get(member_id).cloned().unwrap_or_default();
        let member = self.members.get_mut(member_id).expect("it was just taken in");
        if member.epoch == self.assignment_epoch {
            return true;
        }
        let is_same = member.assigned == share;
        member.previous_epoch = epoch;
        member.epoch = self.assignment_epoch;
        member.assigned = share;
        out.append(records::current(self, member_id, &self.members[member_id]));
        is_same
    }

    fn heard_of(&mut self, member_id: &Arc<str>, session_ms: u64, context: &mut Context<'_>) {
        let due = context.now.monotonic_ms.saturating_add(session_ms);
        let Some(member) = self.members.get_mut(member_id) else { return };
        let timer = || Timer::ShareSession { group: self.id.clone(), member: member_id.clone() };
        context.timers.set(&mut member.session, due, timer);
    }

    /// Takes a member out; the others share out anew with their next heartbeats.
    fn dismiss(&mut self, member_id: &str, context: &mut Context<'_>) {
        if self.members.remove(member_id).is_none() {
            return;
        }
        self.target.remove(member_id);
        records::member_tombstones(&self.id, member_id).into_iter().for_each(|record| context.out.append(record));
        self.next_epoch(context.out);
    }
}

/// A number for what the group's epoch is made for, by FNV-1a: another one when topics, their partitions or what is initialized change.
fn hash(subscribed: &ShareAssignment, initialized: &ShareAssignment) -> i64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let numbers = subscribed.iter().flat_map(|(topic, partitions)| {
        let ready = initialized.get(topic).map_or(0, BTreeSet::len);
        [topic.0 as u64, (topic.0 >> 64) as u64, partitions.len() as u64, ready as u64]
    });
    let bytes = numbers.flat_map(u64::to_le_bytes);
    bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)) as i64
}
