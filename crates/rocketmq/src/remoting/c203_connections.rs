//! Who is connected: GET_CONSUMER_CONNECTION_LIST (203), GET_PRODUCER_CONNECTION_LIST (204), GET_ALL_PRODUCER_INFO (328). Clients of
//! Kafka's protocol are not among them.

use super::admin::connection;
use crate::clients::{Client, ConsumerGroup};
use crate::node::Node;
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_wire::remoting::body::{Connection, ConsumerConnection, ProducerConnection, ProducerInfo, ProducerTable};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::{ConsumerGroupRequest, ProducerGroupRequest};
use duolog_wire::remoting::language;
use std::net::SocketAddr;

pub(super) async fn consumers(call: Call) -> Result<Answer, Refusal> {
    let header: ConsumerGroupRequest<'_> = call.header()?;
    let offline = || {
        let remark = format!("the consumer group[{}] not online", header.consumer_group);
        Refusal::new(response::CONSUMER_NOT_ONLINE, remark)
    };
    let found = call.node.clients.with_consumers(header.consumer_group, describe).ok_or_else(offline)?;
    Ok(Answer::ok().json(&found))
}

fn describe(group: &ConsumerGroup) -> ConsumerConnection {
    let subscriptions = group.subscriptions.iter().map(|(topic, subscription)| (topic.clone(), subscription.data.clone()));
    ConsumerConnection {
        connection_set: group.members().map(connection).collect(),
        consume_from_where: group.consume_from_where,
        consume_type: group.consume_type,
        message_model: group.message_model,
        subscription_table: subscriptions.collect(),
    }
}

pub(super) async fn producers(call: Call) -> Result<Answer, Refusal> {
    let header: ProducerGroupRequest<'_> = call.header()?;
    let members = call.node.producers_anywhere().await?.remove(header.producer_group);
    let members = members.ok_or_else(|| {
        let remark = format!("the producer group[{}] not exist", header.producer_group);
        Refusal::new(response::SYSTEM_ERROR, remark)
    })?;
    let connection = |(address, client): (SocketAddr, ProducerInfo)| Connection {
        client_addr: address.to_string(),
        client_id: client.client_id,
        language: client.language,
        version: client.version,
    };
    let connection_set = members.into_iter().map(connection).collect();
    Ok(Answer::ok().json(&ProducerConnection { connection_set }))
}

pub(super) async fn all_producers(call: Call) -> Result<Answer, Refusal> {
    let groups = call.node.producers_anywhere().await?.into_iter();
    let data = groups.map(|(group, members)| (group, members.into_iter().map(|(_, client)| client).collect())).collect();
    Ok(Answer::ok().json(&ProducerTable { data }))
}

/// The producers that are connected to this node, by group.
pub(crate) fn producers_here(node: &Node) -> Vec<(String, Vec<(SocketAddr, ProducerInfo)>)> {
    let of = |members: Vec<Client>| members.iter().map(|client| (client.channel.peer().remote, producer(node, client))).collect();
    node.clients.all_producers().into_iter().map(|(group, members)| (group, of(members))).collect()
}

fn producer(node: &Node, client: &Client) -> ProducerInfo {
    let silent_ms = node.monotonic_ms().saturating_sub(client.seen_ms);
    ProducerInfo {
        client_id: client.id.clone(),
        language: language::name(client.language).to_owned(),
        last_update_timestamp: node.broker.clock().now().0 - i64::try_from(silent_ms).unwrap_or(0),
        remote_ip: client.channel.peer().remote.ip().to_string(),
        version: client.version,
    }
}
