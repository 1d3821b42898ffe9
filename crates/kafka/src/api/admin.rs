//! What several administrative requests share: permissions, partitions, kinds of resources and their altering.

use super::nodes::NO_NODE;
use crate::call::Call;
use crate::error;
use duolog_base::NodeId;
use duolog_core::config::Source;
use duolog_core::metadata::{
    ConfigChange, ConfigResource, ConfigUpdate, MetadataImage, NodeImage, PartitionImage, check_topic_name,
};
use duolog_wire::kafka::ErrorCode;
use duolog_wire::kafka::messages::metadata_response::MetadataResponsePartition;

/// Kafka's word for "not asked for" where a set of operations is expected.
pub(super) const NOT_ASKED: i32 = i32::MIN;
/// Everything one may do with a topic: read, write, create, delete, alter, describe, describe configs, alter configs.
pub(super) const ALL_TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Everything one may do with a group: read, delete, describe, describe configs, alter configs.
pub(super) const ALL_GROUP_OPERATIONS: i32 = 0b1101_0100_1000;
/// Everything one may do with a cluster: create, alter, describe, cluster action, describe configs, alter configs,
/// idempotent write.
pub(super) const ALL_CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Kafka's numbers for kinds of resources.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;
pub(super) const BROKER_LOGGER: i8 = 8;
pub(super) const CLIENT_METRICS: i8 = 16;
pub(super) const GROUP: i8 = 32;

/// Kafka's number for the place a dynamic value of all nodes comes from.
pub(super) const SOURCE_DYNAMIC_CLUSTER: i8 = 3;

/// Partitions that one request may name to have their leader or replicas changed.
pub(super) const MAX_CHANGED_PARTITIONS: usize = 100_000;

/// Kafka's number for the place a value comes from.
pub(super) fn source_number(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::DynamicNode => 2,
        Source::DynamicCluster => SOURCE_DYNAMIC_CLUSTER,
        Source::File | Source::Environment | Source::Flag => 4,
        Source::Default => 5,
        Source::Group => 8,
    }
}

/// The resource whose configuration is to be altered, or why there is none.
fn config_resource(kind: i8, name: &str) -> Result<ConfigResource, String> {
    match kind {
        TOPIC => Ok(ConfigResource::Topic(name.to_owned())),
        BROKER if name.is_empty() => Ok(ConfigResource::Cluster),
        BROKER => match name.parse() {
            Ok(id) => Ok(ConfigResource::Node(NodeId(id))),
            Err(_) => Err(format!("{name} is no broker id")),
        },
        GROUP => Ok(ConfigResource::Group(name.to_owned())),
        BROKER_LOGGER => Err("log levels cannot be changed at run time".to_owned()),
        CLIENT_METRICS => Err("client metrics are not collected, so there are no subscriptions to configure".to_owned()),
        kind => Err(format!("resource type {kind} has no configuration")),
    }
}

/// A change of one resource's configuration as it was asked for.
pub(super) struct Alteration<'a> {
    pub(super) kind: i8,
    pub(super) name: &'a str,
    /// What is to be done, or why that cannot be understood.
    pub(super) update: Result<ConfigUpdate, String>,
}

/// What became of it.
pub(super) struct Altered<'a> {
    pub(super) kind: i8,
    pub(super) name: &'a str,
    pub(super) code: ErrorCode,
    pub(super) text: Option<String>,
}

/// Makes the changes that can be understood; an outcome for each, in order.
pub(super) async fn alter<'a>(call: &Call, alterations: Vec<Alteration<'a>>, validate_only: bool) -> Vec<Altered<'a>> {
    let mut wanted = Vec::with_capacity(alterations.len());
    let mut outcomes = Vec::with_capacity(alterations.len());
    for Alteration { kind, name, update } in alterations {
        match config_resource(kind, name).and_then(|resource| Ok(ConfigChange { resource, update: update? })) {
            Ok(change) => {
                wanted.push((outcomes.len(), change));
                outcomes.push(Altered { kind, name, code: ErrorCode::None, text: None });
            }
            Err(text) => outcomes.push(Altered { kind, name, code: ErrorCode::InvalidRequest, text: Some(text) }),
        }
    }
    let (places, changes): (Vec<usize>, Vec<ConfigChange>) = wanted.into_iter().unzip();
    let results = call.services().broker.metadata().alter_configs(changes, validate_only).await;
    for (place, result) in places.into_iter().zip(results) {
        if let Err(refusal) = result {
            outcomes[place].code = error::alter_config(&refusal);
            outcomes[place].text = Some(refusal.to_string());
        }
    }
    outcomes
}

/// A partition as Metadata shows it. Without a live leader it has none.
pub(super) fn partition_row(image: &MetadataImage, index: usize, partition: &PartitionImage) -> MetadataResponsePartition {
    let leader = image.live_leader(partition);
    let is_offline = |node: &&NodeId| !image.nodes.get(*node).is_some_and(NodeImage::is_live);
    MetadataResponsePartition {
        error_code: if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable } as i16,
        partition_index: index as i32,
        leader_id: leader.map_or(NO_NODE, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: partition.replicas.iter().map(|node| node.0).collect(),
        isr_nodes: partition.in_sync.iter().map(|node| node.0).collect(),
        offline_replicas: partition.replicas.iter().filter(is_offline).map(|node| node.0).collect(),
    }
}

/// What a topic is answered with that does not exist.
pub(super) fn absent_topic(name: &str) -> ErrorCode {
    match check_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}
