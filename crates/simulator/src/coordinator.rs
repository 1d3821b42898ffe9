//! The shell of a group coordinator: replays the internal partition into the production [`GroupShard`], hands it what members ask,
//! appends its records to the simulated log, and lets answers go when [`Flights`] says so. It decides nothing itself.

use crate::groups::{Expected, Promise};
use crate::log::{Partition, Record};
use crate::message::{Address, Answer, Ask, Message};
use crate::node::{Process, Surroundings};
use crate::oracle::Violation;
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, TimestampMs};
use duolog_core::coordinator::{Flights, Now, Output, Shard, Waiting, replay_batches, ticket};
use duolog_core::group::{
    CommittedTopic, FetchRequest, GroupError, GroupMetrics, GroupSettings, GroupShard, JoinAnswer, SyncAnswer, TopicOutcome,
};
use duolog_replica::{Mutant, Role, planted};
use std::sync::{Arc, OnceLock};

/// How often a batch that was refused is brought again before the shard is thrown away.
const MAX_REFUSALS: usize = 20;

pub struct Coordinator {
    /// The leadership it belongs to.
    epoch: LeaderEpoch,
    shard: GroupShard,
    /// While what was replayed is not committed: where it ends.
    loading: Option<Offset>,
    /// Where each append ends.
    flights: Flights<Offset>,
    out: Output,
    asked: Vec<Asked>,
    refusals: usize,
}

/// A request whose answer has not left.
struct Asked {
    from: Address,
    request: u64,
    answer: Awaited,
    promise: Promise,
}

enum Awaited {
    Join(Waiting<JoinAnswer>),
    Sync(Waiting<Result<SyncAnswer, GroupError>>),
    Heartbeat(Waiting<Result<(), GroupError>>),
    Commit(Waiting<Result<Vec<TopicOutcome>, GroupError>>),
    Fetch(Waiting<Vec<CommittedTopic>>),
    Leave(Waiting<Result<Vec<duolog_core::group::Departed>, GroupError>>),
}

fn settings() -> Arc<GroupSettings> {
    static SETTINGS: OnceLock<Arc<GroupSettings>> = OnceLock::new();
    let make = || GroupSettings {
        initial_rebalance_delay_ms: 50,
        min_session_timeout_ms: 1,
        max_session_timeout_ms: 60_000,
        max_size: 10,
        new_member_join_timeout_ms: 600,
        offset_metadata_max: 100,
        max_record_bytes: 1 << 20,
        offsets_retention_ms: 1 << 40,
        expiry_interval_ms: 1 << 40,
    };
    SETTINGS.get_or_init(|| Arc::new(make())).clone()
}

fn now(now_ms: u64) -> Now {
    Now { monotonic_ms: now_ms, wall: TimestampMs(now_ms as i64) }
}

impl Coordinator {
    fn do_ask(&mut self, ask: Ask, fresh_id: u128, now_ms: u64) -> Awaited {
        let (shard, out, now) = (&mut self.shard, &mut self.out, now(now_ms));
        match ask {
            Ask::Join(request) => {
                let (ticket, waiting) = ticket();
                shard.join(request, fresh_id, ticket, now, out);
                Awaited::Join(waiting)
            }
            Ask::Sync(request) => {
                let (ticket, waiting) = ticket();
                shard.sync(request, ticket, now, out);
                Awaited::Sync(waiting)
            }
            Ask::Heartbeat(request) => {
                let (ticket, waiting) = ticket();
                shard.heartbeat(request, ticket, now, out);
                Awaited::Heartbeat(waiting)
            }
            Ask::Commit(request) => {
                let (ticket, waiting) = ticket();
                shard.commit(request, ticket, now, out);
                Awaited::Commit(waiting)
            }
            Ask::Fetch(request) => {
                let (ticket, waiting) = ticket();
                shard.fetch(&request, ticket, out);
                Awaited::Fetch(waiting)
            }
            Ask::Leave(request) => {
                let (ticket, waiting) = ticket();
                shard.leave(request, ticket, now, out);
                Awaited::Leave(waiting)
            }
        }
    }

    /// The node leads still, in the epoch in which the shard was replayed.
    fn belongs_to(&self, led: Option<LeaderEpoch>) -> bool {
        led == Some(self.epoch) || (led.is_some() && planted(Mutant::CoordinatorOutlivesLeadership))
    }

    /// The shard's state is ahead of the log, which refuses what it wrote.
    fn rests(&mut self) -> bool {
        self.flights.newest().is_some_and(|flight| !flight.refused.is_empty())
    }

