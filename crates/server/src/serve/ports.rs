//! The addresses at which clients reach this node: taken before the broker opens, listened at once it has, and what of them is told to
//! others.
//!
//! Other nodes send clients here, so what is registered must be what a client can dial: the advertised address, else the bound one. A
//! wildcard is none; in its place stands the host at which the node is reached by the others.

use super::ServeError;
use super::banner::ShownListener;
use super::listen::{Scheme, Spoken};
use duolog_core::metadata::Endpoint;
use duolog_net::{BindError, Bound, Listener};
use std::net::SocketAddr;

/// All listeners for clients, with their addresses taken.
pub(super) struct Ports(Vec<(Scheme, Bound)>);

impl Ports {
    pub(super) fn take(listeners: &[Spoken]) -> Result<Ports, ServeError> {
        let for_clients = listeners.iter().filter(|spoken| spoken.scheme != Scheme::Peer);
        let bound = for_clients.map(|Spoken { scheme, listener }| match Bound::one(listener.clone()) {
            Ok(bound) => Ok((*scheme, bound)),
            Err(BindError { address, error }) => Err(in_use(*scheme, address, error)),
        });
        Ok(Ports(bound.collect::<Result<_, _>>()?))
    }

    /// Gives away those of one scheme, to be listened at.
    pub(super) fn give(&mut self, scheme: Scheme) -> Vec<Bound> {
        self.0.extract_if(.., |(spoken, _)| *spoken == scheme).map(|(_, bound)| bound).collect()
    }

    /// What clients of other nodes are told. `host` stands for a wildcard.
    pub(super) fn endpoints(&self, host: &str) -> Vec<Endpoint> {
        self.0.iter().map(|(scheme, bound)| endpoint(*scheme, bound.listener(), bound.address(), host)).collect()
    }

    pub(super) fn shown(&self) -> Vec<ShownListener> {
        let shown = |(scheme, bound): &(Scheme, Bound)| ShownListener {
            scheme: *scheme,
            name: bound.listener().name.clone(),
            address: bound.address(),
            advertised: bound.listener().advertised.clone(),
        };
        self.0.iter().map(shown).collect()
    }
}

pub(super) fn endpoint(scheme: Scheme, listener: &Listener, bound: SocketAddr, host: &str) -> Endpoint {
    let (host, port) = match &listener.advertised {
        Some(advertised) => advertised.clone(),
        None if bound.ip().is_unspecified() => (host.to_owned(), bound.port()),
        None => (bound.ip().to_string(), bound.port()),
    };
    Endpoint { name: listener.name.clone(), scheme: scheme.text().to_owned(), host, port }
}

/// Names the listener whose address is taken.
pub(super) fn in_use(scheme: Scheme, address: SocketAddr, error: std::io::Error) -> ServeError {
    ServeError::Bind { address: format!("{}://{address}", scheme.text()), error }
}

#[cfg(test)]
mod tests {
    use super::super::listen::resolve;
    use super::*;

    #[test]
    fn a_client_is_told_what_it_can_dial() {
        let given = ["kafka://127.0.0.1:0", "all=kafka://0.0.0.0:0", "grpc://127.0.0.1:0?advertised=broker.example:81"];
        let mut ports = Ports::take(&resolve(&given.map(str::to_owned), &[]).unwrap()).unwrap();
        let endpoints = ports.endpoints("node-2");
        let told: Vec<_> = endpoints.iter().map(|one| (&*one.name, &*one.scheme, &*one.host)).collect();
        assert_eq!(told, [("kafka", "kafka", "127.0.0.1"), ("all", "kafka", "node-2"), ("grpc", "grpc", "broker.example")]);
        let kafka = ports.give(Scheme::Kafka);
        assert_eq!(endpoints[0].port, kafka[0].address().port());
        assert_eq!((kafka.len(), endpoints[2].port, ports.0.len()), (2, 81, 1));
    }

    #[test]
    fn an_address_that_is_taken_is_named_with_its_scheme() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let given = format!("grpc://{}", taken.local_addr().unwrap());
        let error = Ports::take(&resolve(std::slice::from_ref(&given), &[]).unwrap()).err().unwrap();
        assert!(error.to_string().contains(&given), "{error}");
    }
}
