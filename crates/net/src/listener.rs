//! A place where clients connect, and who connected there.

use std::net::SocketAddr;

/// One listening address with its name, and what clients are told to dial.
#[derive(Clone, Debug)]
pub struct Listener {
    pub name: String,
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// Host and port given to clients; without it they are given the address they dialled.
    pub advertised: Option<(String, u16)>,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address the client dialled: what it is told to dial again if the listener advertises none.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Name of the listener that the client came by.
    pub listener: String,
    /// The listener's advertised host and port, if configured.
    pub advertised: Option<(String, u16)>,
    /// Number of the connection, unique for the life of the process.
    pub connection: u64,
}

impl Peer {
    /// Whether the client is on this machine.
    pub fn is_here(&self) -> bool {
        let (local, remote) = (self.local.ip().to_canonical(), self.remote.ip().to_canonical());
        remote.is_loopback() || remote == local
    }
}
