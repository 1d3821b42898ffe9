//! The log of a node: in most runs a model, in the others the production log on a simulated disk. Both do the same for the node above.

mod model;
mod real;

use duolog_base::LeaderEpoch;
use duolog_log::EpochEnd;
use duolog_replica::LogView;
use duolog_sim::Random;

/// A partition, as the controller numbers them.
pub type Partition = u32;

/// One record of one value; a batch is not needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub epoch: LeaderEpoch,
    pub value: u64,
}

/// What is left when the process is gone.
pub enum Disk {
    Model(model::Disk),
    Real(real::Disk),
}

pub enum Log {
    Model(model::Log),
    Real(real::Log),
}

impl Default for Disk {
    fn default() -> Disk {
        Disk::Model(model::Disk::default())
    }
}

impl Disk {
    /// Empty, for the production log.
    pub fn real(seed: u64) -> Disk {
        Disk::Real(real::Disk::new(seed))
    }

    /// Another one of the same kind, empty.
    pub fn another(&self, random: &mut Random) -> Disk {
        match self {
            Disk::Model(_) => Disk::default(),
            Disk::Real(_) => Disk::real(random.next_u64()),
        }
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        match self {
            Disk::Model(disk) => disk.lose_power(random),
            Disk::Real(disk) => disk.lose_power(random),
        }
    }
}

impl Log {
    /// Recovery.
    pub fn open(disk: Disk) -> Log {
        match disk {
            Disk::Model(disk) => Log::Model(model::Log::open(disk)),
            Disk::Real(disk) => Log::Real(real::Log::open(disk)),
        }
    }

    /// What is wrong with the log, though nothing but power was lost.
    pub fn damage(&self) -> Option<&str> {
        match self {
            Log::Model(_) => None,
            Log::Real(log) => log.damage(),
        }
    }

    /// The process is gone; what it wrote stays in the page cache.
    pub fn kill(self) -> Disk {
        match self {
            Log::Model(log) => Disk::Model(log.kill()),
            Log::Real(log) => Disk::Real(log.kill()),
        }
    }

    /// The process is about to end in order.
    pub fn close(&mut self) {
        match self {
            Log::Model(_) => {}
            Log::Real(log) => log.close(),
        }
    }

    /// The sync under way fails, and the process ends.
    pub fn fail_sync(self, random: &mut Random) -> Disk {
        match self {
            Log::Model(log) => {
                let mut disk = log.kill();
                disk.lose_power(random);
                Disk::Model(disk)
            }
            Log::Real(log) => Disk::Real(log.fail_sync(random)),
        }
    }

    /// What is to be synced now, if anything.
    pub fn unsynced(&self) -> Option<usize> {
        match self {
            Log::Model(log) => log.unsynced(),
            Log::Real(log) => log.unsynced(),
        }
    }

    /// A sync of everything before `end` has succeeded.
    pub fn synced(&mut self, end: usize) {
        match self {
            Log::Model(log) => log.synced(end),
            Log::Real(log) => log.synced(),
        }
    }

    /// A sync has failed, and a mutant takes it for good. The production log has no such mutant.
    pub fn ignore_failed_sync(&mut self, end: usize) {
        match self {
            Log::Model(log) => log.ignore_failed_sync(end),
            Log::Real(log) => log.synced(),
        }
    }

    /// A leader's append; answers the offset.
    pub fn append(&mut self, partition: Partition, record: Record) -> usize {
        match self {
            Log::Model(log) => log.append(partition, record),
            Log::Real(log) => log.append(partition, record),
        }
    }

    /// A follower's append of what its leader has at the end of this log.
    pub fn replicate(&mut self, partition: Partition, record: Record) {
        match self {
            Log::Model(log) => _ = log.append(partition, record),
            Log::Real(log) => log.replicate(partition, record),
        }
    }

    pub fn cut(&mut self, partition: Partition, to: usize) {
        match self {
            Log::Model(log) => log.cut(partition, to),
            Log::Real(log) => log.cut(partition, to),
        }
    }

    pub fn drop_partition(&mut self, partition: Partition) {
        match self {
            Log::Model(log) => log.drop_partition(partition),
            Log::Real(log) => log.drop_partition(partition),
        }
    }

    /// The node leads from here on, in this epoch.
    pub fn begin_epoch(&mut self, partition: Partition, epoch: LeaderEpoch) {
        match self {
            Log::Model(log) => log.begin_epoch(partition, epoch),
            Log::Real(log) => log.begin_epoch(partition, epoch),
        }
    }

    pub fn view(&self, partition: Partition) -> LogView {
        match self {
            Log::Model(log) => log.view(partition),
            Log::Real(log) => log.view(partition),
        }
    }

    pub fn epoch_end(&self, partition: Partition, asked: LeaderEpoch) -> Option<EpochEnd> {
        match self {
            Log::Model(log) => log.epoch_end(partition, asked),
            Log::Real(log) => log.epoch_end(partition, asked),
        }
    }

    /// What a reader is given.
    pub fn read(&self, partition: Partition, from: usize, most: usize) -> Vec<Record> {
        match self {
            Log::Model(log) => log.read(partition, from, most),
            Log::Real(log) => log.read(partition, from, most),
        }
    }

    pub fn record(&self, partition: Partition, offset: usize) -> Option<Record> {
        match self {
            Log::Model(log) => log.record(partition, offset),
            Log::Real(log) => log.record(partition, offset),
        }
    }

    /// Whether power loss would leave the record: for the model in truth, for the production log as it says.
    pub fn keeps(&self, partition: Partition, offset: usize, value: u64) -> bool {
        match self {
            Log::Model(log) => log.keeps(partition, offset, value),
            Log::Real(log) => log.keeps(partition, offset, value),
        }
    }
}
