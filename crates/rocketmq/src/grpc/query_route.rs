//! QueryRoute and QueryAssignment: which queues a topic has and where they are, and which of them a consumer receives from.
//!
//! *Behaviour*: the queues are at the address that the client asked with, or at the listener's advertised one. A topic that does
//! not exist is refused, also where topics are created by sending: gRPC clients send only where they were shown a queue.
//! A consumer is assigned one queue that stands for all (-1), or, if its group is ordered, each queue.

use super::call::{Call, group_name};
use super::status::{Refused, ok};
use duolog_core::config::Perm;
use duolog_core::metadata::TopicImage;
use duolog_rocketmq_proto::{
    Address, AddressScheme, Assignment, Broker, Endpoints, MessageQueue, MessageType, Permission, QueryAssignmentRequest,
    QueryAssignmentResponse, QueryRouteRequest, QueryRouteResponse, Resource,
};
use std::net::IpAddr;

/// Stands for any queue of the broker.
const ANY_QUEUE: i32 = -1;

pub(super) async fn handle(call: Call, request: QueryRouteRequest) -> Result<QueryRouteResponse, Refused> {
    let topic = call.topic(request.topic.as_ref())?;
    let broker = broker(&call, request.endpoints);
    let queues = (0..topic.partitions.len() as i32).map(|id| message_queue(&topic, id, &broker));
    Ok(QueryRouteResponse { status: Some(ok()), message_queues: queues.collect() })
}

pub(super) async fn assign(call: Call, request: QueryAssignmentRequest) -> Result<QueryAssignmentResponse, Refused> {
    let topic = call.readable_topic(request.topic.as_ref())?;
    let config = call.consuming(group_name(request.group.as_ref())?)?;
    let broker = broker(&call, request.endpoints);
    let ids = if config.consume_orderly { 0..topic.partitions.len() as i32 } else { ANY_QUEUE..ANY_QUEUE + 1 };
    let assignments = ids.map(|id| Assignment { message_queue: Some(message_queue(&topic, id, &broker)) });
    Ok(QueryAssignmentResponse { status: Some(ok()), assignments: assignments.collect() })
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

/// The one broker there is, as this client reaches it.
fn broker(call: &Call, asked: Option<Endpoints>) -> Broker {
    let asked = asked.filter(|endpoints| !endpoints.addresses.is_empty());
    let endpoints = match (&call.peer.advertised, asked) {
        (Some((host, port)), _) => endpoints(host, *port),
        (None, Some(asked)) => asked,
        (None, None) => endpoints(&call.peer.local.ip().to_canonical().to_string(), call.peer.local.port()),
    };
    Broker { name: call.node().names.broker.clone(), id: 0, endpoints: Some(endpoints) }
}

fn endpoints(host: &str, port: u16) -> Endpoints {
    let scheme = match host.parse() {
        Ok(IpAddr::V4(_)) => AddressScheme::IPv4,
        Ok(IpAddr::V6(_)) => AddressScheme::IPv6,
        Err(_) => AddressScheme::DomainName,
    };
    Endpoints { scheme: scheme.into(), addresses: vec![Address { host: host.to_owned(), port: port.into() }] }
}
