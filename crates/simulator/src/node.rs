//! The shell of a node: carries messages, runs the log, does what the replicas decide. It decides nothing itself.

use crate::controller::Controller;
use crate::coordinator::Coordinator;
use crate::delivery::{Delivery, Places};
use crate::log::{Disk, Log, Partition, Record};
use crate::message::{Address, Message};
use crate::oracle::{Oracle, Violation};
use duolog_base::{DirectoryId, NodeId, Offset, PartitionIndex};
use duolog_core::metadata::{AlterPartition, Heartbeat, MetadataImage, NodeDirectory, Registration};
use duolog_replica::{
    AckOutcome, FetchGrant, FetchRefusal, FollowerFetch, FollowerStep, Incarnation, Mutant, PartitionState, Replica,
    ReplicationLimits, Role, Ticket, planted,
};
use duolog_sim::Random;
use std::collections::BTreeMap;

const LIMITS: ReplicationLimits = ReplicationLimits { lag_ms: 600, proposal_retry_ms: 150 };
const HEARTBEAT_MS: u64 = 100;
const FETCH_TIMEOUT_MS: u64 = 200;
/// Records that one fetch brings at most.
const FETCH_RECORDS: usize = 20;

/// What a node reaches while it handles an event.
pub struct Surroundings<'a> {
    pub now_ms: u64,
    pub controller: &'a Controller,
    pub oracle: &'a mut Oracle,
    pub outbox: &'a mut Vec<(Address, Message)>,
    /// The partition that the group coordinator stands on.
    pub internal: Partition,
    /// Those that delivery stands on, if the run plays it.
    pub places: Option<Places>,
    /// What the clock of the node shows.
    pub wall_ms: i64,
}

/// A machine: its disk, and the process if it runs.
pub struct Node {
    pub id: NodeId,
    /// Counts the starts of the process.
    pub life: u64,
    pub process: Option<Process>,
    /// While the process does not run.
    disk: Disk,
    pub directory: DirectoryId,
    /// How much of the metadata log its disk holds.
    metadata: usize,
    /// Events before are held back.
    pub paused_until_ms: u64,
    pub sync_fails: bool,
    pub sync_ms: u64,
    pub wants_stop: bool,
    /// By how much its clock is wrong, and until when.
    pub slip: Option<(i64, u64)>,
}

pub struct Process {
    pub(crate) me: Incarnation,
    pub(crate) life: u64,
    incarnation: String,
    pub log: Log,
    applied: usize,
    pub(crate) replicas: BTreeMap<Partition, Replica>,
    fetches: BTreeMap<Partition, (FollowerFetch, u64)>,
    /// High watermarks as far as the oracle knows them.
    shown: BTreeMap<Partition, Offset>,
    waiting: BTreeMap<Ticket, (usize, usize)>,
    pub syncing: bool,
    last_heartbeat_ms: u64,
    /// More became committed by the last event.
    pub committed: Vec<Partition>,
    /// It ends now, in order, and is started again.
    pub stops: bool,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) delivery: Delivery,
    /// Ids given to members so far.
    pub(crate) fresh_ids: u32,
}

impl Node {
    pub fn new(index: usize, disk: Disk) -> Node {
        let id = NodeId(index as i32 + 1);
        Node {
            id,
            life: 0,
            process: None,
            disk,
            directory: DirectoryId(1000 + index as u128),
            metadata: 0,
            paused_until_ms: 0,
            sync_fails: false,
            sync_ms: 8,
            wants_stop: false,
            slip: None,
        }
    }

    /// What its clock shows.
    pub fn wall_ms(&self, now_ms: u64) -> i64 {
        let slip = self.slip.filter(|(_, until_ms)| now_ms < *until_ms);
        now_ms as i64 + slip.map_or(0, |(by_ms, _)| by_ms)
    }

    pub fn start(&mut self) {
        self.life += 1;
        // A clock is set right before a process starts: it has nothing else to go by then.
        (self.wants_stop, self.slip) = (false, None);
        self.process = Some(Process {
            me: Incarnation { node: self.id, epoch: None },
            life: self.life,
            incarnation: format!("{}.{}", self.id, self.life),
            log: Log::open(std::mem::take(&mut self.disk)),
            applied: self.metadata,
            replicas: BTreeMap::new(),
            fetches: BTreeMap::new(),
            shown: BTreeMap::new(),
            waiting: BTreeMap::new(),
            syncing: false,
            last_heartbeat_ms: 0,
            committed: Vec::new(),
            stops: false,
            coordinator: None,
            delivery: Delivery::default(),
            fresh_ids: 0,
        });
    }

