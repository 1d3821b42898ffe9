//! Starting and stopping the broker, and the work it does by the clock.

use super::directories::{DataDirectories, DirectoryError};
use super::partitions::{METADATA_DIR, MetadataBehind, Misplaced, PartitionOpener, ReconcileError};
use super::watch::Observer;
use super::{Broker, BrokerMetrics, Membership, Road};
use crate::config::BrokerConfig;
use crate::metadata::{ClusterOptions, Metadata, MetadataOpenError, MetadataOptions, NodeDirectory, RandomIds};
use crate::query::extract_keys;
use crate::replication::{Heartbeats, Replication, Surroundings};
use duolog_base::{Clock, Disk, NodeId};
use duolog_log::{KeyOptions, LogOptions, OpenError, RetentionPolicy, Store, TidyOptions};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::watch as signal;

/// How often the log's background work runs.
const HOUSE_STEP: Duration = Duration::from_secs(1);
/// Idle producers are looked for this often, in house steps.
const EXPIRE_PRODUCERS_STEPS: u64 = 600;

/// How far ahead of the writer the active file is filled with zeros.
const ZERO_AHEAD_BYTES: u64 = 64 << 20;
/// Queue entries (one a batch, 40 bytes) that the active file may have before it is rolled; they are held in memory until it is
/// sealed, and so are those of the next one meanwhile.
const UNSEALED_ENTRIES: usize = 1 << 20;
/// Bytes of appends that may wait for the writer.
const APPEND_QUEUE_BYTES: usize = 256 << 20;
/// Durable bytes after which the checkpoint of the active file is written on.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Dead files kept for reuse: what the next one begins with needs no zeros and no new space.
const RECYCLED_FILES: usize = 1;
/// Message keys in memory at which a part of the key index is written: 16 MiB, twice that if the disk is full.
const KEYS_IN_MEMORY: usize = 1 << 19;

/// What a broker is opened with.
pub struct BrokerOptions {
    /// At least one; each gets a log of its own.
    pub data_dirs: Vec<PathBuf>,
    pub config: BrokerConfig,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    /// How the node takes part in a cluster; `None` if it is alone.
    pub cluster: Option<ClusterOptions>,
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerOpenError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("commit log: {0}")]
    Log(#[from] OpenError),
    #[error("metadata: {0}")]
    Metadata(#[from] MetadataOpenError),
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    #[error(transparent)]
    MetadataBehind(#[from] MetadataBehind),
    #[error("starting the log's threads: {0}")]
    Threads(io::Error),
    #[error("opening the log was cancelled")]
    Cancelled,
}

impl From<ReconcileError> for BrokerOpenError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Misplaced(misplaced) => misplaced.into(),
            ReconcileError::MetadataBehind(behind) => behind.into(),
        }
    }
}

impl Broker {
    /// Takes the data directories, recovers their logs, opens the metadata and brings the two in line.
    pub async fn open(options: BrokerOptions) -> Result<Arc<Broker>, BrokerOpenError> {
        let BrokerOptions { data_dirs, config, disk, clock, cluster } = options;
        let DataDirectories { known: directories, locks } = DataDirectories::take(disk.as_ref(), &data_dirs, &RandomIds)?;
        let observer = Observer::new();
        let config = Arc::new(config);
        let options = log_options(&config, directories.len());
        let log = open_logs(disk.clone(), &directories, options, observer.clone(), clock.clone()).await?;
        let node = NodeId(config.node_id);
        let opener = Arc::new(PartitionOpener {
            node,
            log: log.clone(),
            directories: directories.clone(),
            in_cluster: cluster.is_some(),
            replication: OnceLock::new(),
        });
        let member = cluster.as_ref().map(Member::of);
        let metadata_options = MetadataOptions {
            dir: directories[0].path.join(METADATA_DIR),
            directories: directories.clone(),
            node,
            disk,
            static_config: config.clone(),
            listener: opener.clone(),
            clock: clock.clone(),
        };
        let metadata = match cluster {
            Some(cluster) => Metadata::open_in_cluster(metadata_options, cluster).await?,
            None => Metadata::open(metadata_options).await?,
        };
        let dropped = match opener.reconcile(&metadata.image()) {
            Ok(dropped) => dropped,
            Err(error) => {
                metadata.close().await;
                return Err(error.into());
            }
        };
        log.start_threads().map_err(BrokerOpenError::Threads)?;
        if dropped > 0 {
            tracing::info!(partitions = dropped, "dropped partitions that the metadata no longer knows");
        }
        let membership = member.map(|member| member.begin(node, &log, &clock, &metadata, &observer, &opener));
        let broker = Arc::new(Broker {
            node,
            config,
            clock,
            log,
            directories,
            metadata,
            membership,
            producer_ids: Default::default(),
            observer,
            metrics: BrokerMetrics::default(),
            stopping: signal::Sender::new(false),
            housekeeping: Default::default(),
            locks: parking_lot::Mutex::new(locks),
        });
        let housekeeping = tokio::spawn(keep_house(Arc::downgrade(&broker)));
        *broker.housekeeping.lock() = Some(housekeeping);
        Ok(broker)
    }

