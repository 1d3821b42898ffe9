//! Who may come in: open connections in all, and from each address, whatever protocol they speak.

use crate::addresses::{Addresses, Place};
use crate::limits::ConnectionLimits;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limits on connections, shared by all listeners of a process.
pub struct Door {
    limits: ConnectionLimits,
    /// One permit a connection.
    connections: Arc<Semaphore>,
    addresses: Arc<Addresses>,
}

impl Door {
    pub fn new(limits: ConnectionLimits) -> Arc<Door> {
        let connections = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let addresses = Addresses::new(limits.connections_per_ip);
        Arc::new(Door { limits, connections, addresses })
    }

    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// Waits until there may be one more connection.
    pub(crate) async fn wait(&self) -> io::Result<OwnedSemaphorePermit> {
        self.connections.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// A place for one more connection of the address, if it may have one.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        self.addresses.enter(address)
    }
}