    /// The process dies, if it runs.
    pub fn kill(&mut self, random: &mut Random) {
        self.end(random, |log, _| log.kill());
    }

    fn end(&mut self, random: &mut Random, leave: impl FnOnce(Log, &mut Random) -> Disk) {
        let Some(process) = self.process.take() else { return };
        // The newest metadata may not have been written yet.
        self.metadata = process.applied.saturating_sub(random.below(4) as usize);
        self.disk = leave(process.log, random);
        self.life += 1;
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        self.kill(random);
        self.disk.lose_power(random);
    }

    /// The disk says that a sync failed: the process stops, as it must.
    pub fn fail_sync(&mut self, random: &mut Random) {
        self.end(random, |log, random| log.fail_sync(random));
    }

    /// The process ends in order.
    pub fn stop(&mut self, random: &mut Random) {
        self.end(random, |mut log, _| {
            log.close();
            log.kill()
        });
    }

    /// The machine comes back with an empty disk. If it does not keep its identity, the directory is another one.
    pub fn wipe(&mut self, keeps_identity: bool, random: &mut Random) {
        self.kill(random);
        self.disk = self.disk.another(random);
        self.metadata = 0;
        if !keeps_identity {
            self.directory = DirectoryId(self.directory.0 + 1000);
        }
    }

    pub fn registration(&self) -> Option<Registration> {
        let incarnation = self.process.as_ref()?.incarnation.clone();
        let directories = vec![NodeDirectory { id: self.directory, path: "/data".into() }];
        Some(Registration { node: self.id, incarnation, rack: None, directories, endpoints: Vec::new() })
    }

    /// As the service of timers does when it starts.
    pub fn look_at_clock(&mut self, around: &Surroundings) {
        if let Some(process) = &mut self.process {
            process.timer_now(around);
        }
    }

    /// What is due by time.
    pub fn tick(&mut self, around: &mut Surroundings) {
        let registration = self.registration();
        let wants_stop = self.wants_stop;
        let Some(process) = &mut self.process else { return };
        if around.now_ms >= process.last_heartbeat_ms + HEARTBEAT_MS {
            process.last_heartbeat_ms = around.now_ms;
            let (node, applied) = (self.id, process.applied as u64);
            let message = match process.me.epoch {
                None => registration.map(Message::Register),
                Some(epoch) => Some(Message::Heartbeat(Heartbeat { node, epoch, applied, wants_stop })),
            };
            around.outbox.extend(message.map(|message| (Address::Controller, message)));
        }
        process.fetch_all(around);
        process.propose_all(around);
        process.tick_coordinator(around);
        process.tick_delivery(around);
    }

    pub fn take(&mut self, from: Address, message: Message, around: &mut Surroundings) {
        let Some(process) = &mut self.process else { return };
        match message {
            // A life has one epoch. If it was given another one since, the heartbeats will tell.
            Message::Registered { incarnation, epoch } if incarnation == process.incarnation && process.me.epoch.is_none() => {
                process.me.epoch = Some(epoch);
                process.act(around);
            }
            Message::Beat { epoch, answer, newest } if process.me.epoch == Some(epoch) => {
                process.stops |= self.wants_stop && answer.may_stop;
                process.apply(newest, around);
            }
            // It may be a registration of an earlier life that came late; a process cannot tell, so it starts again.
            Message::Superseded { epoch } if process.me.epoch == Some(epoch) => process.stops = true,
            Message::Newest(newest) => process.apply(newest, around),
            Message::Altered { partition, number, state } => process.altered(partition, number, state, around),
            Message::Fetch { partition, request } => process.serve(from, partition, request, around),
            Message::Fetched { partition, request, answer, records } => {
                process.fetched(partition, request, answer, &records, around);
            }
            Message::Produce { partition, request, value } => process.produce(from, partition, request, value, around),
            Message::Ask { request, ask } => process.ask(from, request, *ask, around),
            Message::Parcel(parcel) => process.take_parcel(from, *parcel, around),
            // An answer to an earlier life.
            _ => {}
        }
    }
}

impl Process {
    /// Applies the metadata log up to `newest`, one version after the other.
    fn apply(&mut self, newest: usize, around: &mut Surroundings) {
        while self.applied < newest {
            self.applied += 1;
            self.act(around);
        }
    }