    /// Ends all waiting, writes out and checkpoints the log. Appends are refused from then on.
    pub async fn close(&self) {
        self.stop_waiting();
        if let Some(task) = self.housekeeping.lock().take() {
            task.abort();
        }
        if let Some(membership) = &self.membership {
            membership.heartbeats.stop();
            membership.replication.stop();
        }
        self.metadata.close().await;
        let log = self.log.clone();
        match tokio::task::spawn_blocking(move || log.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::error!(%failure, "the log did not close cleanly"),
            Err(error) => tracing::error!(%error, "closing the log was interrupted"),
        }
        self.locks.lock().clear();
    }
}

/// What is needed of the options once the metadata is open.
struct Member {
    road: Road,
    heartbeat: Duration,
    lag: Duration,
}

impl Member {
    fn of(options: &ClusterOptions) -> Member {
        let road = Road { peers: options.peers.clone(), switchboard: options.switchboard.clone() };
        Member { road, heartbeat: options.heartbeat, lag: options.replica_lag }
    }

    /// Takes the roles that the metadata gives, and tells the controller that this node lives.
    fn begin(
        self,
        node: NodeId,
        log: &Arc<Store>,
        clock: &Arc<dyn Clock>,
        metadata: &Arc<Metadata>,
        observer: &Arc<Observer>,
        opener: &PartitionOpener,
    ) -> Membership {
        let replication = Replication::new(Surroundings {
            node,
            log: log.clone(),
            clock: clock.clone(),
            metadata: metadata.clone(),
            road: self.road.clone(),
            readers: observer.clone(),
            lag: self.lag,
        });
        observer.set_replication(&replication);
        let _ = opener.replication.set(Arc::downgrade(&replication));
        replication.begin();
        let heartbeats = Heartbeats::start(metadata.clone(), log.clone(), self.heartbeat);
        Membership { road: self.road, heartbeats, replication }
    }
}

