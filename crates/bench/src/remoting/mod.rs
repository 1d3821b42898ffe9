//! Loads over RocketMQ's remoting protocol, written to the socket directly: a broker's send and pull requests without the
//! client library. The broker's own address is asked, no name server.

mod create;
mod frame;
mod pull;
mod send;

pub(crate) use create::run as create;
pub(crate) use pull::run as pull;
pub(crate) use send::run as send;
