//! Groups driven by hand: virtual time, answers read when they are there, records kept to be replayed.

mod full_disk;
mod locks;
mod membership;
mod offsets;
mod random;
mod small_log;
mod static_members;

use super::request::{
    CommitPartition, CommitRequest, CommitTopic, Departed, Departure, FetchRequest, HeartbeatRequest, JoinAnswer, JoinRequest,
    JoinedGeneration, LeaveRequest, Protocol, SyncAnswer, SyncRequest, TopicOutcome,
};
use super::{GroupError, GroupSettings, GroupShard};
use crate::coordinator::{Now, Output, Record, Shard, Ticket, Waiting, ticket};
use bytes::Bytes;
use duolog_base::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};
use duolog_wire::kafka::Encoder;
use duolog_wire::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use std::sync::Arc;

pub(super) const GROUP: &str = "orders-readers";
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;
pub(super) const DELAY_MS: u64 = 3_000;
pub(super) const RETENTION_MS: i64 = 7 * 24 * 3_600_000;
const WALL_START_MS: i64 = 1_700_000_000_000;

pub(super) fn settings() -> GroupSettings {
    GroupSettings {
        initial_rebalance_delay_ms: DELAY_MS,
        min_session_timeout_ms: 6_000,
        max_session_timeout_ms: 1_800_000,
        max_size: 1_000,
        new_member_join_timeout_ms: 300_000,
        offset_metadata_max: 4_096,
        max_record_bytes: 100_000,
        offsets_retention_ms: RETENTION_MS,
        expiry_interval_ms: 600_000,
    }
}

/// One shard, its clock, and all it ever wrote.
pub(super) struct World {
    pub(super) shard: GroupShard,
    pub(super) now_ms: u64,
    pub(super) records: Vec<Record>,
    fresh_ids: u128,
}

impl World {
    pub(super) fn new() -> World {
        World::with(settings())
    }

    pub(super) fn with(settings: GroupSettings) -> World {
        let mut world = World {
            shard: GroupShard::new(Arc::new(settings), Arc::default()),
            now_ms: 1_000,
            records: Vec::new(),
            fresh_ids: 0,
        };
        world.act(|shard, now, out| shard.loaded(now, out));
        world
    }

