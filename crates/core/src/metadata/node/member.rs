//! [`Metadata`] of a node among others: taking part, registering, saying that one lives, changing in-sync sets and voters.

use super::{LogLimits, MAX_CHANGED_PARTITIONS, Metadata, MetadataOptions, QuorumState};
use crate::metadata::cluster::{Cluster, ClusterOptions, Patience};
use crate::metadata::decide::{
    AlterPartition, Decided, Decision, GivenUp, Heartbeat, HeartbeatAnswer, Registration, StorageReport, decide_alter_partition,
    decide_giving_up, decide_heartbeat, decide_registration, decide_unregistration,
};
use crate::metadata::error::{
    AlterPartitionError, ChangeVotersError, GiveUpError, MembershipError, MetadataOpenError, Unavailable, UnregisterError,
};
use crate::metadata::image::{Endpoint, MetadataImage};
use crate::metadata::published::Published;
use crate::metadata::raft::{RaftLog, Road};
use crate::metadata::record::MetadataRecord;
use crate::metadata::topic_id::RandomIds;
use duolog_base::{BrokerEpoch, LeaderEpoch, NodeId};
use duolog_replica::PartitionState;
use hashbrown::HashSet;
use std::sync::{Arc, OnceLock};

impl Metadata {
    /// Reads what is on disk and takes part in a cluster of several, or founds one that others may join. Returns once this node is
    /// registered, fenced, and has the image of that; waits for the others as long as it takes.
    pub async fn open_in_cluster(options: MetadataOptions, cluster: ClusterOptions) -> Result<Arc<Metadata>, MetadataOpenError> {
        Metadata::open_in_cluster_with_limits(options, cluster, LogLimits::default()).await
    }

    /// As [`Metadata::open_in_cluster`], with other limits of the log.
    pub(in crate::metadata) async fn open_in_cluster_with_limits(
        options: MetadataOptions,
        cluster: ClusterOptions,
        limits: LogLimits,
    ) -> Result<Arc<Metadata>, MetadataOpenError> {
        let MetadataOptions { dir, directories, node, disk, static_config, listener, clock } = options;
        let empty = MetadataImage::empty(static_config.clone());
        let published = Arc::new(Published::new(empty.clone(), listener));
        let road = Road { peers: cluster.peers.clone(), contacts: Arc::default(), clock };
        let log = RaftLog::start(disk.clone(), dir, node, published.clone(), limits, Some(road.clone())).await?;
        let (log, deciding) = (Arc::new(log), Arc::default());
        let door = Cluster::start(node, log.clone(), published.clone(), road, Arc::clone(&deciding), &cluster);
        let (ids, epoch) = (Arc::new(RandomIds), OnceLock::new());
        let metadata = Metadata { published, log, ids, deciding, disk, node, directories, cluster: Some(door.clone()), epoch };
        let entered = match door.enter(&cluster.join).await {
            Ok(()) => {
                door.go_live(&empty);
                metadata.register_as_member(cluster.incarnation, static_config.rack.clone(), cluster.endpoints).await
            }
            Err(error) => Err(error),
        };
        match entered {
            Ok(()) => Ok(Arc::new(metadata)),
            Err(error) => {
                metadata.close().await;
                Err(error)
            }
        }
    }