    /// Obeys the version that is applied, if it may.
    fn act(&mut self, around: &mut Surroundings) {
        let image = around.controller.images()[self.applied].clone();
        if self.me.epoch.is_none() || !self.me.may_act_on(image.broker_epoch(self.me.node)) {
            return;
        }
        for topic in image.topics.values() {
            for partition in &topic.partitions {
                let number = partition.number.0;
                if !partition.replicas.contains(&self.me.node) {
                    self.drop_replica(number);
                    continue;
                }
                let view = self.log.view(number);
                let replica = self.replicas.entry(number).or_insert_with(|| Replica::new(self.me, view));
                let followed = replica.follower_mut().map(|follower| follower.epoch());
                let assumed = replica.assume(&topic.partition_state(partition), view, around.now_ms);
                let follows_anew = matches!(replica.role(), Role::Follower(follower) if Some(follower.epoch()) != followed);
                if follows_anew && planted(Mutant::TruncateToHighWatermark) {
                    let known = replica.high_watermark().min(view.end);
                    self.log.cut(number, known.0 as usize);
                }
                if let Some(epoch) = assumed.leads {
                    self.log.begin_epoch(number, epoch);
                    let newest = around.controller.partitions().get(number as usize);
                    let is_present = newest.is_some_and(|newest| newest.leader_epoch == epoch);
                    around.oracle.leads(number, epoch, is_present, self.me.node, &self.log);
                }
                self.answer_producers(assumed.resigned, around);
                self.after(number, around);
            }
        }
    }

    fn drop_replica(&mut self, partition: Partition) {
        self.replicas.remove(&partition);
        self.shown.remove(&partition);
        self.log.drop_partition(partition);
    }