    /// A shard that knows only what was written, as after a restart at this moment.
    pub(super) fn restarted(&self) -> World {
        let settings = self.shard.settings.clone();
        let mut shard = GroupShard::new(settings, Arc::default());
        for record in &self.records {
            shard.replay(&record.key, record.value.as_deref()).expect("its own records");
        }
        let mut world =
            World { shard, now_ms: self.now_ms, records: self.records.clone(), fresh_ids: self.fresh_ids + 1_000_000 };
        world.act(|shard, now, out| shard.loaded(now, out));
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, wall: TimestampMs(WALL_START_MS + self.now_ms as i64) }
    }

    fn act(&mut self, operation: impl FnOnce(&mut GroupShard, Now, &mut Output)) {
        let (now, mut out) = (self.now(), Output::default());
        operation(&mut self.shard, now, &mut out);
        self.records.extend(out.take_records());
        out.release();
    }

    pub(super) fn ask<T>(&mut self, operation: impl FnOnce(&mut GroupShard, Ticket<T>, Now, &mut Output)) -> Waiting<T> {
        let (ticket, waiting) = ticket();
        self.act(|shard, now, out| operation(shard, ticket, now, out));
        waiting
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.shard.next_deadline().filter(|due| *due <= end) {
            self.now_ms = self.now_ms.max(due);
            self.act(|shard, now, out| shard.poll_timers(now, out));
            assert!(self.shard.next_deadline().is_none_or(|next| next > self.now_ms), "timers that are due have been done");
        }
        self.now_ms = end;
    }

    pub(super) fn join(&mut self, request: JoinRequest) -> Waiting<JoinAnswer> {
        self.fresh_ids += 1;
        let fresh_id = self.fresh_ids;
        self.ask(|shard, ticket, now, out| shard.join(request, fresh_id, ticket, now, out))
    }

    /// Joins as clients do: a first time for an id, then with it.
    pub(super) fn join_dynamic(&mut self, client: &str, topics: &[&str]) -> (String, Waiting<JoinAnswer>) {
        let mut request = join_request(client, topics);
        let answer = self.join(request.clone()).take().expect("an id at once");
        assert_eq!(answer.outcome, Err(GroupError::MemberIdRequired));
        request.member_id = answer.member_id.clone();
        (answer.member_id, self.join(request))
    }

    pub(super) fn rejoin(&mut self, client: &str, topics: &[&str], member_id: &str) -> Waiting<JoinAnswer> {
        let mut request = join_request(client, topics);
        request.member_id = member_id.to_owned();
        self.join(request)
    }

    pub(super) fn sync(
        &mut self,
        member: &str,
        generation: i32,
        shares: &[(&str, &str)],
    ) -> Waiting<Result<SyncAnswer, GroupError>> {
        let request = SyncRequest {
            group_id: GROUP.into(),
            generation,
            member_id: member.into(),
            instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: shares.iter().map(|(id, share)| ((*id).to_owned(), Bytes::from((*share).to_owned()))).collect(),
        };
        self.ask(|shard, ticket, now, out| shard.sync(request, ticket, now, out))
    }

    pub(super) fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        let request = HeartbeatRequest { group_id: GROUP.into(), generation, member_id: member.into(), instance_id: None };
        self.ask(|shard, ticket, now, out| shard.heartbeat(request, ticket, now, out)).take().expect("answered at once")
    }

    pub(super) fn leave(&mut self, member_id: &str, instance_id: Option<&str>) -> Vec<Departed> {
        let departure = Departure { member_id: member_id.into(), instance_id: instance_id.map(str::to_owned), reason: None };
        let request = LeaveRequest { group_id: GROUP.into(), members: vec![departure] };
        let mut answer = self.ask(|shard, ticket, now, out| shard.leave(request, ticket, now, out));
        answer.take().expect("answered at once").expect("a valid request")
    }

    pub(super) fn commit(&mut self, member: &str, generation: i32, topic: &str, offset: i64) -> Result<(), GroupError> {
        self.commit_request(commit_request(member, generation, topic, offset)).map(|outcomes| {
            for partition in outcomes.iter().flat_map(|topic| &topic.partitions) {
                assert_eq!(partition.outcome, Ok(()));
            }
        })
    }

    pub(super) fn commit_request(&mut self, request: CommitRequest) -> Result<Vec<TopicOutcome>, GroupError> {
        self.ask(|shard, ticket, now, out| shard.commit(request, ticket, now, out)).take().expect("answered at once")
    }

    pub(super) fn committed(&mut self, topic: &str) -> Option<i64> {
        let request = FetchRequest { group_id: GROUP.into(), topics: None };
        let found = self.ask(|shard, ticket, _, out| shard.fetch(&request, ticket, out)).take().expect("answered at once");
        let topic = found.iter().find(|found| found.name == topic)?;
        Some(topic.partitions.first()?.committed.as_ref()?.offset.0)
    }

    pub(super) fn state(&self) -> &'static str {
        self.shard.groups.get(GROUP).map_or("Dead", |group| group.state.name())
    }

    /// A stable group of so many members with shares "0", "1", ...; the leader comes first.
    pub(super) fn stable(&mut self, size: usize) -> (i32, Vec<String>) {
        let (ids, mut answers): (Vec<_>, Vec<_>) =
            (0..size).map(|at| self.join_dynamic(&format!("client-{at}"), &["orders"])).unzip();
        self.advance(2 * DELAY_MS);
        let generation = joined(&mut answers[0]);
        let leader = generation.leader.clone();
        self.share_out(&leader, generation.generation, &ids);
        let mut ids = ids;
        ids.sort_by_key(|id| *id != leader);
        (generation.generation, ids)
    }

    /// The leader gives each member its number, and everybody comes for it.
    pub(super) fn share_out(&mut self, leader: &str, generation: i32, members: &[String]) {
        let shares: Vec<String> = (0..members.len()).map(|at| at.to_string()).collect();
        let shares: Vec<(&str, &str)> = members.iter().map(String::as_str).zip(shares.iter().map(String::as_str)).collect();
        for (member, share) in &shares {
            let own: &[(&str, &str)] = if *member == leader { &shares } else { &[] };
            let mut answer = self.sync(member, generation, own);
            if let Some(answer) = answer.take() {
                assert_eq!(answer.expect("a share").assignment, share.as_bytes());
            }
        }
        for member in members {
            assert_eq!(self.heartbeat(member, generation), Ok(()));
        }
        assert_eq!(self.state(), "Stable");
    }
}

pub(super) fn join_request(client: &str, topics: &[&str]) -> JoinRequest {
    JoinRequest {
        group_id: GROUP.into(),
        member_id: String::new(),
        instance_id: None,
        client_id: client.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", topics), protocol("roundrobin", topics)],
        reason: None,
        takes_member_id: true,
        can_skip_assignment: true,
    }
}

pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut encoder = Encoder::new();
    encoder.i16(1);
    let subscription = ConsumerProtocolSubscription { topics: topics.to_vec(), ..Default::default() };
    subscription.encode(&mut encoder, 1).expect("a short subscription");
    Protocol { name: name.into(), metadata: Bytes::copy_from_slice(encoder.buffer()) }
}

pub(super) fn commit_request(member: &str, generation: i32, topic: &str, offset: i64) -> CommitRequest {
    let partition = CommitPartition {
        partition: PartitionIndex(0),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(3),
        metadata: "mine".into(),
    };
    CommitRequest {
        group_id: GROUP.into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        retention_ms: None,
        knows_group_not_found: true,
        topics: vec![CommitTopic { name: topic.into(), id: TopicId(7), partitions: vec![partition] }],
    }
}

pub(super) fn joined(answer: &mut Waiting<JoinAnswer>) -> JoinedGeneration {
    answer.take().expect("the join phase is over").outcome.expect("a place in the generation")
}

pub(super) fn refusal(answer: &mut Waiting<JoinAnswer>) -> GroupError {
    answer.take().expect("answered").outcome.expect_err("refused")
}
