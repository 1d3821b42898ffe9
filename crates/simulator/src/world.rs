//! The event loop: virtual time, one event after the other, and the oracle after each.

use crate::client::Client;
use crate::controller::Controller;
use crate::delivery::{Consumer, Owner, Places, Resets};
use crate::faults::{Fault, kinds};
use crate::log::{Disk, Partition};
use crate::members::Member;
use crate::message::{Address, Message};
use crate::network::{Network, Weather};
use crate::node::{Node, Surroundings};
use crate::oracle::{Oracle, Violation};
use duolog_core::metadata::PartitionImage;
use duolog_replica::{Mutant, planted};
use duolog_sim::Random;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// When the first fault may strike: every node is registered and the topic exists.
const FAULTS_FROM_MS: u64 = 400;
/// When everything is healed.
pub(crate) const HEALED_MS: u64 = 7_400;
/// When everything must be well again; the last messages sent before arrive two seconds earlier.
const END_MS: u64 = 12_000;
/// The network of half of the seeds.
const STORM: Weather = Weather { lost: 40, repeated: 200, late: 250, very_late: 80 };
/// In so many runs of so many the nodes have the production log on a simulated disk.
const PRODUCTION_LOGS: (u64, u64) = (1, 16);
/// What is committed so long before the end must be delivered and done with by then.
const SETTLED_MS: u64 = 3_000;
/// How often it is looked whether groups are to begin anew.
const RESET_TICK_MS: u64 = 50;
/// In place of a partition where there is none.
const NOWHERE: usize = Partition::MAX as usize;
/// No seed has more events.
const MOST_EVENTS: u64 = 400_000;

/// What a run saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub faults: u64,
    pub acked: u64,
    pub committed: u64,
    /// Offsets of groups that were acknowledged.
    pub commits: u64,
    /// Records of share groups that were answered as done with, and delayed records that came.
    pub delivered: u64,
    pub came: u64,
    /// Follows from every event in order: equal for equal runs.
    pub fingerprint: u64,
}

/// A run that broke an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub at_ms: u64,
    pub events: u64,
    pub violation: Violation,
}

/// Is told every event, for people.
pub type Trace<'a> = &'a mut dyn FnMut(u64, &str);

#[derive(Debug)]
pub(crate) enum Event {
    Deliver { from: Address, to: Address, message: Message },
    Tick { node: usize, life: u64 },
    Synced { node: usize, life: u64, end: usize },
    Start { node: usize, life: u64 },
    ControllerTick,
    ClientTick { client: usize },
    MemberTick { member: usize },
    ConsumerTick { consumer: usize },
    OwnerTick { owner: usize },
    ResetTick,
    Fault,
    Healed,
}

struct Scheduled {
    at_ms: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at_ms, self.sequence) == (other.at_ms, other.sequence)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at_ms, self.sequence).cmp(&(other.at_ms, other.sequence))
    }
}

pub(crate) struct World<'a> {
    pub(crate) now_ms: u64,
    pub(crate) random: Random,
    queue: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) controller: Controller,
    pub(crate) network: Network,
    clients: Vec<Client>,
    pub(crate) members: Vec<Member>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) owners: Vec<Owner>,
    /// By partition.
    pub(crate) resets: Vec<Resets>,
    pub(crate) oracle: Oracle,
    /// The run plays delivery, and no groups.
    pub(crate) plays_delivery: bool,
    /// How much was committed of each partition a while before the end.
    settled: Vec<usize>,
    /// Of the topic; the last one is the internal one, which only the group coordinator writes, or the last two are those of delivery.
    pub(crate) partitions: usize,
    pub(crate) min_in_sync: usize,
    pub(crate) moves_replicas: bool,
    /// The faults of this run.
    pub(crate) kinds: Vec<u64>,
    /// The network is bad from the first fault on.
    is_stormy: bool,
    /// Nodes whose disk was lost, until the controller has heard of it and lets them in.
    pub(crate) wiped: BTreeSet<usize>,
    faults: u64,
    events: u64,
    fingerprint: u64,
    trace: Option<Trace<'a>>,
}

/// Which log the nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// The model or the production log, as the seed says.
    BySeed,
    /// The production log, whatever the seed says.
    Production,
}

