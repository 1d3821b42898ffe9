//! The cluster as a client sees it: nodes, leaders, coordinators, and one connection to each node in use.

use super::api::{Api, FIND_COORDINATOR, METADATA};
use super::connection::{Connection, Reply};
use super::error::{ClientError, accept, known};
use super::retry::Retry;
use duolog_base::TopicId;
use duolog_wire::kafka::error_code::ErrorCode;
use duolog_wire::kafka::messages::find_coordinator_request::FindCoordinatorRequest;
use duolog_wire::kafka::messages::find_coordinator_response::FindCoordinatorResponse;
use duolog_wire::kafka::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use duolog_wire::kafka::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use duolog_wire::kafka::{EncodeError, Encoder};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long something that should pass by itself (a leader not elected yet) is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// FindCoordinator's key type for groups.
const GROUP: i8 = 0;

/// A node and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub id: i32,
    pub address: String,
}

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLayout {
    pub index: i32,
    /// -1 for none.
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// A topic and where its partitions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLayout {
    pub name: String,
    /// All zeros if the server tells none.
    pub id: TopicId,
    pub internal: bool,
    /// By index.
    pub partitions: Vec<PartitionLayout>,
}

impl TopicLayout {
    pub fn leader(&self, partition: i32) -> Result<i32, ClientError> {
        let found = self.partitions.iter().find(|layout| layout.index == partition && layout.leader >= 0);
        found.map(|layout| layout.leader).ok_or_else(|| ClientError::NoLeader { topic: self.name.clone(), partition })
    }
}

/// Connections and what is known of the nodes behind them.
pub struct Cluster {
    bootstrap: Vec<String>,
    /// Address of the bootstrap server that answered, whose connection asks for metadata.
    entry: Option<Connection>,
    nodes: BTreeMap<i32, String>,
    controller: i32,
    connections: HashMap<i32, Connection>,
}

impl Cluster {
    /// Connects to the first bootstrap address that answers.
    pub async fn connect(bootstrap: &[String]) -> Result<Cluster, ClientError> {
        let mut cluster = Cluster {
            bootstrap: bootstrap.to_vec(),
            entry: None,
            nodes: BTreeMap::new(),
            controller: -1,
            connections: HashMap::new(),
        };
        cluster.learn(Some(&[]), false).await?;
        Ok(cluster)
    }

