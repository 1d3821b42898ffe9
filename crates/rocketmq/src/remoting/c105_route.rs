//! GET_ROUTEINFO_BY_TOPIC (105) and GET_BROKER_CLUSTER_INFO (106): where clients find topics.
//!
//! *Behaviour*: a topic has its queues on one broker, whose name never changes and whose address is the one the client can
//! reach. On a cluster that is the address of the node that answers: any node does what clients ask for, and a client whose node dies goes
//! to another one when it asks for the route the next time. Tools are told of all nodes, as addresses of that one broker. `TBW102` has a route, with the right to be inherited, if topics are created by sending; from it a producer learns where
//! to send the first message of a new topic. Tools look for a group's offsets where the topic of its retries is: for a group that
//! has none, as Kafka's have not, it has a route without queues.

use crate::names::{AUTO_CREATE_TOPIC, RETRY_PREFIX};
use crate::remoting::call::{Answer, Call, Refusal};
use duolog_core::config::Perm;
use duolog_core::metadata::MetadataImage;
use duolog_wire::remoting::body::{BrokerData, ClusterInfo, QueueData, TopicRoute};
use duolog_wire::remoting::code::response;
use duolog_wire::remoting::header::RouteRequest;
use std::collections::BTreeMap;

/// The namespace in which tools keep the order of queues by topic.
const ORDER_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

pub(super) async fn topic(call: Call) -> Result<Answer, Refusal> {
    let header: RouteRequest<'_> = call.header()?;
    let image = call.node.broker.image();
    let (queues, perm) = match queues(&call, &image, header.topic) {
        Some(found) => found,
        None if is_retry_of_group(&call, header.topic).await? => (0, Perm::READ | Perm::WRITE),
        None => return Err(no_route(header.topic)),
    };
    let queue_data = QueueData {
        broker_name: call.node.names.broker.clone(),
        perm,
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..QueueData::default()
    };
    let order = image.name_server.get(ORDER_NAMESPACE).and_then(|orders| orders.get(header.topic));
    let route = TopicRoute {
        broker_datas: vec![broker_data(&call, BTreeMap::from([(0, call.node.route_address(call.channel.peer()))]))],
        order_topic_conf: order.cloned(),
        queue_datas: vec![queue_data],
        ..TopicRoute::default()
    };
    Ok(Answer::ok().json(&route))
}

/// How many queues a topic has, and what may be done with them.
fn queues(call: &Call, image: &MetadataImage, name: &str) -> Option<(i32, i32)> {
    const READ_WRITE: i32 = Perm::READ | Perm::WRITE;
    if name == AUTO_CREATE_TOPIC && !image.config.auto_create_topics {
        return None;
    }
    let built_in = call.node.names.built_in_queues(name);
    match image.topic(name) {
        Some(topic) if topic.internal => None,
        Some(topic) if name != AUTO_CREATE_TOPIC => Some((topic.partitions.len() as i32, topic.config.perm.0)),
        _ if name == AUTO_CREATE_TOPIC => Some((built_in?, READ_WRITE | Perm::INHERIT)),
        _ => Some((built_in?, READ_WRITE)),
    }
}

async fn is_retry_of_group(call: &Call, topic: &str) -> Result<bool, Refusal> {
    match topic.strip_prefix(RETRY_PREFIX) {
        Some(group) => Ok(call.node.has_group(group).await?),
        None => Ok(false),
    }
}

fn no_route(topic: &str) -> Refusal {
    let remark = format!("No topic route info in name server for the topic: {topic}");
    Refusal::new(response::TOPIC_NOT_EXIST, remark)
}

/// The one broker there is, at these addresses.
fn broker_data(call: &Call, broker_addrs: BTreeMap<u64, String>) -> BrokerData {
    BrokerData {
        broker_addrs,
        broker_name: call.node.names.broker.clone(),
        cluster: call.node.names.cluster.clone(),
        ..BrokerData::default()
    }
}

pub(super) async fn cluster(call: Call) -> Result<Answer, Refusal> {
    let names = &call.node.names;
    let here = call.node.address(call.channel.peer());
    let others = call.node.broker_addresses().into_iter().filter(|address| *address != here);
    let addresses = (0..).zip(std::iter::once(here.clone()).chain(others)).collect();
    let info = ClusterInfo {
        broker_addr_table: BTreeMap::from([(names.broker.clone(), broker_data(&call, addresses))]),
        cluster_addr_table: BTreeMap::from([(names.cluster.clone(), vec![names.broker.clone()])]),
    };
    Ok(Answer::ok().json(&info))
}