    /// Begins a life of this node. There is none without, so it waits for the others as long as it takes.
    async fn register_as_member(
        &self,
        incarnation: String,
        rack: Option<String>,
        endpoints: Vec<Endpoint>,
    ) -> Result<(), MetadataOpenError> {
        let directories = self.directories.clone();
        let registration = Registration { node: self.node, incarnation, rack, directories, endpoints };
        let mut patience = Patience::new();
        loop {
            match self.register_member(&registration).await {
                Ok(epoch) => {
                    self.epoch.get_or_init(|| epoch);
                    return Ok(());
                }
                Err(MembershipError::Unavailable(error @ (Unavailable::Stopped | Unavailable::DiskFull { .. }))) => {
                    return Err(MembershipError::Unavailable(error).into());
                }
                Err(MembershipError::Unavailable(_)) => patience.wait_for("the registration of this node"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Registers a node: the epoch of the life that begins. The first one gives the cluster its id.
    pub async fn register_member(&self, registration: &Registration) -> Result<BrokerEpoch, MembershipError> {
        let decide = |image: &MetadataImage| -> Result<Decided<BrokerEpoch>, MembershipError> {
            let mut decided = decide_registration(image, registration)?;
            if image.cluster_id.is_empty() {
                decided.records.insert(0, MetadataRecord::Cluster { id: self.ids.next_id().to_string() });
            }
            Ok(decided)
        };
        self.settle_one(decide).await
    }

    /// The quorum as its leader sees it.
    pub async fn describe_quorum(&self) -> Result<QuorumState, Unavailable> {
        match &self.cluster {
            None => Ok(self.quorum()),
            Some(cluster) => cluster.describe().await,
        }
    }

    /// The epoch of this life of the node; `None` if it has not registered as a member.
    pub fn broker_epoch(&self) -> Option<BrokerEpoch> {
        self.epoch.get().copied()
    }

    /// Says that this node lives, and what it wants. To be called every [`HEARTBEAT_INTERVAL`](crate::metadata::HEARTBEAT_INTERVAL).
    /// Who is told that its epoch is over must end and start again.
    pub async fn heartbeat(&self, wants_stop: bool) -> Result<HeartbeatAnswer, MembershipError> {
        let epoch = self.broker_epoch().ok_or(MembershipError::Unregistered { node: self.node })?;
        let heartbeat = Heartbeat { node: self.node, epoch, applied: self.image().applied, wants_stop };
        match &self.cluster {
            None => self.settle_one(|image| decide_heartbeat(image, &heartbeat, &self.free_space())).await,
            Some(cluster) => cluster.heartbeat(heartbeat).await,
        }
    }

    /// Tells the controller what this node holds.
    pub async fn report_storage(&self, report: StorageReport) -> Result<(), Unavailable> {
        match &self.cluster {
            None => Ok(()),
            Some(cluster) => cluster.report(report).await,
        }
    }

    /// Makes an observer a voter of the quorum.
    pub async fn add_voter(&self, node: NodeId) -> Result<(), ChangeVotersError> {
        match &self.cluster {
            None => Err(ChangeVotersError::Alone),
            Some(cluster) => cluster.add_voter(node).await,
        }
    }

    /// Takes a node off the quorum: it neither votes nor follows any longer.
    pub async fn remove_voter(&self, node: NodeId) -> Result<(), ChangeVotersError> {
        match &self.cluster {
            None => Err(ChangeVotersError::Alone),
            Some(cluster) => cluster.remove_voter(node).await,
        }
    }

    /// Takes a node off the cluster for good.
    pub async fn unregister(&self, node: NodeId) -> Result<(), UnregisterError> {
        self.settle_one(|image| decide_unregistration(image, node)).await
    }

    /// Changes in-sync sets; an answer for each, in order: the partition as it is then.
    pub async fn alter_partitions(&self, requests: &[AlterPartition]) -> Vec<Result<PartitionState, AlterPartitionError>> {
        let mut results = Vec::with_capacity(requests.len());
        for some in requests.chunks(MAX_CHANGED_PARTITIONS) {
            results.extend(self.settle(false, |image| decide_alterations(image, some)).await);
        }
        results
    }

    /// Has replicas of this node counted on no more; an answer for each, in order: the leader epoch since then.
    pub async fn give_up_replicas(&self, requests: &[GivenUp]) -> Vec<Result<LeaderEpoch, GiveUpError>> {
        let mut results = Vec::with_capacity(requests.len());
        for some in requests.chunks(MAX_CHANGED_PARTITIONS) {
            results.extend(self.settle(false, |image| decide_giving_up(image, some)).await);
        }
        results
    }
}

/// Decides several changes of in-sync sets. Of several for one partition only the first is taken: the next ones would not see what it does.
fn decide_alterations(image: &MetadataImage, requests: &[AlterPartition]) -> Decision<PartitionState, AlterPartitionError> {
    let mut decision = Decision { results: Vec::with_capacity(requests.len()), records: Vec::new() };
    let mut seen = HashSet::new();
    for request in requests {
        let result = match seen.insert((request.topic, request.index)) {
            true => decide_alter_partition(image, request),
            false => Err(AlterPartitionError::Repeated),
        };
        decision.results.push(result.map(|Decided { answer, records }| {
            decision.records.extend(records);
            answer
        }));
    }
    decision
}
