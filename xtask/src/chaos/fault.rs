//! What goes wrong: each fault happens to one node of a cluster and is over, with the node serving again, when it returns.

use super::cluster::{Cluster, Node};
use super::disk::Disk;
use super::failure::Failure;
use duolog_sim::Crash;
use std::path::Path;
use std::time::Duration;

/// Longer than a request of the clients takes, shorter than their patience.
const PAUSE: Duration = Duration::from_secs(3);
const SLOW: Duration = Duration::from_secs(4);
/// Longer than a node may be silent before others take over.
const PARTED: Duration = Duration::from_secs(6);

/// The others go on with the partitions of which the node has no replica only, since its replicas are in sync until they lag for long.
const FULL: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9` and a start.
    Kill,
    /// SIGSTOP and, a while later, SIGCONT.
    Pause,
    /// What was not synced is gone.
    PowerLoss,
    /// Each sync takes a fifth of a second, for a while.
    SlowDisk,
    /// A sync fails, upon which the server has to end.
    SyncError,
    /// The other nodes of the cluster and the node do not hear each other for a while; clients reach all of them.
    Isolate,
    /// The other nodes do not hear the node, which hears them.
    Mute,
    /// Its disk is full for a while.
    FullDisk,
    /// The disks of all nodes are.
    FullDisks,
}

const ALL: [Fault; 9] = [
    Fault::Kill,
    Fault::Pause,
    Fault::PowerLoss,
    Fault::SlowDisk,
    Fault::SyncError,
    Fault::Isolate,
    Fault::Mute,
    Fault::FullDisk,
    Fault::FullDisks,
];

/// What runs when nothing is chosen. Where no disk can be mounted it says so and leaves loss of power out; who asks for that by
/// name is refused.
pub(super) fn short_selection(directory: &Path, nodes: usize) -> Vec<Fault> {
    let mut selection = vec![Fault::Kill, Fault::Pause];
    match Disk::new(directory) {
        Ok(_) => selection.push(Fault::PowerLoss),
        Err(failure) => println!("power is not cut: {failure}"),
    }
    if nodes > 1 {
        selection.push(Fault::Isolate);
    }
    selection
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Pause => "pause",
            Fault::PowerLoss => "power-loss",
            Fault::SlowDisk => "slow-disk",
            Fault::SyncError => "sync-error",
            Fault::Isolate => "isolate",
            Fault::Mute => "mute",
            Fault::FullDisk => "full-disk",
            Fault::FullDisks => "full-disks",
        }
    }

    pub(super) fn named(name: &str) -> Option<Fault> {
        ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether it happens between nodes.
    pub(super) fn needs_peers(self) -> bool {
        matches!(self, Fault::Isolate | Fault::Mute | Fault::FullDisks)
    }

    /// Whether each node must have a disk of its own.
    pub(super) fn needs_disks(self) -> bool {
        matches!(self, Fault::PowerLoss) || self.fills_disks()
    }

    pub(super) fn fills_disks(self) -> bool {
        matches!(self, Fault::FullDisk | Fault::FullDisks)
    }

    /// What the history is told.
    pub(super) fn crash(self) -> Option<Crash> {
        match self {
            Fault::Kill | Fault::SyncError => Some(Crash::Kill),
            Fault::PowerLoss => Some(Crash::PowerLoss),
            Fault::Pause | Fault::SlowDisk | Fault::Isolate | Fault::Mute | Fault::FullDisk | Fault::FullDisks => None,
        }
    }

    /// Lets it happen to one node. `are_refused` looks whether producers get no answers any more.
    pub(super) fn strike(
        self,
        cluster: &mut Cluster,
        number: usize,
        are_refused: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let node = &mut cluster.nodes[number];
        match self {
            Fault::Kill => {
                node.kill();
                node.start()
            }
            Fault::Pause => node.pause(PAUSE),
            Fault::PowerLoss => node.lose_power(),
            Fault::SlowDisk => node.slow_disk(SLOW),
            Fault::SyncError => node.fail_a_sync(),
            Fault::Isolate => {
                cluster.part(number, true, PARTED);
                Ok(())
            }
            Fault::Mute => {
                cluster.part(number, false, PARTED);
                Ok(())
            }
            Fault::FullDisk | Fault::FullDisks => {
                let all = 0..cluster.nodes.len();
                let full = if self == Fault::FullDisks { all.clone() } else { number..number + 1 };
                cluster.nodes[full.clone()].iter().try_for_each(Node::fill_disk)?;
                if full == all {
                    are_refused()?;
                }
                std::thread::sleep(FULL);
                cluster.nodes[full].iter().try_for_each(Node::empty_disk)
            }
        }
    }
}
