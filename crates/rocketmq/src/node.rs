//! What every request is answered from: the broker, the groups, and what this node knows of RocketMQ's clients.

use crate::ahead::ReadAhead;
use crate::clients::{Channel, Clients};
use crate::cluster::{Cluster, Place, is_guest_number};
use crate::deliveries::{Deliveries, LIMITS};
use crate::message::UNKNOWN_HOST;
use crate::names::NodeNames;
use crate::offsets::Offsets;
use crate::polls::Polls;
use crate::rates::{Counted, Rates};
use duolog_base::{PartitionIndex, TimestampMs};
use duolog_core::broker::{Broker, Counter};
use duolog_core::config::{ConfigError, GroupConfig};
use duolog_core::delay::Delays;
use duolog_core::group::GroupCoordinator;
use duolog_core::metadata::{Endpoint, MetadataImage, TopicImage};
use duolog_core::share::ShareGroups;
use duolog_net::Peer;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

const DAY_MS: i64 = 86_400_000;

/// The node as RocketMQ's clients see it.
pub struct Node {
    pub broker: Arc<Broker>,
    pub groups: Arc<GroupCoordinator>,
    pub delays: Arc<Delays>,
    pub share: Arc<ShareGroups>,
    pub names: NodeNames,
    pub clients: Clients,
    pub offsets: Offsets,
    pub(crate) deliveries: Deliveries,
    pub(crate) polls: Polls,
    pub(crate) ahead: ReadAhead,
    pub booted: TimestampMs,
    pub(crate) rates: Rates,
    /// Messages given to RocketMQ's clients.
    pub(crate) messages_out: Counter,
    /// `None` of a node alone.
    pub(crate) cluster: Option<Cluster>,
    /// Set once producers are asked about their transactions.
    pub(crate) asks: OnceLock<()>,
    address: OnceLock<BrokerAddress>,
}