    async fn entry(&mut self) -> Result<&mut Connection, ClientError> {
        if self.entry.is_none() {
            let mut last = ClientError::NoBootstrap;
            for address in self.bootstrap.iter().chain(self.nodes.values()) {
                match Connection::open(address).await {
                    Ok(connection) => {
                        self.entry = Some(connection);
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            if self.entry.is_none() {
                return Err(last);
            }
        }
        self.entry.as_mut().ok_or(ClientError::NoBootstrap)
    }

    /// The connection to a node, opened if need be.
    pub async fn node(&mut self, node: i32) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(&node) {
            let address = self.nodes.get(&node).ok_or(ClientError::NoNode { node })?;
            let connection = Connection::open(address).await?;
            self.connections.insert(node, connection);
        }
        self.connections.get_mut(&node).ok_or(ClientError::NoNode { node })
    }

    /// Forgets a connection that failed.
    pub fn forget(&mut self, node: i32) {
        self.connections.remove(&node);
    }

    pub fn nodes(&self) -> Vec<NodeAddress> {
        self.nodes.iter().map(|(id, address)| NodeAddress { id: *id, address: address.clone() }).collect()
    }

    /// Asks a node. A connection that fails is forgotten, and so is the node's address if nobody answers there: it may have moved.
    pub(super) async fn ask(
        &mut self,
        node: i32,
        api: Api,
        encode: impl FnOnce(&mut Encoder, i16) -> Result<(), EncodeError>,
    ) -> Result<Reply, ClientError> {
        let connection = match self.node(node).await {
            Ok(connection) => connection,
            Err(error) => {
                self.nodes.remove(&node);
                return Err(error);
            }
        };
        let asked = connection.ask(api, encode).await;
        if asked.is_err() {
            self.forget(node);
        }
        asked
    }

    /// Asks the controller, or whoever is there: each node takes changes of topics and configurations. As long as nobody could be reached,
    /// nothing was done, and it is tried again.
    pub(super) async fn ask_controller(
        &mut self,
        api: Api,
        encode: impl Fn(&mut Encoder, i16) -> Result<(), EncodeError>,
    ) -> Result<Reply, ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            if !self.nodes.contains_key(&self.controller) {
                self.learn(Some(&[]), false).await?;
            }
            let known = self.nodes.contains_key(&self.controller);
            let node = if known { Some(self.controller) } else { self.nodes.keys().next().copied() };
            let node = node.ok_or(ClientError::NoNode { node: self.controller })?;
            match self.ask(node, api, &encode).await {
                Err(ClientError::Connect { .. } | ClientError::NoNode { .. }) if retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn ask_entry(
        &mut self,
        api: Api,
        encode: impl FnOnce(&mut Encoder, i16) -> Result<(), EncodeError>,
    ) -> Result<Reply, ClientError> {
        let asked = self.entry().await?.ask(api, encode).await;
        if asked.is_err() {
            // The server may have been restarted since the connection was opened.
            self.entry = None;
        }
        asked
    }

    /// All topics.
    pub async fn topics(&mut self) -> Result<Vec<TopicLayout>, ClientError> {
        let answers = self.learn(None, false).await?;
        Ok(answers.into_iter().filter_map(|(layout, code)| (code == ErrorCode::None).then_some(layout)).collect())
    }

    /// One topic, created if `create` and the server does that. Waits for its partitions to have leaders.
    pub async fn topic(&mut self, name: &str, create: bool) -> Result<TopicLayout, ClientError> {
        self.find_topic(name, create, create).await
    }

    /// One topic that is known to exist: a node may learn that a little later than the one that created it.
    pub async fn topic_at_last(&mut self, name: &str) -> Result<TopicLayout, ClientError> {
        self.find_topic(name, false, true).await
    }

    async fn find_topic(&mut self, name: &str, create: bool, comes: bool) -> Result<TopicLayout, ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            let answer = self.learn(Some(&[name]), create).await?.pop();
            let (layout, code) = answer.ok_or_else(|| ClientError::Incomplete { topic: name.to_owned() })?;
            let leaderless = layout.partitions.iter().any(|partition| partition.leader < 0);
            let hopeless = code == ErrorCode::UnknownTopicOrPartition && !comes;
            let ready = code == ErrorCode::None && !leaderless;
            let again = !ready && !hopeless && (code == ErrorCode::None || code.is_retriable());
            if again && retry.again().await {
                continue;
            }
            accept(code.code(), None, || format!("topic {name}"))?;
            return Ok(layout);
        }
    }

    /// Asks for the nodes and for topics: all of them, or those named.
    async fn learn(&mut self, names: Option<&[&str]>, create: bool) -> Result<Vec<(TopicLayout, ErrorCode)>, ClientError> {
        match self.learn_once(names, create).await {
            Err(error) if error.is_passing() && !matches!(error, ClientError::Connect { .. }) => {
                self.learn_once(names, create).await
            }
            done => done,
        }
    }

    async fn learn_once(&mut self, names: Option<&[&str]>, create: bool) -> Result<Vec<(TopicLayout, ErrorCode)>, ClientError> {
        let named = |name: &&'_ str| -> String { (*name).to_owned() };
        let wanted: Option<Vec<String>> = names.map(|names| names.iter().map(named).collect());
        let topics = wanted
            .as_ref()
            .map(|names| names.iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() }).collect());
        let request = MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() };
        let reply = self.ask_entry(METADATA, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(MetadataResponse::decode)?;
        self.nodes = response.brokers.iter().map(|broker| (broker.node_id, format!("{}:{}", broker.host, broker.port))).collect();
        self.controller = response.controller_id;
        Ok(response.topics.iter().map(|topic| (layout(topic), known(topic.error_code))).collect())
    }

    /// The node that coordinates a group.
    pub async fn group_coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let mut retry = Retry::within(PATIENCE);
        loop {
            match self.find_coordinator(group).await {
                Err(error) if error.is_passing() && retry.again().await => {}
                done => return done,
            }
        }
    }

    async fn find_coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest { key: group, key_type: GROUP, ..Default::default() };
        let reply = self.ask_entry(FIND_COORDINATOR, |e, version| request.encode(e, version)).await?;
        let response = reply.decode(FindCoordinatorResponse::decode)?;
        accept(response.error_code, response.error_message, || format!("coordinator of group {group}"))?;
        self.nodes.insert(response.node_id, format!("{}:{}", response.host, response.port));
        Ok(response.node_id)
    }
}

fn layout(topic: &MetadataResponseTopic<'_>) -> TopicLayout {
    let mut partitions: Vec<PartitionLayout> = topic
        .partitions
        .iter()
        .map(|partition| PartitionLayout {
            index: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    TopicLayout { name: topic.name.unwrap_or_default().to_owned(), id: topic.topic_id, internal: topic.is_internal, partitions }
}
