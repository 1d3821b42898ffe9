//! An address that is taken and not served yet: who dials it is refused, as if nobody were there.
//!
//! A node tells the others where it is reached before it can serve anybody, so its ports must be its own by then.

use crate::listener::Listener;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Why a listener is not there.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address}: {error}")]
pub struct BindError {
    pub address: SocketAddr,
    pub error: io::Error,
}

/// A listener with the socket that has its address.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    socket: Socket,
    address: SocketAddr,
}

impl Bound {
    /// Takes the addresses of all of these.
    pub fn all(listeners: Vec<Listener>) -> Result<Vec<Bound>, BindError> {
        listeners.into_iter().map(Bound::one).collect()
    }

    /// Takes the address; port 0 becomes a free one.
    pub fn one(listener: Listener) -> Result<Bound, BindError> {
        let wanted = listener.address;
        let (socket, address) = take(wanted).map_err(|error| BindError { address: wanted, error })?;
        Ok(Bound { listener, socket, address })
    }

    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where it is bound, with the port it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect; within a tokio runtime.
    pub(crate) fn listen(self) -> Result<(Listener, TcpListener), BindError> {
        let Bound { listener, socket, address } = self;
        let listening = socket.listen(BACKLOG).and_then(|()| TcpListener::from_std(socket.into()));
        match listening {
            Ok(socket) => Ok((listener, socket)),
            Err(error) => Err(BindError { address, error }),
        }
    }
}

fn take(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok((socket, bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn listener() -> Listener {
        Listener { name: "kafka".to_owned(), address: "127.0.0.1:0".parse().unwrap(), advertised: None }
    }

    #[tokio::test]
    async fn nobody_connects_before_it_listens_and_then_to_the_port_it_has_had() {
        let bound = Bound::one(listener()).unwrap();
        let address = bound.address();
        assert_ne!(address.port(), 0);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (_, socket) = bound.listen().unwrap();
        assert_eq!(socket.local_addr().unwrap(), address);
        TcpStream::connect(address).unwrap();
    }

    #[tokio::test]
    async fn two_do_not_listen_at_one_address() {
        let (_, first) = Bound::one(listener()).unwrap().listen().unwrap();
        let address = first.local_addr().unwrap();
        let error = Bound::one(Listener { address, ..listener() }).unwrap_err();
        assert_eq!((error.address, error.error.kind()), (address, io::ErrorKind::AddrInUse));
    }
}
