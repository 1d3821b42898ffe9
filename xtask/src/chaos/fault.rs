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
}

const ALL: [Fault; 5] = [Fault::Kill, Fault::Pause, Fault::PowerLoss, Fault::SlowDisk, Fault::SyncError];

/// What runs when nothing is chosen. Where no disk can be mounted it says so and leaves loss of power out; who asks for that by
/// name is refused.
pub(super) fn short_selection(directory: &Path) -> Vec<Fault> {
    match Disk::new(directory) {
        Ok(_) => vec![Fault::Kill, Fault::Pause, Fault::PowerLoss],
        Err(failure) => {
            println!("power is not cut: {failure}");
            vec![Fault::Kill, Fault::Pause]
        }
    }
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Pause => "pause",
            Fault::PowerLoss => "power-loss",
            Fault::SlowDisk => "slow-disk",
            Fault::SyncError => "sync-error",
        }
    }

    pub(super) fn named(name: &str) -> Option<Fault> {
        ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// What the history is told.
    pub(super) fn crash(self) -> Option<Crash> {
        match self {
            Fault::Kill | Fault::SyncError => Some(Crash::Kill),
            Fault::PowerLoss => Some(Crash::PowerLoss),
            Fault::Pause | Fault::SlowDisk => None,
        }
    }

    /// Lets it happen to one node.
    pub(super) fn strike(self, cluster: &mut Cluster, node: usize) -> Result<(), Failure> {
        let node = &mut cluster.nodes[node];
        match self {
            Fault::Kill => {
                node.kill();
                node.start()
            }
            Fault::Pause => node.pause(PAUSE),
            Fault::PowerLoss => node.lose_power(),
            Fault::SlowDisk => node.slow_disk(SLOW),
            Fault::SyncError => node.fail_a_sync(),
        }
    }
}