/// Who uses the cluster besides producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// Members of groups.
    Groups,
    /// Consumers of share groups, and owners of delayed and half records.
    Delivery,
}

/// What a seed does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub logs: Logs,
    pub cast: Cast,
}

impl Setting {
    pub const GROUPS: Setting = Setting { logs: Logs::BySeed, cast: Cast::Groups };
    pub const DELIVERY: Setting = Setting { logs: Logs::BySeed, cast: Cast::Delivery };
}

/// Plays a seed to its end, or to the first violation.
pub fn run(seed: u64, trace: Option<Trace>) -> Result<Report, Failure> {
    run_in(Setting::GROUPS, seed, trace)
}

/// Plays a seed in this setting.
pub fn run_in(setting: Setting, seed: u64, trace: Option<Trace>) -> Result<Report, Failure> {
    let mut world = World::new(seed, setting, trace);
    world.begin();
    while let Some(Reverse(next)) = world.queue.pop().filter(|next| next.0.at_ms <= END_MS) {
        world.now_ms = next.at_ms;
        world.events += 1;
        assert!(world.events <= MOST_EVENTS, "seed {seed} never ends");
        world.note(&next.event);
        world.handle(next.event);
        world.oracle.judge_delivery();
        if world.oracle.violation().is_some() {
            break;
        }
    }
    world.check_end();
    match world.oracle.violation() {
        Some(violation) => Err(Failure { seed, at_ms: world.now_ms, events: world.events, violation: violation.clone() }),
        None => Ok(world.report()),
    }
}

impl<'a> World<'a> {
    fn new(seed: u64, Setting { logs, cast }: Setting, trace: Option<Trace<'a>>) -> World<'a> {
        let mut random = Random::new(seed);
        let nodes = 3 + random.below(3) as usize;
        let partitions = 1 + random.below(3) as usize;
        let min_in_sync = if random.chance(1, 5) { 1 } else { 2 };
        let moves_replicas = random.chance(1, 4);
        let is_stormy = random.chance(1, 2);
        let kinds = kinds(&mut random);
        let clients = (0..partitions * 2).map(|index| Client::new(index + 1, (index % partitions) as Partition)).collect();
        let mut members = members(&mut random);
        let plays_delivery = cast == Cast::Delivery;
        let (consumers, owners) = match plays_delivery {
            true => {
                members.clear();
                let consumer = |name| Consumer::new(name, (name % partitions) as Partition);
                let owners = 2 + random.below(2) as usize;
                ((0..partitions * 2 + 1).map(consumer).collect(), (0..owners).map(|_| Owner::new()).collect())
            }
            false => (Vec::new(), Vec::new()),
        };
        let internal = if plays_delivery { 2 } else { 1 };
        let on_disk = random.chance(PRODUCTION_LOGS.0, PRODUCTION_LOGS.1) || logs == Logs::Production;
        let disk = |index| if on_disk { Disk::real(seed.wrapping_add(index as u64)) } else { Disk::default() };
        let nodes = (0..nodes).map(|index| Node::new(index, disk(index))).collect();
        World {
            now_ms: 0,
            random,
            queue: BinaryHeap::new(),
            sequence: 0,
            nodes,
            controller: Controller::new(),
            network: Network::default(),
            clients,
            members,
            consumers,
            owners,
            resets: vec![Resets::default(); partitions],
            oracle: Oracle::new(plays_delivery),
            plays_delivery,
            settled: Vec::new(),
            partitions: partitions + internal,
            min_in_sync,
            moves_replicas,
            kinds,
            is_stormy,
            wiped: BTreeSet::new(),
            faults: 0,
            events: 0,
            fingerprint: seed,
            trace,
        }
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.schedule(node as u64, Event::Start { node, life: 0 });
        }
        self.schedule(50, Event::ControllerTick);
        for client in 0..self.clients.len() {
            self.schedule(300 + client as u64, Event::ClientTick { client });
        }
        for member in 0..self.members.len() {
            self.schedule(300 + member as u64, Event::MemberTick { member });
        }
        for consumer in 0..self.consumers.len() {
            self.schedule(300 + consumer as u64, Event::ConsumerTick { consumer });
        }
        for owner in 0..self.owners.len() {
            self.schedule(300 + owner as u64, Event::OwnerTick { owner });
        }
        if self.plays_delivery {
            self.schedule(300, Event::ResetTick);
        }
        self.schedule(FAULTS_FROM_MS, Event::Fault);
        self.schedule(HEALED_MS, Event::Healed);
    }