    fn image<'a>(&self, around: &Surroundings<'a>) -> &'a MetadataImage {
        &around.controller.images()[self.applied]
    }

    /// The node that leads a partition, as far as this one knows.
    pub(crate) fn leader_of(&self, partition: Partition, around: &Surroundings) -> Option<Address> {
        let topic = self.image(around).topics.values().next()?;
        let leader = topic.partitions.get(partition as usize)?.leader;
        (leader.0 > 0).then(|| Address::Node(leader.0 as usize - 1))
    }

    fn fetch_all(&mut self, around: &mut Surroundings) {
        let partitions: Vec<Partition> = self.replicas.keys().copied().collect();
        for partition in partitions {
            if let Some((request, sent_ms)) = self.fetches.get(&partition)
                && around.now_ms >= sent_ms + FETCH_TIMEOUT_MS
                && let Some(follower) = self.replicas.get_mut(&partition).and_then(Replica::follower_mut)
            {
                follower.give_up(request.number);
            }
            self.fetch(partition, around);
        }
    }

    fn fetch(&mut self, partition: Partition, around: &mut Surroundings) {
        let view = self.log.view(partition);
        let Some(follower) = self.replicas.get_mut(&partition).and_then(Replica::follower_mut) else { return };
        let leader = Address::Node(follower.leader().0 as usize - 1);
        if let Some(request) = follower.next_fetch(view) {
            self.fetches.insert(partition, (request.clone(), around.now_ms));
            around.outbox.push((leader, Message::Fetch { partition, request }));
        }
    }

    fn propose_all(&mut self, around: &mut Surroundings) {
        let image = self.image(around);
        let peers = image.peers();
        for (partition, replica) in &mut self.replicas {
            let Some(leader) = replica.leader_mut() else { continue };
            leader.meet(&peers);
            let Some(proposal) = leader.propose(&peers, &LIMITS, around.now_ms) else { continue };
            let (Some(topic), Some(broker_epoch)) = (image.topics.values().next(), self.me.epoch) else { continue };
            let index = PartitionIndex(*partition as i32);
            let request = AlterPartition { node: self.me.node, broker_epoch, topic: topic.id, index, proposal };
            around.outbox.push((Address::Controller, Message::Alter { partition: *partition, request }));
        }
    }

    fn altered(&mut self, partition: Partition, number: u64, state: Option<PartitionState>, around: &mut Surroundings) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        match (state, replica.leader_mut()) {
            (Some(state), _) => replica.accepted(&state, around.now_ms),
            (None, Some(leader)) => leader.refused(number),
            (None, None) => {}
        }
        self.after(partition, around);
    }

    fn serve(&mut self, from: Address, partition: Partition, request: FollowerFetch, around: &mut Surroundings) {
        let view = self.log.view(partition);
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let log = &self.log;
        let answer = replica.fetch(&request, view, &|epoch| log.epoch_end(partition, epoch), around.now_ms);
        let records = match answer {
            Ok(_) => self.log.read(partition, request.offset.0 as usize, FETCH_RECORDS),
            Err(_) => Vec::new(),
        };
        around.outbox.push((from, Message::Fetched { partition, request, answer, records }));
        self.after(partition, around);
    }

    fn fetched(
        &mut self,
        partition: Partition,
        request: FollowerFetch,
        answer: Result<FetchGrant, FetchRefusal>,
        records: &[Record],
        around: &mut Surroundings,
    ) {
        let view = self.log.view(partition);
        let Some(follower) = self.replicas.get_mut(&partition).and_then(Replica::follower_mut) else { return };
        let log = &self.log;
        let step = follower.answered(&request, answer, view, &|epoch| log.epoch_end(partition, epoch));
        match (step, answer) {
            (FollowerStep::Append, Ok(grant)) => {
                let fresh = self.fresh(partition, &request, records, view.end, around);
                for record in fresh {
                    self.log.replicate(partition, *record);
                }
                let view = self.log.view(partition);
                if let Some(follower) = self.replicas.get_mut(&partition).and_then(Replica::follower_mut) {
                    follower.appended(grant, view);
                }
                if !fresh.is_empty() {
                    self.fetch(partition, around);
                }
            }
            (FollowerStep::Cut { to }, _) => {
                self.log.cut(partition, to.0 as usize);
                self.fetch(partition, around);
            }
            (FollowerStep::Quarantine { committed, cut }, _) => {
                around.oracle.fail(Violation::Quarantined { partition, node: self.me.node, committed, cut });
            }
            _ => {}
        }
        self.after(partition, around);
    }

    /// The records that go behind the log. Where answers are taken only if they are awaited, that is all of them.
    fn fresh<'a>(
        &self,
        partition: Partition,
        request: &FollowerFetch,
        records: &'a [Record],
        end: Offset,
        around: &mut Surroundings,
    ) -> &'a [Record] {
        if request.offset != end && !planted(Mutant::StaleAnswersApplied) {
            around.oracle.fail(Violation::Misfit { partition, node: self.me.node });
        }
        match usize::try_from(end.0 - request.offset.0) {
            Ok(overlap) => records.get(overlap..).unwrap_or(&[]),
            Err(_) => &[],
        }
    }

    fn produce(&mut self, from: Address, partition: Partition, request: u64, value: u64, around: &mut Surroundings) {
        let Address::Client(client) = from else { return };
        let refused = (from, Message::Produced { request, offset: None });
        let Some(leader) = self.replicas.get_mut(&partition).and_then(Replica::leader_mut) else {
            around.outbox.push(refused);
            return;
        };
        if leader.check_append().is_err() {
            around.outbox.push(refused);
            return;
        }
        let offset = self.log.append(partition, Record { epoch: leader.epoch(), value });
        leader.log_advanced(self.log.view(partition));
        self.waiting.insert(Ticket(request), (client, offset));
        if leader.wait(Offset(offset as i64 + 1), Ticket(request)).is_err() {
            around.outbox.push(refused);
        }
        self.after(partition, around);
    }

    /// A sync of everything before `end` of the log has come back. That it failed is told to a mutant only.
    pub fn synced(&mut self, end: usize, failed: bool, around: &mut Surroundings) {
        self.syncing = false;
        match failed {
            true => self.log.ignore_failed_sync(end),
            false => self.log.synced(end),
        }
        let partitions: Vec<Partition> = self.replicas.keys().copied().collect();
        for partition in partitions {
            let view = self.log.view(partition);
            if let Some(leader) = self.replicas.get_mut(&partition).and_then(Replica::leader_mut) {
                leader.log_advanced(view);
            }
            self.after(partition, around);
        }
    }

    /// Tells readers and producers what an event has brought.
    pub(crate) fn after(&mut self, partition: Partition, around: &mut Surroundings) {
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let high_watermark = replica.high_watermark();
        let answered = replica.leader_mut().map(|leader| leader.take_answered()).unwrap_or_default();
        let shown = self.shown.entry(partition).or_default();
        if *shown != high_watermark {
            let before = std::mem::replace(shown, high_watermark);
            if around.oracle.shown(partition, self.me.node, &self.log, before, high_watermark) {
                self.committed.push(partition);
            }
        }
        self.answer_producers(answered, around);
        if partition == around.internal {
            self.answer_members(around);
        }
        self.delivery_after(partition, around);
    }

    fn answer_producers(&mut self, answered: Vec<(Ticket, AckOutcome)>, around: &mut Surroundings) {
        for (ticket, outcome) in answered {
            let Some((client, offset)) = self.waiting.remove(&ticket) else { continue };
            let offset = (outcome == AckOutcome::Committed).then_some(offset);
            around.outbox.push((Address::Client(client), Message::Produced { request: ticket.0, offset }));
        }
    }
}
