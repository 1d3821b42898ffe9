//! The cluster itself: its nodes, the quorum of its metadata, disks, and moving replicas between nodes.

use super::api::{
    ALTER_PARTITION_REASSIGNMENTS, DESCRIBE_CLUSTER, DESCRIBE_LOG_DIRS, DESCRIBE_QUORUM, INCREMENTAL_ALTER_CONFIGS,
    LIST_PARTITION_REASSIGNMENTS, REMOVE_RAFT_VOTER, UNREGISTER_BROKER,
};
use super::cluster::Cluster;
use super::error::{ClientError, accept};
use duolog_base::TopicId;
use duolog_wire::kafka::messages::alter_partition_reassignments_request::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use duolog_wire::kafka::messages::alter_partition_reassignments_response::AlterPartitionReassignmentsResponse;
use duolog_wire::kafka::messages::describe_cluster_request::DescribeClusterRequest;
use duolog_wire::kafka::messages::describe_cluster_response::DescribeClusterResponse;
use duolog_wire::kafka::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use duolog_wire::kafka::messages::describe_log_dirs_response::{DescribeLogDirsResponse, DescribeLogDirsResult};
use duolog_wire::kafka::messages::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use duolog_wire::kafka::messages::describe_quorum_response::{DescribeQuorumResponse, ReplicaState};
use duolog_wire::kafka::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use duolog_wire::kafka::messages::incremental_alter_configs_response::IncrementalAlterConfigsResponse;
use duolog_wire::kafka::messages::list_partition_reassignments_request::ListPartitionReassignmentsRequest;
use duolog_wire::kafka::messages::list_partition_reassignments_response::ListPartitionReassignmentsResponse;
use duolog_wire::kafka::messages::remove_raft_voter_request::RemoveRaftVoterRequest;
use duolog_wire::kafka::messages::remove_raft_voter_response::RemoveRaftVoterResponse;
use duolog_wire::kafka::messages::unregister_broker_request::UnregisterBrokerRequest;
use duolog_wire::kafka::messages::unregister_broker_response::UnregisterBrokerResponse;
use std::collections::BTreeMap;

const TIMEOUT_MS: i32 = 30_000;
/// Kinds of endpoints that DescribeCluster knows.
const BROKERS: i8 = 1;
/// Kafka's resource type of a node; one without a name is all of them.
const NODE: i8 = 4;
const ALL_NODES: &str = "";
/// Operations of IncrementalAlterConfigs on lists.
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
const DRAINED_NODES: &str = "cluster.drained.nodes";
/// What stands for the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    pub id: String,
    /// -1 for none.
    pub controller: i32,
    pub nodes: Vec<NodeDescription>,
}

/// A node that has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDescription {
    pub id: i32,
    pub address: String,
    pub rack: Option<String>,
    /// It has been silent for too long, or is not let in yet.
    pub fenced: bool,
}

/// Who keeps the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// -1 for none.
    pub leader: i32,
    pub epoch: i32,
    /// After the last entry that is committed.
    pub high_watermark: i64,
    pub voters: Vec<QuorumReplica>,
    pub observers: Vec<QuorumReplica>,
}

/// Nobody, as far as is known.
impl Default for QuorumDescription {
    fn default() -> Self {
        QuorumDescription { leader: -1, epoch: -1, high_watermark: -1, voters: Vec::new(), observers: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    pub node: i32,
    /// After the last entry it is known to have; -1 if that is not known.
    pub log_end: i64,
}

/// A partition, and the replicas it is to have: none to end the change that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedReplicas {
    pub topic: String,
    pub partition: i32,
    pub replicas: Option<Vec<i32>>,
}

/// A partition whose replicas are being changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingPartition {
    pub topic: String,
    pub partition: i32,
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// A data directory of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirectory {
    pub path: String,
    /// Of its file system; -1 if not known.
    pub total_bytes: i64,
    pub usable_bytes: i64,
    pub replicas: Vec<StoredReplica>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReplica {
    pub topic: String,
    pub partition: i32,
    pub bytes: i64,
    /// Committed records that it lacks.
    pub lag: i64,
}

impl Cluster {
    pub async fn describe_cluster(&mut self) -> Result<ClusterDescription, ClientError> {
        let request =
            DescribeClusterRequest { endpoint_type: BROKERS, include_fenced_brokers: true, ..DescribeClusterRequest::default() };
        let reply = self.ask_controller(DESCRIBE_CLUSTER, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DescribeClusterResponse::decode)?;
        accept(response.error_code, response.error_message, || "cluster".to_owned())?;
        let nodes = response.brokers.iter().map(|broker| NodeDescription {
            id: broker.broker_id,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack.map(str::to_owned),
            fenced: broker.is_fenced,
        });
        let nodes = nodes.collect();
        Ok(ClusterDescription { id: response.cluster_id.to_owned(), controller: response.controller_id, nodes })
    }

