//! The groups of one partition of `__consumer_offsets`.
//!
//! What a shard does is spread over the files named after the requests; here are the look-up, replay and time.
//! The records it puts out are applied already: replay is for what was written in an earlier life.

use super::locks::Locks;
use super::member::Member;
use super::metrics::GroupMetrics;
use super::offsets::Offsets;
use super::rebalance::Context;
use super::records::{self, OffsetsRecord};
use super::request::Protocol;
use super::settings::GroupSettings;
use super::share::{self, ShareGroup};
use super::state::{Group, State};
use super::timers::{Check, Deadline, Timer, Timers};
use crate::coordinator::{Now, Output, ReplayError, Shard};
use bytes::Bytes;
use duolog_base::TimestampMs;
use duolog_replica::{Mutant, planted};
use duolog_wire::kafka::messages::group_metadata_value::GroupMetadataValue;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct GroupShard {
    pub(super) settings: Arc<GroupSettings>,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) groups: BTreeMap<Arc<str>, Group>,
    /// Of other ids than `groups`.
    pub(super) share: BTreeMap<Arc<str>, ShareGroup>,
    pub(super) locks: Locks,
    pub(super) timers: Timers,
    expiry: Deadline,
}

impl GroupShard {
    pub fn new(settings: Arc<GroupSettings>, metrics: Arc<GroupMetrics>) -> GroupShard {
        let (groups, share) = (BTreeMap::new(), BTreeMap::new());
        GroupShard {
            settings,
            metrics,
            groups,
            share,
            locks: Locks::default(),
            timers: Timers::default(),
            expiry: Deadline::default(),
        }
    }

    /// The group, and all it needs to act.
    pub(super) fn enter<'a>(&'a mut self, id: &str, now: Now, out: &'a mut Output) -> Option<(&'a mut Group, Context<'a>)> {
        let group = self.groups.get_mut(id)?;
        Some((group, Context { settings: &self.settings, metrics: &self.metrics, timers: &mut self.timers, now, out }))
    }

    /// As [`GroupShard::enter`], for a share group.
    pub(super) fn enter_share<'a>(
        &'a mut self,
        id: &str,
        now: Now,
        out: &'a mut Output,
    ) -> Option<(&'a mut ShareGroup, Context<'a>)> {
        let group = self.share.get_mut(id)?;
        Some((group, Context { settings: &self.settings, metrics: &self.metrics, timers: &mut self.timers, now, out }))
    }

    pub(super) fn enter_or_create<'a>(&'a mut self, id: &str, now: Now, out: &'a mut Output) -> (&'a mut Group, Context<'a>) {
        if !self.groups.contains_key(id) {
            self.groups.insert(Arc::from(id), Group::new(Arc::from(id), Some(now.wall)));
        }
        match self.enter(id, now, out) {
            Some(entered) => entered,
            None => unreachable!("the group was just created"),
        }
    }

    /// Drops a group of which nothing would be lost.
    pub(super) fn forget_if_trivial(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_trivial) {
            self.groups.remove(id);
        }
    }

    fn replay_group(&mut self, id: &str, value: Option<GroupMetadataValue<'_>>) {
        let known = self.groups.remove(id).filter(|_| !planted(Mutant::GroupRecordDropsOffsets));
        let offsets = known.map(|group| group.offsets).unwrap_or_default();
        let group = match value {
            Some(value) => loaded_group(Arc::from(id), &value, offsets),
            None if offsets.is_empty() => return,
            None => Group::with_offsets(Arc::from(id), None, offsets),
        };
        self.groups.insert(group.id.clone(), group);
    }

    fn fire(&mut self, at: u64, timer: Timer, now: Now, out: &mut Output) {
        match timer {
            Timer::Expiry => {
                if self.timers.check(&mut self.expiry, at, now.monotonic_ms, Timer::Expiry) == Check::Due {
                    self.expire_offsets(now, out);
                    self.schedule_expiry(now);
                }
            }
            Timer::Locks => self.lock_expiry(at, now, out),
            Timer::Session { group, member } => {
                let Some((found, mut context)) = self.enter(&group, now, out) else { return };
                let deadline = match found.members.get_mut(&member) {
                    Some(member) => Some(&mut member.session),
                    None => found.pending.get_mut(&member),
                };
                let Some(deadline) = deadline else { return };
                let timer = Timer::Session { group: group.clone(), member: member.clone() };
                if context.timers.check(deadline, at, now.monotonic_ms, timer) == Check::Due {
                    found.session_over(&member, &mut context);
                    self.forget_if_trivial(&group);
                }
            }
            Timer::ShareSession { group, member } => {
                let Some((found, context)) = self.enter_share(&group, now, out) else { return };
                let Some(deadline) = found.session(&member) else { return };
                let timer = Timer::ShareSession { group: group.clone(), member: member.clone() };
                if context.timers.check(deadline, at, now.monotonic_ms, timer) == Check::Due {
                    self.share_session_over(&group, &member, now, out);
                }
            }
            Timer::Join { group } => {
                let Some((found, mut context)) = self.enter(&group, now, out) else { return };
                let timer = Timer::Join { group };
                if context.timers.check(&mut found.join_end, at, now.monotonic_ms, timer) == Check::Due {
                    found.join_phase_over(&mut context);
                }
            }
            Timer::Sync { group } => {
                let Some((found, mut context)) = self.enter(&group, now, out) else { return };
                let timer = Timer::Sync { group };
                if context.timers.check(&mut found.sync_end, at, now.monotonic_ms, timer) == Check::Due {
                    found.sync_phase_over(&mut context);
                }
            }
        }
    }

    fn schedule_expiry(&mut self, now: Now) {
        let due = now.monotonic_ms.saturating_add(self.settings.expiry_interval_ms);
        self.timers.set(&mut self.expiry, due, || Timer::Expiry);
    }
}

