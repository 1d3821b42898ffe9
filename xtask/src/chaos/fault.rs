//! What goes wrong: each fault happens to one node of a cluster and is over, with the node serving again, when it returns.

use super::cluster::Cluster;
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
}

const ALL: [Fault; 7] =
    [Fault::Kill, Fault::Pause, Fault::PowerLoss, Fault::SlowDisk, Fault::SyncError, Fault::Isolate, Fault::Mute];

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
        }
    }

    pub(super) fn named(name: &str) -> Option<Fault> {
        ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// Whether it happens between nodes.
    pub(super) fn needs_peers(self) -> bool {
        matches!(self, Fault::Isolate | Fault::Mute)
    }

    /// What the history is told.
    pub(super) fn crash(self) -> Option<Crash> {
        match self {
            Fault::Kill | Fault::SyncError => Some(Crash::Kill),
            Fault::PowerLoss => Some(Crash::PowerLoss),
            Fault::Pause | Fault::SlowDisk | Fault::Isolate | Fault::Mute => None,
        }
    }

    /// Lets it happen to one node.
    pub(super) fn strike(self, cluster: &mut Cluster, number: usize) -> Result<(), Failure> {
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
        }
    }
}
