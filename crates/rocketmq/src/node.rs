//! What every request is answered from: the broker, the groups, and what this node knows of RocketMQ's clients.

use crate::ahead::ReadAhead;
use crate::clients::Clients;
use crate::locks::Locks;
use crate::names::NodeNames;
use crate::offsets::Offsets;
use crate::rates::{Counted, Rates};
use duolog_base::TimestampMs;
use duolog_core::broker::{Broker, Counter};
use duolog_core::config::{ConfigError, GroupConfig};
use duolog_core::group::GroupCoordinator;
use duolog_net::Peer;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

const DAY_MS: i64 = 86_400_000;

/// The node as RocketMQ's clients see it.
pub struct Node {
    pub broker: Arc<Broker>,
    pub groups: Arc<GroupCoordinator>,
    pub names: NodeNames,
    pub clients: Clients,
    pub locks: Locks,
    pub offsets: Offsets,
    pub(crate) ahead: ReadAhead,
    pub booted: TimestampMs,
    pub(crate) rates: Rates,
    /// Messages given to RocketMQ's clients.
    pub(crate) messages_out: Counter,
    address: OnceLock<BrokerAddress>,
}

/// Where clients reach the broker, whichever listener they asked.
#[derive(Clone, Debug)]
pub(crate) struct BrokerAddress {
    /// Where the first broker listener is bound.
    pub(crate) bound: SocketAddr,
    pub(crate) advertised: Option<(String, u16)>,
}

impl Node {
    pub fn new(broker: Arc<Broker>, groups: Arc<GroupCoordinator>) -> Node {
        let config = broker.config();
        let names = NodeNames { cluster: config.rocketmq_cluster.clone(), broker: config.rocketmq_broker.clone() };
        let booted = broker.clock().now();
        Node {
            names,
            booted,
            clients: Clients::default(),
            locks: Locks::default(),
            offsets: Offsets::default(),
            rates: Rates::default(),
            messages_out: Counter::default(),
            ahead: ReadAhead::default(),
            address: OnceLock::new(),
            broker,
            groups,
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
