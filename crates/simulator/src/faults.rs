//! What goes wrong, chosen by the seed. No fault goes beyond what the protocol promises to survive: a disk is lost only while
//! somebody else holds all that is committed.

use crate::message::Address;
use crate::network::Weather;
use crate::world::World;
use duolog_base::NodeId;
use duolog_replica::{Mutant, planted};
use duolog_sim::Random;

/// How faults are numbered when they are chosen; what happens more often has several numbers.
const KINDS: u64 = 34;
/// So many faults of so many are wrong clocks, where anything depends on clocks.
const CLOCK_SLIPS: (u64, u64) = (1, 8);

/// Those that may happen in a run: all of them in half of the runs, about half of them in the others.
pub(crate) fn kinds(random: &mut Random) -> Vec<u64> {
    let all = random.chance(1, 2);
    let some: Vec<u64> = (0..KINDS).filter(|_| all || random.chance(1, 2)).collect();
    if some.is_empty() { (0..KINDS).collect() } else { some }
}

/// One thing that goes wrong, or is asked for by an operator at a bad moment.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Kill {
        node: usize,
    },
    PowerLoss {
        node: usize,
    },
    /// All nodes lose power at once.
    Blackout,
    Pause {
        node: usize,
        pause_ms: u64,
    },
    SyncFails {
        node: usize,
    },
    SlowDisk {
        node: usize,
    },
    Wipe {
        node: usize,
    },
    /// A node reaches nobody.
    Isolate {
        node: usize,
    },
    /// Two nodes, or a node and the controller, do not hear each other, or only one of them.
    Cut {
        from: Address,
        to: Address,
        both: bool,
    },
    Join,
    Storm(Weather),
    NewController,
    Preferred {
        partition: usize,
    },
    /// Moves the replicas to the nodes from `first` on.
    Reassign {
        partition: usize,
        first: usize,
    },
    TakeBack {
        partition: usize,
    },
    OrderlyStop {
        node: usize,
    },
    /// The clock of a node is wrong for a while.
    ClockSlip {
        node: usize,
        by_ms: i64,
        for_ms: u64,
    },
}

impl Fault {
    pub(crate) fn choose(world: &mut World) -> Fault {
        let nodes = world.nodes.len() as u64;
        let random = &mut world.random;
        let node = random.below(nodes) as usize;
        let partition = random.below(world.partitions as u64) as usize;
        if world.plays_delivery && random.chance(CLOCK_SLIPS.0, CLOCK_SLIPS.1) {
            // Backwards no further than a clock is believed at once when it is right again.
            let by_ms = if random.chance(1, 4) { -(random.below(900) as i64) } else { 2_000 + random.below(60_000) as i64 };
            return Fault::ClockSlip { node, by_ms, for_ms: 50 + random.below(1500) };
        }
        // Nothing is left out by every run, but most runs leave out much: what needs one kind of fault again and again is not drowned.
        let mut kind = random.below(KINDS);
        while !world.kinds.contains(&kind) {
            kind = random.below(KINDS);
        }
        // In some runs replicas move all the time.
        let kind = if world.moves_replicas && random.chance(1, 2) { 31 + kind % 2 } else { kind };
        match kind {
            0..4 => Fault::Kill { node },
            4..9 => Fault::PowerLoss { node },
            9 => Fault::Blackout,
            10..13 => Fault::Pause { node, pause_ms: 50 + random.below(1200) },
            13..15 => Fault::SyncFails { node },
            15 => Fault::SlowDisk { node },
            16..18 => Fault::Wipe { node },
            18..20 => Fault::Isolate { node },
            20..23 => {
                let other = (node + 1 + random.below(nodes - 1) as usize) % nodes as usize;
                let to = if random.chance(1, 3) { Address::Controller } else { Address::Node(other) };
                let (from, to) = if random.chance(1, 2) { (Address::Node(node), to) } else { (to, Address::Node(node)) };
                Fault::Cut { from, to, both: random.chance(1, 2) }
            }
            23..27 => Fault::Join,
            27..29 => Fault::Storm(Weather {
                lost: random.below(100),
                repeated: random.below(100),
                late: random.below(150),
                very_late: random.below(30),
            }),
            29 => Fault::NewController,
            30 => Fault::Preferred { partition },
            31 => Fault::Reassign { partition, first: node },
            32 => Fault::TakeBack { partition },
            _ => Fault::OrderlyStop { node },
        }
    }

    pub(crate) fn strike(self, world: &mut World) {
        match self {
            Fault::Kill { node } => {
                world.nodes[node].kill(&mut world.random);
                come_back(world, node);
            }
            Fault::PowerLoss { node } => {
                world.nodes[node].lose_power(&mut world.random);
                come_back(world, node);
            }
            Fault::Blackout => {
                for node in 0..world.nodes.len() {
                    world.nodes[node].lose_power(&mut world.random);
                    come_back(world, node);
                }
            }
            Fault::Pause { node, pause_ms } => world.nodes[node].paused_until_ms = world.now_ms + pause_ms,
            Fault::SyncFails { node } => world.nodes[node].sync_fails = true,
            Fault::SlowDisk { node } => world.nodes[node].sync_ms = if world.nodes[node].sync_ms > 8 { 8 } else { 150 },
            Fault::Wipe { node } => wipe(world, node),
            Fault::Isolate { node } => isolate(world, node),
            Fault::Cut { from, to, both } => {
                world.network.cut(from, to);
                if both {
                    world.network.cut(to, from);
                }
            }
            Fault::Join => world.network.join(),
            Fault::Storm(weather) => world.network.weather = weather,
            Fault::NewController => world.controller.fail_over(),
            Fault::Preferred { partition } => world.controller.elect_preferred(partition as u32),
            Fault::Reassign { partition, first } => {
                let nodes = world.nodes.len();
                let target = (0..3).map(|at| NodeId(((first + at) % nodes) as i32 + 1)).collect();
                world.controller.reassign(partition as u32, Some(target));
            }
            Fault::TakeBack { partition } => world.controller.reassign(partition as u32, None),
            Fault::OrderlyStop { node } => world.nodes[node].wants_stop = true,
            Fault::ClockSlip { node, by_ms, for_ms } => world.nodes[node].slip = Some((by_ms, world.now_ms + for_ms)),
        }
    }
}

fn come_back(world: &mut World, node: usize) {
    world.nodes[node].paused_until_ms = 0;
    let after_ms = match world.random.chance(1, 2) {
        true => 5 + world.random.below(100),
        false => 100 + world.random.below(1200),
    };
    world.restart(node, after_ms);
}

fn isolate(world: &mut World, node: usize) {
    let here = Address::Node(node);
    let others = (0..world.nodes.len()).map(Address::Node).chain([Address::Controller]);
    for other in others.filter(|other| *other != here) {
        world.network.cut(here, other);
        world.network.cut(other, here);
    }
}

/// Only if every partition has two who hold all that is committed, none of them with a disk that is already lost.
fn wipe(world: &mut World, node: usize) {
    let held_twice =
        world.controller.partitions().iter().all(|partition| partition.in_sync.len() + partition.eligible.len() >= 2);
    if world.min_in_sync < 2 || !held_twice || !world.wiped.is_empty() {
        return;
    }
    world.nodes[node].wipe(planted(Mutant::WipedDiskKeepsIdentity), &mut world.random);
    world.wiped.insert(node);
    come_back(world, node);
}