    pub(crate) fn schedule(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at_ms: self.now_ms + after_ms, sequence: self.sequence, event }));
    }

    /// Lets a node that is down come back.
    pub(crate) fn restart(&mut self, node: usize, after_ms: u64) {
        let life = self.nodes[node].life;
        self.schedule(after_ms, Event::Start { node, life });
    }

    fn note(&mut self, event: &Event) {
        let kind = match event {
            Event::Deliver { from, to, .. } => 8 + address_number(*from) * 64 + address_number(*to),
            Event::Tick { node, .. } => 4096 + *node as u64,
            Event::Synced { node, end, .. } => 8192 + *node as u64 + (*end as u64) * 16,
            Event::Start { node, .. } => 16384 + *node as u64,
            Event::ControllerTick => 1,
            Event::ClientTick { client } => 32768 + *client as u64,
            Event::MemberTick { member } => 65536 + *member as u64,
            Event::ConsumerTick { consumer } => 131072 + *consumer as u64,
            Event::OwnerTick { owner } => 262144 + *owner as u64,
            Event::Fault => 2,
            Event::Healed => 3,
            Event::ResetTick => 4,
        };
        for part in [self.now_ms, kind, self.oracle.total_committed(), self.controller.newest() as u64] {
            self.fingerprint = (self.fingerprint ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        }
        if let Some(trace) = &mut self.trace {
            trace(self.now_ms, &format!("{event:?}"));
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        if let Some(trace) = &mut self.trace {
            trace(self.now_ms, text);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Tick { node, life } => {
                if self.is_held_back(node, life, |node, life| Event::Tick { node, life }) {
                    return;
                }
                self.at_node(node, |node, around| node.tick(around));
                let next_ms = 15 + self.random.below(10);
                self.schedule(next_ms, Event::Tick { node, life });
            }
            Event::Synced { node, life, end } => {
                if !self.is_held_back(node, life, |node, life| Event::Synced { node, life, end }) {
                    self.synced(node, end);
                }
            }
            Event::Start { node, life } => self.start(node, life),
            Event::ControllerTick => self.controller_tick(),
            Event::ClientTick { client } => self.client_tick(client),
            Event::MemberTick { member } => self.member_tick(member),
            Event::ConsumerTick { consumer } => self.consumer_tick(consumer),
            Event::OwnerTick { owner } => self.owner_tick(owner),
            Event::ResetTick => {
                self.reset_tick();
                if self.now_ms + SETTLED_MS >= END_MS && self.settled.is_empty() {
                    self.settled = (0..self.partitions).map(|at| self.oracle.committed(at as Partition)).collect();
                }
                self.schedule(RESET_TICK_MS, Event::ResetTick);
            }
            Event::Fault => self.fault(),
            Event::Healed => self.heal(),
        }
    }

    /// Whether the event is of an earlier life, or the process is paused: then it comes when it goes on.
    fn is_held_back(&mut self, node: usize, life: u64, again: impl Fn(usize, u64) -> Event) -> bool {
        if self.nodes[node].life != life || self.nodes[node].process.is_none() {
            return true;
        }
        let paused_until_ms = self.nodes[node].paused_until_ms;
        if paused_until_ms > self.now_ms {
            self.schedule(paused_until_ms - self.now_ms, again(node, life));
            return true;
        }
        false
    }

    fn deliver(&mut self, from: Address, to: Address, message: Message) {
        match to {
            Address::Controller => {
                let newest = self.controller.newest();
                let answer = self.controller.answer(message, self.now_ms);
                self.committed_since(newest);
                if let Some(answer) = answer {
                    self.send(to, from, answer);
                }
            }
            Address::Node(node) => {
                let paused_until_ms = self.nodes[node].paused_until_ms;
                match paused_until_ms > self.now_ms {
                    true => self.schedule(paused_until_ms - self.now_ms, Event::Deliver { from, to, message }),
                    false => self.at_node(node, |node, around| node.take(from, message, around)),
                }
            }
            Address::Client(client) => self.produced(client, message),
            Address::Member(member) => self.member_answered(member, message),
            Address::Consumer(consumer) => {
                if let Message::Parcel(parcel) = message {
                    self.consumer_told(consumer, from, *parcel);
                }
            }
            Address::Owner(owner) => {
                if let Message::Parcel(parcel) = message {
                    self.owner_told(owner, *parcel);
                }
            }
        }
    }

    /// The index of the partition that the group coordinator stands on.
    pub(crate) fn internal(&self) -> usize {
        if self.plays_delivery { NOWHERE } else { self.partitions - 1 }
    }

    /// Those that delivery stands on, if the run plays it.
    pub(crate) fn places(&self) -> Option<Places> {
        let last = self.partitions as Partition - 1;
        self.plays_delivery.then_some(Places { states: last - 1, timers: last })
    }

    /// Mostly who asks knows the leader; sometimes he asks whom he knew.
    pub(crate) fn likely_leader(&mut self, partition: Partition) -> usize {
        let leader = self.controller.partitions().get(partition as usize).map_or(0, |known| known.leader.0.max(1) as usize - 1);
        if self.random.chance(9, 10) { leader } else { self.random.below(self.nodes.len() as u64) as usize }
    }

    pub(crate) fn send(&mut self, from: Address, to: Address, message: Message) {
        // Producers here are not idempotent: what is appended twice would be there twice. Members number their requests, not their commits.
        // So do consumers and owners.
        let is_once = matches!(message, Message::Produce { .. } | Message::Ask { .. });
        let copies = if is_once || matches!(from, Address::Consumer(_) | Address::Owner(_)) { 1 } else { 2 };
        for delay_ms in self.network.send(from, to, &mut self.random).into_iter().take(copies).flatten() {
            self.schedule(delay_ms, Event::Deliver { from, to, message: message.clone() });
        }
    }

    /// Something happens at a node; then its messages leave, its log is synced if need be, and the oracle looks.
    fn at_node(&mut self, index: usize, happens: impl FnOnce(&mut Node, &mut Surroundings)) {
        let mut outbox = Vec::new();
        let internal = self.internal() as Partition;
        let (places, wall_ms) = (self.places(), self.nodes[index].wall_ms(self.now_ms));
        let (controller, oracle) = (&self.controller, &mut self.oracle);
        let mut around = Surroundings { now_ms: self.now_ms, controller, oracle, outbox: &mut outbox, internal, places, wall_ms };
        happens(&mut self.nodes[index], &mut around);
        for (to, message) in outbox {
            self.send(Address::Node(index), to, message);
        }
        self.check_log(index);
        let node = &mut self.nodes[index];
        let Some(process) = &mut node.process else { return };
        let committed = std::mem::take(&mut process.committed);
        let stops = process.stops;
        if let Some(end) = process.log.unsynced().filter(|_| !process.syncing) {
            process.syncing = true;
            let (life, sync_ms) = (node.life, node.sync_ms);
            let after_ms = 1 + self.random.below(sync_ms);
            self.schedule(after_ms, Event::Synced { node: index, life, end });
        }
        for partition in committed {
            self.check_counted(partition, false);
        }
        if stops {
            self.say(&format!("node {} stops in order", index + 1));
            self.nodes[index].stop(&mut self.random);
            let after_ms = 50 + self.random.below(400);
            self.restart(index, after_ms);
        }
    }

    fn synced(&mut self, index: usize, end: usize) {
        let fails = std::mem::take(&mut self.nodes[index].sync_fails);
        if fails && !planted(Mutant::IgnoredSyncError) {
            self.say(&format!("node {} stops: its sync failed", index + 1));
            self.nodes[index].fail_sync(&mut self.random);
            let after_ms = 50 + self.random.below(400);
            self.restart(index, after_ms);
            return;
        }
        self.at_node(index, |node, around| {
            if let Some(process) = &mut node.process {
                process.synced(end, fails, around);
            }
        });
    }

    fn check_log(&mut self, index: usize) {
        let node = &self.nodes[index];
        if let Some(damage) = node.process.as_ref().and_then(|process| process.log.damage()) {
            self.oracle.fail(Violation::Damaged { node: node.id, damage: damage.to_owned() });
        }
    }

    fn start(&mut self, index: usize, life: u64) {
        if self.nodes[index].process.is_some() || self.nodes[index].life != life {
            return;
        }
        self.nodes[index].start();
        self.check_log(index);
        if self.plays_delivery {
            self.at_node(index, |node, around| node.look_at_clock(around));
        }
        let life = self.nodes[index].life;
        self.schedule(1, Event::Tick { node: index, life });
        for partition in 0..self.controller.partitions().len() {
            self.check_member(partition, index, true);
        }
    }

    /// The controller's log has grown: everybody is told, and the oracle looks at those who count now.
    fn committed_since(&mut self, before: usize) {
        let newest = self.controller.newest();
        if newest == before {
            return;
        }
        for node in 0..self.nodes.len() {
            self.send(Address::Controller, Address::Node(node), Message::Newest(newest));
        }
        let old = self.controller.images()[before].clone();
        let (nodes, now) = (&self.nodes, self.controller.image());
        self.wiped.retain(|node| {
            let known = now.nodes.get(&nodes[*node].id).filter(|known| known.is_live());
            known.is_none_or(|known| known.directories.iter().all(|known| known.id != nodes[*node].directory))
        });
        let known: Vec<PartitionImage> = old.topics.values().flat_map(|topic| topic.partitions.clone()).collect();
        for partition in 0..self.controller.partitions().len() {
            let now = &self.controller.partitions()[partition];
            let same = known.get(partition).is_some_and(|old| (&old.in_sync, &old.eligible) == (&now.in_sync, &now.eligible));
            if !same {
                self.check_counted(partition as Partition, true);
            }
        }
    }

    /// Those in sync or eligible hold what is committed: all of it, or the newest.
    fn check_counted(&mut self, partition: Partition, all: bool) {
        for node in 0..self.nodes.len() {
            self.check_member(partition as usize, node, all);
        }
    }

    fn check_member(&mut self, partition: usize, index: usize, all: bool) {
        let Some(image) = self.controller.partitions().get(partition) else { return };
        let node = &self.nodes[index];
        let counts = image.in_sync.contains(&node.id) || image.eligible.contains(&node.id);
        let Some(process) = node.process.as_ref().filter(|_| counts && !self.wiped.contains(&index)) else { return };
        match all {
            true => self.oracle.counts(partition as Partition, node.id, &process.log),
            false => self.oracle.counts_still(partition as Partition, node.id, &process.log),
        }
    }

    fn controller_tick(&mut self) {
        let newest = self.controller.newest();
        self.controller.tick(self.now_ms);
        if self.controller.partitions().is_empty() && self.controller.live_nodes() == self.nodes.len() {
            self.controller.create_topic(self.partitions, self.min_in_sync);
        }
        self.committed_since(newest);
        self.schedule(50, Event::ControllerTick);
    }

    fn client_tick(&mut self, index: usize) {
        if !self.clients[index].is_waiting(self.now_ms) {
            self.produce(index);
        }
        let next_ms = 10 + self.random.below(30);
        self.schedule(next_ms, Event::ClientTick { client: index });
    }

    fn produce(&mut self, index: usize) {
        let value = self.oracle.next_value();
        let client = &mut self.clients[index];
        let partition = client.partition;
        let request = client.send(value, self.now_ms);
        // Mostly it knows the leader; sometimes it asks whom it knew.
        let leader = self.controller.partitions().get(partition as usize).map_or(0, |known| known.leader.0.max(1) as usize - 1);
        let node = if self.random.chance(4, 5) { leader } else { self.random.below(self.nodes.len() as u64) as usize };
        self.send(Address::Client(index), Address::Node(node), Message::Produce { partition, request, value });
    }

    fn produced(&mut self, index: usize, message: Message) {
        let Message::Produced { request, offset } = message else { return };
        let partition = self.clients[index].partition;
        if let Some(value) = self.clients[index].answered(request)
            && let Some(offset) = offset
        {
            self.oracle.ack(partition, offset, value, self.now_ms);
            self.produce(index);
        }
    }

    fn fault(&mut self) {
        if self.now_ms >= HEALED_MS {
            return;
        }
        if self.faults == 0 && self.is_stormy {
            self.network.weather = STORM;
        }
        let fault = Fault::choose(self);
        self.say(&format!("fault: {fault:?}"));
        self.faults += 1;
        let newest = self.controller.newest();
        fault.strike(self);
        self.committed_since(newest);
        let next_ms = 10 + self.random.below(250);
        self.schedule(next_ms, Event::Fault);
    }

    fn heal(&mut self) {
        self.network.heal();
        self.network.weather = Weather::default();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            (node.paused_until_ms, node.sync_fails, node.sync_ms, node.wants_stop) = (0, false, 8, false);
            node.slip = None;
            if node.process.is_none() {
                self.restart(index, 1);
            }
        }
    }

    /// Within the time since everything was healed every partition leads, takes records, and its replicas hold what is committed.
    fn check_end(&mut self) {
        for partition in 0..self.partitions {
            let Some(image) = self.controller.partitions().get(partition).cloned() else {
                self.oracle.fail(Violation::NotHealed { partition: partition as Partition, what: "it was never created" });
                return;
            };
            let number = partition as Partition;
            let is_written_by_nodes = self.places().is_some_and(|places| number >= places.states);
            let acked_ms = self.oracle.last_acked_ms(number);
            let recent = is_written_by_nodes || acked_ms.is_some_and(|acked_ms| acked_ms + 1000 >= END_MS);
            let hold = image.replicas.iter().all(|node| {
                let process = self.nodes[node.0 as usize - 1].process.as_ref();
                process.is_some_and(|process| self.oracle.holds_most(number, &process.log))
            });
            let what = match () {
                () if image.in_sync.len() < image.replicas.len() => "a replica is not in sync",
                () if !recent => "nothing is acknowledged",
                () if !hold => "a replica lacks what is committed",
                () => continue,
            };
            self.say(&format!("{image:?} of {:?}", self.controller.image().nodes));
            self.oracle.fail(Violation::NotHealed { partition: number, what });
        }
        self.check_delivery();
        let internal = self.internal() as Partition;
        for member in &self.members {
            let acked_ms = self.oracle.groups.last_acked_ms(&member.group);
            if acked_ms.is_none_or(|acked_ms| acked_ms + 1500 < END_MS) {
                self.oracle.fail(Violation::NotHealed { partition: internal, what: "a group commits nothing" });
            }
        }
    }

    /// What was there a while ago is delivered and done with.
    fn check_delivery(&mut self) {
        let Some(places) = self.places() else { return };
        for partition in 0..places.states {
            let image = &self.controller.partitions()[partition as usize];
            let (node, state_epoch) = (image.leader, self.resets[partition as usize].stored);
            let end = self.settled.get(partition as usize).copied().unwrap_or_default();
            self.oracle.shares.check_done(partition, state_epoch, end as i64, node);
        }
        self.oracle.dues.check_come(END_MS - SETTLED_MS);
        self.oracle.judge_delivery();
    }

    fn report(&self) -> Report {
        let (acked, committed, commits) = (self.oracle.acked(), self.oracle.total_committed(), self.oracle.groups.acked());
        let (delivered, came) = (self.oracle.shares.acked(), self.oracle.dues.came());
        let (events, faults, fingerprint) = (self.events, self.faults, self.fingerprint);
        Report { events, faults, acked, committed, commits, delivered, came, fingerprint }
    }
}

fn address_number(address: Address) -> u64 {
    match address {
        Address::Controller => 0,
        Address::Node(node) => 1 + node as u64,
        Address::Client(client) => 16 + client as u64,
        Address::Member(member) => 32 + member as u64,
        Address::Consumer(consumer) => 40 + consumer as u64,
        Address::Owner(owner) => 56 + owner as u64,
    }
}

/// One or two groups of two or three; some members are static.
fn members(random: &mut Random) -> Vec<Member> {
    let mut members = Vec::new();
    for group in 0..1 + random.below(2) {
        for member in 0..2 + random.below(2) {
            let instance_id = random.chance(1, 3).then(|| format!("static-{member}"));
            members.push(Member::new(format!("group-{group}"), instance_id));
        }
    }
    members
}
