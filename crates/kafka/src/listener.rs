//! A place where clients connect.

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
