//! A cluster as its nodes tell of it, gathered over Kafka's protocol.

use crate::client::{
    ClientError, Cluster, ClusterDescription, DataDirectory, MovingPartition, NodeDescription, PartitionLayout,
    QuorumDescription, TopicLayout,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// How long a node may take to tell of its disks. One that hangs is what is looked for, perhaps.
const DISK_LIMIT: Duration = Duration::from_secs(3);

pub(super) struct Overview {
    pub(super) cluster: ClusterDescription,
    pub(super) quorum: QuorumDescription,
    /// By name, internal ones among them.
    pub(super) topics: Vec<TopicLayout>,
    pub(super) moving: Vec<MovingPartition>,
    /// Of the nodes that answered.
    pub(super) directories: BTreeMap<i32, Vec<DataDirectory>>,
}

impl Overview {
    pub(super) async fn gather(client: &mut Cluster) -> Result<Overview, ClientError> {
        let mut topics = client.topics().await?;
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let cluster = client.describe_cluster().await?;
        // Without a controller nobody can tell, which is when the rest is wanted most.
        let quorum = match client.describe_quorum().await {
            Err(error) if error.is_passing() => QuorumDescription::default(),
            done => done?,
        };
        let moving = client.reassignments().await?;
        let mut directories = BTreeMap::new();
        for node in cluster.nodes.iter().filter(|node| !node.fenced) {
            match timeout(DISK_LIMIT, client.data_directories(node.id)).await {
                Ok(Ok(found)) => {
                    directories.insert(node.id, found);
                }
                // It may have stopped since.
                Ok(Err(error)) if error.is_passing() => {}
                Ok(Err(error)) => return Err(error),
                // Half an answer may still come.
                Err(_) => client.forget(node.id),
            }
        }
        Ok(Overview { cluster, quorum, topics, moving, directories })
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (&str, &PartitionLayout)> {
        self.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (&*topic.name, partition)))
    }

    /// Partitions with replicas that are not in sync, or without a leader.
    pub(super) fn troubled(&self) -> impl Iterator<Item = (&str, &PartitionLayout)> {
        self.partitions().filter(|(_, partition)| partition.leader < 0 || partition.in_sync.len() < partition.replicas.len())
    }

    pub(super) fn leads(&self, node: i32) -> usize {
        self.partitions().filter(|(_, partition)| partition.leader == node).count()
    }

    pub(super) fn replicas(&self, node: i32) -> usize {
        self.partitions().filter(|(_, partition)| partition.replicas.contains(&node)).count()
    }

    pub(super) fn out_of_sync(&self, node: i32) -> usize {
        let lacks = |partition: &PartitionLayout| partition.replicas.contains(&node) && !partition.in_sync.contains(&node);
        self.partitions().filter(|(_, partition)| lacks(partition)).count()
    }

    /// What the node does for the metadata.
    pub(super) fn duty(&self, node: i32) -> &'static str {
        let is_in = |replicas: &[crate::client::QuorumReplica]| replicas.iter().any(|replica| replica.node == node);
        match self.quorum.leader == node {
            true => "controller",
            false if is_in(&self.quorum.voters) => "voter",
            false if is_in(&self.quorum.observers) => "observer",
            false => "-",
        }
    }

    pub(super) fn state(node: &NodeDescription) -> &'static str {
        if node.fenced { "fenced" } else { "live" }
    }

    /// Committed records that each replica lacks, by topic, partition and node, of the nodes that answered.
    pub(super) fn lags(&self) -> BTreeMap<(&str, i32, i32), i64> {
        let mut lags = BTreeMap::new();
        for (node, directories) in &self.directories {
            for replica in directories.iter().flat_map(|directory| &directory.replicas) {
                lags.insert((&*replica.topic, replica.partition, *node), replica.lag);
            }
        }
        lags
    }

    /// Committed records that replicas of the node lack, and the bytes of all of them; `None` if the node did not answer.
    pub(super) fn stored(&self, node: i32) -> Option<(i64, i64)> {
        let replicas = self.directories.get(&node)?.iter().flat_map(|directory| &directory.replicas);
        Some(replicas.fold((0, 0), |(lag, bytes), replica| (lag + replica.lag, bytes + replica.bytes.max(0))))
    }
}