    /// What left, and what each answer promised.
    fn take_answered(&mut self) -> Vec<(Address, u64, Answer, Promise)> {
        let mut answered = Vec::new();
        let mut waiting = Vec::with_capacity(self.asked.len());
        for mut asked in self.asked.drain(..) {
            match asked.answer.take() {
                Some(answer) => answered.push((asked.from, asked.request, answer, asked.promise)),
                None => waiting.push(asked),
            }
        }
        self.asked = waiting;
        answered
    }

    /// What the group has committed, as the shard has it.
    fn committed(&mut self, group_id: &str) -> Vec<CommittedTopic> {
        let (ticket, mut waiting) = ticket();
        let mut out = Output::default();
        self.shard.fetch(&FetchRequest { group_id: group_id.to_owned(), topics: None }, ticket, &mut out);
        out.release();
        waiting.take().unwrap_or_default()
    }
}

impl Awaited {
    fn take(&mut self) -> Option<Answer> {
        match self {
            Awaited::Join(waiting) => waiting.take().map(Answer::Join),
            Awaited::Sync(waiting) => waiting.take().map(Answer::Sync),
            Awaited::Heartbeat(waiting) => waiting.take().map(Answer::Heartbeat),
            Awaited::Commit(waiting) => waiting.take().map(Answer::Commit),
            Awaited::Fetch(waiting) => waiting.take().map(Answer::Fetch),
            Awaited::Leave(waiting) => waiting.take().map(|_| Answer::Left),
        }
    }
}

