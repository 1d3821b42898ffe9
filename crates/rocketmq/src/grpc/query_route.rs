//! QueryRoute and QueryAssignment: which queues a topic has and where they are, and which of them a consumer receives from.
//!
//! *Behaviour*: the queues are at the address that the client asked with, or at the listener's advertised one. On a cluster each is at the
//! node that leads it, by that node's own address, since clients ask any node with the addresses they began with; each node is a broker of
//! its own, and a queue that nobody leads is shown here, where it is waited for. A topic that does
//! not exist is refused, also where topics are created by sending: gRPC clients send only where they were shown a queue.
//! A consumer is assigned one queue of each broker that stands for all of them (-1), or, if its group is ordered, each queue. The brokers
//! of its retry topic are among them, for what members of the other protocol have given back.

use super::call::{Call, group_name};
use super::status::{Refused, ok};
use crate::cluster::Place;
use crate::names::retry_topic;
use duolog_base::NodeId;
use duolog_core::config::Perm;
use duolog_core::metadata::{MetadataImage, TopicImage};
use duolog_rocketmq_proto::{
    Address, AddressScheme, Assignment, Broker, Endpoints, MessageQueue, MessageType, Permission, QueryAssignmentRequest,
    QueryAssignmentResponse, QueryRouteRequest, QueryRouteResponse, Resource,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Stands for any queue of the broker.
const ANY_QUEUE: i32 = -1;

pub(super) async fn handle(call: Call, request: QueryRouteRequest) -> Result<QueryRouteResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let queues = queues(&call, &topic, request.endpoints.as_ref()).map(|(id, broker)| message_queue(&topic, id, &broker));
    Ok(QueryRouteResponse { status: Some(ok()), message_queues: queues.collect() })
}

pub(super) async fn assign(call: Call, request: QueryAssignmentRequest) -> Result<QueryAssignmentResponse, Refused> {
    let topic = call.readable_topic(request.topic.as_ref())?;
    let group = group_name(request.group.as_ref())?;
    let config = call.consuming(group)?;
    let asked = request.endpoints.as_ref();
    let assigned: Vec<(i32, Broker)> = match config.consume_orderly {
        true => queues(&call, &topic, asked).collect(),
        false => {
            let image = call.image();
            let retries = image.topic(&retry_topic(group)).map(|retries| queues(&call, retries, asked));
            let of_all = queues(&call, &topic, asked).chain(retries.into_iter().flatten());
            let brokers: BTreeMap<String, Broker> = of_all.map(|(_, broker)| (broker.name.clone(), broker)).collect();
            brokers.into_values().map(|broker| (ANY_QUEUE, broker)).collect()
        }
    };
    let assignments = assigned.iter().map(|(id, broker)| Assignment { message_queue: Some(message_queue(&topic, *id, broker)) });
    Ok(QueryAssignmentResponse { status: Some(ok()), assignments: assignments.collect() })
}

/// The queues of a topic, each with the broker where it is.
fn queues(call: &Call, topic: &TopicImage, asked: Option<&Endpoints>) -> impl Iterator<Item = (i32, Broker)> {
    let image = call.image();
    let own = call.node().cluster.as_ref().and_then(|_| member(call, &image, call.node().broker.node()));
    let here = own.unwrap_or_else(|| broker(call, asked.cloned()));
    let places: Vec<(i32, Broker)> = (0..)
        .zip(&topic.partitions)
        .map(|(id, partition)| match call.node().place_of(&image, partition) {
            Place::At(node) => (id, member(call, &image, node).unwrap_or_else(|| here.clone())),
            Place::Here | Place::Nowhere => (id, here.clone()),
        })
        .collect();
    places.into_iter()
}

/// A node of the cluster as the clients of this listener reach it.
fn member(call: &Call, image: &MetadataImage, node: NodeId) -> Option<Broker> {
    let endpoint = image.nodes.get(&node)?.endpoint("grpc", &call.peer.listener)?;
    Some(Broker { name: broker_name(call, node), id: 0, endpoints: Some(endpoints(&endpoint.host, endpoint.port)) })
}

/// On a cluster each node has a name of its own: clients take brokers of one name for one.
fn broker_name(call: &Call, node: NodeId) -> String {
    let name = &call.node().names.broker;
    if call.node().cluster.is_some() { format!("{name}-{node}") } else { name.clone() }
}

fn message_queue(topic: &TopicImage, id: i32, broker: &Broker) -> MessageQueue {
    MessageQueue {
        topic: Some(resource(&topic.name)),
        id,
        permission: permission(topic.config.perm).into(),
        broker: Some(broker.clone()),
        accept_message_types: accepted(&topic.config.message_type).iter().map(|kind| (*kind).into()).collect(),
    }
}

pub(super) fn resource(name: &str) -> Resource {
    Resource { resource_namespace: String::new(), name: name.to_owned() }
}

fn permission(perm: Perm) -> Permission {
    match (perm.may_read(), perm.may_write()) {
        (true, true) => Permission::ReadWrite,
        (true, false) => Permission::Read,
        (false, true) => Permission::Write,
        (false, false) => Permission::None,
    }
}

/// The kinds of messages that a topic takes, by its `rocketmq.message.type`.
pub(super) fn accepted(message_type: &str) -> &'static [MessageType] {
    match message_type {
        "NORMAL" => &[MessageType::Normal],
        "FIFO" => &[MessageType::Fifo],
        "DELAY" => &[MessageType::Delay],
        "TRANSACTION" => &[MessageType::Transaction],
        "PRIORITY" => &[MessageType::Priority],
        "LITE" => &[MessageType::Lite],
        _ => &[MessageType::Normal, MessageType::Fifo, MessageType::Delay, MessageType::Transaction],
    }
}

/// This node as the client reaches it.
fn broker(call: &Call, asked: Option<Endpoints>) -> Broker {
    let asked = asked.filter(|endpoints| !endpoints.addresses.is_empty());
    let endpoints = match (&call.peer.advertised, asked) {
        (Some((host, port)), _) => endpoints(host, *port),
        (None, Some(asked)) => asked,
        (None, None) => endpoints(&call.peer.local.ip().to_canonical().to_string(), call.peer.local.port()),
    };
    Broker { name: broker_name(call, call.node().broker.node()), id: 0, endpoints: Some(endpoints) }
}

fn endpoints(host: &str, port: u16) -> Endpoints {
    let scheme = match host.parse() {
        Ok(IpAddr::V4(_)) => AddressScheme::IPv4,
        Ok(IpAddr::V6(_)) => AddressScheme::IPv6,
        Err(_) => AddressScheme::DomainName,
    };
    Endpoints { scheme: scheme.into(), addresses: vec![Address { host: host.to_owned(), port: port.into() }] }
}
