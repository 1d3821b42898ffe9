//! The narrow, protocol-free API on partitions: append, read, look up, delete.
//!
//! [`Broker`] joins the metadata log (which partitions exist) with the commit logs (what is in them). It owns no
//! partition state of its own. Both front ends and the coordinators call it; it calls `duolog-log` and
//! [`crate::metadata`] only. Appending is split in two: [`Broker::append`] does what must happen in the order of
//! arrival and returns at once, [`PendingAppend::done`] waits for the page cache or the disk.

mod adopt;
mod append;
mod directories;
mod lock;
mod lookup;
mod metrics;
mod open;
mod partitions;
mod producer_ids;
mod read;
mod validate;
mod watch;

pub use adopt::{AdoptError, Adopted, AdoptedTopic, adopt};
pub use append::{Acks, Origin, PendingAppend, ProduceBatch, ProduceError, Produced};
pub use directories::DirectoryError;
pub use lock::LockError;
pub use lookup::{DeleteRecordsError, FoundOffset, LookupError, OffsetLookup};
pub use metrics::{BrokerMetrics, Counter};
pub use open::{BrokerOpenError, BrokerOptions};
pub use partitions::{MetadataBehind, Misplaced};
pub use producer_ids::ProducerIdError;
pub use read::{FetchError, Fetched, PartitionEnds, materialize};
pub use watch::Watch;

use crate::config::{BrokerConfig, FlushMode};
use crate::metadata::{Metadata, MetadataImage, NodeDirectory, PartitionImage, TopicImage};
use crate::replication::{Heartbeats, ReplicaStatus, Replication};
use duolog_base::{Clock, LeaderEpoch, NodeId, Offset, PartitionIndex};
use duolog_log::{LogEnds, LogFailure, Store};
use duolog_peer::{Peers, Switchboard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch as signal;

/// The way to the other nodes, and back.
#[derive(Clone)]
pub struct Road {
    /// To call others.
    pub peers: Arc<Peers>,
    /// Where their calls arrive. Kinds 1 to 31 are the metadata's, 32 to 47 replication's, 48 to 63 those of timers, 64 to
    /// 95 of the RocketMQ front end, 96 to 111 of share groups.
    pub switchboard: Arc<Switchboard>,
}

/// What a broker has in a cluster only.
struct Membership {
    road: Road,
    heartbeats: Heartbeats,
    replication: Arc<Replication>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.replication.stop();
    }
}

/// The partitions of this node.
pub struct Broker {
    node: NodeId,
    config: Arc<BrokerConfig>,
    clock: Arc<dyn Clock>,
    log: Arc<Store>,
    /// In the order of the store, the one that holds the metadata first.
    directories: Vec<NodeDirectory>,
    metadata: Arc<Metadata>,
    /// `None` of a node alone.
    membership: Option<Membership>,
    producer_ids: producer_ids::ProducerIds,
    observer: Arc<watch::Observer>,
    metrics: BrokerMetrics,
    stopping: signal::Sender<bool>,
    housekeeping: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Given back when the broker is closed.
    locks: parking_lot::Mutex<Vec<lock::DirectoryLock>>,
}

impl Broker {
    pub fn node(&self) -> NodeId {
        self.node
    }

    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub fn log(&self) -> &Arc<Store> {
        &self.log
    }

    /// The data directories, as [`duolog_log::Place`] counts them; the first one also holds the metadata.
    pub fn directories(&self) -> &[NodeDirectory] {
        &self.directories
    }

    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// The cluster as of now; never waits.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.metadata.image()
    }

    pub fn metrics(&self) -> &BrokerMetrics {
        &self.metrics
    }

    /// Holds the failure once the log has stopped; the process is expected to exit then.
    pub fn failed(&self) -> signal::Receiver<Option<LogFailure>> {
        self.observer.failed()
    }

    /// Turns true when the broker stops: whoever waits for data answers with what there is.
    pub fn stopping(&self) -> signal::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Ends every wait for data. Appends and reads still work until [`Broker::close`].
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The way to the other nodes; `None` of a node alone.
    pub fn road(&self) -> Option<&Road> {
        self.membership.as_ref().map(|membership| &membership.road)
    }

    /// Turns true when another life of this node has registered: the process must end, and start again. Never, of a node alone.
    pub fn superseded(&self) -> signal::Receiver<bool> {
        match &self.membership {
            Some(membership) => membership.heartbeats.superseded(),
            None => signal::channel(false).1,
        }
    }

    /// Before an orderly stop: asks the controller to give all leadership to others, for so long at most. Whether it did.
    pub async fn hand_over(&self, limit: Duration) -> bool {
        match &self.membership {
            Some(membership) => membership.heartbeats.hand_over(limit).await,
            None => true,
        }
    }

    /// The replicated partitions of this node; none of a node alone.
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.replication().map(|replication| replication.status()).unwrap_or_default()
    }

    /// How many committed records this node's replica of the partition lacks, as far as it knows.
    pub fn replica_lag(&self, partition: &PartitionImage) -> i64 {
        self.replication().map_or(0, |replication| replication.lag(partition.number))
    }

    fn replication(&self) -> Option<&Arc<Replication>> {
        self.membership.as_ref().map(|membership| &membership.replication)
    }

    /// The epoch in which this node leads the partition, if it does and may act on it.
    pub fn leads(&self, partition: &PartitionImage) -> Option<LeaderEpoch> {
        match self.replication().and_then(|replication| replication.leads(partition.number)) {
            Some(leads) => leads,
            None => self.leads_alone(partition).then_some(partition.leader_epoch),
        }
    }

    /// Whether the metadata says that this node leads the partition, and has its only replica, so that nothing need be replicated.
    fn leads_alone(&self, partition: &PartitionImage) -> bool {
        partition.leader == self.node && self.is_alone(partition)
    }

    fn is_alone(&self, partition: &PartitionImage) -> bool {
        self.membership.is_none() || partition.replicas == [self.node]
    }

    /// Where the partition's records begin and end, as a client may see them.
    pub fn ends(&self, topic: &TopicImage, partition: PartitionIndex) -> Option<PartitionEnds> {
        let image = topic.partition(partition)?;
        Some(self.visible_ends(topic, image, self.log.ends(image.number)?))
    }

    /// What is stored, as far as the topic's flush mode and the other replicas let a client see it.
    fn visible_ends(&self, topic: &TopicImage, partition: &PartitionImage, ends: LogEnds) -> PartitionEnds {
        let replicated = self.replication().and_then(|replication| replication.high_watermark(partition.number));
        let high_watermark = match (replicated, topic.config.flush) {
            (Some(high_watermark), _) => high_watermark.min(ends.end),
            // A replica of which nothing is known yet.
            (None, _) if !self.is_alone(partition) => ends.start,
            (None, FlushMode::Sync) => ends.durable,
            (None, FlushMode::Async) => ends.written,
        };
        // The log start may have been raised to an end that is not shown yet.
        let high_watermark = high_watermark.max(ends.start);
        let leader_epoch = partition.leader_epoch;
        PartitionEnds { log_start: ends.start, high_watermark, last_stable: high_watermark, leader_epoch }
    }

    /// The offset below which everything may be shown to a consumer.
    pub fn high_watermark(&self, topic: &TopicImage, partition: PartitionIndex) -> Option<Offset> {
        Some(self.ends(topic, partition)?.high_watermark)
    }
}

#[cfg(test)]
mod spread_tests;
#[cfg(test)]
mod tag_tests;