    pub async fn describe_quorum(&mut self) -> Result<QuorumDescription, ClientError> {
        let partitions = vec![PartitionData { partition_index: 0 }];
        let request = DescribeQuorumRequest { topics: vec![TopicData { topic_name: METADATA_TOPIC, partitions }] };
        let reply = self.ask_controller(DESCRIBE_QUORUM, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DescribeQuorumResponse::decode)?;
        let subject = || "quorum of the metadata".to_owned();
        accept(response.error_code, response.error_message, subject)?;
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        let partition = partition.ok_or_else(|| ClientError::Incomplete { topic: METADATA_TOPIC.to_owned() })?;
        accept(partition.error_code, partition.error_message, subject)?;
        let replica = |state: &ReplicaState| QuorumReplica { node: state.replica_id, log_end: state.log_end_offset };
        Ok(QuorumDescription {
            leader: partition.leader_id,
            epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: partition.current_voters.iter().map(replica).collect(),
            observers: partition.observers.iter().map(replica).collect(),
        })
    }

    /// The data directories of a node, with all replicas in them.
    pub async fn data_directories(&mut self, node: i32) -> Result<Vec<DataDirectory>, ClientError> {
        let request = DescribeLogDirsRequest { topics: None };
        let reply = self.ask(node, DESCRIBE_LOG_DIRS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(DescribeLogDirsResponse::decode)?;
        accept(response.error_code, None, || format!("node {node}"))?;
        Ok(response.results.iter().map(directory).collect())
    }

    /// Begins to give partitions other replicas. The first that is refused is the error; the others may have been taken.
    pub async fn reassign(&mut self, wanted: &[WantedReplicas]) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for WantedReplicas { topic, partition, replicas } in wanted {
            let partition = ReassignablePartition { partition_index: *partition, replicas: replicas.clone() };
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(name, partitions)| ReassignableTopic { name, partitions }).collect();
        let request = AlterPartitionReassignmentsRequest { timeout_ms: TIMEOUT_MS, topics, ..Default::default() };
        let reply = self.ask_controller(ALTER_PARTITION_REASSIGNMENTS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(AlterPartitionReassignmentsResponse::decode)?;
        accept(response.error_code, response.error_message, || "reassignment".to_owned())?;
        for topic in &response.responses {
            for partition in &topic.partitions {
                let subject = || format!("{}-{}", topic.name, partition.partition_index);
                accept(partition.error_code, partition.error_message, subject)?;
            }
        }
        Ok(())
    }

    /// All partitions whose replicas are being changed.
    pub async fn reassignments(&mut self) -> Result<Vec<MovingPartition>, ClientError> {
        let request = ListPartitionReassignmentsRequest { timeout_ms: TIMEOUT_MS, topics: None };
        let reply = self.ask_controller(LIST_PARTITION_REASSIGNMENTS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(ListPartitionReassignmentsResponse::decode)?;
        accept(response.error_code, response.error_message, || "reassignments".to_owned())?;
        let moving = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| MovingPartition {
                topic: topic.name.to_owned(),
                partition: partition.partition_index,
                replicas: partition.replicas.clone(),
                adding: partition.adding_replicas.clone(),
                removing: partition.removing_replicas.clone(),
            })
        });
        Ok(moving.collect())
    }

    /// Says whether the node is to hold replicas at all.
    pub async fn set_drained(&mut self, node: i32, drained: bool) -> Result<(), ClientError> {
        let (name, config_operation) = (DRAINED_NODES, if drained { APPEND } else { SUBTRACT });
        let value = node.to_string();
        let configs = vec![AlterableConfig { name, config_operation, value: Some(&value) }];
        let resource = AlterConfigsResource { resource_type: NODE, resource_name: ALL_NODES, configs };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let reply = self.ask_controller(INCREMENTAL_ALTER_CONFIGS, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(IncrementalAlterConfigsResponse::decode)?;
        for result in &response.responses {
            accept(result.error_code, result.error_message, || DRAINED_NODES.to_owned())?;
        }
        Ok(())
    }

    /// Takes a node off those who keep or follow the metadata.
    pub async fn remove_voter(&mut self, node: i32) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest { cluster_id: None, voter_id: node, voter_directory_id: TopicId::NONE };
        let reply = self.ask_controller(REMOVE_RAFT_VOTER, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(RemoveRaftVoterResponse::decode)?;
        accept(response.error_code, response.error_message, || format!("node {node}"))
    }

    /// Strikes a node off the cluster.
    pub async fn unregister(&mut self, node: i32) -> Result<(), ClientError> {
        let request = UnregisterBrokerRequest { broker_id: node };
        let reply = self.ask_controller(UNREGISTER_BROKER, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(UnregisterBrokerResponse::decode)?;
        accept(response.error_code, response.error_message, || format!("node {node}"))
    }
}

fn directory(result: &DescribeLogDirsResult<'_>) -> DataDirectory {
    let replicas = result.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| StoredReplica {
            topic: topic.name.to_owned(),
            partition: partition.partition_index,
            bytes: partition.partition_size,
            lag: partition.offset_lag,
        })
    });
    DataDirectory {
        path: result.log_dir.to_owned(),
        total_bytes: result.total_bytes,
        usable_bytes: result.usable_bytes,
        replicas: replicas.collect(),
    }
}