impl Process {
    /// The epoch in which the node leads the internal partition, as far as it knows.
    fn led_epoch(&self, internal: Partition) -> Option<LeaderEpoch> {
        match self.replicas.get(&internal)?.role() {
            Role::Leader(leader) => Some(leader.epoch()),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    /// Brings the coordinator in line with what the node leads.
    fn follow_leadership(&mut self, around: &mut Surroundings) {
        let led = self.led_epoch(around.internal);
        let stays = match (&self.coordinator, led) {
            (Some(coordinator), Some(epoch)) => coordinator.epoch == epoch || planted(Mutant::CoordinatorOutlivesLeadership),
            (Some(_), None) => planted(Mutant::CoordinatorOutlivesLeadership) || planted(Mutant::DeposedCoordinatorAnswers),
            (None, Some(_)) => false,
            (None, None) => true,
        };
        if !stays {
            self.coordinator = led.map(|epoch| self.load(epoch, around));
        }
        self.serve_once_committed(around);
    }

    /// Replays the partition to the end of the log.
    fn load(&self, epoch: LeaderEpoch, around: &mut Surroundings) -> Coordinator {
        let mut shard = GroupShard::new(settings(), Arc::new(GroupMetrics::default()));
        let end = self.log.view(around.internal).end;
        for record in self.log.read(around.internal, 0, usize::MAX) {
            let batch = around.oracle.batch(record.value).clone();
            if replay_batches(&batch, Offset(0), &mut shard).is_err() {
                around.oracle.fail(Violation::NotReplayed { node: self.me.node, epoch });
            }
        }
        let (flights, out) = (Flights::default(), Output::default());
        Coordinator { epoch, shard, loading: Some(end), flights, out, asked: Vec::new(), refusals: 0 }
    }

    fn serve_once_committed(&mut self, around: &mut Surroundings) {
        let high_watermark = self.replicas.get(&around.internal).map(|replica| replica.high_watermark()).unwrap_or_default();
        let is_present = self.is_present_coordinator(around);
        let Some(coordinator) = &mut self.coordinator else { return };
        let Some(end) = coordinator.loading else { return };
        if high_watermark < end && !planted(Mutant::ServesBeforeReplayCommitted) {
            return;
        }
        coordinator.loading = None;
        if is_present && high_watermark >= end {
            for group in around.oracle.groups.names() {
                let found = coordinator.committed(&group);
                around.oracle.replayed(&group, &found, self.me.node);
            }
        }
        coordinator.shard.loaded(now(around.now_ms), &mut coordinator.out);
        self.dispatch(around);
    }

    /// Whether the controller's newest version has the coordinator's leadership, too.
    fn is_present_coordinator(&self, around: &Surroundings) -> bool {
        let newest = around.controller.partitions().get(around.internal as usize);
        let epoch = self.coordinator.as_ref().map(|coordinator| coordinator.epoch);
        newest.is_some_and(|newest| Some(newest.leader_epoch) == epoch && newest.leader == self.me.node)
    }

    /// The log takes records of the coordinator.
    fn may_append(&self, around: &Surroundings) -> bool {
        match self.replicas.get(&around.internal).map(|replica| replica.role()) {
            Some(Role::Leader(leader)) => leader.check_append().is_ok(),
            _ => false,
        }
    }

    /// A member asks something.
    pub(crate) fn ask(&mut self, from: Address, request: u64, ask: Ask, around: &mut Surroundings) {
        self.follow_leadership(around);
        let may_append = self.may_append(around);
        let expected = match self.is_present_coordinator(around) {
            true => Some(around.oracle.groups.expected(ask.group_id())),
            false => None,
        };
        let fresh_id = (self.me.node.0 as u128) << 64 | (self.life as u128) << 32 | u128::from(self.fresh_ids);
        self.fresh_ids += 1;
        let unavailable = |answer| (from, Message::Answered { request, answer: Box::new(answer) });
        let leads = self.led_epoch(around.internal).is_some();
        let Some(coordinator) = self.coordinator.as_mut().filter(|_| leads) else {
            around.outbox.push(unavailable(Answer::NotCoordinator));
            return;
        };
        if coordinator.loading.is_some() || coordinator.rests() || (ask.may_write() && !may_append) {
            around.outbox.push(unavailable(Answer::Unavailable));
            return;
        }
        let promise = Promise::of(&ask, expected.unwrap_or_else(Expected::nothing));
        let answer = coordinator.do_ask(ask, fresh_id, around.now_ms);
        coordinator.asked.push(Asked { from, request, answer, promise });
        self.dispatch(around);
        self.after(around.internal, around);
    }

    /// What is due by time at the coordinator.
    pub(crate) fn tick_coordinator(&mut self, around: &mut Surroundings) {
        self.follow_leadership(around);
        self.bring(around);
        let may_append = self.may_append(around);
        let Some(coordinator) = &mut self.coordinator else { return };
        if coordinator.rests() {
            coordinator.refusals += 1;
            if coordinator.refusals > MAX_REFUSALS {
                self.coordinator = None;
            }
            return;
        }
        coordinator.refusals = 0;
        if coordinator.loading.is_none() && may_append {
            coordinator.shard.poll_timers(now(around.now_ms), &mut coordinator.out);
        }
        self.dispatch(around);
        self.after(around.internal, around);
    }

    /// The records of the coordinator's last operation go on their way.
    fn dispatch(&mut self, around: &mut Surroundings) {
        let Some(coordinator) = &mut self.coordinator else { return };
        let departed = coordinator.flights.depart(&mut coordinator.out, TimestampMs(around.now_ms as i64));
        assert!(departed.is_ok(), "small records make a batch");
        self.bring(around);
        self.answer_members(around);
    }

    /// Brings to the log what it has not taken yet.
    fn bring(&mut self, around: &mut Surroundings) {
        let (internal, epoch) = (around.internal, self.led_epoch(around.internal));
        let may_append = self.may_append(around);
        let Some(coordinator) = &mut self.coordinator else { return };
        let is_leader = coordinator.belongs_to(epoch);
        let (Some(epoch), Some(flight)) = (epoch.filter(|_| is_leader && may_append), coordinator.flights.newest()) else {
            return;
        };
        while let Some(batch) = flight.refused.pop_front() {
            let value = around.oracle.next_batch(Bytes::from(batch));
            let offset = self.log.append(internal, Record { epoch, value });
            flight.appends.push_back(Offset(offset as i64 + 1));
        }
        let view = self.log.view(internal);
        if let Some(leader) = self.replicas.get_mut(&internal).and_then(|replica| replica.leader_mut()) {
            leader.log_advanced(view);
        }
    }

    /// Lets go the answers that wait for nothing any more.
    pub(crate) fn answer_members(&mut self, around: &mut Surroundings) {
        let led = self.led_epoch(around.internal);
        let high_watermark = self.replicas.get(&around.internal).map(|replica| replica.high_watermark()).unwrap_or_default();
        let Some(coordinator) = &mut self.coordinator else { return };
        let leads = coordinator.belongs_to(led) || planted(Mutant::DeposedCoordinatorAnswers);
        let is_committed = |flight: &duolog_core::coordinator::Flight<Offset>| {
            flight.refused.is_empty() && flight.appends.iter().all(|end| *end <= high_watermark)
        };
        while leads && coordinator.flights.oldest().is_some_and(|flight| is_committed(flight)) {
            coordinator.flights.land();
        }
        for (from, request, answer, promise) in coordinator.take_answered() {
            around.oracle.answered(around.internal, &promise, &answer, self.me.node, around.now_ms);
            around.outbox.push((from, Message::Answered { request, answer: Box::new(answer) }));
        }
    }
}