impl Shard for GroupShard {
    fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ReplayError> {
        match records::decode(key, value)? {
            OffsetsRecord::Group { id, value } => self.replay_group(id, value),
            OffsetsRecord::Offset { group, topic, partition, committed: Some(committed) } => {
                let id: Arc<str> = Arc::from(group);
                let found = self.groups.entry(id.clone()).or_insert_with(|| Group::new(id, None));
                found.offsets.put(topic, partition, committed);
            }
            OffsetsRecord::Offset { group, topic, partition, committed: None } => {
                if let Some(found) = self.groups.get_mut(group) {
                    found.offsets.remove(topic, partition);
                    self.forget_if_trivial(group);
                }
            }
            OffsetsRecord::Lock { group, topic, partition, client } => {
                self.locks.replay(group, (topic.to_owned(), partition), client);
            }
            OffsetsRecord::Other => share::replay(&mut self.share, key, value)?,
        }
        Ok(())
    }

    fn loaded(&mut self, now: Now, out: &mut Output) {
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some((group, mut context)) = self.enter(&id, now, out) else { continue };
            let members: Vec<Arc<str>> = group.members.keys().cloned().collect();
            for member in &members {
                group.heard_of(member, &mut context);
            }
            if members.len() > context.settings.max_size {
                tracing::warn!(group = %id, members = members.len(), "group is larger than the limit: rebalancing");
                group.prepare_rebalance(&mut context);
            }
        }
        self.share_loaded(now, out);
        self.locks_loaded(now);
        self.schedule_expiry(now);
    }

    fn poll_timers(&mut self, now: Now, out: &mut Output) {
        while let Some((at, timer)) = self.timers.pop(now.monotonic_ms) {
            self.fire(at, timer, now, out);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }
}

/// A group as its record says: stable if it has members.
fn loaded_group(id: Arc<str>, value: &GroupMetadataValue<'_>, offsets: Offsets) -> Group {
    let since = (value.current_state_timestamp != -1).then_some(TimestampMs(value.current_state_timestamp));
    let mut group = Group::with_offsets(id, since, offsets);
    group.recorded = true;
    group.generation = value.generation;
    group.protocol_type = Some(value.protocol_type.to_owned()).filter(|kind| !kind.is_empty());
    group.protocol_name = value.protocol.map(str::to_owned);
    group.leader = value.leader.map(Arc::from);
    for member in &value.members {
        let protocol = Protocol {
            name: value.protocol.unwrap_or_default().to_owned(),
            metadata: Bytes::copy_from_slice(member.subscription),
        };
        let rebalance_timeout_ms = match member.rebalance_timeout {
            -1 => member.session_timeout,
            timeout => timeout,
        };
        group.add(Member {
            id: Arc::from(member.member_id),
            instance_id: member.group_instance_id.map(Arc::from),
            client_id: member.client_id.to_owned(),
            client_host: member.client_host.to_owned(),
            session_timeout_ms: member.session_timeout,
            rebalance_timeout_ms,
            protocols: vec![protocol],
            assignment: Bytes::copy_from_slice(member.assignment),
            joining: None,
            syncing: None,
            sync_expected: false,
            is_new: false,
            session: Deadline::default(),
        });
    }
    if !group.members.is_empty() {
        group.state = State::Stable;
    }
    group.subscribed = group.compute_subscribed();
    group
}