fn host_and_port(endpoint: &Endpoint) -> String {
    let Endpoint { host, port, .. } = endpoint;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where clients reach the broker, whichever listener they asked.
#[derive(Clone, Debug)]
pub(crate) struct BrokerAddress {
    /// Where the first broker listener is bound.
    pub(crate) bound: SocketAddr,
    pub(crate) advertised: Option<(String, u16)>,
}

impl Node {
    pub fn new(broker: Arc<Broker>, groups: Arc<GroupCoordinator>, delays: Arc<Delays>, share: &ShareGroups) -> Node {
        let config = broker.config();
        let names = NodeNames { cluster: config.rocketmq_cluster.clone(), broker: config.rocketmq_broker.clone() };
        let booted = broker.clock().now();
        Node {
            names,
            booted,
            clients: Clients::default(),
            offsets: Offsets::default(),
            deliveries: Deliveries::default(),
            polls: Polls::default(),
            rates: Rates::default(),
            messages_out: Counter::default(),
            ahead: ReadAhead::default(),
            cluster: broker.road().map(|road| Cluster::new(road.clone(), booted.0)),
            asks: OnceLock::new(),
            address: OnceLock::new(),
            broker,
            groups,
            delays,
            share: share.with_limits(LIMITS),
        }
    }

    /// Said once, when the listeners are bound.
    pub(crate) fn set_address(&self, address: BrokerAddress) {
        let _ = self.address.set(address);
    }

    /// What a client is told to dial for the broker: the advertised address, or the one it has dialled with the broker's port.
    pub fn address(&self, peer: &Peer) -> String {
        match self.address.get().and_then(|address| address.advertised.as_ref()) {
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
            None => self.dialled(peer).to_string(),
        }
    }

    /// The same as far as it is an address of the network: message ids have no room for names.
    pub fn store_host(&self, peer: &Peer) -> SocketAddr {
        // Who comes by way of another node has dialled that.
        if is_guest_number(peer.connection)
            && let Some(registered) = self.registered()
        {
            return registered;
        }
        match self.address.get().and_then(|address| address.advertised.as_ref()) {
            Some((host, port)) => match host.parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(ip, *port),
                Err(_) => SocketAddr::new(self.dialled(peer).ip(), *port),
            },
            None => self.dialled(peer),
        }
    }

    fn dialled(&self, peer: &Peer) -> SocketAddr {
        let here = SocketAddr::new(peer.local.ip().to_canonical(), peer.local.port());
        match self.address.get() {
            Some(address) if address.bound.ip().is_unspecified() => SocketAddr::new(here.ip(), address.bound.port()),
            Some(address) => address.bound,
            None => here,
        }
    }

    /// Where the node has registered that RocketMQ's clients reach it, if that is an address of the network.
    fn registered(&self) -> Option<SocketAddr> {
        let image = self.broker.image();
        let endpoint = image.nodes.get(&self.broker.node())?.endpoint("rocketmq", "")?;
        Some(SocketAddr::new(endpoint.host.parse().ok()?, endpoint.port))
    }

    /// An address of this node where no client is concerned.
    pub(crate) fn own_address(&self) -> SocketAddr {
        self.registered().or_else(|| Some(self.address.get()?.bound)).unwrap_or(UNKNOWN_HOST)
    }

    /// Where clients reach each node that lives; empty of a node alone.
    pub(crate) fn broker_addresses(&self) -> Vec<String> {
        let image = self.broker.image();
        let live = image.nodes.values().filter(|node| node.is_live());
        live.filter_map(|node| node.endpoint("rocketmq", "")).map(host_and_port).collect()
    }

    /// What a client is told to dial: this node, or another one if this one is about to stop or has no listener for it.
    pub(crate) fn route_address(&self, peer: &Peer) -> String {
        let (image, me) = (self.broker.image(), self.broker.node());
        let stays =
            image.nodes.get(&me).is_none_or(|node| node.membership.as_ref().is_none_or(|membership| !membership.stopping));
        if stays && self.address.get().is_some() {
            return self.address(peer);
        }
        let others = image.nodes.values().filter(|node| node.id != me && node.is_available());
        let others: Vec<&Endpoint> = others.filter_map(|node| node.endpoint("rocketmq", "")).collect();
        match others.is_empty() {
            true => self.address(peer),
            false => host_and_port(others[self.monotonic_ms() as usize % others.len()]),
        }
    }

    /// Whether another node holds the client's connection.
    pub(crate) fn is_guest(&self, channel: &Channel) -> bool {
        is_guest_number(channel.id())
    }

    /// A queue of the topic for one who does not mind: one that this node leads, if it leads any.
    pub(crate) fn any_queue(&self, topic: &TopicImage, image: &MetadataImage) -> PartitionIndex {
        let moment = self.monotonic_ms() as usize;
        let led = |queue: &usize| self.place_of(image, &topic.partitions[*queue]) == Place::Here;
        let own: Vec<usize> = match self.cluster {
            Some(_) => (0..topic.partitions.len()).filter(led).collect(),
            None => Vec::new(),
        };
        let any = if own.is_empty() { moment % topic.partitions.len().max(1) } else { own[moment % own.len()] };
        PartitionIndex(any as i32)
    }

    /// Messages of all clients so far.
    pub(crate) fn counted(&self) -> Counted {
        Counted { put: self.broker.metrics().records_in.get(), got: self.messages_out.get() }
    }

    /// Notes what has been counted so far, from time to time.
    pub(crate) fn sample_rates(&self) {
        let day = self.broker.clock().now().0.div_euclid(DAY_MS);
        self.rates.sample(self.monotonic_ms(), day, self.counted());
    }

    /// How a group is configured, be it by default.
    pub fn group_config(&self, group: &str) -> Result<GroupConfig, ConfigError> {
        let image = self.broker.image();
        image.group_config.get(group).map_or_else(|| GroupConfig::resolve(&Default::default()), GroupConfig::resolve)
    }

    /// Milliseconds on the clock that never goes back.
    pub fn monotonic_ms(&self) -> u64 {
        self.broker.clock().monotonic_ms()
    }
}
