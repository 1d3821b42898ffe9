//! The nodes as a client reaches them: at listeners of the same name as the one it came by.
//!
//! This node is at the address the client dialled, unless its listener advertises another; the others are where they have registered.
//! Nodes that are fenced, and nodes without a listener for Kafka's clients, are not shown.

use super::leadership::LeaderHint;
use crate::call::Context;
use duolog_base::NodeId;
use duolog_core::metadata::{MetadataImage, NodeImage};
use duolog_net::Peer;
use std::collections::BTreeSet;

/// Listeners for Kafka's clients, as nodes register them.
const SCHEME: &str = "kafka";
/// What stands for no node.
pub(super) const NO_NODE: i32 = -1;

/// A node as clients see it.
pub(super) struct NodeAddress {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) rack: Option<String>,
    pub(super) is_fenced: bool,
}

/// Host and port to dial this node at: what the listener advertises, else what the client dialled.
pub(super) fn dial_address(peer: &Peer) -> (String, i32) {
    match &peer.advertised {
        Some((host, port)) => (host.clone(), i32::from(*port)),
        // A client that came over IPv4 to a socket of both kinds dialled an IPv4 address.
        None => (peer.local.ip().to_canonical().to_string(), i32::from(peer.local.port())),
    }
}

/// All nodes that clients may use. While there is none it is this one, since some clients fail for good if they are shown nobody.
pub(super) fn live_nodes(context: &Context, image: &MetadataImage) -> Vec<NodeAddress> {
    let (fenced, live): (Vec<_>, Vec<_>) = known_nodes(context, image).partition(|node| node.is_fenced);
    let here = context.shared.services.broker.node().0;
    match live.is_empty() {
        true => fenced.into_iter().filter(|node| node.id == here).collect(),
        false => live,
    }
}

/// All registered nodes, fenced ones among them.
pub(super) fn known_nodes<'a>(context: &'a Context, image: &'a MetadataImage) -> impl Iterator<Item = NodeAddress> + 'a {
    image.nodes.values().filter_map(|node| address(context, node))
}

/// The node, if clients may use it.
pub(super) fn live_node(context: &Context, image: &MetadataImage, id: NodeId) -> Option<NodeAddress> {
    address(context, image.nodes.get(&id)?).filter(|node| !node.is_fenced)
}

fn address(context: &Context, node: &NodeImage) -> Option<NodeAddress> {
    let peer = &context.peer;
    let (host, port) = match node.id == context.shared.services.broker.node() {
        true => dial_address(peer),
        false => {
            let endpoint = node.endpoint(SCHEME, &peer.listener)?;
            (endpoint.host.clone(), i32::from(endpoint.port))
        }
    };
    Some(NodeAddress { id: node.id.0, host, port, rack: node.rack.clone(), is_fenced: !node.is_live() })
}

/// The node that clients take for the controller. Any node does what they ask of one; while clients cannot see the real one, it is this.
pub(super) fn controller(context: &Context, shown: &[NodeAddress]) -> i32 {
    let broker = &context.shared.services.broker;
    let leader = broker.metadata().quorum().leader;
    let is_shown = |id: &NodeId| shown.iter().any(|node| node.id == id.0);
    leader.filter(is_shown).or(Some(broker.node()).filter(is_shown)).map_or(NO_NODE, |id| id.0)
}

/// Where the leaders of these hints are, each once.
pub(super) fn hinted_nodes(
    context: &Context,
    image: &MetadataImage,
    hints: impl IntoIterator<Item = LeaderHint>,
) -> Vec<NodeAddress> {
    let leaders: BTreeSet<NodeId> = hints.into_iter().map(|hint| hint.leader).collect();
    leaders.into_iter().filter_map(|leader| live_node(context, image, leader)).collect()
}
