//! Loads over RocketMQ's remoting protocol, written to the socket directly: a broker's send and pull requests without the
//! client library. The broker's own address is asked, no name server.

mod create;
mod frame;
mod lateness;
mod pop;
mod pull;
mod send;
mod transact;

pub(crate) use create::run as create;
pub(crate) use lateness::run as lateness;
pub(crate) use pop::run as pop;
pub(crate) use pull::run as pull;
pub(crate) use send::run as send;
pub(crate) use transact::run as transact;