/// Opens the logs on the blocking pool: recovery reads the disk.
async fn open_logs(
    disk: Arc<dyn Disk>,
    directories: &[NodeDirectory],
    options: LogOptions,
    observer: Arc<Observer>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Store>, BrokerOpenError> {
    let paths = directories.iter().map(|directory| directory.path.clone()).collect();
    let opening = tokio::task::spawn_blocking(move || Store::open(disk, paths, options, observer, clock.now()));
    let (log, reports) = opening.await.map_err(|_| BrokerOpenError::Cancelled)??;
    for (place, report) in reports {
        tracing::info!(
            directory = %directories[place.directory].path.display(),
            layout = ?place.layout,
            files = report.files,
            scanned_bytes = report.scanned_bytes,
            torn_bytes = report.torn_bytes,
            clean = report.clean_shutdown,
            "log recovered"
        );
        for partition in report.quarantined {
            tracing::error!(%partition, "partition is quarantined: its stored batches are damaged");
        }
    }
    Ok(log)
}

/// Options of each of `logs` logs. What they hold in memory is shared out among them.
fn log_options(config: &BrokerConfig, logs: usize) -> LogOptions {
    LogOptions {
        file_bytes: config.log_file_bytes,
        zero_ahead_bytes: ZERO_AHEAD_BYTES.min(config.log_file_bytes),
        unsealed_entries: UNSEALED_ENTRIES / logs,
        tail_cache_bytes: config.tail_cache_bytes / logs,
        queue_bytes: APPEND_QUEUE_BYTES / logs,
        reserve_bytes: config.disk_reserve_bytes,
        checkpoint_bytes: CHECKPOINT_BYTES,
        recycled_files: RECYCLED_FILES,
        tidy: TidyOptions::default(),
        keys: Some(KeyOptions { extractor: extract_keys, in_memory: KEYS_IN_MEMORY / logs }),
    }
}

/// What the broker does by the clock, until it is dropped.
async fn keep_house(broker: Weak<Broker>) {
    let mut tick = tokio::time::interval(HOUSE_STEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let Some(retention_ms) = broker.upgrade().map(|broker| broker.config.retention_check_interval_ms) else { return };
    let mut next_retention_ms = retention_ms;
    let mut elapsed_ms = 0;
    let mut steps = 0;
    loop {
        tick.tick().await;
        let Some(broker) = broker.upgrade() else { return };
        steps += 1;
        elapsed_ms += HOUSE_STEP.as_millis() as u64;
        let retain = elapsed_ms >= next_retention_ms;
        if retain {
            next_retention_ms = elapsed_ms + retention_ms;
        }
        let expire = steps % EXPIRE_PRODUCERS_STEPS == 0;
        let work = tokio::task::spawn_blocking(move || broker.house_step(retain, expire));
        // A panic in there is a bug that the log has reported; the next step tries again.
        if work.await.is_err() {
            tracing::error!("housekeeping was interrupted");
        }
    }
}

impl Broker {
    /// One step of housekeeping; may wait for the disk.
    fn house_step(&self, retain: bool, expire: bool) {
        let now = self.clock.now();
        if let Some(replication) = self.replication() {
            replication.set_stable_ends();
        }
        self.set_cleaning();
        if retain {
            self.retain();
        }
        if expire {
            self.log.expire_producers(now, self.config.producer_expiration_ms);
        }
        if let Err(failure) = self.log.house_step(now) {
            tracing::error!(%failure, "the log's housekeeping failed");
        }
    }

    /// Tells the log which partitions are compacted by key, and how.
    pub(crate) fn set_cleaning(&self) {
        let image = self.image();
        let compacted = image.topics.values().filter(|topic| topic.config.compact);
        let policies = compacted.flat_map(|topic| topic.partitions.iter().map(|one| (one.number, topic.config.cleaning)));
        self.log.set_cleaning(&policies.collect());
    }

    /// Raises the log start of partitions whose oldest records are past their time or size.
    pub fn retain(&self) {
        let now = self.clock.now();
        for topic in self.image().topics.values().filter(|topic| topic.config.delete) {
            let policy = RetentionPolicy {
                max_age_ms: (topic.config.retention_ms >= 0).then_some(topic.config.retention_ms),
                max_bytes: u64::try_from(topic.config.retention_bytes).ok(),
            };
            for partition in topic.partitions.iter().filter(|partition| self.leads(partition).is_some()) {
                let Some(start) = self.log.retention_target(partition.number, policy, now) else { continue };
                // Followers go by the leader's log start, which is never beyond what is committed.
                let committed = self.replication().and_then(|replication| replication.high_watermark(partition.number));
                let start = committed.map_or(start, |committed| start.min(committed));
                match self.log.set_log_start(partition.number, start) {
                    Ok(_) => tracing::debug!(topic = topic.name, partition = %partition.number, %start, "retention"),
                    Err(error) => tracing::warn!(topic = topic.name, partition = %partition.number, %error, "retention"),
                }
            }
        }
    }
}
