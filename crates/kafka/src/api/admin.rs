//! What several administrative requests share: addresses, permissions, kinds of resources.

use crate::call::{Call, Peer};
use duolog_base::NodeId;
use duolog_core::config::Source;
use duolog_core::metadata::{ConfigResource, MetadataImage};

/// Kafka's word for "not asked for" where a set of operations is expected.
pub(super) const NOT_ASKED: i32 = i32::MIN;
/// Everything one may do with a topic: read, write, create, delete, alter, describe, describe configs, alter configs.
pub(super) const ALL_TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
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

/// A node as clients see it.
pub(super) struct NodeAddress {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
}

/// Host and port to dial this node at: what the listener advertises, else what the client dialled.
pub(super) fn dial_address(peer: &Peer) -> (String, i32) {
    match &peer.advertised {
        Some((host, port)) => (host.clone(), i32::from(*port)),
        // A client that came over IPv4 to a socket of both kinds dialled an IPv4 address.
        None => (peer.local.ip().to_canonical().to_string(), i32::from(peer.local.port())),
    }
}

/// The nodes of the cluster. There is this one; others will have their listeners in the metadata.
pub(super) fn nodes(call: &Call, image: &MetadataImage) -> Vec<NodeAddress> {
    let (host, port) = dial_address(&call.peer);
    let here = call.services.broker.node();
    let rack = image.nodes.get(&here).and_then(|node| node.rack.clone());
    vec![NodeAddress { id: here.0, host, port, rack }]
}

/// Kafka's number for the place a value comes from.
pub(super) fn source_number(source: Source) -> i8 {
    match source {
        Source::Topic => 1,
        Source::DynamicNode => 2,
        Source::DynamicCluster => SOURCE_DYNAMIC_CLUSTER,
        Source::File | Source::Environment | Source::Flag => 4,
        Source::Default => 5,
    }
}

/// The resource whose configuration is to be altered, or why there is none.
pub(super) fn config_resource(kind: i8, name: &str) -> Result<ConfigResource, String> {
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
